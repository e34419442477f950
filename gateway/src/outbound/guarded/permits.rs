//! How many documents are fetched at a time: in all, and from one host.
//!
//! Anybody can name any number of URLs of a host that is trusted. What they cause waits in line at that host, and takes
//! nothing from the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Fetches at a time.
const IN_ALL: usize = 32;
/// Fetches at a time from one host.
const PER_HOST: usize = 4;
/// A person waits as long as this for a turn, and is told to come back then.
const PATIENCE: Duration = Duration::from_secs(3);
/// Hosts that are remembered while nothing is fetched from them.
const IDLE_HOSTS: usize = 64;

/// The turns.
#[derive(Debug)]
pub(super) struct Permits {
    all: Arc<Semaphore>,
    hosts: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// A turn, until it is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    _of_host: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Permits {
    pub(super) fn new() -> Self {
        Self { all: Arc::new(Semaphore::new(IN_ALL)), hosts: Mutex::default() }
    }

    /// A turn to fetch from this host, in the order of asking; none when there is none in time.
    pub(super) async fn take(&self, host: &str) -> Option<Permit> {
        let of_host = self.of_host(host);
        let taking = async {
            // The host's first: who waits for it holds up nobody else.
            let of_host = of_host.acquire_owned().await.ok()?;
            let of_all = Arc::clone(&self.all).acquire_owned().await.ok()?;
            Some(Permit { _of_host: of_host, _of_all: of_all })
        };
        tokio::time::timeout(PATIENCE, taking).await.ok().flatten()
    }

    fn of_host(&self, host: &str) -> Arc<Semaphore> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.len() >= IDLE_HOSTS && !hosts.contains_key(host) {
            // Whoever has a turn or waits for one holds the host's semaphore, too.
            hosts.retain(|_, turns| Arc::strong_count(turns) > 1);
        }
        Arc::clone(hosts.entry(host.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(PER_HOST))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_host_that_is_asked_for_everything_holds_up_no_other() {
        let permits = Permits::new();
        let mut taken = Vec::new();
        for _ in 0..PER_HOST {
            taken.push(permits.take("a.example").await.expect("a turn"));
        }
        assert!(permits.take("a.example").await.is_none(), "there is a bound");
        for number in 0..IN_ALL - PER_HOST {
            let host = format!("{}.example", number / PER_HOST);
            taken.push(permits.take(&host).await.unwrap_or_else(|| panic!("a turn at {host}")));
        }
        assert!(permits.take("b.example").await.is_none(), "and one in all");
        taken.clear();
        assert!(permits.take("a.example").await.is_some(), "what was given back can be had");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_gets_the_next_turn() {
        let permits = Permits::new();
        let mut taken = Vec::new();
        for _ in 0..PER_HOST {
            taken.push(permits.take("a.example").await.expect("a turn"));
        }
        let waiting = permits.take("a.example");
        tokio::pin!(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        taken.pop();
        assert!(waiting.await.is_some());
    }

    #[tokio::test]
    async fn hosts_are_forgotten_but_for_those_in_use() {
        let permits = Permits::new();
        let used = permits.take("used.example").await;
        for number in 0..10 * IDLE_HOSTS {
            drop(permits.take(&format!("{number}.example")).await);
        }
        let hosts = permits.hosts.lock().unwrap();
        assert!(hosts.len() <= IDLE_HOSTS && hosts.contains_key("used.example"), "{}", hosts.len());
        drop((hosts, used));
    }
}
