//! The envelope of what a backend sends: whose answer it is, or what it asks.
//!
//! One exchange carries one request: an answer with another id is somebody else's and is never delivered.

use std::fmt;

use bytes::Bytes;
use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::features::Features;
use super::jsonrpc::{RequestId, members};
use super::list_filter::ListKind;
use super::server_message::ACKNOWLEDGED;
use super::version::Era;
use crate::json::{Key, MAX_DEPTH, Seen, check, resembles};

const MEMBERS: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];
/// Says that a subscribed resource changed; open to whom the resource is open.
pub const RESOURCE_UPDATED: &str = "notifications/resources/updated";
/// What a server sends when its tools are others.
pub const TOOLS_CHANGED: &str = "notifications/tools/list_changed";
/// Names the subscription that a notification belongs to (MCP 2026-07-28).
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
/// What servers tell clients.
const NOTIFICATIONS: [&str; 9] = [
    "notifications/cancelled",
    "notifications/progress",
    "notifications/message",
    TOOLS_CHANGED,
    "notifications/prompts/list_changed",
    "notifications/resources/list_changed",
    RESOURCE_UPDATED,
    "notifications/elicitation/complete",
    ACKNOWLEDGED,
];

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
    let envelope: Envelope<'_> = serde_json::from_str(std::str::from_utf8(json).ok()?).ok()?;
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

/// An error that says no id, because the server could not read the one it was given, as the answer to `id`; the
/// exchange carried nothing else.
#[must_use]
pub fn address_error(json: &[u8], id: &RequestId) -> Option<Bytes> {
    let text = std::str::from_utf8(json).ok()?;
    check(text, MAX_DEPTH).ok()?;
    let members = members(text)?;
    let (_, error) = members.iter().find(|(name, _)| name == "error")?;
    Some(format!(r#"{{"jsonrpc":"2.0","id":{},"error":{}}}"#, id.as_json(), error.get()).into())
}

/// The list that a notification says has changed, if it says that.
#[must_use]
pub fn changed_list(method: &str) -> Option<ListKind> {
    match method {
        TOOLS_CHANGED => Some(ListKind::Tools),
        "notifications/prompts/list_changed" => Some(ListKind::Prompts),
        "notifications/resources/list_changed" => Some(ListKind::Resources),
        _ => None,
    }
}

/// A notification without anything that could say what it is about: of its `params` the subscription alone stays.
/// `None` when it cannot be read in one way only.
#[must_use]
pub fn bare_notification(method: &str, json: &[u8]) -> Option<Bytes> {
    let text = std::str::from_utf8(json).ok()?;
    check(text, MAX_DEPTH).ok()?;
    let within = |object: &str, name: &str| -> Option<String> {
        let members = members(object)?;
        members.iter().find(|(known, _)| known == name).map(|(_, value)| value.get().to_owned())
    };
    let meta = within(text, "params").and_then(|params| within(&params, "_meta"));
    let params = match meta.and_then(|meta| within(&meta, SUBSCRIPTION)) {
        Some(id) => format!(r#","params":{{"_meta":{{"{SUBSCRIPTION}":{}}}}}"#, RequestId::from_json(&id)?.as_json()),
        None => String::new(),
    };
    Some(format!(r#"{{"jsonrpc":"2.0","method":{}{params}}}"#, serde_json::Value::from(method)).into())
}

/// Whether what a server asks or tells is something that servers ask or tell, and that the backend's features cover;
/// the rest is not passed on. `json` is the message that `answer` was read from.
#[must_use]
pub fn passes(answer: &Answer, json: &str, era: Era, features: Features) -> bool {
    match answer {
        Answer::Response { .. } => true,
        // From 2026-07-28 on servers ask nothing on a stream.
        Answer::Request { .. } if era == Era::Modern => false,
        Answer::Request { method, .. } => {
            let checked = method != "elicitation/create" || check(json, MAX_DEPTH).is_ok();
            let message = if checked { members(json).unwrap_or_default() } else { Vec::new() };
            let params = message.iter().find(|(name, _)| name == "params").map(|(_, value)| value.get());
            features.may_ask(method, params)
        }
        Answer::Notification { method } => NOTIFICATIONS.contains(&method.as_str()) && features.may_tell(method),
    }
}

/// The resource that a notification says was updated; `None` when it cannot be read in one way only.
#[must_use]
pub fn updated_resource(json: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(json).ok()?;
    check(text, MAX_DEPTH).ok()?;
    let message = members(text)?;
    let (_, params) = message.iter().find(|(name, _)| name == "params")?;
    let params = members(params.get())?;
    if params.iter().any(|(name, _)| resembles(name, &["uri"])) {
        return None;
    }
    let (_, uri) = params.iter().find(|(name, _)| name == "uri")?;
    serde_json::from_str(uri.get()).ok()
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
    fn a_list_that_changed_is_all_that_is_said() {
        let told = |params: &str| {
            let json = format!(r#"{{"jsonrpc":"2.0","method":"notifications/tools/list_changed"{params}}}"#);
            bare_notification("notifications/tools/list_changed", json.as_bytes())
        };
        let bare = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
        for params in
            ["", r#","params":{}"#, r#","params":{"added":["delete_station"],"_meta":{"tool":"x"}},"extra":1"#]
        {
            assert_eq!(told(params).unwrap(), bare);
        }
        let tagged = r#","params":{"_meta":{"x":"delete_station","io.modelcontextprotocol/subscriptionId":7}}"#;
        assert_eq!(
            told(tagged).unwrap(),
            r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":7}}}"#
        );
        assert!(told(r#","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":["delete_station"]}}"#).is_none());
        assert!(told(r#","params":{"a":1,"a":2}"#).is_none());
        assert_eq!(changed_list("notifications/prompts/list_changed"), Some(ListKind::Prompts));
        assert_eq!(changed_list("notifications/message"), None);
    }

    #[test]
    fn what_could_be_two_messages_is_none() {
        for bad in [
            r#"{"id":1,"id":2,"result":{}}"#,
            r#"{"id":1,"result":{},"Result":{}}"#,
            r#"{"id":1,"result":{},"error":{}}"#,
            r#"{"id":1,"method":"x","result":{}}"#,
            r#"{"id":1,"result":{}}{}"#,
            r#"{"id":1,"result":{},"i\u0064":2}"#,
            r#"{"id":1,"result":{},"ID":2}"#,
            r#"{"id":1,"result":{},"id\u0000":2}"#,
            r#"{"id":1.5,"result":{}}"#,
            r#"{"id":[1],"result":{}}"#,
            r#"{"id":true,"result":{}}"#,
            r#"{"id":1,"result":{},"method":null}"#,
            r#"{"result":{}}"#,
            r#"[{"id":1,"result":{}}]"#,
            "",
        ] {
            assert_eq!(read(bad.as_bytes()), None, "{bad}");
        }
        assert!(read(b"{\"id\":1,\"result\":{\"x\":\"y\"}}").is_some());
        assert_eq!(read(b"{\"id\":1,\"result\":{\"x\":\"\xff\"}}"), None);
    }

    #[test]
    fn an_error_without_an_id_is_addressed_to_the_one_who_asked() {
        let id = RequestId::from_json("\"a\"").unwrap();
        let body = br#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"No session"},"id":null}"#;
        let addressed = address_error(body, &id).unwrap();
        assert_eq!(addressed, r#"{"jsonrpc":"2.0","id":"a","error":{"code":-32000,"message":"No session"}}"#);
        assert_eq!(address_error(br#"{"error":{"code":1,"code":2},"id":null}"#, &id), None);
        assert_eq!(address_error(br#"{"result":{},"id":null}"#, &id), None);
    }

    #[test]
    fn servers_ask_and_tell_what_the_protocol_names_and_nothing_else() {
        let passes = |json: &str, era| passes(&read(json.as_bytes()).unwrap(), json, era, Features::default());
        for method in ["ping", "sampling/createMessage", "elicitation/create", "roots/list"] {
            let json = format!(r#"{{"id":1,"method":"{method}","params":{{}}}}"#);
            assert!(passes(&json, Era::Legacy), "{method}");
            assert!(!passes(&json, Era::Modern), "{method}");
        }
        for method in NOTIFICATIONS {
            let by_default = method != "notifications/elicitation/complete";
            assert_eq!(passes(&format!(r#"{{"method":"{method}"}}"#), Era::Legacy), by_default, "{method}");
        }
        for method in ["tools/list", "tools/call", "tasks/get", "Roots/list", "ping "] {
            assert!(!passes(&format!(r#"{{"id":1,"method":"{method}"}}"#), Era::Legacy), "{method}");
        }
        for method in ["notifications/tasks/status", "notifications/tools/list", "tools/list", "notifications/Message"]
        {
            assert!(!passes(&format!(r#"{{"method":"{method}"}}"#), Era::Legacy), "{method}");
        }
    }

    #[test]
    fn an_address_is_asked_for_where_that_is_named() {
        let json = r#"{"id":1,"method":"elicitation/create","params":{"mode":"url","url":"https:\/\/x"}}"#;
        let doubled = r#"{"id":1,"method":"elicitation/create","params":{"mode":"form","mode":"url"}}"#;
        let passes = |json: &str, features| passes(&read(json.as_bytes()).unwrap(), json, Era::Legacy, features);
        assert!(!passes(json, Features::default()));
        let all = Features { url_elicitation: true, ..Features::default() };
        assert!(passes(json, all));
        assert!(!passes(doubled, all));
    }

    #[test]
    fn an_updated_resource_is_read_in_one_way_or_not_at_all() {
        let updated = |params: &str| {
            updated_resource(format!(r#"{{"method":"{RESOURCE_UPDATED}","params":{params}}}"#).as_bytes())
        };
        assert_eq!(updated(r#"{"uri":"a:\/\/b"}"#).as_deref(), Some("a://b"));
        for bad in [r#"{"uri":"a","uri":"b"}"#, r#"{"uri":"a","URI":"b"}"#, r#"{"uri":1}"#, "{}", "[]", "null"] {
            assert_eq!(updated(bad), None, "{bad}");
        }
    }
}
