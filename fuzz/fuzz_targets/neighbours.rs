#![no_main]

libfuzzer_sys::fuzz_target!(init: ulvs::fuzzing::write_seeds("neighbours"), |data: &[u8]| {
    (ulvs::fuzzing::target("neighbours").run)(data)
});
