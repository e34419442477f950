//! The runs of a trail while it is read, and how far each is vouched for.
//!
//! A run is vouched for by its own signatures, up to the last, and by a signed run that found it there when it began
//! (`after`), up to the line that it found. The second is worth less: lines could be put in or taken out between the end
//! of the one and the start of the other, so that they are found, and not signed. It counts for no more than what a
//! gateway that was killed leaves unsigned, and, once gateways sign their first line at once, for no run without a
//! signature of its own.

use std::collections::{BTreeMap, VecDeque};
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
    /// They are the last of their run, no more than a gateway leaves unsigned, and another run found them there when it
    /// began.
    Found,
    /// As that, and no run found them; but others have begun since, or have gone on for longer than a gateway takes to sign.
    Left,
}

/// What is no line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Broken {
    /// Its number in the file.
    pub(super) line: u64,
    /// Whether a line break follows.
    pub(super) is_ended: bool,
    /// Whether it is whole JSON, and so not cut short.
    pub(super) is_whole: bool,
}

/// Where the numbers of a run leap.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hole {
    /// The line behind it, by its number in the file.
    pub(super) line: u64,
    /// How many are not there.
    pub(super) missing: u64,
    /// What is wrong, if nothing says why.
    pub(super) what: &'static str,
}

/// How far a run is from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It goes on, or was killed.
    Going,
    /// It has stopped, and a signature may follow.
    Stopped,
    /// That, too, is there.
    Closed,
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
    stage: Stage,
    /// Lines that are missing, as long as nothing says why.
    hole: Option<Hole>,
}

/// What the lines that come are held against. While one process takes over from another, both write.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The last lines, whosever.
    recent: VecDeque<Head>,
    /// Every run, by its name; and the names in the order in which the runs began.
    runs: BTreeMap<String, Run>,
    order: Vec<String>,
    /// Whether a run signed its first line at once.
    signs_at_once: bool,
    /// The latest time that the gateway gave a line of its own.
    latest: f64,
    /// The last line, when it was none.
    pub(super) broken: Option<Broken>,
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

    /// Whether the run of the newest line can have written another.
    pub(super) fn newest_goes_on(&self) -> bool {
        let newest = self.newest().and_then(|newest| self.runs.get(&newest.instance));
        newest.is_none_or(|run| run.stage != Stage::Closed)
    }

    /// Whether the run can go on with such a line.
    pub(super) fn goes_on(&self, instance: &str, kind: &str) -> bool {
        match self.runs.get(instance).map(|run| run.stage) {
            None | Some(Stage::Going) => true,
            Some(Stage::Stopped) => kind == "audit.checkpoint",
            Some(Stage::Closed) => false,
        }
    }

    /// Whether one of the gateway's own lines is later than this time by more than so many seconds.
    pub(super) fn is_long_after(&self, time: f64, seconds: f64) -> bool {
        self.latest > time + seconds
    }

    /// Lines of a run are missing; what was missing before, and is not accounted for.
    pub(super) fn open_hole(&mut self, instance: &str, hole: Hole) -> Option<Hole> {
        self.runs.get_mut(instance)?.hole.replace(hole)
    }

    /// Whether a run has begun in what was read.
    pub(super) fn has_begun(&self) -> bool {
        self.runs.values().any(|run| run.first == 1)
    }

    /// What is missing of a run that was there before, and not accounted for.
    pub(super) fn hole(&mut self, instance: &str) -> Option<&mut Option<Hole>> {
        self.runs.get_mut(instance).map(|run| &mut run.hole)
    }

    /// The holes that are left.
    pub(super) fn holes(&self) -> Vec<Hole> {
        self.runs.values().filter_map(|run| run.hole).collect()
    }

    /// How many runs have not stopped.
    pub(super) fn unended(&self) -> u64 {
        self.runs.values().map(|run| u64::from(run.stage == Stage::Going)).sum()
    }

    /// The last line of each run.
    pub(super) fn ends(&self) -> Vec<Head> {
        self.order.iter().filter_map(|name| Some(self.runs.get(name)?.last.clone())).collect()
    }

    /// A line of this kind and time; `after` is what it says to stand behind, and does.
    pub(super) fn add(&mut self, head: Head, kind: &str, time: f64, after: Option<Head>) {
        let run = self.runs.entry(head.instance.clone()).or_insert_with(|| {
            self.order.push(head.instance.clone());
            Run::new(head.clone(), self.signs_at_once)
        });
        run.last.clone_from(&head);
        run.stage = match (run.stage, kind) {
            (Stage::Going, "audit.stopped") => Stage::Stopped,
            (Stage::Stopped, "audit.checkpoint") => Stage::Closed,
            (stage, _) => stage,
        };
        let (first, latest) = run.behind.unwrap_or((time, time));
        run.behind = Some((first, latest.max(time)));
        run.after = after.or(run.after.take());
        if kind.starts_with("audit.") {
            self.latest = self.latest.max(time);
        }
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

    /// The lines that nothing vouches for, or nothing but a later run that found them.
    pub(super) fn unvouched(&self) -> Vec<Unvouched> {
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
        let of = |name: &String| {
            let run = self.runs.get(name)?;
            let (from, why) = run.judge(found.get(name.as_str()).copied().unwrap_or(0), self.latest)?;
            Some(Unvouched { instance: name.clone(), from, lines: run.last.number + 1 - from, why })
        };
        self.order.iter().filter_map(of).collect()
    }
}

impl Run {
    fn new(head: Head, signs_at_once: bool) -> Self {
        let (first, stage) = (head.number, Stage::Going);
        Self { first, last: head, signed: 0, behind: None, after: None, signs_at_once, stage, hole: None }
    }

    /// From which line on nothing vouches for it, and why, when a later run found it up to `by_next`, and `latest` is the
    /// time of the last line of all that the gateway wrote of itself.
    fn judge(&self, by_next: u64, latest: f64) -> Option<(u64, Why)> {
        let (unsigned, last) = (self.first.max(self.signed + 1), self.last.number);
        if last < unsigned {
            return None;
        }
        // A start by itself says nothing but that a run began; one that begins inside has been there long enough.
        let is_begun = self.signs_at_once && last > self.first || self.first > 1;
        let (begun, ended) = self.behind.unwrap_or_default();
        let lasted = ended - begun;
        let is_over = by_next > self.signed || latest - ended > SIGNED_WITHIN.as_secs_f64();
        let is_overdue = last + 1 - unsigned > SIGNED_LINES || lasted > SIGNED_WITHIN.as_secs_f64();
        let why = if self.signed == 0 && (by_next == 0 || is_begun) {
            Why::NoSignature
        } else if is_overdue {
            Why::Overdue
        } else if by_next >= last {
            Why::Found
        } else if is_over {
            Why::Left
        } else {
            Why::Recent
        };
        Some((unsigned, why))
    }
}
