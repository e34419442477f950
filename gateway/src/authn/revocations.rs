//! Which of our own tokens are over before their time, in memory: requests and open streams look here and never wait for
//! a store. Whoever reads the log of the store feeds it (`app`).
//!
//! INVARIANT: when the log could not be read for longer than the bound, nobody's token of ours is believed: one that was
//! revoked meanwhile would look like any other.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::clock::Timestamp;

/// An end: tokens under this key that were issued before this second are over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// `grant:…`, `user:…`, `client:…` or `tenant:…`.
    pub key: String,
    /// The second.
    pub issued_before: Timestamp,
    /// When this can be forgotten.
    pub kept_until: Timestamp,
}

/// What a token can be ended by.
#[derive(Debug)]
pub(super) struct Revocable {
    pub(super) keys: [String; 4],
    pub(super) issued_at: Timestamp,
}

/// How a token stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nobody ended it.
    Good,
    /// Somebody did.
    Ended,
    /// What was ended lately is not known.
    Unknown,
}

/// What is over before its time.
#[derive(Debug)]
pub struct Revocations {
    ended: ArcSwap<HashMap<String, (Timestamp, Timestamp)>>,
    /// The second of the last reading.
    read_at: AtomicU64,
    changed: watch::Sender<()>,
    bound: Option<Duration>,
}

impl Revocations {
    /// Nothing is over, as of now; readings older than `bound` are not trusted, and without one are.
    #[must_use]
    pub fn new(bound: Option<Duration>, now: Timestamp) -> Self {
        let (ended, read_at) = (ArcSwap::default(), AtomicU64::new(now.as_secs()));
        Self { ended, read_at, changed: watch::Sender::new(()), bound }
    }

    /// The log was read at this time, and this is what was new in it.
    pub fn read(&self, new: &[Ended], now: Timestamp) {
        if !new.is_empty() {
            let mut ended = HashMap::clone(&self.ended.load());
            ended.retain(|_, (_, kept_until)| *kept_until > now);
            for Ended { key, issued_before, kept_until } in new {
                let known = ended.entry(key.clone()).or_insert((*issued_before, *kept_until));
                *known = (known.0.max(*issued_before), known.1.max(*kept_until));
            }
            self.ended.store(ended.into());
        }
        self.read_at.store(now.as_secs(), Ordering::Release);
        if !new.is_empty() {
            self.changed.send_replace(());
        }
    }

    /// How long ago the log was last read.
    #[must_use]
    pub fn age(&self, now: Timestamp) -> Duration {
        now.since(Timestamp::from_secs(self.read_at.load(Ordering::Acquire)))
    }

    /// Whether the last reading is too old to go by.
    #[must_use]
    pub fn is_stale(&self, now: Timestamp) -> bool {
        self.bound.is_some_and(|bound| self.age(now) > bound)
    }

    pub(super) fn standing(&self, token: &Revocable, now: Timestamp) -> Standing {
        if self.is_ended(token) {
            return Standing::Ended;
        }
        if self.is_stale(now) { Standing::Unknown } else { Standing::Good }
    }

    /// Waits until a token is ended; for streams that it opened.
    pub(super) async fn until_ended(&self, token: &Revocable) {
        let mut changed = self.changed.subscribe();
        while !self.is_ended(token) {
            // The sender lives in here, so that there is no end of waiting but a change.
            let _ = changed.changed().await;
        }
    }

    fn is_ended(&self, token: &Revocable) -> bool {
        let ended = self.ended.load();
        !ended.is_empty()
            && token.keys.iter().any(|key| ended.get(key).is_some_and(|(before, _)| token.issued_at < *before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_000);

    fn token(grant: &str, issued_at: u64) -> Revocable {
        let keys = [format!("grant:{grant}"), "user:t:o".to_owned(), "client:c".to_owned(), "tenant:t".to_owned()];
        Revocable { keys, issued_at: Timestamp::from_secs(issued_at) }
    }

    fn end(key: &str, before: u64) -> Ended {
        let kept_until = Timestamp::from_secs(5_000);
        Ended { key: key.to_owned(), issued_before: Timestamp::from_secs(before), kept_until }
    }

    #[test]
    fn what_was_issued_before_an_end_is_over_and_what_came_after_is_not() {
        for (key, over, good) in [
            ("grant:g", token("g", 999), token("h", 999)),
            ("user:t:o", token("g", 999), token("g", 1_000)),
            ("client:c", token("g", 999), token("g", 1_000)),
            ("tenant:t", token("g", 999), token("g", 1_000)),
        ] {
            let revocations = Revocations::new(None, NOW);
            assert_eq!(revocations.standing(&over, NOW), Standing::Good, "{key}: the control");
            revocations.read(&[end(key, 1_000), end("user:t:other", 9_000)], NOW);
            revocations.read(&[end(key, 500)], NOW);
            assert_eq!(revocations.standing(&over, NOW), Standing::Ended, "{key}");
            assert_eq!(revocations.standing(&good, NOW), Standing::Good, "{key}");
        }
    }

    #[test]
    fn a_log_that_was_not_read_for_too_long_makes_nothing_good() {
        let bounded = Revocations::new(Some(Duration::from_secs(10)), NOW);
        let later = |seconds| NOW.plus(Duration::from_secs(seconds));
        assert_eq!(bounded.standing(&token("g", 999), later(10)), Standing::Good);
        assert_eq!(bounded.standing(&token("g", 999), later(11)), Standing::Unknown);
        bounded.read(&[], later(11));
        assert_eq!(bounded.standing(&token("g", 999), later(20)), Standing::Good, "and is good again by itself");
        let unbounded = Revocations::new(None, NOW);
        assert_eq!(unbounded.standing(&token("g", 999), later(100_000)), Standing::Good);
    }

    #[tokio::test]
    async fn who_waits_for_an_end_is_told() {
        let revocations = Revocations::new(None, NOW);
        let token = token("g", 999);
        let waiting = revocations.until_ended(&token);
        tokio::pin!(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        revocations.read(&[end("grant:other", 9_000)], NOW);
        assert!(futures_util::poll!(&mut waiting).is_pending(), "another's end is not this one's");
        revocations.read(&[end("grant:g", 9_000)], NOW);
        waiting.await;
    }
}
