//! See `portcullis_fuzz::jsonrpc`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = portcullis_fuzz::jsonrpc::check(data);
});
