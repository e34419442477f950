//! What backends have asked clients: a client may answer what was asked in its session, once, and nothing else.

use std::time::Duration;

use moka::sync::Cache;

use crate::mcp::RequestId;

/// A person who is asked something may take this long.
const PATIENCE: Duration = Duration::from_secs(1800);
const CAPACITY: u64 = 100_000;

/// Open questions of backends to clients.
#[derive(Debug)]
pub(super) struct Asked(Cache<(Box<[u8]>, RequestId), ()>);

impl Default for Asked {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(CAPACITY).time_to_live(PATIENCE).build())
    }
}

impl Asked {
    /// Notes a question; `session` is the caller's binding and the backend's session id.
    pub(super) fn ask(&self, session: &[u8], id: RequestId) {
        self.0.insert((session.into(), id), ());
    }

    /// Whether this was asked and is not answered yet.
    pub(super) fn answer(&self, session: &[u8], id: &RequestId) -> bool {
        self.0.remove(&(session.into(), id.clone())).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_answered_once_and_in_its_session() {
        let (asked, id) = (Asked::default(), RequestId::from_json("1").unwrap());
        asked.ask(b"a", id.clone());
        assert!(!asked.answer(b"b", &id));
        assert!(!asked.answer(b"a", &RequestId::from_json("\"1\"").unwrap()));
        assert!(asked.answer(b"a", &id));
        assert!(!asked.answer(b"a", &id));
    }
}
