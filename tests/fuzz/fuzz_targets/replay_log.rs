#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| reprieve_fuzz::targets::replay_log(data));
