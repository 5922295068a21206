#![no_main]

libfuzzer_sys::fuzz_target!(init: ulvs::fuzzing::write_seeds("reassembly"), |data: &[u8]| {
    (ulvs::fuzzing::target("reassembly").run)(data)
});
