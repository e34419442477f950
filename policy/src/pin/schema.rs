//! JSON Schemas of arguments: whether they plainly have a property, and what they are without it.
//!
//! Plainly means by `properties` all the way: what stands behind `$ref`, `oneOf` and their like is not followed, so that
//! a pin never rests on a guess.

use serde_json::Value;

use super::edit::{members, object};

/// Whether the schema has the property at this path.
pub(super) fn has(schema: &Value, path: &[String]) -> bool {
    let Some((name, rest)) = path.split_first() else { return true };
    schema.get("properties").and_then(|properties| properties.get(name)).is_some_and(|inner| has(inner, rest))
}

/// The properties that headers mirror (MCP 2026-07-28, `x-mcp-header`), each with the way to it.
pub(super) fn mirrors(schema: &Value, path: &mut Vec<String>, found: &mut Vec<(String, Vec<String>)>) {
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        path.push(name.clone());
        if let Some(header) = property.get("x-mcp-header").and_then(Value::as_str) {
            let plain =
                !header.is_empty() && header.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
            found.extend(plain.then(|| (header.to_ascii_lowercase(), path.clone())));
        }
        mirrors(property, path, found);
        path.pop();
    }
}

/// The schema without the property at this path, and without the need for it.
pub(super) fn without(schema: &str, path: &[String]) -> Option<String> {
    let (name, rest) = path.split_first()?;
    let parts = members(schema)?;
    let mut changed: Vec<(String, String)> = Vec::with_capacity(parts.len());
    for (key, value) in parts {
        let value = match key.as_str() {
            "properties" => properties(value, name, rest)?,
            "required" if rest.is_empty() => {
                let names: Vec<&serde_json::value::RawValue> = serde_json::from_str(value).ok()?;
                let quoted = Value::from(name.as_str()).to_string();
                let kept = names.iter().map(|name| name.get()).filter(|text| *text != quoted);
                format!("[{}]", kept.collect::<Vec<_>>().join(","))
            }
            _ => value.to_owned(),
        };
        changed.push((key, value));
    }
    Some(object(changed.iter().map(|(key, value)| (key.as_str(), value.as_str()))))
}

fn properties(json: &str, name: &str, rest: &[String]) -> Option<String> {
    let mut changed: Vec<(String, String)> = Vec::new();
    for (key, value) in members(json)? {
        if key != name {
            changed.push((key, value.to_owned()));
        } else if !rest.is_empty() {
            changed.push((key, without(value, rest)?));
        }
    }
    Some(object(changed.iter().map(|(key, value)| (key.as_str(), value.as_str()))))
}
