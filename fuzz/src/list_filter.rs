//! Lists: no reader finds a hidden name in a list that was passed on, what stays is what came, and filtering again changes
//! nothing.

use bytes::Bytes;
use portcullis::mcp::list_filter::{ListKind, filter};
use portcullis::mcp::{Era, RequestId};
use serde_json::Value;

const KINDS: [(ListKind, &str, &str); 4] = [
    (ListKind::Tools, "tools", "name"),
    (ListKind::Prompts, "prompts", "name"),
    (ListKind::Resources, "resources", "uri"),
    (ListKind::ResourceTemplates, "resourceTemplates", "uriTemplate"),
];

/// The first byte says which list and era; the rest is a backend's answer to the request `7`. Names that begin with `h` are
/// hidden.
pub fn check(data: &[u8]) -> bool {
    let Some((first, body)) = data.split_first() else { return false };
    let (kind, member, key) = KINDS[usize::from(first & 3)];
    let era = if first & 4 == 0 { Era::Legacy } else { Era::Modern };
    let (id, body) = (RequestId::from_json("7").unwrap(), Bytes::copy_from_slice(body));
    let mut keep = |name: &str| !name.starts_with('h');
    let mut passed = false;
    if let Ok(filtered) = filter(&body, kind, &id, era, &mut keep) {
        passed = true;
        let (Some(shown), Some(came)) = (value(&filtered.body), value(&body)) else { return true };
        assert_eq!(shown["id"], 7);
        assert!(shown.get("result").is_some() != shown.get("error").is_some());
        let list = |value: &Value| value["result"][member].as_array().cloned().unwrap_or_default();
        let visible: Vec<Value> =
            list(&came).into_iter().filter(|item| item[key].as_str().is_some_and(&mut keep)).collect();
        assert_eq!(list(&shown), visible);
        assert_eq!((filtered.shown, filtered.hidden), (visible.len(), list(&came).len() - visible.len()));
        if era == Era::Modern && shown["result"].is_object() {
            assert_eq!(shown["result"]["cacheScope"], "private");
        }
        let again = filter(&filtered.body, kind, &id, era, &mut keep).unwrap();
        assert_eq!((again.body, again.hidden), (filtered.body, 0));
    }
    passed
}

/// The JSON; `None` when something in it that decides nothing is too much for this reader.
fn value(json: &[u8]) -> Option<Value> {
    match serde_json::from_slice(json) {
        Ok(value) => Some(value),
        Err(error) => {
            let said = error.to_string();
            let passed = ["number out of range", "surrogate", "end of hex escape"];
            assert!(passed.iter().any(|passed| said.contains(passed)), "{said}");
            None
        }
    }
}
