//! The JSON-RPC 2.0 envelope, read strictly: one object, known members, each once, each of its type.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};

use bytes::Bytes;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::refusal::Refusal;
use crate::json::{self, Key, MAX_DEPTH, Seen};

/// Longer than any honest id; it is echoed and compared.
const MAX_ID: usize = 256;
const MEMBERS: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];

/// A request's id as it was written: a JSON string or integer, echoed to the byte. Two are equal when they are the
/// same JSON value: an answer may escape what the request did not.
#[derive(Clone, Debug)]
pub struct RequestId(Bytes);

impl PartialEq for RequestId {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0 || self.canonical() == other.canonical()
    }
}

impl Eq for RequestId {}

impl Hash for RequestId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.canonical().hash(state);
    }
}

impl RequestId {
    /// The id as JSON.
    #[must_use]
    pub fn as_json(&self) -> &str {
        // INVARIANT: made from a `str` only.
        std::str::from_utf8(&self.0).unwrap_or("null")
    }

    /// The id without escapes that it could do without.
    fn canonical(&self) -> Cow<'_, str> {
        let json = self.as_json();
        match json.contains('\\').then(|| serde_json::from_str::<String>(json)) {
            Some(Ok(text)) => Cow::Owned(serde_json::Value::String(text).to_string()),
            _ => Cow::Borrowed(json),
        }
    }

    /// Whether `json` is an id: a string, or an integer, of bounded length.
    fn check(json: &str) -> bool {
        let integer = json.strip_prefix('-').unwrap_or(json);
        let is_integer = !integer.is_empty() && json != "-0" && integer.bytes().all(|b| b.is_ascii_digit());
        json.len() <= MAX_ID && (json.starts_with('"') || is_integer)
    }

    /// The id with this JSON text; `None` when it is no id.
    #[must_use]
    pub fn from_json(json: &str) -> Option<Self> {
        Self::check(json).then(|| Self(Bytes::copy_from_slice(json.as_bytes())))
    }
}

/// The members of a message, as slices of its body.
#[derive(Debug)]
pub(super) struct Envelope {
    pub(super) id: Option<RequestId>,
    pub(super) method: Option<String>,
    pub(super) params: Option<Bytes>,
    /// `result` or `error` of a response, with its name.
    pub(super) outcome: Option<(&'static str, Bytes)>,
}

impl Envelope {
    /// Reads one message.
    pub(super) fn read(body: &Bytes) -> Result<Self, Refusal> {
        let text = std::str::from_utf8(body).map_err(|_not_utf8| Refusal::parse("Parse error: not UTF-8"))?;
        if text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('[') {
            return Err(Refusal::request("Batches are not accepted", None));
        }
        let raw: RawEnvelope<'_> = serde_json::from_str(text).map_err(|error| refuse(&error))?;
        let slice = |value: &RawValue| body.slice_ref(value.get().as_bytes());
        let id = match raw.id {
            Some(id) if RequestId::check(id.get()) => Some(RequestId(slice(id))),
            Some(_) => return Err(Refusal::request("The id must be a string or an integer", None)),
            None => None,
        };
        for value in [raw.id, raw.params, raw.result, raw.error].into_iter().flatten() {
            if json::check(value.get(), MAX_DEPTH - 1).is_err() {
                return Err(Refusal::parse("Parse error: a value can be read in more than one way"));
            }
        }
        if raw.jsonrpc.as_deref() != Some("2.0") {
            return Err(Refusal::request("`jsonrpc` must be \"2.0\"", id));
        }
        let outcome = match (raw.result, raw.error) {
            (Some(result), None) => Some(("result", slice(result))),
            (None, Some(error)) => Some(("error", slice(error))),
            (None, None) => None,
            (Some(_), Some(_)) => return Err(Refusal::request("`result` and `error` exclude each other", id)),
        };
        Ok(Self { id, method: raw.method, params: raw.params.map(slice), outcome })
    }
}

fn refuse(error: &serde_json::Error) -> Refusal {
    if error.is_data() {
        Refusal::request("Not a JSON-RPC message: a member is unknown, mistyped or there twice", None)
    } else {
        Refusal::parse("Parse error")
    }
}

struct RawEnvelope<'a> {
    jsonrpc: Option<String>,
    id: Option<&'a RawValue>,
    method: Option<String>,
    params: Option<&'a RawValue>,
    result: Option<&'a RawValue>,
    error: Option<&'a RawValue>,
}

impl<'de> Deserialize<'de> for RawEnvelope<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EnvelopeVisitor)
    }
}

struct EnvelopeVisitor;

impl<'de> Visitor<'de> for EnvelopeVisitor {
    type Value = RawEnvelope<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON-RPC message")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut seen = Seen::default();
        let mut out = RawEnvelope { jsonrpc: None, id: None, method: None, params: None, result: None, error: None };
        while let Some(Key(key)) = map.next_key()? {
            match key.as_ref() {
                "jsonrpc" => out.jsonrpc = Some(map.next_value()?),
                "id" => out.id = Some(map.next_value()?),
                "method" => out.method = Some(map.next_value()?),
                "params" => out.params = Some(map.next_value()?),
                "result" => out.result = Some(map.next_value()?),
                "error" => out.error = Some(map.next_value()?),
                other => return Err(de::Error::unknown_field(other, &MEMBERS)),
            }
            seen.insert(key)?;
        }
        Ok(out)
    }
}

/// The members of an object by name, each as JSON; the object itself has been checked with [`json::check`].
pub(super) fn members(object: &str) -> Option<Vec<(String, &RawValue)>> {
    struct List;
    impl<'de> Visitor<'de> for List {
        type Value = Vec<(String, &'de RawValue)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some(entry) = map.next_entry()? {
                members.push(entry);
            }
            Ok(members)
        }
    }
    let mut deserializer = serde_json::Deserializer::from_str(object);
    deserializer.deserialize_map(List).ok()
}
