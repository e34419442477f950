//! What a server says of itself (`initialize`, `server/discover`), without what the gateway does not pass: a client
//! that does not hear of it does not ask for it (versioning, section Extension Negotiation).
//!
//! Tasks, experimental capabilities and extensions that need methods of their own go; so do revisions that the
//! gateway does not speak, and from 2026-07-28 on the notices that come by `subscriptions/listen`.

use bytes::Bytes;

use super::jsonrpc::{RequestId, members};
use super::list_filter::Unreadable;
use super::version::{Era, ProtocolVersion};
use crate::json::{MAX_DEPTH, check, resembles};

/// Capabilities whose methods the gateway passes.
const PASSED: [&str; 5] = ["tools", "prompts", "resources", "completions", "logging"];
/// Extensions that bring no method of their own.
const PASSED_EXTENSIONS: [&str; 1] = ["io.modelcontextprotocol/ui"];
const KNOWN: [&str; 3] = ["capabilities", "supportedVersions", "cacheScope"];

/// What becomes of a member.
enum Edit {
    Keep,
    Drop,
    Replace(String),
}

/// Trims the answer to the request `id`; an error answer passes as it is.
///
/// # Errors
///
/// Returns [`Unreadable`] for anything that is not this one answer, read in one way only.
pub fn trim(body: &Bytes, id: &RequestId, era: Era) -> Result<Bytes, Unreadable> {
    let text = std::str::from_utf8(body).map_err(|_not_utf8| Unreadable)?;
    check(text, MAX_DEPTH).map_err(|_unsound| Unreadable)?;
    let message = members(text).ok_or(Unreadable)?;
    if message.iter().any(|(name, _)| resembles(name, &["id", "result", "error"])) {
        return Err(Unreadable);
    }
    let get = |name: &str| message.iter().find(|(known, _)| known == name).map(|(_, value)| value.get());
    match (get("id").and_then(RequestId::from_json), get("result"), get("error")) {
        (_, None, Some(_)) => Ok(body.clone()),
        (Some(answered), Some(result), None) if answered == *id => {
            let result = rebuild(result, &|name, value| member(name, value, era))?;
            Ok(format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, id.as_json()).into())
        }
        _ => Err(Unreadable),
    }
}

/// A member of the result.
fn member(name: &str, value: &str, era: Era) -> Result<Edit, Unreadable> {
    match name {
        "capabilities" => rebuild(value, &|name, value| capability(name, value, era)).map(Edit::Replace),
        "supportedVersions" => {
            let versions: Vec<String> = serde_json::from_str(value).map_err(|_mistyped| Unreadable)?;
            let spoken: Vec<&String> = versions.iter().filter(|text| ProtocolVersion::parse(text).is_some()).collect();
            Ok(Edit::Replace(serde_json::json!(spoken).to_string()))
        }
        name if resembles(name, &KNOWN) => Err(Unreadable),
        _ => Ok(Edit::Keep),
    }
}

fn capability(name: &str, value: &str, era: Era) -> Result<Edit, Unreadable> {
    match name {
        "extensions" => rebuild(value, &|name, _| Ok(keep_if(PASSED_EXTENSIONS.contains(&name)))).map(Edit::Replace),
        name if !PASSED.contains(&name) => Ok(Edit::Drop),
        _ if era == Era::Modern => {
            rebuild(value, &|name, _| Ok(keep_if(!matches!(name, "listChanged" | "subscribe")))).map(Edit::Replace)
        }
        _ => Ok(Edit::Keep),
    }
}

fn keep_if(passed: bool) -> Edit {
    if passed { Edit::Keep } else { Edit::Drop }
}

/// The object with every member edited, in the same order.
fn rebuild(object: &str, edit: &dyn Fn(&str, &str) -> Result<Edit, Unreadable>) -> Result<String, Unreadable> {
    let mut out = String::from("{");
    for (name, value) in members(object).ok_or(Unreadable)? {
        let value = match edit(&name, value.get())? {
            Edit::Drop => continue,
            Edit::Keep => value.get().to_owned(),
            Edit::Replace(value) => value,
        };
        if out.len() > 1 {
            out.push(',');
        }
        out.push_str(&serde_json::Value::String(name).to_string());
        out.push(':');
        out.push_str(&value);
    }
    out.push('}');
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trimmed(result: &str, era: Era) -> Result<String, Unreadable> {
        let body = format!(r#"{{"jsonrpc":"2.0","id":7,"result":{result}}}"#);
        let id = RequestId::from_json("7").unwrap();
        let trimmed = trim(&body.into(), &id, era)?;
        let text = String::from_utf8(trimmed.to_vec()).unwrap();
        Ok(text.strip_prefix(r#"{"jsonrpc":"2.0","id":7,"result":"#).unwrap().strip_suffix('}').unwrap().to_owned())
    }

    #[test]
    fn a_legacy_client_hears_of_what_passes() {
        let result = r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true},"tasks":{"list":{}},
            "experimental":{"x":{}},"resources":{"subscribe":true},"extensions":{"io.modelcontextprotocol/tasks":{},
            "io.modelcontextprotocol/ui":{"a":1.0}},"novel":{}},"serverInfo":{"name":"w"},"instructions":"i","_meta":{}}"#;
        let want = r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true},"resources":{"subscribe":true},"extensions":{"io.modelcontextprotocol/ui":{"a":1.0}}},"serverInfo":{"name":"w"},"instructions":"i","_meta":{}}"#;
        assert_eq!(trimmed(result, Era::Legacy).unwrap(), want);
    }

    #[test]
    fn a_modern_client_hears_of_the_revisions_that_both_speak() {
        let result = r#"{"supportedVersions":["2026-07-28","2099-01-01","2025-11-25"],"capabilities":{"tools":{"listChanged":true},"logging":{}}}"#;
        let want = r#"{"supportedVersions":["2026-07-28","2025-11-25"],"capabilities":{"tools":{},"logging":{}}}"#;
        assert_eq!(trimmed(result, Era::Modern).unwrap(), want);
    }

    #[test]
    fn an_error_passes_and_what_could_be_two_answers_does_not() {
        let id = RequestId::from_json("7").unwrap();
        let error = Bytes::from_static(br#"{"jsonrpc":"2.0","id":7,"error":{"code":1,"message":"x"}}"#);
        assert_eq!(trim(&error, &id, Era::Legacy), Ok(error));
        assert!(trimmed(r#"{"capabilities":{}}"#, Era::Legacy).is_ok());
        for bad in [
            r#"{"capabilities":{},"capabilities":{"tasks":{}}}"#,
            r#"{"capabilities":{},"Capabilities":{"tasks":{}}}"#,
            r#"{"capabilities":{},"c\u0061pabilities":{"tasks":{}}}"#,
            r#"{"capabilities":[]}"#,
            r#"{"supportedVersions":"2026-07-28"}"#,
            "[]",
            "{}}{",
        ] {
            assert_eq!(trimmed(bad, Era::Modern), Err(Unreadable), "{bad}");
        }
        let other = Bytes::from_static(br#"{"jsonrpc":"2.0","id":8,"result":{}}"#);
        assert_eq!(trim(&other, &id, Era::Legacy), Err(Unreadable));
    }
}
