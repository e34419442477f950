//! Whether a server takes connections, told by the connections that were tried.
//!
//! Only connections count: what a server answers depends on what callers ask, and no caller may put a server out of
//! use for the others.

use std::sync::atomic::{AtomicU32, Ordering};

/// So many failed connections in a row, of calls and probes alike, put a replica out.
pub(super) const OUT_AFTER: u32 = 3;

/// The failed connections since the last good one.
#[derive(Debug, Default)]
pub(super) struct Health(AtomicU32);

impl Health {
    /// Whether it is in use.
    pub(super) fn is_up(&self) -> bool {
        self.0.load(Ordering::Relaxed) < OUT_AFTER
    }

    /// A connection was made; returns whether that brings it back.
    pub(super) fn connected(&self) -> bool {
        self.0.swap(0, Ordering::Relaxed) >= OUT_AFTER
    }

    /// No connection was made; returns whether that puts it out.
    pub(super) fn failed(&self) -> bool {
        let before = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |failures| failures.checked_add(1));
        before == Ok(OUT_AFTER - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_put_out_and_one_connection_brings_back() {
        let health = Health::default();
        assert!(!health.failed() && !health.failed() && !health.connected());
        assert!(!health.failed() && !health.failed() && health.is_up(), "they were not in a row");
        assert!(health.failed() && !health.is_up());
        assert!(!health.failed(), "it is out already");
        assert!(health.connected() && health.is_up());
    }
}
