//! The circuit of one server: after several failed exchanges in a row nothing is sent for a while, then one request of
//! a caller shows whether the server is back.
//!
//! INVARIANT: the failures of one caller close the server to that caller alone. What fails may depend on what is
//! asked, and no caller may put a server out of use for the others, neither alone nor on top of one failure of
//! somebody else: it is closed to everybody when the failures of all callers but the one who has most would do. An
//! exchange has failed when the server broke it off, took too long or answered with a 5xx; a connection that could not
//! be made is the affair of `health`.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Upstream;
use super::care::CircuitSettings;

/// When to come again while others are trying the server.
const WHILE_TRIED: Duration = Duration::from_secs(1);

/// The circuit of one server.
#[derive(Debug)]
pub(super) struct Circuit {
    settings: CircuitSettings,
    hasher: RandomState,
    state: Mutex<State>,
}

/// What has failed since the last good exchange.
///
/// It stays small: closed to everybody it counts nothing, and until then nearly all that it counts is of one caller.
#[derive(Debug, Default)]
struct State {
    callers: HashMap<u64, Theirs>,
    /// Open to everybody until then; after that everybody has to try.
    until: Option<Instant>,
}

/// What has failed for one caller.
#[derive(Debug, Default)]
struct Theirs {
    failures: u32,
    /// Open to them until then; after that they have to try.
    until: Option<Instant>,
    /// A request of theirs is trying the server.
    trying: bool,
}

/// The leave to send one request. Whoever drops it without a word says nothing about the server.
#[derive(Debug)]
pub struct Passage<'u> {
    upstream: &'u Upstream,
    caller: u64,
    trial: bool,
    told: bool,
}

impl Circuit {
    pub(super) fn new(settings: CircuitSettings) -> Self {
        Self { settings, hasher: RandomState::new(), state: Mutex::default() }
    }

    /// Whether it is open, for anybody.
    pub(super) fn is_open(&self) -> bool {
        self.lock().is_open()
    }

    /// The leave to send a request of `caller` over this circuit of `upstream`; how long to wait when there is none.
    pub(super) fn enter<'u>(
        &self,
        upstream: &'u Upstream,
        caller: impl Hash,
        now: Instant,
    ) -> Result<Passage<'u>, Duration> {
        let caller = self.hasher.hash_one(caller);
        let trial = self.admit(caller, now)?;
        Ok(Passage { upstream, caller, trial, told: false })
    }

    /// Whether the request is one that tries the server.
    ///
    /// Of a caller one does so at a time, and of all callers as many as it takes to close the server again: a request
    /// that hangs keeps nobody else from trying.
    fn admit(&self, caller: u64, now: Instant) -> Result<bool, Duration> {
        let mut state = self.lock();
        let theirs = state.callers.get(&caller);
        for until in [state.until, theirs.and_then(|theirs| theirs.until)].into_iter().flatten() {
            if now < until {
                return Err(until.saturating_duration_since(now));
            }
        }
        let for_all = state.until.is_some();
        if !for_all && theirs.is_none_or(|theirs| theirs.until.is_none()) {
            return Ok(false);
        }
        let others = state.callers.values().filter(|theirs| theirs.trying).count();
        if theirs.is_some_and(|theirs| theirs.trying) || (for_all && others > self.settings.failures as usize) {
            return Err(WHILE_TRIED);
        }
        state.callers.entry(caller).or_default().trying = true;
        Ok(true)
    }

    /// An exchange went well; returns whether that closes the circuit.
    fn succeeded(&self) -> bool {
        let mut state = self.lock();
        let was_open = state.is_open();
        *state = State::default();
        was_open
    }

    /// An exchange failed; returns whether that opens the circuit, or opens it to everybody.
    fn failed(&self, caller: u64, trial: bool, now: Instant) -> bool {
        let CircuitSettings { failures: enough, open_for } = self.settings;
        let mut state = self.lock();
        if enough == 0 || state.until.is_some_and(|until| now < until) {
            return false;
        }
        let (was_open, was_for_all) = (state.is_open(), state.until.is_some());
        let theirs = state.callers.entry(caller).or_default();
        theirs.failures = theirs.failures.saturating_add(1);
        if trial {
            theirs.trying = false;
        }
        if trial || (theirs.until.is_none() && theirs.failures >= enough) {
            theirs.until = Some(now + open_for);
        }
        let all = state.callers.values().map(|theirs| u64::from(theirs.failures));
        let most = all.clone().max().unwrap_or_default();
        if all.sum::<u64>() - most >= u64::from(enough) {
            *state = State { until: Some(now + open_for), ..State::default() };
        }
        state.is_open() && (!was_open || (state.until.is_some() && !was_for_all))
    }

    /// Nothing came of a trial that says anything about the server.
    fn abandoned(&self, caller: u64) {
        if let Some(theirs) = self.lock().callers.get_mut(&caller) {
            theirs.trying = false;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_open(&self) -> bool {
        self.until.is_some() || self.callers.values().any(|theirs| theirs.until.is_some())
    }
}

impl Passage<'_> {
    /// The server gave an answer.
    pub fn succeeded(mut self) {
        self.told = true;
        if self.upstream.circuit.succeeded() {
            let (backend, server) = (self.upstream.name(), self.upstream.host_header());
            tracing::info!(%backend, server, "a server answers again");
        }
    }

    /// It broke the exchange off, took too long or answered with a 5xx.
    pub fn failed(mut self) {
        self.told = true;
        if self.upstream.circuit.failed(self.caller, self.trial, Instant::now()) {
            let (backend, server) = (self.upstream.name(), self.upstream.host_header());
            tracing::warn!(%backend, server, "exchanges with a server fail; it is left alone for a while");
        }
    }
}

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        if self.trial && !self.told {
            self.upstream.circuit.abandoned(self.caller);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: u64 = 1;
    const BOB: u64 = 2;
    const CAROL: u64 = 3;
    const OPEN_FOR: Duration = Duration::from_secs(10);

    fn circuit() -> Circuit {
        Circuit::new(CircuitSettings { failures: 3, open_for: OPEN_FOR })
    }

    fn fail(circuit: &Circuit, callers: &[u64], now: Instant) {
        for caller in callers {
            circuit.failed(*caller, false, now);
        }
    }

    #[test]
    fn failures_in_a_row_open_it_and_one_good_answer_closes_it() {
        let (circuit, now) = (circuit(), Instant::now());
        fail(&circuit, &[ALICE, BOB, CAROL], now);
        assert!(!circuit.succeeded());
        fail(&circuit, &[ALICE, BOB, CAROL], now);
        assert_eq!(circuit.admit(ALICE, now), Ok(false), "they were not in a row");
        assert!(circuit.failed(4, false, now) && circuit.is_open());
        for caller in [ALICE, BOB, CAROL, 4, 5] {
            assert_eq!(circuit.admit(caller, now), Err(OPEN_FOR));
        }
        fail(&circuit, &[ALICE, BOB, 5], now);
        assert!(circuit.lock().callers.is_empty(), "what is on its way yet counts for nothing");
        assert!(circuit.succeeded() && !circuit.is_open());
        assert_eq!(circuit.admit(ALICE, now), Ok(false));
    }

    #[test]
    fn one_caller_closes_a_server_to_nobody_else_with_or_without_a_failure_of_another() {
        let now = Instant::now();
        let hers = [ALICE; 9];
        for failing in [hers.to_vec(), [&[BOB], &hers[..]].concat(), [&hers[..], &[BOB, BOB]].concat()] {
            let circuit = circuit();
            fail(&circuit, &failing, now);
            assert_eq!(circuit.admit(ALICE, now), Err(OPEN_FOR), "{failing:?}");
            for caller in [BOB, CAROL] {
                assert_eq!(circuit.admit(caller, now), Ok(false), "{failing:?}");
            }
        }
    }

    #[test]
    fn a_server_that_fails_for_others_than_the_worst_is_closed_to_everybody() {
        let now = Instant::now();
        let two = [[ALICE; 3], [BOB; 3]].concat();
        for failing in [two.clone(), [&[BOB], &[ALICE; 7][..], &[BOB; 2]].concat(), vec![ALICE, BOB, CAROL, 4]] {
            let (circuit, last) = (circuit(), *failing.last().unwrap());
            fail(&circuit, &failing[..failing.len() - 1], now);
            assert_eq!(circuit.admit(5, now), Ok(false), "{failing:?}: not yet");
            assert!(circuit.failed(last, false, now));
            assert_eq!(circuit.admit(5, now), Err(OPEN_FOR), "{failing:?}");
        }
    }

    #[test]
    fn after_a_while_one_request_of_a_caller_tries_and_its_outcome_counts() {
        let (circuit, now) = (circuit(), Instant::now());
        fail(&circuit, &[ALICE; 3], now);
        let later = now + OPEN_FOR;
        assert_eq!(circuit.admit(ALICE, later), Ok(true));
        assert_eq!(circuit.admit(ALICE, later), Err(WHILE_TRIED), "one at a time");
        circuit.abandoned(ALICE);
        assert_eq!(circuit.admit(ALICE, later), Ok(true), "nothing was learnt");
        assert!(!circuit.failed(ALICE, true, later), "it was open before");
        assert_eq!(circuit.admit(ALICE, later), Err(OPEN_FOR));
        assert_eq!(circuit.admit(BOB, later), Ok(false));
        assert_eq!(circuit.admit(ALICE, later + OPEN_FOR), Ok(true));
        assert!(circuit.succeeded());
        assert_eq!(circuit.admit(ALICE, later + OPEN_FOR), Ok(false));
    }

    #[test]
    fn no_caller_keeps_a_server_closed_that_is_back() {
        let (circuit, now) = (circuit(), Instant::now());
        fail(&circuit, &[ALICE, BOB, CAROL, 4], now);
        let mut later = now + OPEN_FOR;
        for _ in 0..9 {
            assert_eq!(circuit.admit(ALICE, later), Ok(true));
            assert_eq!(circuit.admit(BOB, later), Ok(true), "a request that hangs is in nobody's way");
            circuit.abandoned(BOB);
            assert!(!circuit.failed(ALICE, true, later));
            assert_eq!(circuit.admit(ALICE, later), Err(OPEN_FOR));
            assert_eq!(circuit.admit(CAROL, later), Ok(true), "she may try, whatever fails for Alice");
            circuit.abandoned(CAROL);
            later += OPEN_FOR;
        }
        assert_eq!(circuit.admit(BOB, later), Ok(true));
        assert!(!circuit.failed(BOB, true, later));
        assert_eq!(circuit.admit(CAROL, later), Ok(true), "nor with one failure of another");
        assert!(circuit.succeeded());
        assert_eq!(circuit.admit(BOB, later), Ok(false));
    }

    #[test]
    fn a_server_that_is_not_back_is_closed_again_after_a_few_trials() {
        let (circuit, now) = (circuit(), Instant::now());
        fail(&circuit, &[ALICE, BOB, CAROL, 4], now);
        let later = now + OPEN_FOR;
        for caller in [ALICE, BOB, CAROL, 4] {
            assert_eq!(circuit.admit(caller, later), Ok(true));
        }
        assert_eq!(circuit.admit(5, later), Err(WHILE_TRIED), "as many as it takes");
        for caller in [ALICE, BOB, CAROL, 4] {
            assert!(!circuit.failed(caller, true, later), "it was open to all before");
        }
        assert_eq!(circuit.admit(5, later), Err(OPEN_FOR));
        assert_eq!(circuit.admit(5, later + OPEN_FOR), Ok(true));
    }

    #[test]
    fn without_a_number_of_failures_it_never_opens() {
        let circuit = Circuit::new(CircuitSettings { failures: 0, open_for: OPEN_FOR });
        fail(&circuit, &[ALICE, BOB].repeat(100), Instant::now());
        assert_eq!(circuit.admit(ALICE, Instant::now()), Ok(false));
    }
}
