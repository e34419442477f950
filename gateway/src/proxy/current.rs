//! The door that counts now. A request goes all its way through one: policy, backends and limits of one configuration,
//! never a mix. Where another counts by the time that its body has come, or its place at the backend, it begins anew at
//! that one, with the body that is there. What was open under a door before is told when its time is over; and what
//! still comes in answer to a request goes by the rules of the door that counts by then.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use portcullis_policy::BackendName;

use super::exchange::{Exchange, Gone};
use super::listener::Handler;
use super::mount::Mount;
use super::{Door, Unserved, named};
use crate::audit::RequestId;

/// The door that counts now; cheap to clone.
#[derive(Clone)]
pub struct CurrentDoor(Arc<Inner>);

struct Inner {
    door: ArcSwap<Door>,
    /// Doors through which requests may still be on their way.
    before: Mutex<Vec<Weak<Door>>>,
}

/// What of a door's streams is over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Over {
    /// None of them.
    #[default]
    Nothing,
    /// Those of these backends, which are gone or others now.
    Backends(Vec<BackendName>),
    /// All: they were let in by a policy that no longer counts.
    Everything,
}

impl CurrentDoor {
    /// This door first.
    #[must_use]
    pub fn new(door: Door) -> Self {
        let door = Arc::new(door);
        door.counts();
        Self(Arc::new(Inner { door: ArcSwap::new(door), before: Mutex::default() }))
    }

    /// The door that counts now.
    #[must_use]
    pub fn get(&self) -> Arc<Door> {
        self.0.door.load_full()
    }

    /// Lets another door count from the next request on, and ends the streams of the doors before that are over.
    pub fn swap(&self, door: Door, over: &Over) {
        // Held over the swap: of two swaps, the later one must find the earlier one's door.
        let mut before = self.0.before.lock().unwrap_or_else(PoisonError::into_inner);
        let door = Arc::new(door);
        let mut over = over.clone();
        over.add(&door.differing(&self.0.door.load()));
        door.counts();
        let old = self.0.door.swap(door);
        before.push(Arc::downgrade(&old));
        before.retain(|door| door.upgrade().inspect(|door| door.end_streams(&over)).is_some());
    }
}

/// Where every door of a gateway finds the one that counts.
pub(super) type Latest = Arc<ArcSwap<Weak<Door>>>;

/// The door that counts at a moment; mostly the one that asks.
pub(super) enum Now<'d> {
    Same(&'d Door),
    Another(Arc<Door>),
}

impl Deref for Now<'_> {
    type Target = Door;

    fn deref(&self) -> &Door {
        match self {
            Self::Same(door) => door,
            Self::Another(door) => door,
        }
    }
}

impl Door {
    /// The door that counts now; itself where no other does.
    pub(super) fn now(&self) -> Now<'_> {
        let latest = self.latest.load();
        if std::ptr::eq(latest.as_ptr(), self) {
            return Now::Same(self);
        }
        latest.upgrade().map_or(Now::Same(self), Now::Another)
    }

    /// Whether another counts by now.
    pub(super) fn is_outdated(&self) -> bool {
        matches!(self.now(), Now::Another(_))
    }

    /// Lets this be the door that counts.
    fn counts(self: &Arc<Self>) {
        self.latest.store(Arc::new(Arc::downgrade(self)));
    }

    /// The backends that are served by other rules than `before`.
    fn differing(&self, before: &Self) -> Over {
        let is_same = |old: &Mount| self.mount(&old.name).is_some_and(|new| new.has_rules_of(old));
        let others = before.routes.mounts().iter().filter(|old| !is_same(old));
        let names: Vec<BackendName> = others.map(|old| old.name.clone()).collect();
        if names.is_empty() { Over::Nothing } else { Over::Backends(names) }
    }
}

impl Over {
    /// Whether a stream of this backend is over.
    pub(super) fn has(&self, backend: &BackendName) -> bool {
        match self {
            Self::Nothing => false,
            Self::Backends(names) => names.contains(backend),
            Self::Everything => true,
        }
    }

    /// This and more.
    pub(super) fn add(&mut self, more: &Self) {
        match (&mut *self, more) {
            (Self::Backends(names), Self::Backends(others)) => names.extend_from_slice(others),
            (Self::Everything, _) | (_, Self::Nothing) => {}
            (_, more) => *self = more.clone(),
        }
    }
}

#[async_trait]
impl Handler for CurrentDoor {
    async fn handle(&self, exchange: &mut Exchange) -> Result<(), Gone> {
        let id = RequestId::next();
        exchange.carry(named(id));
        let mut door = self.get();
        let lifecycle = Arc::clone(&door.lifecycle);
        let _inside = lifecycle.enter();
        // Each time round a reload has come in between, and the body is there from the first time on.
        loop {
            match door.pass(exchange, id).await {
                Ok(()) => return Ok(()),
                Err(Unserved::Gone) => return Err(Gone),
                Err(Unserved::Outdated) => exchange.begin_anew(),
            }
            door = self.get();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_stays_over() {
        let [a, b] = ["a", "b"].map(|name| BackendName::try_from(name).unwrap());
        let mut over = Over::Nothing;
        assert!(!over.has(&a));
        over.add(&Over::Backends(vec![a.clone()]));
        assert!(over.has(&a) && !over.has(&b));
        over.add(&Over::Nothing);
        over.add(&Over::Backends(vec![b.clone()]));
        assert!(over.has(&a) && over.has(&b));
        over.add(&Over::Everything);
        over.add(&Over::Backends(vec![a]));
        assert_eq!(over, Over::Everything);
    }
}
