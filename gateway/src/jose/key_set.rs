//! The key set of one issuer (RFC 7517), fetched and kept.
//!
//! A known key is looked up without waiting. An unknown one causes at most one fetch, shared by all who wait, and then
//! none for a while, however many unknown names arrive; no name is remembered, so there is nothing to fill. A failed
//! fetch keeps the last good set for a day; a successful one ends the keys that are gone. Without a set nothing
//! verifies.

mod fetch;
mod issuer;
mod parse;

use std::collections::HashMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use futures_util::FutureExt;
use tokio::sync::{Mutex, Semaphore};
use tokio::time;

pub use fetch::{EntraKeys, FetchError};
pub use issuer::IssuerKeys;
pub use parse::{KeySetError, parse, parse_any};

use super::key::Key;
use crate::clock::Clock;

/// Between two fetches for unknown names.
pub const COOL_DOWN: Duration = Duration::from_secs(30);
/// How long the last good set is used while fetches fail.
pub const MAX_STALE: Duration = Duration::from_hours(24);
/// Between two fetches in the background.
const REFRESH: Duration = Duration::from_hours(1);
/// After a failed one, while the last good set is in use.
const RETRY: Duration = Duration::from_secs(15);
/// After a failed one without a set: until there is one, nobody is let in.
const RETRY_COLD: Duration = Duration::from_secs(2);
/// The longest pause after failed ones without a set, where only one issuer of several waits for it.
const RETRY_FURTHER: Duration = Duration::from_mins(1);
/// For discovery and keys together, whatever the source makes of its own deadlines.
const FETCH: Duration = Duration::from_secs(10);
/// More than this many do not wait for one fetch: they are told at once that the key is unknown.
const MAX_WAITING: usize = 256;

/// Keys by name.
pub type Keys = HashMap<String, Key>;

/// Where a key set comes from.
#[async_trait]
pub trait KeySource: Send + Sync + fmt::Debug {
    /// Fetches the whole set.
    async fn fetch(&self) -> Result<Keys, FetchError>;
}

/// What became of a look-up.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// The key.
    Found(Key),
    /// The issuer has no such key.
    Unknown,
    /// There is no usable set.
    Unavailable,
}

/// How a key set is doing; for readiness and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// How old the set is; `None` without one.
    pub age: Option<Duration>,
    /// How many keys it has.
    pub keys: usize,
    /// What the last fetch failed of; `None` after a good one.
    pub last_error: Option<String>,
}

/// The key set of one issuer.
#[derive(Debug)]
pub struct KeySet {
    source: Box<dyn KeySource>,
    /// Whose keys, in the log.
    issuer: String,
    /// The longest pause after failed fetches without a set.
    cold: Duration,
    clock: Arc<dyn Clock>,
    current: ArcSwapOption<Fetched>,
    last_attempt: ArcSwapOption<Attempt>,
    fetching: Mutex<()>,
    waiting: Arc<Semaphore>,
    fetches: Counted,
}

/// Fetches since the start.
#[derive(Debug, Default)]
struct Counted {
    good: AtomicU64,
    bad: AtomicU64,
}

struct Fetched {
    keys: Keys,
    /// By [`Clock::elapsed`].
    at: Duration,
}

#[derive(Debug)]
struct Attempt {
    at: Duration,
    error: Option<String>,
}

impl KeySet {
    /// An empty set over a source; nothing verifies before the first fetch.
    #[must_use]
    pub fn new(source: Box<dyn KeySource>, clock: Arc<dyn Clock>) -> Self {
        Self {
            source,
            issuer: String::new(),
            cold: RETRY_COLD,
            clock,
            current: ArcSwapOption::empty(),
            last_attempt: ArcSwapOption::empty(),
            fetching: Mutex::new(()),
            waiting: Arc::new(Semaphore::new(MAX_WAITING)),
            fetches: Counted::default(),
        }
    }

    /// The keys of this issuer, which the log names.
    #[must_use]
    pub fn of(self, issuer: &str) -> Self {
        Self { issuer: issuer.to_owned(), ..self }
    }

    /// Those of an issuer beside the home directory: while they are not to be had they are asked for less and less often.
    #[must_use]
    pub fn further(self) -> Self {
        Self { cold: RETRY_FURTHER, ..self }
    }

    /// The key of this name; an unknown one may wait for one fetch.
    pub async fn find(self: &Arc<Self>, kid: &str) -> Lookup {
        let known = self.known(kid);
        if matches!(known, Lookup::Found(_)) || !self.is_due() {
            return known;
        }
        let Ok(place) = Arc::clone(&self.waiting).try_acquire_owned() else { return known };
        let set = Arc::clone(self);
        // In a task of its own: a caller who hangs up must not end the fetch that others wait for, nor be able to
        // start another one by asking again.
        let fetched = tokio::spawn(async move {
            set.refresh_if_due().await;
            drop(place);
        });
        // Whatever became of the task, what is known now is the answer.
        let _ = fetched.await;
        self.known(kid)
    }

    /// How the set is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        let keys = self.current.load().as_ref().map_or(0, |fetched| fetched.keys.len());
        let last_error = self.last_attempt.load().as_ref().and_then(|attempt| attempt.error.clone());
        Status { age: self.age(), keys, last_error }
    }

    /// How old the set is; `None` without one.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        self.current.load().as_ref().map(|fetched| self.since(fetched.at))
    }

    /// How many fetches went well since the start, and how many did not.
    #[must_use]
    pub fn fetches(&self) -> (u64, u64) {
        (self.fetches.good.load(Ordering::Relaxed), self.fetches.bad.load(Ordering::Relaxed))
    }

    /// Whether there is a set that may be used.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.age().is_some_and(|age| age <= MAX_STALE)
    }

    /// Fetches now; whether that went well.
    pub async fn refresh(&self) -> bool {
        let _turn = self.fetching.lock().await;
        self.attempt().await
    }

    /// Keeps the set fresh until the task is dropped.
    pub async fn refresh_forever(&self) {
        let mut cold = RETRY_COLD;
        loop {
            let good = self.refresh().await;
            let pause = match good {
                true => REFRESH,
                false if self.is_ready() => RETRY,
                false => cold,
            };
            cold = if good { RETRY_COLD } else { (cold * 2).min(self.cold) };
            time::sleep(pause).await;
        }
    }

    async fn refresh_if_due(&self) {
        let _turn = self.fetching.lock().await;
        // Whoever waited for a turn finds the attempt already made.
        if self.is_due() {
            self.attempt().await;
        }
    }

    /// INVARIANT: only under the `fetching` lock, so that an older set never replaces a newer one.
    async fn attempt(&self) -> bool {
        let fetch = AssertUnwindSafe(time::timeout(FETCH, self.source.fetch())).catch_unwind().await;
        let fetched = match fetch {
            Ok(Ok(Ok(keys))) if keys.is_empty() => Err(FetchError::NoKeys),
            Ok(Ok(fetched)) => fetched,
            Ok(Err(_elapsed)) => Err(FetchError::Timeout),
            Err(_panic) => Err(FetchError::Panicked),
        };
        let at = self.clock.elapsed();
        let error = fetched.as_ref().err().map(ToString::to_string);
        let good = error.is_none();
        let count = if good { &self.fetches.good } else { &self.fetches.bad };
        count.fetch_add(1, Ordering::Relaxed);
        self.say(error.as_deref());
        if let Ok(keys) = fetched {
            self.current.store(Some(Arc::new(Fetched { keys, at })));
        }
        // Noted at the end, so that whoever comes during a fetch waits for it.
        self.last_attempt.store(Some(Arc::new(Attempt { at, error })));
        good
    }

    /// Tells the operator what became of a fetch: a failure once, and that it is over.
    fn say(&self, error: Option<&str>) {
        let last = self.last_attempt.load();
        let before = last.as_ref().and_then(|attempt| attempt.error.as_deref());
        let issuer = self.issuer.as_str();
        match (before, error) {
            (Some(_), None) => tracing::info!(issuer, "the identity provider's keys can be fetched again"),
            (_, Some(error)) if before != Some(error) => {
                let kept =
                    if self.is_ready() { "the last good keys stay in use" } else { "none of its tokens is believed" };
                tracing::error!(issuer, error, "the identity provider's keys cannot be fetched; {kept}");
            }
            (_, Some(error)) => tracing::debug!(issuer, error, "the identity provider's keys still cannot be fetched"),
            (None, None) => {}
        }
    }

    fn known(&self, kid: &str) -> Lookup {
        let current = self.current.load();
        let Some(fetched) = current.as_ref() else { return Lookup::Unavailable };
        if self.since(fetched.at) > MAX_STALE {
            return Lookup::Unavailable;
        }
        fetched.keys.get(kid).map_or(Lookup::Unknown, |key| Lookup::Found(key.clone()))
    }

    fn is_due(&self) -> bool {
        self.last_attempt.load().as_ref().is_none_or(|last| self.since(last.at) >= COOL_DOWN)
    }

    fn since(&self, at: Duration) -> Duration {
        self.clock.elapsed().saturating_sub(at)
    }
}

impl fmt::Debug for Fetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.keys.len())
    }
}

#[cfg(test)]
mod tests;
