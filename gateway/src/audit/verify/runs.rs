//! The runs of a trail while it is read, and how far each is vouched for.
//!
//! A run is vouched for by its own signatures, up to the last, and by a signed run that found it there when it began
//! (`after`), up to the line that it found. The second is worth less: lines could be put in between the end of the one
//! and the start of the other. So it counts for no more than what a gateway that was killed leaves unsigned, and, once
//! gateways sign their first line at once, for no run without a signature of its own.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::super::chain::Head;

/// A start names the last line that it found there, and others may have been written until it was there itself: no more
/// than this in the moment that it takes, on the busiest gateways. Behind that it names the end of a run, or nothing.
const RECENT: usize = 64 * 1024;
/// A gateway signs after a minute and after ten thousand lines, whichever is first; this is more than both by all
/// that a burst or a busy machine may add.
const SIGNED_WITHIN: Duration = Duration::from_mins(5);
const SIGNED_LINES: u64 = 20_000;

/// Lines that nothing but the chain vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unvouched {
    /// Their run.
    pub instance: String,
    /// The first of them.
    pub from: u64,
    /// How many.
    pub lines: u64,
    /// What is the matter with them.
    pub why: Why,
}

/// Why lines are not vouched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// They are the last of their run, and no more than a gateway leaves unsigned.
    Recent,
    /// They are the last of their run, and a gateway would have signed them: it signs once a minute.
    Overdue,
    /// Their run has no signature.
    NoSignature,
}

/// A run, as far as it was read.
#[derive(Debug)]
struct Run {
    first: u64,
    /// Its last line. A quiet run goes on after any number of others, so that none is forgotten.
    last: Head,
    /// Up to where its own signatures reach.
    signed: u64,
    /// The times of the first and of the latest line behind that, if there is one.
    behind: Option<(f64, f64)>,
    /// The line of another run that stood there when it began.
    after: Option<Head>,
    /// Whether another began before it that signed its first line at once.
    signs_at_once: bool,
}

/// What the lines that come are held against. While one process takes over from another, both write.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The last lines, whosever.
    recent: VecDeque<Head>,
    /// Every run, by its name; and the names in the order in which the runs began.
    runs: BTreeMap<String, Run>,
    order: Vec<String>,
    /// Every run whose first line was there.
    begun: BTreeSet<String>,
    /// Whether a run signed its first line at once.
    signs_at_once: bool,
    /// The last line, by its number, when it was none; and whether it was ended.
    pub(super) broken: Option<(u64, bool)>,
}

impl Seen {
    pub(super) fn last_of(&self, instance: &str) -> Option<&Head> {
        self.runs.get(instance).map(|run| &run.last)
    }

    /// The last line of all.
    pub(super) fn newest(&self) -> Option<&Head> {
        self.recent.back()
    }

    /// Whether a start can have found this line there as the last one: it is the last of its run by now, or was
    /// written a moment ago.
    pub(super) fn can_be_found(&self, head: &Head) -> bool {
        self.last_of(&head.instance) == Some(head) || self.recent.contains(head)
    }

    pub(super) fn has_begun(&self, instance: &str) -> bool {
        self.begun.contains(instance)
    }

    /// A line of this time; `after` is what it says to stand behind, and does.
    pub(super) fn add(&mut self, head: Head, time: f64, after: Option<Head>) {
        if head.number == 1 {
            self.begun.insert(head.instance.clone());
        }
        let run = self.runs.entry(head.instance.clone()).or_insert_with(|| {
            self.order.push(head.instance.clone());
            let (first, last) = (head.number, head.clone());
            Run { first, last, signed: 0, behind: None, after: None, signs_at_once: self.signs_at_once }
        });
        run.last.clone_from(&head);
        let (first, latest) = run.behind.unwrap_or((time, time));
        run.behind = Some((first, latest.max(time)));
        run.after = after.or(run.after.take());
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(head);
    }

    /// The signature of the checkpoint that was added last is the gateway's.
    pub(super) fn sign(&mut self, checkpoint: &Head) {
        self.signs_at_once |= checkpoint.number == 2;
        if let Some(run) = self.runs.get_mut(&checkpoint.instance) {
            (run.signed, run.behind) = (checkpoint.number, None);
        }
    }

    /// The lines that nothing vouches for; and how many runs have no voucher but the one after them.
    pub(super) fn unvouched(&self) -> (Vec<Unvouched>, u64) {
        let mut found: BTreeMap<&str, u64> = BTreeMap::new();
        // The later vouches for the earlier, so the later comes first.
        for name in self.order.iter().rev() {
            let Some(run) = self.runs.get(name) else { continue };
            let vouched = run.signed.max(found.get(name.as_str()).copied().unwrap_or(0));
            if let Some(after) = run.after.as_ref().filter(|_| vouched > 0) {
                let line = found.entry(&after.instance).or_default();
                *line = (*line).max(after.number);
            }
        }
        let mut unvouched = Vec::new();
        let mut only_found = 0;
        for name in &self.order {
            let Some(run) = self.runs.get(name) else { continue };
            let by_next = found.get(name.as_str()).copied().unwrap_or(0);
            match run.judge(by_next) {
                Some((from, why)) => {
                    unvouched.push(Unvouched { instance: name.clone(), from, lines: run.last.number + 1 - from, why });
                }
                None => only_found += u64::from(run.signed == 0),
            }
        }
        (unvouched, only_found)
    }
}

impl Run {
    /// From which line on nothing vouches for it, and why, when the next run found it up to `by_next`.
    fn judge(&self, by_next: u64) -> Option<(u64, Why)> {
        let (unsigned, last) = (self.first.max(self.signed + 1), self.last.number);
        if last < unsigned {
            return None;
        }
        // One line says nothing but that a run began.
        if self.signed == 0 && (by_next == 0 || self.signs_at_once && last > self.first) {
            return Some((unsigned, Why::NoSignature));
        }
        let lasted = self.behind.map_or(0.0, |(first, latest)| latest - first);
        let is_overdue = last + 1 - unsigned > SIGNED_LINES || lasted > SIGNED_WITHIN.as_secs_f64();
        if is_overdue {
            return Some((unsigned, Why::Overdue));
        }
        (by_next < last).then(|| (unsigned.max(by_next + 1), Why::Recent))
    }
}
