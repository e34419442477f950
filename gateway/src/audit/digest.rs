//! What is recorded of a call's arguments: a keyed digest, and values only where the operator says so.
//!
//! The digest is HMAC-SHA-256 over the arguments in canonical form (RFC 8785): two calls with the same arguments have the
//! same digest, and who does not hold the key cannot find small arguments by trying. Done on the writer's thread.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Map, Value};

use super::event::{Arguments, Event, Kind, Reason};

/// Values longer than this are left out, whatever the configuration says.
const MAX_VALUES: usize = 8 * 1024;
const REDACTED: &str = "[redacted]";

/// What is recorded of arguments.
#[derive(Debug)]
pub struct Digester {
    key: Option<hmac::Key>,
    /// Tools that carry one of these tags have their values recorded.
    values_of: BTreeSet<String>,
    /// JSON Pointers (RFC 6901) to what is blacked out.
    redact: Vec<String>,
}

impl Digester {
    /// Digests under this key; `values_of` are tags, `redact` JSON Pointers.
    #[must_use]
    pub fn new(key: &[u8], values_of: BTreeSet<String>, redact: Vec<String>) -> Self {
        Self { key: Some(hmac::Key::new(hmac::HMAC_SHA256, key)), values_of, redact }
    }

    /// Records nothing of arguments.
    #[must_use]
    pub fn none() -> Self {
        Self { key: None, values_of: BTreeSet::new(), redact: Vec::new() }
    }

    /// Turns the arguments of a decision into what is recorded of them.
    pub(super) fn apply(&self, event: &mut Event) {
        let Kind::Decision(decision) = &mut event.kind else { return };
        let (Some(raw), Some(key)) = (decision.params.take(), &self.key) else { return };
        let Ok(mut params) = serde_json::from_slice::<Value>(&raw) else { return };
        // A call without arguments is a call with none.
        let value = params.get_mut("arguments").map_or_else(|| Value::Object(Map::new()), Value::take);
        let Ok(canonical) = canonical(&value) else { return };
        let tag = hmac::sign(key, &canonical);
        let named = |object: &Map<String, Value>| object.keys().cloned().collect();
        let keys: Vec<String> = value.as_object().map(named).unwrap_or_default();
        let opted = self.has_opted(&decision.reason);
        let values = (opted && canonical.len() <= MAX_VALUES).then(|| self.redacted(value));
        decision.arguments = Some(Arguments { hmac_sha256: URL_SAFE_NO_PAD.encode(tag), keys, values });
    }

    /// Whether a tag of what was permitted has its values recorded.
    fn has_opted(&self, reason: &Reason) -> bool {
        let Reason::Permit(permit) = reason else { return false };
        permit.tags().any(|tag| self.values_of.contains(tag.as_ref()))
    }

    fn redacted(&self, mut value: Value) -> Value {
        for pointer in &self.redact {
            if let Some(found) = value.pointer_mut(pointer) {
                *found = Value::String(REDACTED.to_owned());
            }
        }
        value
    }
}

/// The one spelling of a value: members in the order of their names' UTF-16 code units, no white space.
fn canonical(value: &Value) -> serde_json::Result<Vec<u8>> {
    let mut spelt = Vec::with_capacity(256);
    spell(value, &mut spelt)?;
    Ok(spelt)
}

fn spell(value: &Value, out: &mut Vec<u8>) -> serde_json::Result<()> {
    match value {
        Value::Object(members) => {
            let mut sorted: Vec<(&String, &Value)> = members.iter().collect();
            sorted.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            let mut before = b'{';
            for (name, value) in sorted {
                out.push(std::mem::replace(&mut before, b','));
                serde_json::to_writer(&mut *out, name)?;
                out.push(b':');
                spell(value, out)?;
            }
            close(before, *b"{}", out);
        }
        Value::Array(items) => {
            let mut before = b'[';
            for item in items {
                out.push(std::mem::replace(&mut before, b','));
                spell(item, out)?;
            }
            close(before, *b"[]", out);
        }
        other => serde_json::to_writer(out, other)?,
    }
    Ok(())
}

/// Ends a list, and begins it where nothing was in it.
fn close(before: u8, [open, end]: [u8; 2], out: &mut Vec<u8>) {
    if before == open {
        out.push(open);
    }
    out.push(end);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_that_say_the_same_have_one_canonical_form() {
        let of = |text: &str| String::from_utf8(canonical(&serde_json::from_str(text).unwrap()).unwrap()).unwrap();
        assert_eq!(of(r#"{"a":[],"b":{},"c":[{}]}"#), r#"{"a":[],"b":{},"c":[{}]}"#);
        assert_eq!(of(r#"{"b":[1, 2],"a":{"d":null,"c":"x"}}"#), r#"{"a":{"c":"x","d":null},"b":[1,2]}"#);
        assert_eq!(of(r#"{"\u0061":"\u0041\n"}"#), r#"{"a":"A\n"}"#);
        // By UTF-16 code units a surrogate comes before a private-use character.
        assert_eq!(of("{\"\u{e000}\":1,\"\u{10000}\":2}"), "{\"\u{10000}\":2,\"\u{e000}\":1}");
    }
}
