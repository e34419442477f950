//! What backends have asked clients: a client may answer what was asked in its session, once, and nothing else; and
//! its answer is for the server that asked.
//!
//! Each backend has a table of its own, in it each caller has so much room, and in that each session: who asks more
//! than is answered loses the oldest of their own questions, and nobody else any.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use moka::ops::compute::{CompResult, Op};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use portcullis_policy::{BackendName, Subject};

use crate::clock::Stopwatch;
use crate::mcp::RequestId;
use crate::mcp::session::binding;

/// A person who is asked something may take this long.
const PATIENCE: Duration = Duration::from_secs(1800);
/// Open questions in one session; a caller without sessions has one of them, and as many calls that may ask.
const OF_SESSION: usize = 256;
/// Those of one caller, in all sessions at one backend.
const OF_CALLER: usize = 1024;
/// Bytes of one backend's questions; who was asked nothing for the longest time goes first.
const OF_BACKEND: u64 = 8 << 20;
/// What a question takes beside its texts, about.
const OVERHEAD: usize = 128;

/// Open questions of backends to clients.
#[derive(Debug, Default)]
pub(super) struct Asked(RwLock<HashMap<BackendName, Table>>);

/// The questions of one backend, by caller and in the order in which they were asked.
type Table = Cache<Arc<[u8]>, Questions>;
type Questions = Arc<Vec<Arc<Question>>>;

/// Whose session it is that something is asked in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whom<'a> {
    pub(super) backend: &'a BackendName,
    pub(super) caller: &'a Subject,
    /// What names the session (see `Session::key_of`).
    pub(super) session: &'a [u8],
}

/// A question that is not answered yet.
#[derive(Debug)]
struct Question {
    session: Box<[u8]>,
    id: RequestId,
    /// The server that asks, where there are several (see `Replicas::mark`).
    server: Option<Box<str>>,
    /// The stream that it came on, while that is open.
    stream: Weak<()>,
    since: Stopwatch,
}

/// A question whose answer is on its way. It is open again if that does not arrive.
#[derive(Debug)]
pub(super) struct Answering {
    of: Table,
    caller: Arc<[u8]>,
    question: Option<Arc<Question>>,
}

impl Asked {
    /// Notes a question of `server` on `stream`.
    ///
    /// Whether it may go on: without sessions two servers may ask the same caller under one id, and nobody could tell
    /// whose question an answer is to. The second waits until the first one's stream is over.
    pub(super) fn ask(&self, whom: Whom<'_>, id: RequestId, server: Option<&str>, stream: &Arc<()>) -> bool {
        let question = Question {
            session: whom.session.into(),
            id,
            server: server.map(Box::from),
            stream: Arc::downgrade(stream),
            since: Stopwatch::start(),
        };
        let caller: Arc<[u8]> = Arc::from(binding(whom.backend, whom.caller));
        let noted = self.table(whom.backend).entry(caller).and_compute_with(|open| {
            let open = open.map(moka::Entry::into_value).unwrap_or_default();
            match open.iter().find(|other| other.is_as(&question)) {
                Some(other) if other.is_open_at_another(server) => Op::Nop,
                _ => Op::Put(Arc::new(with(&open, question.into()))),
            }
        });
        matches!(noted, CompResult::Inserted(_) | CompResult::ReplacedWith(_))
    }

    /// The question that is answered; `None` when there is none, or an answer is on its way already.
    pub(super) fn answer(&self, whom: Whom<'_>, id: &RequestId) -> Option<Answering> {
        let caller: Arc<[u8]> = Arc::from(binding(whom.backend, whom.caller));
        let (of, mut found) = (self.table(whom.backend), None);
        of.entry_by_ref(&caller).and_compute_with(|open| {
            let Some(open) = open.map(moka::Entry::into_value) else { return Op::Nop };
            let is_it = |one: &Arc<Question>| *one.session == *whom.session && one.id == *id && one.is_waited_for();
            found = open.iter().find(|one| is_it(one)).cloned();
            let Some(found) = &found else { return Op::Nop };
            let left: Vec<_> = open.iter().filter(|one| !Arc::ptr_eq(one, found)).cloned().collect();
            if left.is_empty() { Op::Remove } else { Op::Put(Arc::new(left)) }
        });
        found.map(|question| Answering { of, caller, question: Some(question) })
    }

    fn table(&self, backend: &BackendName) -> Table {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).get(backend).cloned();
        known.unwrap_or_else(|| {
            let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
            all.entry(backend.clone()).or_insert_with(table).clone()
        })
    }
}

fn table() -> Table {
    let weight = |caller: &Arc<[u8]>, open: &Questions| {
        let bytes = open.iter().map(|one| one.session.len() + one.id.as_json().len() + OVERHEAD).sum::<usize>();
        u32::try_from(caller.len() + bytes).unwrap_or(u32::MAX)
    };
    let table = Cache::builder().max_capacity(OF_BACKEND).weigher(weight).time_to_idle(PATIENCE);
    table.eviction_policy(EvictionPolicy::lru()).build()
}

/// The questions with this one, and without what is too old or too much.
fn with(open: &[Arc<Question>], question: Arc<Question>) -> Vec<Arc<Question>> {
    let stays = |one: &&Arc<Question>| one.is_waited_for() && !one.is_as(&question);
    let mut kept: Vec<_> = open.iter().filter(stays).cloned().collect();
    let in_session = |one: &Arc<Question>| one.session == question.session;
    if kept.iter().filter(|one| in_session(one)).count() >= OF_SESSION
        && let Some(oldest) = kept.iter().position(in_session)
    {
        kept.remove(oldest);
    }
    if kept.len() >= OF_CALLER {
        kept.remove(0);
    }
    kept.push(question);
    kept
}

impl Question {
    fn is_as(&self, other: &Self) -> bool {
        self.id == other.id && self.session == other.session
    }

    fn is_open_at_another(&self, server: Option<&str>) -> bool {
        self.server.as_deref() != server && self.stream.strong_count() > 0
    }

    fn is_waited_for(&self) -> bool {
        self.since.elapsed() < PATIENCE
    }
}

impl Answering {
    /// The server that asked, where there are several.
    pub(super) fn server(&self) -> Option<&str> {
        self.question.as_ref()?.server.as_deref()
    }

    /// The answer has arrived.
    pub(super) fn arrived(mut self) {
        self.question = None;
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let Some(question) = self.question.take() else { return };
        self.of.entry_by_ref(&self.caller).and_compute_with(|open| {
            let open = open.map(moka::Entry::into_value).unwrap_or_default();
            // What was asked meanwhile counts.
            if open.len() >= OF_CALLER || open.iter().any(|other| other.is_as(&question)) {
                return Op::Nop;
            }
            let kept = std::iter::once(question).chain(open.iter().cloned());
            Op::Put(Arc::new(kept.collect()))
        });
    }
}

#[cfg(test)]
mod tests {
    use portcullis_policy::Kind;

    use super::*;

    fn id(json: &str) -> RequestId {
        RequestId::from_json(json).unwrap()
    }

    fn backend(name: &str) -> BackendName {
        BackendName::try_from(name).unwrap()
    }

    /// Sessions of two callers at two backends.
    struct Parties {
        backends: [BackendName; 2],
        callers: [Subject; 2],
    }

    impl Parties {
        fn new() -> Self {
            let callers = ["alice", "bob"].map(|object| Subject::new(Kind::User, "t", object).with_client("c"));
            Self { backends: ["one", "other"].map(backend), callers }
        }

        fn whom<'a>(&'a self, backend: usize, caller: usize, session: &'a [u8]) -> Whom<'a> {
            Whom { backend: &self.backends[backend], caller: &self.callers[caller], session }
        }
    }

    fn is_answered(asked: &Asked, whom: Whom<'_>, id: &RequestId) -> bool {
        asked.answer(whom, id).map(Answering::arrived).is_some()
    }

    #[test]
    fn a_question_is_answered_once_and_in_its_session() {
        let (asked, stream, parties) = (Asked::default(), Arc::default(), Parties::new());
        let whom = parties.whom(0, 0, b"a");
        assert!(asked.ask(whom, id("1"), None, &stream));
        for other in [parties.whom(0, 0, b"b"), parties.whom(1, 0, b"a"), parties.whom(0, 1, b"a")] {
            assert!(asked.answer(other, &id("1")).is_none(), "{other:?}");
        }
        assert!(asked.answer(whom, &id("\"1\"")).is_none());
        assert!(is_answered(&asked, whom, &id("1")));
        assert!(asked.answer(whom, &id("1")).is_none());
    }

    #[test]
    fn a_question_whose_answer_does_not_arrive_is_open_again() {
        let (asked, stream, parties) = (Asked::default(), Arc::default(), Parties::new());
        let whom = parties.whom(0, 0, b"a");
        assert!(asked.ask(whom, id("1"), None, &stream));
        let on_its_way = asked.answer(whom, &id("1")).unwrap();
        assert!(asked.answer(whom, &id("1")).is_none(), "one answer at a time");
        drop(on_its_way);
        let on_its_way = asked.answer(whom, &id("1")).unwrap();
        assert!(asked.ask(whom, id("1"), Some("anew"), &stream));
        drop(on_its_way);
        assert_eq!(asked.answer(whom, &id("1")).unwrap().server(), Some("anew"), "what was asked since counts");
        assert!(is_answered(&asked, whom, &id("1")));
        assert!(asked.answer(whom, &id("1")).is_none());
    }

    #[test]
    fn an_answer_is_for_the_server_that_asked() {
        let (asked, streams, parties) = (Asked::default(), [Arc::default(), Arc::default()], Parties::new());
        let [one, other] = &streams;
        let (alice, bob) = (parties.whom(0, 0, b"s"), parties.whom(0, 1, b"s"));
        assert!(asked.ask(alice, id("1"), Some("one"), one));
        assert!(asked.ask(bob, id("1"), Some("other"), other));
        assert_eq!(asked.answer(bob, &id("1")).unwrap().server(), Some("other"));
        assert_eq!(asked.answer(alice, &id("1")).unwrap().server(), Some("one"));
    }

    #[test]
    fn one_id_is_one_open_question() {
        let (asked, one, other, parties) = (Asked::default(), Arc::default(), Arc::default(), Parties::new());
        let whom = parties.whom(0, 0, b"a");
        assert!(asked.ask(whom, id("1"), Some("one"), &one));
        assert!(asked.ask(whom, id("2"), Some("other"), &other), "the control");
        assert!(!asked.ask(whom, id("1"), Some("other"), &other));
        let answered = asked.answer(whom, &id("1")).unwrap();
        assert_eq!(answered.server(), Some("one"));
        answered.arrived();
        assert!(asked.ask(whom, id("1"), Some("other"), &other), "it is answered");
        drop(other);
        assert!(asked.ask(whom, id("1"), Some("one"), &one), "nobody waits for it any more");
        assert!(asked.ask(whom, id("1"), Some("one"), &one), "its own server's");
    }

    #[test]
    fn who_asks_without_end_loses_their_own_questions_and_nobody_elses() {
        let (asked, stream, parties) = (Asked::default(), Arc::default(), Parties::new());
        let (flooded, second) = (parties.whom(0, 0, b"a"), parties.whom(0, 0, b"b"));
        let others = [second, parties.whom(0, 1, b"a"), parties.whom(1, 0, b"a")];
        for whom in others {
            assert!(asked.ask(whom, id("\"kept\""), None, &stream));
        }
        let numbered = |number: usize| id(&format!("\"{number}{}\"", "x".repeat(200)));
        for number in 0..20_000 {
            assert!(asked.ask(flooded, numbered(number), None, &stream), "{number}");
        }
        for table in asked.0.read().unwrap().values() {
            table.run_pending_tasks();
            assert!(table.weighted_size() < 128 * 1024, "{}", table.weighted_size());
        }
        assert!(others.into_iter().all(|whom| is_answered(&asked, whom, &id("\"kept\""))));
        let left = (0..20_000).filter(|number| is_answered(&asked, flooded, &numbered(*number)));
        assert_eq!(left.collect::<Vec<_>>(), (20_000 - OF_SESSION..20_000).collect::<Vec<_>>());

        let sessions: Vec<[u8; 1]> = (0..10).map(|number| [number]).collect();
        for session in &sessions {
            for number in 0..OF_SESSION {
                assert!(asked.ask(parties.whom(0, 0, session), numbered(number), None, &stream));
            }
        }
        let left = sessions.iter().filter(|session| asked.answer(parties.whom(0, 0, *session), &numbered(0)).is_some());
        assert_eq!(left.count(), OF_CALLER / OF_SESSION);
    }
}
