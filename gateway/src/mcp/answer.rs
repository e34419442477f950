//! The envelope of what a backend sends: whose answer it is, or what it asks.
//!
//! One exchange carries one request: an answer with another id is somebody else's and is never delivered.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::jsonrpc::RequestId;
use crate::json::{Key, Seen, resembles};

const MEMBERS: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];

/// A message of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It answers the request with this id; an answer to what could not be read has none.
    Response {
        /// The id.
        id: Option<RequestId>,
        /// Whether it is a result, not an error.
        is_result: bool,
    },
    /// It asks the client something (sampling, elicitation, roots, ping).
    Request {
        /// The id that the client's response will carry.
        id: RequestId,
        /// What it asks.
        method: String,
    },
    /// It tells the client something.
    Notification {
        /// What about.
        method: String,
    },
}

/// Reads the envelope of one message; `None` when it is none, or can be read in more than one way.
#[must_use]
pub fn read(json: &[u8]) -> Option<Answer> {
    let envelope: Envelope<'_> = serde_json::from_slice(json).ok()?;
    let id = match envelope.id {
        Some("null") | None => None,
        Some(json) => Some(RequestId::from_json(json)?),
    };
    match (envelope.method, envelope.result, envelope.error, id) {
        (None, true, false, Some(id)) => Some(Answer::Response { id: Some(id), is_result: true }),
        (None, false, true, id) => Some(Answer::Response { id, is_result: false }),
        (Some(method), false, false, Some(id)) => Some(Answer::Request { id, method }),
        (Some(method), false, false, None) => Some(Answer::Notification { method }),
        _ => None,
    }
}

struct Envelope<'a> {
    id: Option<&'a str>,
    method: Option<String>,
    result: bool,
    error: bool,
}

impl<'de> Deserialize<'de> for Envelope<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EnvelopeVisitor)
    }
}

struct EnvelopeVisitor;

impl<'de> Visitor<'de> for EnvelopeVisitor {
    type Value = Envelope<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON-RPC message")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope<'de>, A::Error> {
        let mut seen = Seen::default();
        let mut envelope = Envelope { id: None, method: None, result: false, error: false };
        while let Some(Key(key)) = map.next_key()? {
            match key.as_ref() {
                "id" => envelope.id = Some(map.next_value::<&RawValue>()?.get()),
                "method" => envelope.method = Some(map.next_value()?),
                name => {
                    if resembles(name, &MEMBERS) {
                        return Err(de::Error::custom("a member resembles a known one"));
                    }
                    envelope.result |= name == "result";
                    envelope.error |= name == "error";
                    map.next_value::<IgnoredAny>()?;
                }
            }
            seen.insert(key)?;
        }
        Ok(envelope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_apart() {
        let id = |json| RequestId::from_json(json).unwrap();
        assert_eq!(
            read(br#"{"jsonrpc":"2.0","id":1,"result":{}}"#),
            Some(Answer::Response { id: Some(id("1")), is_result: true })
        );
        assert_eq!(
            read(br#"{"error":{"code":1,"message":"x"},"id":null,"jsonrpc":"2.0"}"#),
            Some(Answer::Response { id: None, is_result: false })
        );
        assert_eq!(
            read(br#"{"jsonrpc":"2.0","id":"a","method":"roots/list"}"#),
            Some(Answer::Request { id: id("\"a\""), method: "roots/list".to_owned() })
        );
        assert!(matches!(read(br#"{"jsonrpc":"2.0","method":"x","params":{}}"#), Some(Answer::Notification { .. })));
    }

    #[test]
    fn what_could_be_two_messages_is_none() {
        for bad in [
            r#"{"id":1,"id":2,"result":{}}"#,
            r#"{"id":1,"result":{},"Result":{}}"#,
            r#"{"id":1,"result":{},"error":{}}"#,
            r#"{"id":1,"method":"x","result":{}}"#,
            r#"{"id":1,"result":{}}{}"#,
            r#"{"result":{}}"#,
            r#"[{"id":1,"result":{}}]"#,
            "",
        ] {
            assert_eq!(read(bad.as_bytes()), None, "{bad}");
        }
    }
}
