//! A place of the trail that is open, and what it has missed where lines may be lost.
//!
//! It is told of all that it has missed in the first line that it takes again. Until it takes one, that line is missed, too.

use std::time::Duration;

use super::OnFailure;
use super::sink::Sink;
use crate::clock::Stopwatch;

/// A place that failed is tried again after so long.
pub(super) const RETRY: Duration = Duration::from_millis(250);
/// Where lines are lost meanwhile, twice as long after each failure, and no longer than this: each try is a line in the
/// places that work.
const LONGEST_RETRY: Duration = Duration::from_secs(8);

/// What a place has missed, as it is to be told.
pub(super) struct Missed {
    pub(super) label: &'static str,
    pub(super) lost: u64,
    pub(super) unheard: u64,
}

/// A place, and what it has missed.
pub(super) struct Place {
    /// Its label in metrics and logs.
    pub(super) label: &'static str,
    pub(super) sink: Box<dyn Sink>,
    /// Whether it did not take what it was given last.
    pub(super) failing: bool,
    /// Whether it is given the lines that are in hand.
    pub(super) is_tried: bool,
    /// Lines that it has missed since it last took some.
    lost: u64,
    /// Events that the queue had not taken, as those lines said.
    unheard: u64,
    /// It failed then, and is tried again after so long.
    retry: Option<(Stopwatch, Duration)>,
}

impl Place {
    pub(super) fn new(label: &'static str, sink: Box<dyn Sink>) -> Self {
        Self { label, sink, failing: false, is_tried: true, lost: 0, unheard: 0, retry: None }
    }

    /// Settles whether it is given the next lines, and what it has to be told first.
    pub(super) fn is_next(&mut self, is_ending: bool) -> Option<Missed> {
        self.is_tried = is_ending || self.retry.is_none_or(|(since, after)| since.elapsed() >= after);
        let is_told = self.is_tried && self.lost > 0;
        is_told.then_some(Missed { label: self.label, lost: self.lost, unheard: self.unheard })
    }

    /// It was given lines, and has taken them or not.
    pub(super) fn tried(&mut self, taken: bool, on_failure: OnFailure) {
        self.failing = !taken;
        if taken {
            (self.lost, self.unheard, self.retry) = (0, 0, None);
        } else if on_failure == OnFailure::Continue {
            let after = self.retry.map_or(RETRY, |(_, after)| LONGEST_RETRY.min(after * 2));
            self.retry = Some((Stopwatch::start(), after));
        }
    }

    /// It does not get these lines, which say that the queue has not taken `told` events.
    pub(super) fn missed(&mut self, lines: u64, told: u64) {
        self.lost += lines;
        self.unheard += told;
    }
}
