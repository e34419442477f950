//! How many requests wait for one backend's answers at once, and how many more wait to be among them.
//!
//! Each backend has a gate of its own: one that is slow fills its own and nobody else's. Streams that only wait for
//! news do not count.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// When to come again: about as long as a queue takes that is moving.
const COME_AGAIN: Duration = Duration::from_secs(1);

/// Lets a bounded number in.
#[derive(Debug)]
pub(super) struct Gate {
    inside: Arc<Semaphore>,
    size: usize,
    queued: AtomicUsize,
    max_queued: usize,
    patience: Duration,
}

/// A place inside, until it is dropped.
#[derive(Debug)]
pub struct Slot(#[allow(dead_code, reason = "held for what dropping it does")] OwnedSemaphorePermit);

/// A place in the queue, until it is dropped.
struct Queued<'g>(&'g AtomicUsize);

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gate {
    /// Lets `size` in at once; `max_queued` more wait, each for `patience` at most.
    pub(super) fn new(size: usize, max_queued: usize, patience: Duration) -> Self {
        let size = size.clamp(1, Semaphore::MAX_PERMITS);
        Self { inside: Arc::new(Semaphore::new(size)), size, queued: AtomicUsize::new(0), max_queued, patience }
    }

    /// How many are inside.
    pub(super) fn inside(&self) -> usize {
        self.size.saturating_sub(self.inside.available_permits())
    }

    /// A place inside, at once or after a short wait; when to come again if there is none.
    pub(super) async fn enter(&self) -> Result<Slot, Duration> {
        if let Ok(permit) = Arc::clone(&self.inside).try_acquire_owned() {
            return Ok(Slot(permit));
        }
        let before = self.queued.fetch_add(1, Ordering::Relaxed);
        let _queued = Queued(&self.queued);
        if before >= self.max_queued {
            return Err(COME_AGAIN);
        }
        match tokio::time::timeout(self.patience, Arc::clone(&self.inside).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Slot(permit)),
            _ => Err(COME_AGAIN),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn so_many_are_let_in_a_few_wait_and_the_rest_is_turned_away_at_once() {
        let gate = Gate::new(2, 1, Duration::from_secs(2));
        let (one, two) = (gate.enter().await.unwrap(), gate.enter().await.unwrap());
        assert_eq!(gate.inside(), 2);
        let mut third = pin!(gate.enter());
        let mut context = Context::from_waker(Waker::noop());
        assert!(third.as_mut().poll(&mut context).is_pending(), "it waits");
        assert_eq!(gate.enter().await.unwrap_err(), COME_AGAIN);
        drop(one);
        let three = third.await.unwrap();
        assert_eq!(gate.enter().await.unwrap_err(), COME_AGAIN, "it waited in vain");
        drop((two, three));
        assert_eq!((gate.inside(), gate.queued.load(Ordering::Relaxed)), (0, 0));
        gate.enter().await.unwrap();
    }
}
