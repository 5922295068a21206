#![no_main]

libfuzzer_sys::fuzz_target!(init: ulvs::fuzzing::write_seeds("engine"), |data: &[u8]| {
    (ulvs::fuzzing::target("engine").run)(data)
});
