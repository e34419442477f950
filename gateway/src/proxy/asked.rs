//! What backends have asked clients: a client may answer what was asked in its session, once, and nothing else; and
//! its answer is for the server that asked.

use std::sync::{Arc, Weak};
use std::time::Duration;

use moka::ops::compute::{CompResult, Op};
use moka::sync::Cache;

use crate::mcp::RequestId;

/// A person who is asked something may take this long.
const PATIENCE: Duration = Duration::from_secs(1800);
const CAPACITY: u64 = 100_000;

/// Open questions of backends to clients.
#[derive(Debug)]
pub(super) struct Asked(Cache<(Box<[u8]>, RequestId), Question>);

/// A question that is not answered yet.
#[derive(Clone, Debug)]
pub(super) struct Question {
    /// The server that asks, where there are several (see `Replicas::mark`).
    pub(super) server: Option<Box<str>>,
    /// The stream that it came on, while that is open.
    stream: Weak<()>,
}

impl Default for Asked {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(CAPACITY).time_to_live(PATIENCE).build())
    }
}

impl Asked {
    /// Notes a question of `server` on `stream`; `session` is the caller's binding and the backend's session id.
    ///
    /// Whether it may go on: without sessions two servers may ask the same caller under one id, and nobody could tell
    /// whose question an answer is to. The second waits until the first one's stream is over.
    pub(super) fn ask(&self, session: &[u8], id: RequestId, server: Option<&str>, stream: &Arc<()>) -> bool {
        let question = Question { server: server.map(Box::from), stream: Arc::downgrade(stream) };
        let noted = self.0.entry((session.into(), id)).and_compute_with(|open| match open {
            Some(open) if open.value().is_open_at_another(server) => Op::Nop,
            _ => Op::Put(question),
        });
        matches!(noted, CompResult::Inserted(_) | CompResult::ReplacedWith(_))
    }

    /// The question that is answered; `None` when there is none, or it is answered already.
    pub(super) fn answer(&self, session: &[u8], id: &RequestId) -> Option<Question> {
        self.0.remove(&(session.into(), id.clone()))
    }
}

impl Question {
    fn is_open_at_another(&self, server: Option<&str>) -> bool {
        self.server.as_deref() != server && self.stream.strong_count() > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(json: &str) -> RequestId {
        RequestId::from_json(json).unwrap()
    }

    #[test]
    fn a_question_is_answered_once_and_in_its_session() {
        let (asked, stream) = (Asked::default(), Arc::default());
        assert!(asked.ask(b"a", id("1"), None, &stream));
        assert!(asked.answer(b"b", &id("1")).is_none());
        assert!(asked.answer(b"a", &id("\"1\"")).is_none());
        assert!(asked.answer(b"a", &id("1")).is_some());
        assert!(asked.answer(b"a", &id("1")).is_none());
    }

    #[test]
    fn an_answer_is_for_the_server_that_asked() {
        let (asked, streams) = (Asked::default(), [Arc::default(), Arc::default()]);
        let [one, other] = &streams;
        let server = |session: &[u8]| asked.answer(session, &id("1")).unwrap().server;
        assert!(asked.ask(b"alice", id("1"), Some("one"), one));
        assert!(asked.ask(b"bob", id("1"), Some("other"), other));
        assert_eq!(server(b"bob").as_deref(), Some("other"));
        assert_eq!(server(b"alice").as_deref(), Some("one"));
    }

    #[test]
    fn one_id_is_one_open_question() {
        let (asked, one, other) = (Asked::default(), Arc::default(), Arc::default());
        assert!(asked.ask(b"a", id("1"), Some("one"), &one));
        assert!(asked.ask(b"a", id("2"), Some("other"), &other), "the control");
        assert!(!asked.ask(b"a", id("1"), Some("other"), &other));
        assert_eq!(asked.answer(b"a", &id("1")).unwrap().server.as_deref(), Some("one"));
        assert!(asked.ask(b"a", id("1"), Some("other"), &other), "it is answered");
        drop(other);
        assert!(asked.ask(b"a", id("1"), Some("one"), &one), "nobody waits for it any more");
        assert!(asked.ask(b"a", id("1"), Some("one"), &one), "its own server's");
    }
}
