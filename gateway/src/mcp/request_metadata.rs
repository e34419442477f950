//! The headers that mirror a message (MCP 2026-07-28, Streamable HTTP section Request Metadata), held against it.
//!
//! The body alone decides; a header that says something else is refused in every era, for something in front may
//! have decided by it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::jsonrpc::RequestId;
use super::refusal::Refusal;
use super::target::Target;

/// The mirroring headers of a POST, as sent; `None` when absent. The caller refuses headers that are there twice.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestMetadata<'a> {
    /// `MCP-Protocol-Version`.
    pub protocol_version: Option<&'a str>,
    /// `Mcp-Method`.
    pub method: Option<&'a str>,
    /// `Mcp-Name`.
    pub name: Option<&'a str>,
}

impl RequestMetadata<'_> {
    /// Holds `Mcp-Method` and `Mcp-Name` against the message.
    pub(super) fn check(
        &self,
        method: &str,
        target: Option<&Target>,
        required: bool,
        id: Option<&RequestId>,
    ) -> Result<(), Refusal> {
        let mismatch = |message| Err(Refusal::header(message, id.cloned()));
        match self.method.map(trim) {
            Some(header) if header != method => return mismatch("Mcp-Method does not match the body"),
            None if required => return mismatch("Mcp-Method is missing"),
            _ => {}
        }
        match (self.name.map(trim).map(decode), target.and_then(Target::mirrored)) {
            (Some(None), _) => mismatch("Mcp-Name is malformed"),
            (Some(Some(header)), Some(name)) if header != name => mismatch("Mcp-Name does not match the body"),
            (Some(Some(_)), None) => mismatch("Mcp-Name does not match the body"),
            (None, Some(_)) if required => mismatch("Mcp-Name is missing"),
            _ => Ok(()),
        }
    }
}

/// Optional white space around a field value (RFC 9110 section 5.5).
pub(super) fn trim(value: &str) -> &str {
    value.trim_matches([' ', '\t'])
}

/// The value itself, or what its Base64 sentinel `=?base64?…?=` holds; `None` when that is malformed.
fn decode(value: &str) -> Option<String> {
    match value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) {
        Some(encoded) => STANDARD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok()),
        None if value.bytes().all(|b| (0x20..0x7f).contains(&b)) => Some(value.to_owned()),
        None => None,
    }
}

/// The value itself, or as a Base64 sentinel when a header cannot hold it, or it looks like a sentinel.
#[must_use]
pub fn encode_header(value: &str) -> String {
    let plain = value.bytes().all(|b| (0x20..0x7f).contains(&b)) && value.trim() == value;
    if plain && !value.starts_with("=?base64?") {
        value.to_owned()
    } else {
        format!("=?base64?{}?=", STANDARD.encode(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_survives_the_header() {
        for name in ["plain", "mit Umlaut ä", " space ", "=?base64?eA==?=", "a\r\nb"] {
            assert_eq!(decode(&encode_header(name)).as_deref(), Some(name));
        }
    }
}
