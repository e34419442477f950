//! Which of our own tokens are over before their time, in memory: requests and open streams look here and never wait for
//! a store. Whoever reads the log of the store feeds it (`app`).
//!
//! INVARIANT: when the log could not be read for longer than the bound, nobody's token of ours is believed: one that was
//! revoked meanwhile would look like any other.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::clock::{Clock, Timestamp};
use crate::store::EVERYBODY;

/// An end: tokens under this key that were issued before this second are over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// `grant:…`, `user:…`, `client:…`, `tenant:…` or `everybody:*`.
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
    /// When the log was last read, in milliseconds of [`Clock::elapsed`]: a calendar that is set makes nothing older or
    /// younger.
    read_at: AtomicU64,
    clock: Arc<dyn Clock>,
    changed: watch::Sender<()>,
    bound: Option<Duration>,
}

impl Revocations {
    /// Nothing is over, as of now; readings older than `bound` are not trusted, and without one are.
    #[must_use]
    pub fn new(bound: Option<Duration>, clock: Arc<dyn Clock>) -> Self {
        let (ended, read_at) = (ArcSwap::default(), AtomicU64::new(millis(clock.elapsed())));
        Self { ended, read_at, clock, changed: watch::Sender::new(()), bound }
    }

    /// The log was read, beginning at this moment of [`Clock::elapsed`], and this is what was new in it.
    pub fn read(&self, new: &[Ended], began: Duration) {
        if !new.is_empty() {
            let mut ended = HashMap::clone(&self.ended.load());
            let now = self.clock.now();
            ended.retain(|_, (_, kept_until)| *kept_until > now);
            for Ended { key, issued_before, kept_until } in new {
                let known = ended.entry(key.clone()).or_insert((*issued_before, *kept_until));
                *known = (known.0.max(*issued_before), known.1.max(*kept_until));
            }
            self.ended.store(ended.into());
        }
        self.read_at.store(millis(began), Ordering::Release);
        if !new.is_empty() {
            self.changed.send_replace(());
        }
    }

    /// How long ago the log was last read.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.clock.elapsed().saturating_sub(Duration::from_millis(self.read_at.load(Ordering::Acquire)))
    }

    /// Whether the last reading is too old to go by.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.bound.is_some_and(|bound| self.age() > bound)
    }

    pub(super) fn standing(&self, token: &Revocable) -> Standing {
        if self.is_ended(token) {
            return Standing::Ended;
        }
        if self.is_stale() { Standing::Unknown } else { Standing::Good }
    }

    /// Waits until a token is good no longer, and says how it stands then; for streams that it opened.
    pub(super) async fn until_over(&self, token: &Revocable) -> Standing {
        let mut changed = self.changed.subscribe();
        loop {
            let standing = self.standing(token);
            if standing != Standing::Good {
                return standing;
            }
            // The sender lives in here, so that there is no end of waiting but a change, or no change for too long.
            tokio::select! {
                _ = changed.changed() => {}
                () = self.at_bound() => {}
            }
        }
    }

    /// Waits until the last reading so far is too old to go by.
    async fn at_bound(&self) {
        match self.bound {
            Some(bound) => tokio::time::sleep(bound.saturating_sub(self.age()) + Duration::from_millis(1)).await,
            None => std::future::pending().await,
        }
    }

    fn is_ended(&self, token: &Revocable) -> bool {
        let ended = self.ended.load();
        !ended.is_empty()
            && token
                .keys
                .iter()
                .map(String::as_str)
                .chain([EVERYBODY])
                .any(|key| ended.get(key).is_some_and(|(before, _)| token.issued_at < *before))
    }
}

fn millis(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    const NOW: Timestamp = Timestamp::from_secs(1_000);

    fn token(grant: &str, issued_at: u64) -> Revocable {
        let keys = [format!("grant:{grant}"), "user:t:o".to_owned(), "client:c".to_owned(), "tenant:t".to_owned()];
        Revocable { keys, issued_at: Timestamp::from_secs(issued_at) }
    }

    fn end(key: &str, before: u64) -> Ended {
        let kept_until = Timestamp::from_secs(5_000);
        Ended { key: key.to_owned(), issued_before: Timestamp::from_secs(before), kept_until }
    }

    fn at_now() -> (ManualClock, Duration) {
        (ManualClock::new(NOW), Duration::from_secs(NOW.as_secs()))
    }

    #[test]
    fn what_was_issued_before_an_end_is_over_and_what_came_after_is_not() {
        for (key, over, good) in [
            ("grant:g", token("g", 999), token("h", 999)),
            ("user:t:o", token("g", 999), token("g", 1_000)),
            ("client:c", token("g", 999), token("g", 1_000)),
            ("tenant:t", token("g", 999), token("g", 1_000)),
            ("everybody:*", token("g", 999), token("g", 1_000)),
        ] {
            let (clock, began) = at_now();
            let revocations = Revocations::new(None, Arc::new(clock));
            assert_eq!(revocations.standing(&over), Standing::Good, "{key}: the control");
            revocations.read(&[end(key, 1_000), end("user:t:other", 9_000)], began);
            revocations.read(&[end(key, 500)], began);
            assert_eq!(revocations.standing(&over), Standing::Ended, "{key}");
            assert_eq!(revocations.standing(&good), Standing::Good, "{key}");
        }
    }

    #[test]
    fn a_log_that_was_not_read_for_too_long_makes_nothing_good() {
        let (clock, _) = at_now();
        let bounded = Revocations::new(Some(Duration::from_secs(10)), Arc::new(clock.clone()));
        let unbounded = Revocations::new(None, Arc::new(clock.clone()));
        clock.advance(Duration::from_secs(10));
        assert_eq!(bounded.standing(&token("g", 999)), Standing::Good);
        clock.advance(Duration::from_secs(1));
        assert_eq!(bounded.standing(&token("g", 999)), Standing::Unknown);
        bounded.read(&[], clock.elapsed());
        clock.advance(Duration::from_secs(9));
        assert_eq!(bounded.standing(&token("g", 999)), Standing::Good, "and is good again by itself");
        clock.advance(Duration::from_secs(100_000));
        assert_eq!(unbounded.standing(&token("g", 999)), Standing::Good);
    }

    #[tokio::test]
    async fn who_waits_for_an_end_is_told() {
        let (clock, began) = at_now();
        let revocations = Revocations::new(None, Arc::new(clock));
        let token = token("g", 999);
        let waiting = revocations.until_over(&token);
        tokio::pin!(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        revocations.read(&[end("grant:other", 9_000)], began);
        assert!(futures_util::poll!(&mut waiting).is_pending(), "another's end is not this one's");
        revocations.read(&[end("grant:g", 9_000)], began);
        assert_eq!(waiting.await, Standing::Ended);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_an_end_is_told_when_nobody_knows_of_one() {
        let (clock, _) = at_now();
        let bound = Duration::from_secs(10);
        let revocations = Revocations::new(Some(bound), Arc::new(clock.clone()));
        let token = token("g", 999);
        let waiting = revocations.until_over(&token);
        tokio::pin!(waiting);
        // As long as the log is read in time, nothing ends.
        for _ in 0..5 {
            assert!(tokio::time::timeout(bound, &mut waiting).await.is_err());
            clock.advance(bound);
            revocations.read(&[], clock.elapsed());
        }
        clock.advance(bound + Duration::from_secs(1));
        assert_eq!(waiting.await, Standing::Unknown);
        let unbounded = Revocations::new(None, Arc::new(clock.clone()));
        clock.advance(bound * 1000);
        assert!(tokio::time::timeout(bound * 1000, unbounded.until_over(&token)).await.is_err(), "the control");
    }
}
