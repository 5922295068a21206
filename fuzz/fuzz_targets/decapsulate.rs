#![no_main]

libfuzzer_sys::fuzz_target!(init: ulvs::fuzzing::write_seeds("decapsulate"), |data: &[u8]| {
    (ulvs::fuzzing::target("decapsulate").run)(data)
});
