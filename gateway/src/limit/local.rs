//! Counting in this process: GCRA (ITU-T I.371) in a table of fixed size.
//!
//! A key is hashed to a slot under a secret of this process, so that memory is bounded whatever is sent, nothing is ever
//! evicted, and nobody can choose whose slot they share. Two keys in one slot share its rate; with the sizes below that
//! is rare.

use std::fmt;
use std::hash::{BuildHasher, Hash};

use foldhash::quality::RandomState;
use governor::clock::{Clock, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed, StateStore};
use governor::{Quota, RateLimiter};

use super::TooOften;

/// Slots for callers: 8 bytes each.
pub const CALLERS: usize = 1 << 20;
/// Slots for the callers of one rate that roles give.
pub const MEMBERS: usize = 1 << 17;
/// Slots for addresses.
pub const ADDRESSES: usize = 1 << 17;

/// A limit for each of many keys.
pub struct Gcra<C: Clock = MonotonicClock> {
    limiter: RateLimiter<u64, Slots, C, NoOpMiddleware<C::Instant>>,
    slots: usize,
    clock: C,
    hasher: RandomState,
}

impl Gcra {
    /// A limit with this many slots.
    #[must_use]
    pub fn new(quota: impl Into<Quota>, slots: usize) -> Self {
        Self::with_clock(quota.into(), slots, MonotonicClock)
    }
}

impl<C: Clock + Clone> Gcra<C> {
    fn with_clock(quota: Quota, slots: usize, clock: C) -> Self {
        let table = Slots((0..slots.max(1)).map(|_| InMemoryState::default()).collect());
        let limiter = RateLimiter::new(quota, table, clock.clone());
        Self { limiter, slots, clock, hasher: RandomState::default() }
    }

    /// Counts one request under this key.
    ///
    /// # Errors
    ///
    /// Returns how long to wait; such a request is not counted.
    pub fn check(&self, key: &impl Hash) -> Result<(), TooOften> {
        let slot = self.hasher.hash_one(key);
        self.limiter.check_key(&slot).map_err(|not_until| TooOften(not_until.wait_time_from(self.clock.now())))
    }
}

impl<C: Clock> fmt::Debug for Gcra<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gcra({} slots)", self.slots)
    }
}

struct Slots(Box<[InMemoryState]>);

impl StateStore for Slots {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let place = usize::try_from(*key % self.0.len() as u64).unwrap_or_default();
        match self.0.get(place) {
            Some(state) => state.measure_and_replace(&NotKeyed::NonKey, f),
            // Cannot be: there is at least one slot. As for a key seen for the first time, were it otherwise.
            None => f(None).map(|(good, _)| good),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use governor::clock::FakeRelativeClock;

    use super::*;
    use crate::limit::Rate;

    fn limit(per_minute: u32, burst: u32) -> (Gcra<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        let of = |count| NonZeroU32::new(count).unwrap();
        let rate = Rate { per_minute: of(per_minute), burst: of(burst) };
        (Gcra::with_clock(rate.into(), 1024, clock.clone()), clock)
    }

    #[test]
    fn a_burst_is_good_at_once_and_then_the_rate_holds() {
        let (limit, clock) = limit(60, 3);
        clock.advance(Duration::from_secs(1));
        assert_eq!([(); 3].map(|()| limit.check(&"a").is_ok()), [true; 3]);
        let wait = limit.check(&"a").unwrap_err();
        assert_eq!(wait.seconds(), 1);
        clock.advance(Duration::from_secs(1));
        assert!(limit.check(&"a").is_ok());
        assert!(limit.check(&"a").is_err());
        clock.advance(Duration::from_secs(3600));
        assert_eq!((0..10).filter(|_| limit.check(&"a").is_ok()).count(), 3, "a pause saves up a burst and no more");
    }

    #[test]
    fn keys_are_counted_apart() {
        let (limit, clock) = limit(60, 1);
        clock.advance(Duration::from_secs(1));
        let good = (0..64).filter(|key| limit.check(key).is_ok()).count();
        assert!(good >= 58, "{good} of 64 keys had a slot of their own among 1024");
        assert!((0..64).all(|key| limit.check(&key).is_err()));
    }

    #[test]
    fn a_flood_of_keys_takes_no_memory_and_frees_nobody() {
        let (limit, clock) = limit(60, 1);
        clock.advance(Duration::from_secs(1));
        assert!(limit.check(&"the flooder").is_ok());
        for key in 0..100_000 {
            let _ = limit.check(&key);
        }
        assert!(limit.check(&"the flooder").is_err(), "nothing was evicted");
        assert_eq!(format!("{limit:?}"), "Gcra(1024 slots)");
    }
}
