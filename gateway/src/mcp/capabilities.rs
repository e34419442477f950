//! What a server says of itself (`initialize`, `server/discover`), without what the gateway does not pass and what the
//! caller cannot reach: a client that does not hear of it does not ask for it (versioning, section Extension
//! Negotiation).
//!
//! Revisions that the gateway does not speak go; so do experimental capabilities and extensions that need methods of
//! their own, features that the backend is not given, kinds of which nothing opens to the caller, and instructions
//! that name what is closed to them, in whatever spelling people write names in, or are longer than anybody writes them.

use bytes::Bytes;

use super::edit::{Edit, Uneditable, edit, text};
use super::features::Features;
use super::jsonrpc::{RequestId, members};
use super::list_filter::{ListKind, Unreadable};
use super::version::ProtocolVersion;
use crate::json::{MAX_DEPTH, check, resembles};

const KNOWN: [&str; 4] = ["capabilities", "supportedVersions", "instructions", "cacheScope"];

/// Bytes of instructions. Every word of them is looked up, while others wait for the thread.
const MAX_INSTRUCTIONS: usize = 32 << 10;

/// What there is for the caller.
#[derive(Clone, Copy)]
pub struct Reach<'a> {
    /// What may pass between the server and its clients.
    pub features: Features,
    /// Whether anything of a kind could open.
    pub opens: &'a dyn Fn(ListKind) -> bool,
    /// Whether a tool, prompt or resource of this name is there and closed.
    pub is_closed: &'a dyn Fn(&str) -> bool,
}

/// An introduction as the caller gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trimmed {
    /// The answer.
    pub body: Bytes,
    /// Bytes of instructions that were too long to be read, and have gone.
    pub unread: Option<usize>,
}

/// Trims the answer to the request `id`; an error answer passes as it is.
///
/// # Errors
///
/// Returns [`Unreadable`] for anything that is not this one answer, read in one way only.
pub fn trim(body: &Bytes, id: &RequestId, reach: &Reach<'_>) -> Result<Trimmed, Unreadable> {
    let text = std::str::from_utf8(body).map_err(|_not_utf8| Unreadable)?;
    check(text, MAX_DEPTH).map_err(|_unsound| Unreadable)?;
    let message = members(text).ok_or(Unreadable)?;
    if message.iter().any(|(name, _)| resembles(name, &["id", "result", "error"])) {
        return Err(Unreadable);
    }
    let get = |name: &str| message.iter().find(|(known, _)| known == name).map(|(_, value)| value.get());
    match (get("id").and_then(RequestId::from_json), get("result"), get("error")) {
        (_, None, Some(_)) => Ok(Trimmed { body: body.clone(), unread: None }),
        (Some(answered), Some(result), None) if answered == *id => {
            let mut unread = None;
            let edited = edit(result, &mut |name, value| match name {
                "instructions" if value.len() > MAX_INSTRUCTIONS && is_long(value) => {
                    unread = Some(value.len());
                    Ok(Edit::Drop)
                }
                name => member(name, value, reach),
            });
            let edited = edited.map_err(|Uneditable| Unreadable)?;
            let result = edited.as_deref().unwrap_or(result);
            let body = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, id.as_json()).into();
            Ok(Trimmed { body, unread })
        }
        _ => Err(Unreadable),
    }
}

/// Whether a text is longer than what is read, however it is written.
fn is_long(value: &str) -> bool {
    // No character takes more than six times as much for being escaped.
    value.len() > 6 * MAX_INSTRUCTIONS || text(value).is_none_or(|text| text.len() > MAX_INSTRUCTIONS)
}

/// A member of the result.
fn member(name: &str, value: &str, reach: &Reach<'_>) -> Result<Edit, Uneditable> {
    match name {
        "capabilities" => edit(value, &mut |name, value| capability(name, value, reach)).map(Edit::to),
        "supportedVersions" => {
            let versions: Vec<String> = serde_json::from_str(value).map_err(|_mistyped| Uneditable)?;
            let spoken: Vec<&String> = versions.iter().filter(|text| ProtocolVersion::parse(text).is_some()).collect();
            Ok(Edit::Replace(serde_json::json!(spoken).to_string()))
        }
        "instructions" => {
            let text: String = serde_json::from_str(value).map_err(|_mistyped| Uneditable)?;
            Ok(Edit::keep_if(!names_any(&text, reach.is_closed)))
        }
        name if resembles(name, &KNOWN) => Err(Uneditable),
        _ => Ok(Edit::Keep),
    }
}

/// Whether anything in a text could be the name of something that is closed. A word of it is looked up as it comes, and
/// nothing is kept of it: `a.b` is one, and so are its parts.
fn names_any(text: &str, is_closed: &dyn Fn(&str) -> bool) -> bool {
    let text = text.replace('\\', "");
    let mut words = text.split(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ':')));
    words.any(|word| {
        let whole = word.trim_matches(['.', ':', '/', '-']);
        let mut parts = word.split(['.', ':', '/']).filter(|part| *part != whole);
        is_meant(whole, is_closed) || parts.any(|part| is_meant(part, is_closed))
    })
}

/// Whether a word is the name of something that is closed, as it stands there or as it may be meant: `\_` is how Markdown
/// writes `_`, which also marks what is stressed; clients call a tool `mcp__server__name`; a sentence begins with a
/// capital.
fn is_meant(word: &str, is_closed: &dyn Fn(&str) -> bool) -> bool {
    let is_small = |word: &str| {
        let small = word.to_lowercase();
        small != word && is_closed(&small)
    };
    let is_closed = |word: &str| !word.is_empty() && (is_closed(word) || is_small(word));
    let is_named = |word: &str| {
        let bare = word.trim_matches('_');
        is_closed(word) || (bare.len() < word.len() && is_closed(bare))
    };
    is_named(word) || (word.contains("__") && word.split("__").any(is_named))
}

fn capability(name: &str, value: &str, reach: &Reach<'_>) -> Result<Edit, Uneditable> {
    let features = reach.features;
    match name {
        "extensions" => edit(value, &mut |name, _| Ok(Edit::keep_if(features.has_extension(name)))).map(Edit::to),
        "tools" => Ok(Edit::keep_if((reach.opens)(ListKind::Tools))),
        "prompts" => Ok(Edit::keep_if((reach.opens)(ListKind::Prompts))),
        "resources" => {
            Ok(Edit::keep_if((reach.opens)(ListKind::Resources) || (reach.opens)(ListKind::ResourceTemplates)))
        }
        "completions" => Ok(Edit::Keep),
        "logging" => Ok(Edit::keep_if(features.logging)),
        // Whose tasks a list would hold, a backend without a login cannot know.
        "tasks" if features.tasks => edit(value, &mut |name, _| Ok(Edit::keep_if(name != "list"))).map(Edit::to),
        _ => Ok(Edit::Drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Reach<'_> = Reach { features: USUAL, opens: &|_| true, is_closed: &|_| false };
    const USUAL: Features = Features {
        elicitation: true,
        url_elicitation: false,
        sampling: true,
        roots: true,
        logging: true,
        progress: true,
        tasks: false,
    };

    fn trimmed(result: &str, reach: &Reach<'_>) -> Result<String, Unreadable> {
        let body = format!(r#"{{"jsonrpc":"2.0","id":7,"result":{result}}}"#);
        let id = RequestId::from_json("7").unwrap();
        let trimmed = trim(&body.into(), &id, reach)?;
        let text = String::from_utf8(trimmed.body.to_vec()).unwrap();
        Ok(text.strip_prefix(r#"{"jsonrpc":"2.0","id":7,"result":"#).unwrap().strip_suffix('}').unwrap().to_owned())
    }

    #[test]
    fn a_legacy_client_hears_of_what_passes() {
        let result = r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true},"tasks":{"list":{}},
            "experimental":{"x":{}},"resources":{"subscribe":true},"extensions":{"io.modelcontextprotocol/tasks":{},
            "io.modelcontextprotocol/ui":{"a":1.0}},"novel":{}},"serverInfo":{"name":"w"},"instructions":"i","_meta":{}}"#;
        let want = r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true},"resources":{"subscribe":true},"extensions":{"io.modelcontextprotocol/ui":{"a":1.0}}},"serverInfo":{"name":"w"},"instructions":"i","_meta":{}}"#;
        assert_eq!(trimmed(result, &OPEN).unwrap(), want);
    }

    #[test]
    fn a_modern_client_hears_of_the_revisions_that_both_speak() {
        let result = r#"{"supportedVersions":["2026-07-28","2099-01-01","2025-11-25"],"capabilities":{"tools":{"listChanged":true},"logging":{}}}"#;
        let want = r#"{"supportedVersions":["2026-07-28","2025-11-25"],"capabilities":{"tools":{"listChanged":true},"logging":{}}}"#;
        assert_eq!(trimmed(result, &OPEN).unwrap(), want);
    }

    #[test]
    fn a_caller_hears_of_what_they_can_reach() {
        let result = r#"{"capabilities":{"tools":{},"prompts":{},"resources":{},"logging":{},"tasks":{"list":{},"cancel":{}}},"instructions":"Use get_x. Then crm.delete_y!"}"#;
        assert_eq!(USUAL, Features::default());
        let tools = Reach { opens: &|kind| kind == ListKind::Tools, ..OPEN };
        let want = r#"{"capabilities":{"tools":{},"logging":{}},"instructions":"Use get_x. Then crm.delete_y!"}"#;
        assert_eq!(trimmed(result, &tools).unwrap(), want);
        let tasks = Features { tasks: true, logging: false, ..USUAL };
        let nothing = Reach { features: tasks, opens: &|_| false, is_closed: &|name| name == "delete_y" };
        assert_eq!(trimmed(result, &nothing).unwrap(), r#"{"capabilities":{"tasks":{"cancel":{}}}}"#);
        let told = |text: &str| trimmed(&serde_json::json!({ "instructions": text }).to_string(), &nothing).unwrap();
        for text in ["Delete_Y", "mcp__one__delete_y", "_delete_y_", r"**delete\_y**", "`delete_y`", "DELETE_Y()"] {
            assert_eq!(told(text), "{}", "{text}");
        }
        for text in ["delete y", "undelete_y", "delete_yy"] {
            assert_ne!(told(text), "{}", "{text}");
        }
        let dotted = Reach { is_closed: &|name| name == "crm.delete_y", ..OPEN };
        assert!(!trimmed(result, &dotted).unwrap().contains("instructions"));
        assert!(
            trimmed(result, &Reach { is_closed: &|name| name == "delete", ..OPEN }).unwrap().contains("instructions")
        );
    }

    #[test]
    fn instructions_that_are_longer_than_anybody_writes_them_go_unread_and_that_is_said() {
        let looked_up = std::cell::Cell::new(0_usize);
        let counted = |_: &str| {
            looked_up.set(looked_up.get() + 1);
            false
        };
        let reach = Reach { is_closed: &counted, ..OPEN };
        let introduce = |words: usize| {
            let words: Vec<String> = (0..words).map(|number| format!("word_{number:05}")).collect();
            let result = serde_json::json!({ "instructions": words.join(" ") });
            let body = serde_json::json!({ "jsonrpc": "2.0", "id": 7, "result": result }).to_string();
            let trimmed = trim(&body.into(), &RequestId::from_json("7").unwrap(), &reach).unwrap();
            let kept = trimmed.body.windows(5).any(|window| window == b"word_");
            (kept, trimmed.unread, looked_up.take())
        };
        assert_eq!(introduce(2_900), (true, None, 2_900), "the control: each word is looked up once");
        assert_eq!(introduce(3_000), (false, Some(33_001), 0));
        assert_eq!(introduce(99_999), (false, Some(1_099_990), 0));
        let escaped = format!(r#"{{"instructions":"{}"}}"#, r"\u5929".repeat(6_000));
        assert!(trimmed(&escaped, &OPEN).unwrap().contains("instructions"), "however it is written");
    }

    #[test]
    fn an_error_passes_and_what_could_be_two_answers_does_not() {
        let id = RequestId::from_json("7").unwrap();
        let error = Bytes::from_static(br#"{"jsonrpc":"2.0","id":7,"error":{"code":1,"message":"x"}}"#);
        assert_eq!(trim(&error, &id, &OPEN).unwrap().body, error);
        assert!(trimmed(r#"{"capabilities":{}}"#, &OPEN).is_ok());
        for bad in [
            r#"{"capabilities":{},"capabilities":{"tasks":{}}}"#,
            r#"{"capabilities":{},"Capabilities":{"tasks":{}}}"#,
            r#"{"capabilities":{},"c\u0061pabilities":{"tasks":{}}}"#,
            r#"{"capabilities":[]}"#,
            r#"{"supportedVersions":"2026-07-28"}"#,
            "[]",
            "{}}{",
        ] {
            assert_eq!(trimmed(bad, &OPEN), Err(Unreadable), "{bad}");
        }
        let other = Bytes::from_static(br#"{"jsonrpc":"2.0","id":8,"result":{}}"#);
        assert_eq!(trim(&other, &id, &OPEN), Err(Unreadable));
    }
}
