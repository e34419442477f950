//! The disks that the gateway writes to, and how much room they have: a full one ends sign-ins, and calls where the audit
//! trail is on it.

use std::path::PathBuf;

use super::directory_of;
use crate::audit::Destination;
use crate::config::Config;
use crate::metrics::Metrics;

/// Directories, by what is in them.
#[derive(Debug)]
pub(super) struct Disks(Vec<(&'static str, PathBuf)>);

impl Disks {
    /// Those of this configuration. What is changed of it wants a restart.
    pub(super) fn of(config: &Config) -> Self {
        let mut all = vec![("state", config.state.directory.clone())];
        all.extend(config.audit.destinations.iter().filter_map(|to| match to {
            Destination::File { path, .. } | Destination::Sqlite { path, .. } => Some((to.label(), directory_of(path))),
            Destination::Stdout(_) | Destination::Postgres { .. } | Destination::Otlp(_) => None,
        }));
        Self(all)
    }

    /// Sets the series; of a disk that says nothing they stay as they are.
    pub(super) fn observe(&self, metrics: &Metrics) {
        for (place, directory) in &self.0 {
            if let Ok(found) = rustix::fs::statvfs(directory) {
                let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
                metrics.disks.observe(place, bytes(found.f_bavail), bytes(found.f_blocks));
            }
        }
    }
}
