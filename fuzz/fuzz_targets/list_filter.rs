//! See `portcullis_fuzz::list_filter`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = portcullis_fuzz::list_filter::check(data);
});
