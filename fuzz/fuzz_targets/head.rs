//! See `portcullis_fuzz::head`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = portcullis_fuzz::head::check(data);
});
