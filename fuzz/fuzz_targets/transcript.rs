#![no_main]

libfuzzer_sys::fuzz_target!(init: ulvs::fuzzing::write_seeds("transcript"), |data: &[u8]| {
    (ulvs::fuzzing::target("transcript").run)(data)
});
