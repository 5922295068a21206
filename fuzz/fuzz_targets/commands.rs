#![no_main]

libfuzzer_sys::fuzz_target!(init: ulvs::fuzzing::write_seeds("commands"), |data: &[u8]| {
    (ulvs::fuzzing::target("commands").run)(data)
});
