//! What the gateway tells those who run it, besides the audit trail: metrics, and what is built upon them.

use std::fmt::Write;

mod metrics;
mod prometheus;
mod request_id;
mod traces;

/// Bytes as traces and trails write them.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
