//! The id of an event as a client holds it, before it is sealed: the backend's own, and the request whose stream the
//! event is of.
//!
//! A stream that broke off goes on by the id of its last event, on a GET that no request began (2025-11-25, Streamable
//! HTTP section Resumability and Redelivery). What becomes of an answer depends on what was asked; so the id says it,
//! and nothing has to be remembered.

use serde::{Deserialize, Serialize};

use super::jsonrpc::RequestId;
use super::method::Method;
use super::target::Target;

/// A client shows the id in a header, sealed, beside a token; what is longer would only be refused there.
const MAX_TIED: usize = 4096;

/// The request whose answer a stream carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Its id.
    pub id: RequestId,
    /// Its method.
    pub method: Method,
    /// What it reached for.
    pub target: Option<Target>,
}

#[derive(Serialize)]
struct Tied<'a> {
    event: &'a str,
    request: Option<(&'a str, &'a str, Option<&'a Target>)>,
}

#[derive(Deserialize)]
struct Untied {
    event: String,
    request: Option<(String, String, Option<Target>)>,
}

/// The id of an event of the stream that answers this request, or of one that answers none; `None` when it is too long.
#[must_use]
pub fn tie(event: &str, request: Option<(&RequestId, Method, Option<&Target>)>) -> Option<String> {
    let request = request.map(|(id, method, target)| (id.as_json(), method.as_str(), target));
    serde_json::to_string(&Tied { event, request }).ok().filter(|tied| tied.len() <= MAX_TIED)
}

/// The backend's id of an event, and the request whose answer its stream carries; `None` when it is no such id.
#[must_use]
pub fn untie(tied: &str) -> Option<(String, Option<Origin>)> {
    let Untied { event, request } = serde_json::from_str(tied).ok()?;
    let Some((id, method, target)) = request else { return Some((event, None)) };
    let method = Method::ALL.iter().copied().find(|known| known.as_str() == method)?;
    Some((event, Some(Origin { id: RequestId::from_json(&id)?, method, target })))
}

#[cfg(test)]
mod tests {
    use super::super::terms::Task;
    use super::*;

    #[test]
    fn an_id_says_whose_stream_its_event_is_of() {
        let task = Task { handle: "h".to_owned(), raw: "r".to_owned(), tool: "get_x".to_owned() };
        for (id, method, target) in [
            ("1", Method::Initialize, None),
            ("\"a\\\"b\"", Method::ToolsCall, Some(Target::Tool("get_\"x".to_owned()))),
            ("-7", Method::ResourcesRead, Some(Target::Resource("a://ä".to_owned()))),
            ("0", Method::TasksResult, Some(Target::Task(task))),
        ] {
            let id = RequestId::from_json(id).unwrap();
            let tied = tie("e\u{e4}\"1", Some((&id, method, target.as_ref()))).unwrap();
            assert_eq!(untie(&tied), Some(("e\u{e4}\"1".to_owned(), Some(Origin { id, method, target }))));
        }
        assert_eq!(untie(&tie("e1", None).unwrap()), Some(("e1".to_owned(), None)));
    }

    #[test]
    fn what_no_header_could_carry_is_no_id() {
        let target = Target::Resource("x".repeat(MAX_TIED));
        let id = RequestId::from_json("1").unwrap();
        assert_eq!(tie("e1", Some((&id, Method::ResourcesRead, Some(&target)))), None);
        assert_eq!(tie(&"e".repeat(MAX_TIED), None), None);
        for bad in [
            "",
            "e1",
            "{}",
            r#"{"event":"e","request":["1","tools/none",null]}"#,
            r#"{"event":"e","request":["x","ping",null]}"#,
        ] {
            assert_eq!(untie(bad), None, "{bad}");
        }
    }
}
