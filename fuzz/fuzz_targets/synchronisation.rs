#![no_main]

libfuzzer_sys::fuzz_target!(init: ulvs::fuzzing::write_seeds("synchronisation"), |data: &[u8]| {
    (ulvs::fuzzing::target("synchronisation").run)(data)
});
