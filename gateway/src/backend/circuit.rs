//! The circuit of one server: after several failed exchanges in a row nothing is sent for a while, then one request
//! shows whether the server is back.
//!
//! INVARIANT: the failures of one caller close the server to that caller alone. What fails may depend on what is
//! asked, and no caller may put a server out of use for the others. An exchange has failed when the server broke it
//! off, took too long or answered with a 5xx; a connection that could not be made is the affair of `health`.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Upstream;
use super::care::CircuitSettings;

/// When to come again while one request is trying the server.
const WHILE_TRIED: Duration = Duration::from_secs(1);

/// The circuit of one server.
#[derive(Debug)]
pub(super) struct Circuit {
    settings: CircuitSettings,
    callers: RandomState,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Failed exchanges since the last good one.
    failures: u32,
    /// Whose the first of them was.
    of: Option<u64>,
    /// Whether they are of several callers.
    several: bool,
    /// Open until then, and after that for all but one request at a time.
    until: Option<Instant>,
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
        Self { settings, callers: RandomState::new(), state: Mutex::default() }
    }

    /// Whether it is open, for anybody.
    pub(super) fn is_open(&self) -> bool {
        self.lock().until.is_some()
    }

    /// The leave to send a request of `caller` over this circuit of `upstream`; how long to wait when there is none.
    pub(super) fn enter<'u>(
        &self,
        upstream: &'u Upstream,
        caller: impl Hash,
        now: Instant,
    ) -> Result<Passage<'u>, Duration> {
        let caller = self.callers.hash_one(caller);
        let trial = self.admit(caller, now)?;
        Ok(Passage { upstream, caller, trial, told: false })
    }

    /// Whether the request is the one that tries the server.
    fn admit(&self, caller: u64, now: Instant) -> Result<bool, Duration> {
        let mut state = self.lock();
        let Some(until) = state.until.filter(|_| state.several || state.of == Some(caller)) else { return Ok(false) };
        if now < until {
            return Err(until.saturating_duration_since(now));
        }
        if state.trying {
            return Err(WHILE_TRIED);
        }
        state.trying = true;
        Ok(true)
    }

    /// An exchange went well; returns whether that closes the circuit.
    fn succeeded(&self) -> bool {
        let mut state = self.lock();
        let was_open = state.until.is_some();
        *state = State::default();
        was_open
    }

    /// An exchange failed; returns whether that opens the circuit.
    fn failed(&self, caller: u64, trial: bool, now: Instant) -> bool {
        let mut state = self.lock();
        state.failures = state.failures.saturating_add(1);
        state.several |= state.of.is_some_and(|first| first != caller);
        state.of.get_or_insert(caller);
        let enough = self.settings.failures > 0 && state.failures >= self.settings.failures;
        let opens = enough && state.until.is_none();
        if trial {
            state.trying = false;
        }
        if opens || trial {
            state.until = Some(now + self.settings.open_for);
        }
        opens
    }

    /// Nothing came of it that says anything about the server.
    fn abandoned(&self) {
        self.lock().trying = false;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
            self.upstream.circuit.abandoned();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: u64 = 1;
    const BOB: u64 = 2;
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
        fail(&circuit, &[ALICE, BOB], now);
        assert!(!circuit.succeeded());
        fail(&circuit, &[ALICE, BOB], now);
        assert_eq!(circuit.admit(ALICE, now), Ok(false), "they were not in a row");
        assert!(circuit.failed(ALICE, false, now) && circuit.is_open());
        for caller in [ALICE, BOB, 3] {
            assert_eq!(circuit.admit(caller, now), Err(OPEN_FOR));
        }
        assert!(circuit.succeeded() && !circuit.is_open());
        assert_eq!(circuit.admit(ALICE, now), Ok(false));
    }

    #[test]
    fn one_caller_closes_a_server_to_nobody_else() {
        let (circuit, now) = (circuit(), Instant::now());
        fail(&circuit, &[ALICE, ALICE, ALICE, ALICE], now);
        assert_eq!(circuit.admit(ALICE, now), Err(OPEN_FOR));
        assert_eq!(circuit.admit(BOB, now), Ok(false));
        fail(&circuit, &[BOB], now);
        assert_eq!(circuit.admit(3, now), Err(OPEN_FOR), "it fails for two of them");
    }

    #[test]
    fn after_a_while_one_request_tries_and_its_outcome_counts() {
        let (circuit, now) = (circuit(), Instant::now());
        fail(&circuit, &[ALICE, BOB, BOB], now);
        let later = now + OPEN_FOR;
        assert_eq!(circuit.admit(BOB, later), Ok(true));
        assert_eq!(circuit.admit(ALICE, later), Err(WHILE_TRIED), "one at a time");
        circuit.abandoned();
        assert_eq!(circuit.admit(ALICE, later), Ok(true), "nothing was learnt");
        assert!(!circuit.failed(ALICE, true, later), "it was open before");
        assert_eq!(circuit.admit(BOB, later), Err(OPEN_FOR));
        assert_eq!(circuit.admit(BOB, later + OPEN_FOR), Ok(true));
        assert!(circuit.succeeded());
        assert_eq!(circuit.admit(ALICE, later + OPEN_FOR), Ok(false));
    }

    #[test]
    fn without_a_number_of_failures_it_never_opens() {
        let circuit = Circuit::new(CircuitSettings { failures: 0, open_for: OPEN_FOR });
        fail(&circuit, &[ALICE, BOB].repeat(100), Instant::now());
        assert_eq!(circuit.admit(ALICE, Instant::now()), Ok(false));
    }
}
