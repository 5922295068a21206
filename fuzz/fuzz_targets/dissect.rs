#![no_main]

libfuzzer_sys::fuzz_target!(init: ulvs::fuzzing::write_seeds("dissect"), |data: &[u8]| {
    (ulvs::fuzzing::target("dissect").run)(data)
});
