//! What a budget is made of: an amount that all take from, and counts by key that bound what one of them takes.
//!
//! What does not fit is refused at once and counted; nothing waits here.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::IntCounter;

use crate::metrics::Metrics;

/// A budget has nothing left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Spent {
    /// Of the process.
    #[error("a budget of the whole process is spent; see `limits`")]
    Everybodys,
    /// Of one address or caller.
    #[error("a share of one address or caller is spent; see `limits`")]
    Their,
}

/// An amount that everybody takes from.
#[derive(Debug)]
pub(super) struct Pool {
    name: &'static str,
    limit: usize,
    used: AtomicUsize,
    refused: IntCounter,
}

impl Pool {
    pub(super) fn new(name: &'static str, limit: usize, metrics: &Metrics) -> Arc<Self> {
        let refused = metrics.budgets.refused.with_label_values(&[name]);
        Arc::new(Self { name, limit, used: AtomicUsize::new(0), refused })
    }

    fn take(&self, more: usize) -> Result<(), Spent> {
        let before = self.used.fetch_add(more, Ordering::Relaxed);
        if before.saturating_add(more) <= self.limit {
            return Ok(());
        }
        self.used.fetch_sub(more, Ordering::Relaxed);
        self.refused.inc();
        Err(Spent::Everybodys)
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Writes what is in use, and how much there is, to the metrics.
    pub(super) fn observe(&self, metrics: &Metrics) {
        let whole = |amount: usize| i64::try_from(amount).unwrap_or(i64::MAX);
        metrics.budgets.used.with_label_values(&[self.name]).set(whole(self.used.load(Ordering::Relaxed)));
        metrics.budgets.limit.with_label_values(&[self.name]).set(whole(self.limit));
    }
}

/// What was taken from a budget.
#[derive(Debug)]
pub struct Held {
    pool: Arc<Pool>,
    amount: usize,
}

impl Held {
    pub(super) fn one(pool: &Arc<Pool>) -> Result<Self, Spent> {
        pool.take(1)?;
        Ok(Self { pool: Arc::clone(pool), amount: 1 })
    }

    pub(super) fn nothing(pool: &Arc<Pool>) -> Self {
        Self { pool: Arc::clone(pool), amount: 0 }
    }

    /// Holds as much as this, and gives back or takes the difference.
    ///
    /// # Errors
    ///
    /// Returns [`Spent`] when there is not enough; what was held before is held still.
    pub fn resize(&mut self, amount: usize) -> Result<(), Spent> {
        match amount.checked_sub(self.amount) {
            Some(0) => {}
            Some(more) => self.pool.take(more)?,
            None => {
                self.pool.used.fetch_sub(self.amount - amount, Ordering::Relaxed);
            }
        }
        self.amount = amount;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.pool.used.fetch_sub(self.amount, Ordering::Relaxed);
    }
}

/// Counts by key, of which none goes beyond a limit; a key that holds nothing takes no memory.
///
/// Keys are kept as their hash under a secret of this process: nothing is copied, and nobody can choose with whom they
/// share.
#[derive(Debug)]
pub(super) struct Shares {
    limit: usize,
    hasher: RandomState,
    held: Mutex<HashMap<u64, usize>>,
    refused: IntCounter,
}

impl Shares {
    /// At least one of it is everybody's.
    pub(super) fn new(name: &'static str, limit: usize, metrics: &Metrics) -> Arc<Self> {
        let refused = metrics.budgets.refused.with_label_values(&[name]);
        Arc::new(Self { limit: limit.max(1), hasher: RandomState::new(), held: Mutex::default(), refused })
    }

    /// The share of this key, of which nothing is taken yet.
    pub(super) fn of(self: &Arc<Self>, key: &impl Hash) -> Share {
        Share { key: self.hasher.hash_one(key), of: Arc::clone(self), amount: 0 }
    }

    /// The share of this key, one of it taken.
    pub(super) fn take(self: &Arc<Self>, key: &impl Hash) -> Result<Share, Spent> {
        let mut share = self.of(key);
        share.resize(1)?;
        Ok(share)
    }

    /// How many keys hold something.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// What a key holds, beside others of the same key; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    of: Arc<Shares>,
    key: u64,
    amount: usize,
}

impl Share {
    /// Holds as much as this, and gives back or takes the difference; what was held is held still where that is refused.
    pub(super) fn resize(&mut self, amount: usize) -> Result<(), Spent> {
        if amount == self.amount {
            return Ok(());
        }
        let mut held = self.of.held.lock().unwrap_or_else(PoisonError::into_inner);
        let before = held.get(&self.key).copied().unwrap_or_default();
        let all = before.saturating_sub(self.amount).saturating_add(amount);
        if amount > self.amount && all > self.of.limit {
            self.of.refused.inc();
            return Err(Spent::Their);
        }
        if all == 0 {
            held.remove(&self.key);
        } else {
            held.insert(self.key, all);
        }
        self.amount = amount;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let _ = self.resize(0);
    }
}

/// Room for the bytes of a body: everybody's, and where somebody is to be held to a share of it, theirs.
#[derive(Debug)]
pub struct Room {
    of_all: Held,
    of_one: Option<Share>,
    /// A body of up to so many bytes does not count against the share.
    free: usize,
}

impl Room {
    pub(super) fn of(pool: &Arc<Pool>, of_one: Option<Share>, free: usize) -> Self {
        Self { of_all: Held::nothing(pool), of_one, free }
    }

    /// Counts against this share, too, from here on.
    pub(super) fn share(&mut self, of_one: Option<Share>) {
        self.of_one = of_one;
    }

    /// Holds as much as this.
    ///
    /// # Errors
    ///
    /// Returns [`Spent`] when there is not enough; what was held before is held still.
    pub fn resize(&mut self, amount: usize) -> Result<(), Spent> {
        if let Some(share) = &mut self.of_one {
            share.resize(if amount > self.free { amount } else { 0 })?;
        }
        self.of_all.resize(amount)
    }
}
