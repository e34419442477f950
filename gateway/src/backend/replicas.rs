//! The servers of one backend, and which of them gets a request.
//!
//! A request of no session goes to them in turn, past those that are out; when none is in use, one is tried all the
//! same. A session stays with the server that began it, and ends when that server is out. Each server has its own
//! connections, so that a slow one holds up nobody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Upstream;
use super::gate::Gate;

/// A request tries at most so many servers.
const TRIES: usize = 3;
/// Places of answers and of words on other requests, at least; each is held for as long as a server takes to say that it
/// has got it.
const ASIDES: usize = 16;

/// The servers of one backend, at least one.
#[derive(Debug)]
pub struct Replicas {
    first: Arc<Upstream>,
    others: Vec<Arc<Upstream>>,
    turn: AtomicUsize,
    calls: Gate,
    asides: Gate,
}

impl Replicas {
    /// These servers.
    #[must_use]
    pub fn new(first: Arc<Upstream>, others: Vec<Arc<Upstream>>) -> Self {
        let settings = first.settings();
        let care = &settings.care;
        let gate = |size, queue| Gate::new(size, queue, settings.connect_timeout);
        let calls = gate(care.max_concurrent, care.max_queued);
        let asides = gate(care.max_concurrent.max(ASIDES), care.max_queued.max(ASIDES));
        Self { first, others, turn: AtomicUsize::new(0), calls, asides }
    }

    /// The places of the requests that wait for this backend.
    #[must_use]
    pub fn calls(&self) -> &Gate {
        &self.calls
    }

    /// The places of what such a request may wait for itself: the answer to what the server asks while it works on it,
    /// a word on it, its end.
    #[must_use]
    pub fn asides(&self) -> &Gate {
        &self.asides
    }

    /// How many requests wait for this backend.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.calls.inside()
    }

    /// One of them, for what is the same of all: name and deadlines.
    #[must_use]
    pub fn any(&self) -> &Upstream {
        &self.first
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// How many are in use.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.iter().filter(|replica| replica.is_up()).count()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        1 + self.others.len()
    }

    /// What a session says of the server that began it; nothing where there is only one.
    #[must_use]
    pub fn mark<'u>(&self, upstream: &'u Upstream) -> Option<&'u str> {
        (!self.others.is_empty()).then(|| upstream.mark())
    }

    /// The servers that a request of no session may try, in order; none when all fail their health checks.
    #[must_use]
    pub fn in_turn(&self) -> Candidates<'_> {
        let next = self.turn.fetch_add(1, Ordering::Relaxed) % self.count();
        let none = self.in_use() == 0;
        Candidates { replicas: self, next, left: self.count(), tries: if none { 1 } else { TRIES }, also_out: none }
    }

    /// The server by its mark that began a session, or gave a state or a task; `None` when it is out or no longer there.
    #[must_use]
    pub fn of_session(&self, mark: Option<&str>) -> Option<Candidates<'_>> {
        let alone = self.others.is_empty();
        let next = match mark {
            None if alone => 0,
            None => return None,
            Some(mark) => self.iter().position(|replica| replica.mark() == mark && (alone || replica.is_up()))?,
        };
        Some(Candidates { replicas: self, next, left: 1, tries: 1, also_out: true })
    }
}

/// Servers to try one after another.
#[derive(Debug)]
pub struct Candidates<'r> {
    replicas: &'r Replicas,
    next: usize,
    left: usize,
    tries: usize,
    also_out: bool,
}

impl Candidates<'_> {
    /// The last one was not tried after all, and does not count.
    pub fn pass_over(&mut self) {
        self.tries += 1;
    }
}

impl<'r> Iterator for Candidates<'r> {
    type Item = &'r Upstream;

    fn next(&mut self) -> Option<&'r Upstream> {
        while self.left > 0 && self.tries > 0 {
            let found = self.replicas.iter().nth(self.next)?;
            self.left -= 1;
            self.next = (self.next + 1) % self.replicas.count();
            if found.is_sound() && (self.also_out || found.is_up()) {
                self.tries -= 1;
                return Some(found);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::settings;
    use super::*;

    fn replicas(urls: &[&str]) -> Replicas {
        let mut all = urls.iter().map(|url| Arc::new(Upstream::new(settings(url)).unwrap()));
        Replicas::new(all.next().unwrap(), all.collect())
    }

    fn three() -> Replicas {
        replicas(&["http://127.0.0.1:1/mcp", "http://127.0.0.1:2/mcp", "http://127.0.0.1:3/mcp"])
    }

    fn ports(candidates: Candidates<'_>) -> Vec<&str> {
        candidates.map(|replica| replica.host_header().rsplit(':').next().unwrap()).collect()
    }

    fn put_out(replicas: &Replicas, place: usize) {
        let replica = replicas.iter().nth(place).unwrap();
        while replica.is_up() {
            replica.health.failed();
        }
    }

    #[test]
    fn requests_of_no_session_go_round() {
        let replicas = three();
        assert_eq!(ports(replicas.in_turn()), ["1", "2", "3"]);
        assert_eq!(ports(replicas.in_turn()), ["2", "3", "1"]);
    }

    #[test]
    fn what_is_out_is_passed_over_until_it_is_back() {
        let replicas = three();
        put_out(&replicas, 0);
        assert_eq!((replicas.in_use(), replicas.count()), (2, 3));
        assert_eq!(ports(replicas.in_turn()), ["2", "3"]);
        assert!(replicas.iter().next().unwrap().health.connected());
        assert_eq!([replicas.in_turn().next, replicas.in_turn().next], [1, 2]);
        assert_eq!(ports(replicas.in_turn()), ["1", "2", "3"]);
    }

    #[test]
    fn where_all_are_out_one_is_tried() {
        let replicas = three();
        (0..3).for_each(|place| put_out(&replicas, place));
        assert_eq!(ports(replicas.in_turn()), ["1"]);
        assert_eq!(ports(replicas.in_turn()), ["2"]);
    }

    #[test]
    fn what_fails_its_health_check_gets_nothing_even_where_all_do() {
        let replicas = three();
        let fails = |place: usize| replicas.iter().nth(place).unwrap().health.answered_badly();
        assert!(fails(1));
        assert_eq!(ports(replicas.in_turn()), ["1", "3"]);
        assert!(fails(0) && fails(2));
        assert_eq!((ports(replicas.in_turn()).len(), replicas.in_use()), (0, 0));
        let mark = replicas.mark(replicas.any()).unwrap().to_owned();
        assert!(replicas.of_session(Some(&mark)).is_none());
    }

    #[test]
    fn a_server_that_is_passed_over_is_no_try() {
        let replicas = replicas(&["http://a:1/", "http://a:2/", "http://a:3/", "http://a:4/", "http://a:5/"]);
        let mut candidates = replicas.in_turn();
        candidates.next().unwrap();
        candidates.pass_over();
        assert_eq!(candidates.count(), TRIES);
    }

    #[test]
    fn a_session_stays_with_its_server_and_ends_with_it() {
        let replicas = three();
        let second = replicas.iter().nth(1).unwrap();
        let mark = replicas.mark(second).unwrap().to_owned();
        assert_eq!(ports(replicas.of_session(Some(&mark)).unwrap()), ["2"]);
        assert!(replicas.of_session(Some("00000000")).is_none());
        assert!(replicas.of_session(None).is_none(), "which of the three is not known");
        put_out(&replicas, 1);
        assert!(replicas.of_session(Some(&mark)).is_none());
    }

    #[test]
    fn a_single_server_keeps_its_sessions() {
        let replicas = replicas(&["http://127.0.0.1:1/mcp"]);
        assert_eq!(replicas.mark(replicas.any()), None);
        put_out(&replicas, 0);
        assert_eq!(ports(replicas.of_session(None).unwrap()), ["1"]);
        assert_eq!(ports(replicas.in_turn()), ["1"]);
    }
}
