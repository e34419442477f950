//! Idle connections to one backend: first in, first out, bounded in number and age.
//!
//! First out is the one that was idle longest and is still young enough: if the backend has closed it, that has
//! arrived by now. A connection is looked at when it is taken, so that no task has to watch it.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use pingora_core::protocols::Stream;
use tokio::io::AsyncReadExt;

use crate::clock::Stopwatch;

/// Idle connections.
pub(super) struct Pool {
    idle: Mutex<VecDeque<(Stream, Stopwatch)>>,
    size: usize,
    max_idle: Duration,
}

impl Pool {
    pub(super) fn new(size: usize, max_idle: Duration) -> Self {
        Self { idle: Mutex::new(VecDeque::new()), size, max_idle }
    }

    pub(super) fn take(&self) -> Option<Stream> {
        loop {
            let (mut stream, since) = self.lock().pop_front()?;
            if since.elapsed() < self.max_idle && is_open(&mut stream) {
                return Some(stream);
            }
        }
    }
    pub(super) fn put(&self, stream: Stream) {
        let mut idle = self.lock();
        if idle.len() >= self.size {
            idle.pop_front();
        }
        idle.push_back((stream, Stopwatch::start()));
    }

    pub(super) fn sweep(&self) {
        let max_idle = self.max_idle;
        self.lock().retain_mut(|(stream, since)| since.elapsed() < max_idle && is_open(stream));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<(Stream, Stopwatch)>> {
        // Nothing is left half done under the lock, so a poisoned one is as good as any.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an idle connection is open and silent; one that says something unasked is as bad as a closed one.
fn is_open(stream: &mut Stream) -> bool {
    let mut byte = [0; 1];
    // Without the budget of the runtime, which would make a ready connection look pending.
    let mut read = std::pin::pin!(tokio::task::unconstrained(stream.read(&mut byte)));
    read.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending()
}
