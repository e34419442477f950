//! Whether a server is in use, told by the connections that were tried and by the gateway's own probes.
//!
//! What a server answers to callers does not count here: that depends on what they ask, and no caller may put a server
//! out of use for the others.

use std::sync::atomic::{AtomicU32, Ordering};

/// So many failed connections in a row, of calls and probes alike, put a replica out.
pub(super) const OUT_AFTER: u32 = 3;

/// The failures since the last success, of connections and of probes.
#[derive(Debug)]
pub(super) struct Health {
    connections: Row,
    probes: Row,
}

/// Failures in a row, and how many put a server out.
#[derive(Debug)]
struct Row {
    failures: AtomicU32,
    out_after: u32,
}

impl Health {
    /// So many probes that are answered badly in a row put the server out.
    pub(super) fn new(bad_probes: u32) -> Self {
        let row = |out_after: u32| Row { failures: AtomicU32::new(0), out_after: out_after.max(1) };
        Self { connections: row(OUT_AFTER), probes: row(bad_probes) }
    }

    /// Whether it takes connections.
    pub(super) fn takes_connections(&self) -> bool {
        self.connections.is_good()
    }

    /// Whether it answers probes well, as far as it is asked.
    pub(super) fn is_sound(&self) -> bool {
        self.probes.is_good()
    }

    /// A connection was made; returns whether that brings it back.
    pub(super) fn connected(&self) -> bool {
        self.connections.succeeded()
    }

    /// No connection was made; returns whether that puts it out.
    pub(super) fn failed(&self) -> bool {
        self.connections.failed()
    }

    /// A probe was answered well; returns whether that brings it back.
    pub(super) fn answered(&self) -> bool {
        self.probes.succeeded()
    }

    /// A probe was not answered, or badly; returns whether that puts it out.
    pub(super) fn answered_badly(&self) -> bool {
        self.probes.failed()
    }
}

impl Row {
    fn is_good(&self) -> bool {
        self.failures.load(Ordering::Relaxed) < self.out_after
    }

    fn succeeded(&self) -> bool {
        self.failures.swap(0, Ordering::Relaxed) >= self.out_after
    }

    fn failed(&self) -> bool {
        let before =
            self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |failures| failures.checked_add(1));
        before == Ok(self.out_after - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_put_out_and_one_connection_brings_back() {
        let health = Health::new(2);
        assert!(!health.failed() && !health.failed() && !health.connected());
        assert!(!health.failed() && !health.failed() && health.takes_connections(), "they were not in a row");
        assert!(health.failed() && !health.takes_connections());
        assert!(!health.failed(), "it is out already");
        assert!(health.connected() && health.takes_connections());
    }

    #[test]
    fn bad_answers_put_out_whatever_connections_say() {
        let health = Health::new(2);
        assert!(!health.answered_badly() && health.is_sound());
        assert!(health.answered_badly() && !health.is_sound());
        assert!(!health.connected() && !health.is_sound(), "a connection is no answer");
        assert!(health.answered() && health.is_sound());
    }
}
