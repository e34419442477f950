//! What a budget is made of: an amount that all take from, and counts by key that bound what one of them takes.
//!
//! What does not fit is refused at once and counted; nothing waits here.

use std::collections::HashMap;
use std::hash::Hash;
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

/// Counts by key; a key that holds nothing takes no memory.
#[derive(Debug)]
pub(super) struct Shares<K> {
    limit: usize,
    held: Mutex<HashMap<K, usize>>,
    refused: IntCounter,
}

impl<K: Clone + Eq + Hash> Shares<K> {
    pub(super) fn new(name: &'static str, limit: usize, metrics: &Metrics) -> Arc<Self> {
        let refused = metrics.budgets.refused.with_label_values(&[name]);
        Arc::new(Self { limit, held: Mutex::default(), refused })
    }

    pub(super) fn take(self: &Arc<Self>, key: K) -> Result<Share<K>, Spent> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.entry(key.clone()).or_default();
        // A key that is new holds nothing and is below any limit, so that no empty entry stays.
        if *count >= self.limit.max(1) {
            self.refused.inc();
            return Err(Spent::Their);
        }
        *count += 1;
        drop(held);
        Ok(Share { of: Arc::clone(self), key })
    }

    /// How many keys hold something.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// What one key holds, until it is dropped.
#[derive(Debug)]
pub(super) struct Share<K: Eq + Hash> {
    of: Arc<Shares<K>>,
    key: K,
}

impl<K: Eq + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        let mut held = self.of.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.key);
            }
        }
    }
}
