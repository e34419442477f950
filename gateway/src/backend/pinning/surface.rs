//! The tools of a backend that exist for callers, in one immutable snapshot: what lists show and calls reach comes out
//! of the same one.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Change, LockFile, Mode, compare};
use crate::backend::catalogue::{Catalogue, Fingerprint, Tool};

/// One tool that differs from what was approved, and what is done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// The tool.
    pub tool: String,
    /// How it differs.
    pub change: Change,
    /// What is done.
    pub mode: Mode,
}

/// What there is of a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'s> {
    /// It exists; the policy says for whom.
    Exists,
    /// It is quarantined: for callers it does not exist.
    Quarantined(&'s Change),
    /// The backend has no such tool.
    Unknown,
}

#[derive(Debug)]
struct Admitted {
    fingerprint: Fingerprint,
    /// Whether it exists only as it is described here.
    as_described: bool,
}

/// The tools of one backend.
#[derive(Debug)]
pub struct Surface {
    serial: u64,
    tools: HashMap<String, Admitted>,
    quarantined: BTreeMap<String, Change>,
}

impl Surface {
    /// What exists of a catalogue. Without a lock file everything does; `mode` says what is done about a tool that
    /// differs from it.
    #[must_use]
    pub fn new(catalogue: &Catalogue, lock: Option<&LockFile>, mode: &dyn Fn(&str) -> Mode) -> (Self, Vec<Drift>) {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let serial = NEXT.fetch_add(1, Ordering::Relaxed);
        let findings = lock.map(|lock| compare(lock, catalogue)).unwrap_or_default();
        let drifts = findings.into_iter().map(|finding| {
            let mode = mode(&finding.tool);
            Drift { tool: finding.tool, change: finding.change, mode }
        });
        let drifts: Vec<Drift> = drifts.collect();
        let held = drifts.iter().filter(|drift| drift.mode == Mode::Quarantine && drift.change != Change::Gone);
        let quarantined: BTreeMap<_, _> = held.map(|drift| (drift.tool.clone(), drift.change.clone())).collect();
        let admit = |tool: &Tool| {
            let as_described = lock.is_some() && mode(tool.name()) == Mode::Quarantine;
            (tool.name().to_owned(), Admitted { fingerprint: *tool.fingerprint(), as_described })
        };
        let admitted = catalogue.tools().iter().filter(|tool| !quarantined.contains_key(tool.name())).map(admit);
        (Self { serial, tools: admitted.collect(), quarantined }, drifts)
    }

    /// A number that no other surface has: what was worked out with another one does not hold for this.
    #[must_use]
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// What there is of a tool.
    #[must_use]
    pub fn place(&self, name: &str) -> Place<'_> {
        if self.tools.contains_key(name) {
            return Place::Exists;
        }
        self.quarantined.get(name).map_or(Place::Unknown, Place::Quarantined)
    }

    /// Whether an item of a list exists, and whether it is as it is known. What is described otherwise than it was
    /// approved is not shown, although nobody has read the catalogue since.
    #[must_use]
    pub fn shows(&self, name: &str, item: &str) -> (bool, bool) {
        let Some(known) = self.tools.get(name) else { return (false, self.quarantined.contains_key(name)) };
        let as_known = Tool::parse(item).is_some_and(|tool| *tool.fingerprint() == known.fingerprint);
        (as_known || !known.as_described, as_known)
    }
}
