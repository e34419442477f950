//! How many requests wait for one backend's answers at once, and how many more wait to be among them.
//!
//! Each backend has a gate of its own: one that is slow fills its own and nobody else's. Streams that only wait for
//! news do not count.
//!
//! INVARIANT: nobody gets more places than are free at that moment, so that one caller who takes all they can leaves half,
//! two of them a third, and whoever has none gets the next. The same holds for places in the queue.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hash};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

/// When to come again: about as long as a queue takes that is moving.
const COME_AGAIN: Duration = Duration::from_secs(1);

/// Lets a bounded number in.
#[derive(Debug)]
pub struct Gate {
    places: Arc<Places>,
    size: usize,
    max_queued: usize,
    patience: Duration,
    hasher: RandomState,
}

/// There is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// For anybody; when to come again.
    ForAll(Duration),
    /// For this caller, who has as many as are free; when to come again.
    ForOne(Duration),
}

/// A place inside, until it is dropped.
#[derive(Debug)]
pub struct Slot {
    of: Arc<Places>,
    caller: u64,
}

#[derive(Debug)]
struct Places(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    free: usize,
    /// How many each caller has who has some.
    held: HashMap<u64, usize>,
    queue: VecDeque<Waiting>,
    next: u64,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    caller: u64,
    tell: oneshot::Sender<Slot>,
}

/// A place in the queue, until it is dropped.
struct Queued<'g> {
    of: &'g Places,
    number: u64,
}

impl Gate {
    /// Lets `size` in at once; `max_queued` more wait, each for `patience` at most.
    pub(super) fn new(size: usize, max_queued: usize, patience: Duration) -> Self {
        let size = size.max(1);
        let places = Arc::new(Places(Mutex::new(State { free: size, ..State::default() })));
        Self { places, size, max_queued, patience, hasher: RandomState::new() }
    }

    /// How many are inside.
    pub(super) fn inside(&self) -> usize {
        self.size.saturating_sub(self.places.lock().free)
    }

    /// A place inside for this caller, at once or after a short wait.
    ///
    /// # Errors
    ///
    /// Returns [`Full`], at once when too many wait already, or after a short wait in vain.
    pub async fn enter(&self, caller: &impl Hash) -> Result<Slot, Full> {
        let caller = self.hasher.hash_one(caller);
        let (number, told) = {
            let mut state = self.places.lock();
            if state.take(caller) {
                return Ok(Slot { of: Arc::clone(&self.places), caller });
            }
            state.enqueue(caller, self.max_queued)?
        };
        let _queued = Queued { of: &self.places, number };
        match tokio::time::timeout(self.patience, told).await {
            Ok(Ok(slot)) => Ok(slot),
            _ => Err(self.places.lock().full_for(caller)),
        }
    }
}

impl Places {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has(&self, caller: u64) -> usize {
        self.held.get(&caller).copied().unwrap_or_default()
    }

    fn take(&mut self, caller: u64) -> bool {
        if self.has(caller) >= self.free {
            return false;
        }
        self.free -= 1;
        *self.held.entry(caller).or_default() += 1;
        true
    }

    fn give_back(&mut self, caller: u64) {
        self.free += 1;
        if let Some(held) = self.held.get_mut(&caller) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(&caller);
            }
        }
    }

    fn enqueue(&mut self, caller: u64, most: usize) -> Result<(u64, oneshot::Receiver<Slot>), Full> {
        let free = most.saturating_sub(self.queue.len());
        if self.queue.iter().filter(|waiting| waiting.caller == caller).count() >= free {
            return Err(if free == 0 { self.full_for(caller) } else { Full::ForOne(COME_AGAIN) });
        }
        let (tell, told) = oneshot::channel();
        self.next += 1;
        self.queue.push_back(Waiting { number: self.next, caller, tell });
        Ok((self.next, told))
    }

    /// Whose fault it is that there is no place.
    fn full_for(&self, caller: u64) -> Full {
        if self.free > 0 && self.has(caller) >= self.free { Full::ForOne(COME_AGAIN) } else { Full::ForAll(COME_AGAIN) }
    }

    /// The first in the queue who may have a place now, and has it from here on.
    fn admit(&mut self) -> Option<Waiting> {
        let first = self.queue.iter().position(|waiting| self.has(waiting.caller) < self.free)?;
        let waiting = self.queue.remove(first)?;
        self.take(waiting.caller).then_some(waiting)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.of.lock().give_back(self.caller);
        loop {
            // Told outside of the lock: the place of somebody who has just left comes back through here.
            let admitted = self.of.lock().admit();
            let Some(Waiting { caller, tell, .. }) = admitted else { return };
            let _left = tell.send(Self { of: Arc::clone(&self.of), caller });
        }
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.of.lock().queue.retain(|waiting| waiting.number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    /// Free places, how many wait, how many hold some.
    fn left(gate: &Gate) -> (usize, usize, usize) {
        let state = gate.places.lock();
        (state.free, state.queue.len(), state.held.len())
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_are_let_in_a_few_wait_and_the_rest_is_turned_away_at_once() {
        let gate = Gate::new(2, 1, Duration::from_secs(2));
        let (one, two) = (gate.enter(&1).await.unwrap(), gate.enter(&2).await.unwrap());
        assert_eq!(gate.inside(), 2);
        let mut third = pin!(gate.enter(&3));
        let mut context = Context::from_waker(Waker::noop());
        assert!(third.as_mut().poll(&mut context).is_pending(), "it waits");
        assert_eq!(gate.enter(&4).await.unwrap_err(), Full::ForAll(COME_AGAIN));
        drop(one);
        let three = third.await.unwrap();
        assert_eq!(gate.enter(&4).await.unwrap_err(), Full::ForAll(COME_AGAIN), "it waited in vain");
        drop((two, three));
        assert_eq!(left(&gate), (2, 0, 0), "all is given back");
        gate.enter(&1).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn one_caller_has_no_more_than_are_free_and_whoever_has_none_gets_the_next() {
        let gate = Gate::new(8, 0, Duration::from_secs(2));
        let mut held = Vec::new();
        for (caller, gets) in [("alice", 4), ("bob", 2), ("carol", 1), ("dave", 1)] {
            for _ in 0..gets {
                held.push(gate.enter(&caller).await.unwrap());
            }
            let full = if caller == "dave" { Full::ForAll(COME_AGAIN) } else { Full::ForOne(COME_AGAIN) };
            assert_eq!(gate.enter(&caller).await.unwrap_err(), full, "{caller}");
        }
        held.remove(0);
        assert_eq!(gate.enter(&"alice").await.unwrap_err(), Full::ForOne(COME_AGAIN));
        gate.enter(&"erin").await.unwrap();
        for size in 1..=3 {
            let gate = Gate::new(size, 0, Duration::ZERO);
            let _alone = gate.enter(&"alice").await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_place_of_their_own_holds_up_nobody() {
        let gate = Gate::new(2, 4, Duration::from_secs(2));
        let first = gate.enter(&"alice").await.unwrap();
        let mut context = Context::from_waker(Waker::noop());
        let mut second = pin!(gate.enter(&"alice"));
        let mut third = pin!(gate.enter(&"alice"));
        assert!(second.as_mut().poll(&mut context).is_pending() && third.as_mut().poll(&mut context).is_pending());
        assert_eq!(
            gate.enter(&"alice").await.unwrap_err(),
            Full::ForOne(COME_AGAIN),
            "half of the queue is not alice's"
        );
        let bob = gate.enter(&"bob").await.unwrap();
        let mut bobs = pin!(gate.enter(&"bob"));
        assert!(bobs.as_mut().poll(&mut context).is_pending());
        drop(first);
        let second = second.await.unwrap();
        drop((bob, second));
        let (third, bobs) = (third.await.unwrap(), bobs.await.unwrap());
        drop((third, bobs));
        assert_eq!(gate.inside(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_place_of_who_left_the_queue_goes_to_the_next() {
        let gate = Gate::new(1, 4, Duration::from_secs(60));
        let only = gate.enter(&1).await.unwrap();
        let mut context = Context::from_waker(Waker::noop());
        let mut left = Box::pin(gate.enter(&2));
        let mut next = Box::pin(gate.enter(&3));
        assert!(left.as_mut().poll(&mut context).is_pending() && next.as_mut().poll(&mut context).is_pending());
        // It is given the place, and never looks.
        drop(only);
        drop(left);
        let next = next.await.unwrap();
        assert_eq!(gate.inside(), 1);
        drop(next);
        assert_eq!(gate.inside(), 0);
    }
}
