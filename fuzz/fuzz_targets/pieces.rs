#![no_main]

libfuzzer_sys::fuzz_target!(init: ulvs::fuzzing::write_seeds("pieces"), |data: &[u8]| {
    (ulvs::fuzzing::target("pieces").run)(data)
});
