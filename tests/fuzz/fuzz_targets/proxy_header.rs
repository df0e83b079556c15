#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| reprieve_fuzz::targets::proxy_header(data));
