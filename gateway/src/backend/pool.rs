//! Idle connections to one backend, oldest first.
//!
//! First in, first out: the connection that has been idle longest is tried first, so a backend's silent close of the
//! one just released has had time to arrive. No task watches an idle connection; it is looked at when it is taken and
//! on every sweep. What is in the pool has carried whole exchanges only; nothing half-read comes here.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::Instant;

/// Idle connections, bounded in number and age.
#[derive(Debug)]
pub struct Pool<S> {
    idle: Mutex<VecDeque<(S, Instant)>>,
    capacity: usize,
    max_idle: Duration,
}

impl<S: AsyncRead + Unpin> Pool<S> {
    /// A pool of at most `capacity` connections, none of them idle for `max_idle` or longer.
    #[must_use]
    pub fn new(capacity: usize, max_idle: Duration) -> Self {
        Self { idle: Mutex::default(), capacity, max_idle }
    }

    /// A connection that is still open; the dead and the aged met on the way are closed.
    pub fn take(&self, now: Instant) -> Option<S> {
        loop {
            let (mut connection, since) = self.lock().pop_front()?;
            if self.is_fresh(since, now) && is_quiet(&mut connection) {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection for the next request, unless the backend has closed it or said something unasked.
    /// A full pool lets go of its oldest.
    pub fn put(&self, mut connection: S, now: Instant) {
        if !is_quiet(&mut connection) {
            return;
        }
        let mut idle = self.lock();
        if idle.len() >= self.capacity {
            idle.pop_front();
        }
        idle.push_back((connection, now));
    }

    /// Closes what is aged or dead. Call it every second: a socket that its backend closed is only let go of here.
    pub fn sweep(&self, now: Instant) {
        self.lock().retain_mut(|(connection, since)| self.is_fresh(*since, now) && is_quiet(connection));
    }

    /// How many connections are idle.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn is_fresh(&self, since: Instant, now: Instant) -> bool {
        now.saturating_duration_since(since) < self.max_idle
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<(S, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a read would wait: an idle connection on which something can be read was closed, or has bytes that belong
/// to no request.
fn is_quiet<S: AsyncRead + Unpin>(connection: &mut S) -> bool {
    let mut byte = [0; 1];
    // Outside the task budget: a read held back by it would look like quiet.
    let read = pin!(tokio::task::unconstrained(connection.read(&mut byte)));
    read.poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pair() -> (DuplexStream, DuplexStream) {
        duplex(64)
    }

    fn pool() -> Pool<DuplexStream> {
        Pool::new(2, 4 * SECOND)
    }

    /// Asks the far end which connection came out of the pool.
    async fn says(connection: &mut DuplexStream, far: &mut DuplexStream) -> bool {
        connection.write_all(b"x").await.unwrap();
        let mut byte = [0; 1];
        pin!(far.read(&mut byte)).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[tokio::test]
    async fn the_oldest_connection_goes_out_first() {
        let (pool, now) = (pool(), Instant::now());
        let ((first, mut first_far), (second, _second_far)) = (pair(), pair());
        pool.put(first, now);
        pool.put(second, now + SECOND);
        let mut taken = pool.take(now + 2 * SECOND).unwrap();
        assert!(says(&mut taken, &mut first_far).await);
        assert_eq!(pool.len(), 1);
    }

    #[tokio::test]
    async fn an_aged_connection_is_closed_not_used() {
        let (pool, now) = (pool(), Instant::now());
        let (connection, mut far) = pair();
        pool.put(connection, now);
        assert!(pool.take(now + 4 * SECOND).is_none());
        assert_eq!(far.read(&mut [0; 1]).await.unwrap(), 0, "the far end sees the close");
    }

    #[tokio::test]
    async fn a_connection_that_was_closed_or_spoke_unasked_is_not_used() {
        let (pool, now) = (pool(), Instant::now());
        let ((closed, far), (chatty, mut chatty_far)) = (pair(), pair());
        pool.put(closed, now);
        pool.put(chatty, now);
        drop(far);
        chatty_far.write_all(b"HTTP/1.1 200 OK").await.unwrap();
        assert!(pool.take(now).is_none());
        let (early, mut early_far) = pair();
        early_far.write_all(b"HTTP/1.1 200 OK").await.unwrap();
        pool.put(early, now);
        assert!(pool.is_empty());
    }

    #[tokio::test]
    async fn a_full_pool_lets_go_of_its_oldest() {
        let (pool, now) = (pool(), Instant::now());
        let mut ends: Vec<_> = (0..3).map(|_| pair()).map(|(near, far)| (pool.put(near, now), far).1).collect();
        assert_eq!(pool.len(), 2);
        assert_eq!(ends[0].read(&mut [0; 1]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_sweep_closes_the_dead_and_the_aged_and_keeps_the_rest() {
        let (pool, now) = (pool(), Instant::now());
        let ((aged, _aged_far), (kept, _kept_far)) = (pair(), pair());
        pool.put(aged, now);
        pool.put(kept, now + 2 * SECOND);
        pool.sweep(now + 5 * SECOND);
        assert_eq!(pool.len(), 1);
        assert!(pool.take(now + 5 * SECOND).is_some());
    }
}
