#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| s3haul_fuzz::report_rows(data));
