//! What must hold of every reader of bytes that strangers choose, for any bytes.
//!
//! One module per target, each with a `check` that panics when it does not hold. `fuzz_targets/` hands them to libFuzzer;
//! `cargo test` tries the seeds, which are small and kept in `seeds/`: among them whatever was once found.

pub mod bearer;
pub mod head;
pub mod jsonrpc;
pub mod jwks;
pub mod jwt;
pub mod list_filter;
pub mod policy;
pub mod sse;

mod readers;
mod token;

/// Something that must hold for any bytes; whether the reader accepted them.
pub type Check = fn(&[u8]) -> bool;

/// Every target by name.
pub const TARGETS: [(&str, Check); 8] = [
    ("bearer", bearer::check),
    ("head", head::check),
    ("jsonrpc", jsonrpc::check),
    ("jwks", jwks::check),
    ("jwt", jwt::check),
    ("list_filter", list_filter::check),
    ("policy", policy::check),
    ("sse", sse::check),
];
