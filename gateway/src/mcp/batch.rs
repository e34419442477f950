//! JSON-RPC batches: part of 2025-03-26 alone (basic/index, section Batching), gone from 2025-06-18 on.

use bytes::Bytes;
use serde_json::value::RawValue;

use super::refusal::Refusal;
use super::request_metadata::{RequestMetadata, trim};
use super::version::ProtocolVersion;

/// More messages than any honest batch has.
const MAX_MESSAGES: usize = 50;

/// The messages of a batch, each as it was written; `None` when the body is no batch.
///
/// # Errors
///
/// Returns a [`Refusal`] for a batch in a revision that has none, an empty one, one of too many messages, and for
/// what is no array.
pub fn split_batch(body: &Bytes, headers: &RequestMetadata<'_>) -> Result<Option<Vec<Bytes>>, Refusal> {
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'[') {
        return Ok(None);
    }
    // Without the header it is a client of 2025-03-26 (2025-06-18, basic/transports).
    let oldest = ProtocolVersion::V2025_03_26;
    if headers.protocol_version.is_some_and(|version| trim(version) != oldest.as_str()) {
        return Err(no_batch());
    }
    let text = std::str::from_utf8(body).map_err(|_not_utf8| Refusal::parse("Parse error: not UTF-8"))?;
    let messages: Vec<&RawValue> = serde_json::from_str(text).map_err(|_not_json| Refusal::parse("Parse error"))?;
    if messages.is_empty() || messages.len() > MAX_MESSAGES {
        return Err(Refusal::request("A batch has between 1 and 50 messages", None));
    }
    Ok(Some(messages.iter().map(|message| body.slice_ref(message.get().as_bytes())).collect()))
}

/// What is said to a batch in a revision that has none.
#[must_use]
pub fn no_batch() -> Refusal {
    Refusal::request("Batches are not part of this revision", None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(body: &str, version: Option<&str>) -> Result<Option<Vec<Bytes>>, Refusal> {
        let headers = RequestMetadata { protocol_version: version, ..RequestMetadata::default() };
        split_batch(&Bytes::copy_from_slice(body.as_bytes()), &headers)
    }

    #[test]
    fn a_batch_is_split_in_its_revision_only() {
        let batch = r#" [ {"id":1} , {"id":"[2"}]"#;
        for version in [None, Some("2025-03-26"), Some(" 2025-03-26")] {
            let messages = split(batch, version).unwrap().unwrap();
            assert_eq!(messages, [Bytes::from(r#"{"id":1}"#), Bytes::from(r#"{"id":"[2"}"#)]);
        }
        for version in ["2025-06-18", "2025-11-25", "2026-07-28", "x"] {
            assert!(split(batch, Some(version)).is_err(), "{version}");
        }
        assert_eq!(split(r#"{"id":1}"#, None), Ok(None));
        assert_eq!(split("", None), Ok(None));
    }

    #[test]
    fn what_is_no_batch_is_refused() {
        let many = format!("[{}]", vec!["{}"; MAX_MESSAGES + 1].join(","));
        for bad in ["[]", "[", "[{}]{}", "[{},]", "[{}", many.as_str()] {
            assert!(split(bad, None).is_err(), "{bad}");
        }
        let most = format!("[{}]", vec!["{}"; MAX_MESSAGES].join(","));
        assert!(split(&most, None).is_ok());
    }
}
