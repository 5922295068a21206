#![no_main]

libfuzzer_sys::fuzz_target!(init: ulvs::fuzzing::write_seeds("control"), |data: &[u8]| {
    (ulvs::fuzzing::target("control").run)(data)
});
