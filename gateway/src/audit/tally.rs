//! Refusals whose caller nobody knows: anybody can cause them, as often as they like, and their lines must neither push others
//! out of the trail nor fill its disk.
//!
//! Within a minute an address has so many lines for each reason, and everybody together has so many. What comes beyond is
//! counted by address and reason, and the writer makes one line of each count: lines and counts together are all refusals that
//! there were, and the trail still says that there was a flood, from where, of what, and from when to when. Whoever holds a
//! token that has ended is counted apart, so that no flood of strangers hides them. Tables are of fixed size; what does not fit
//! is counted together.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::event::{Event, Kind, Reason, Refusals, Step};
use crate::clock::Moment;
use crate::limit::ClientAddress;

/// How long refusals are counted until a line is made of them.
const WINDOW: Duration = Duration::from_mins(1);
/// Lines of one address for one reason: as many as an endpoint answers an address by default, and more than any test of a
/// configuration or any client that goes wrong needs to be understood.
const LINES: u64 = 60;
/// Lines of everybody: five a second are 250 MB a day.
const LINES_OF_ALL: u64 = 300;
/// Addresses and reasons that are counted apart; as many lines may come of them.
const APART: usize = 512;
/// What is told of those that did not fit.
const MIXED: &str = "refused for several reasons, from more addresses than are counted apart";

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// It is a line of the trail.
    Line,
    /// It is one of a count.
    Counted,
}

/// Counts refusals of people whom nobody knows.
#[derive(Debug, Default)]
pub(super) struct Tally {
    strangers: Mutex<Window>,
    /// Who has sent a token of the gateway's own that is good no more.
    holders: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    /// When it began; nothing was refused since when absent.
    since: Option<Moment>,
    lines: u64,
    counts: HashMap<Key, Count>,
}

/// What is counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    /// Nothing for those that did not fit.
    address: Option<ClientAddress>,
    of: &'static str,
    event: Option<Step>,
    reason: String,
}

#[derive(Debug)]
struct Count {
    /// How many are lines.
    lines: u64,
    /// How many more there are.
    more: u64,
    source: Option<IpAddr>,
    first: Moment,
    last: Moment,
}

impl Tally {
    /// Whether a refusal is to be a line; it is counted here if not.
    pub(super) fn admit(&self, event: &Event) -> Admitted {
        let of = event.kind.name();
        let (source, step, reason, is_held) = match &event.kind {
            Kind::Decision(decision) => {
                let reason = match &decision.reason {
                    Reason::Text(text) => text.as_str(),
                    Reason::Permit(_) | Reason::Denial(_) => return Admitted::Line,
                };
                let is_held = decision.actor.as_ref().is_some_and(|actor| actor.unbelieved.is_some());
                (decision.source, None, reason, is_held)
            }
            Kind::OAuth(step) => (step.source, Some(step.event), step.reason.as_deref().unwrap_or_default(), false),
            _ => return Admitted::Line,
        };
        let address = source.map_or_else(ClientAddress::unknown, ClientAddress::of);
        let key = Key { address: Some(address), of, event: step, reason: reason.to_owned() };
        let window = if is_held { &self.holders } else { &self.strangers };
        window.lock().unwrap_or_else(PoisonError::into_inner).admit(key, source, event.time)
    }

    /// What was counted in a window that is over, or in any where the trail ends.
    pub(super) fn take(&self, now: Moment, ends: bool) -> Vec<Refusals> {
        let windows = [&self.strangers, &self.holders].into_iter();
        windows.flat_map(|window| window.lock().unwrap_or_else(PoisonError::into_inner).take(now, ends)).collect()
    }
}

impl Window {
    fn admit(&mut self, key: Key, source: Option<IpAddr>, now: Moment) -> Admitted {
        self.since.get_or_insert(now);
        let fits = self.counts.len() < APART || self.counts.contains_key(&key);
        let (key, source) = if fits {
            (key, source)
        } else {
            (Key { address: None, event: None, reason: MIXED.to_owned(), ..key }, None)
        };
        let is_apart = key.address.is_some();
        let begun = Count { lines: 0, more: 0, source, first: now, last: now };
        let count = self.counts.entry(key).or_insert(begun);
        if is_apart && count.lines < LINES && self.lines < LINES_OF_ALL {
            count.lines += 1;
            self.lines += 1;
            return Admitted::Line;
        }
        if count.more == 0 {
            count.first = now;
        }
        count.more += 1;
        (count.source, count.last) = (source, now);
        Admitted::Counted
    }

    fn take(&mut self, now: Moment, ends: bool) -> Vec<Refusals> {
        let Some(since) = self.since else { return Vec::new() };
        // A calendar that was set back must not make a window of a year.
        let length = u128::from(now.as_millis().saturating_sub(since.as_millis()));
        if !ends && now >= since && length < WINDOW.as_millis() {
            return Vec::new();
        }
        let Self { counts, .. } = std::mem::take(self);
        let counted = counts.into_iter().filter(|(_, count)| count.more > 0);
        let line = |(key, count): (Key, Count)| {
            let (Key { of, event, reason, .. }, Count { more: count, source, first, last, .. }) = (key, count);
            Refusals { of, event, source, reason, count, first, last }
        };
        let mut lines: Vec<Refusals> = counted.map(line).collect();
        lines.sort_by_key(|line| (line.first, line.source));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Actor, Authorization, Decision, Target, Verdict};
    use crate::clock::Timestamp;

    const START: u64 = 1_800_000_000;

    fn at(second: u64) -> Moment {
        Timestamp::from_secs(START + second).into()
    }

    fn refused(source: &str, reason: &str, second: u64) -> Event {
        let target = Target { backend: "weather".to_owned(), method: "POST".to_owned(), name: None };
        let decision = Decision {
            decision: Verdict::Deny,
            reason: Reason::Text(reason.to_owned()),
            actor: None,
            source: source.parse().ok(),
            target,
            policy_hash: None,
            params: None,
            arguments: None,
        };
        Event { time: at(second), request_id: None, trace_id: None, kind: Kind::Decision(Box::new(decision)) }
    }

    /// The same, with a token of this person that is good no more.
    fn of_holder(source: &str, second: u64) -> Event {
        let mut event = refused(source, "it was revoked", second);
        let Kind::Decision(decision) = &mut event.kind else { unreachable!("it is one") };
        decision.actor = Some(Actor {
            kind: "user",
            tenant: "t".to_owned(),
            subject: "s".to_owned(),
            roles: Vec::new(),
            client: None,
            token: None,
            grant: None,
            unbelieved: Some("revoked"),
        });
        event
    }

    fn lines(tally: &Tally, events: impl IntoIterator<Item = Event>) -> u64 {
        events.into_iter().map(|event| u64::from(tally.admit(&event) == Admitted::Line)).sum()
    }

    #[test]
    fn what_an_address_is_refused_too_often_is_one_line_with_a_count_and_nothing_is_left_out() {
        let tally = Tally::default();
        let flood = (0..1000).map(|number| refused("203.0.113.7", "no bearer token", number / 20));
        assert_eq!(lines(&tally, flood), LINES);
        // The controls: another address, and the same one for another reason, have lines of their own.
        assert_eq!(lines(&tally, [refused("198.51.100.1", "no bearer token", 1)]), 1);
        assert_eq!(lines(&tally, [refused("203.0.113.7", "the signature is another", 1)]), 1);
        assert!(tally.take(at(59), false).is_empty(), "the window is not over");
        let counted = tally.take(at(60), false);
        let [line] = &counted[..] else { panic!("{counted:?}") };
        assert_eq!((line.of, line.source), ("mcp.decision", "203.0.113.7".parse().ok()));
        assert_eq!((line.reason.as_str(), line.count), ("no bearer token", 1000 - LINES));
        assert_eq!((line.first, line.last), (at(LINES / 20), at(49)));
        // And then anew.
        assert!(tally.take(at(200), true).is_empty());
        assert_eq!(lines(&tally, [refused("203.0.113.7", "no bearer token", 61)]), 1);
    }

    #[test]
    fn many_addresses_have_so_many_lines_together_and_are_counted_apart_as_far_as_they_fit() {
        let tally = Tally::default();
        let address = |number: u64| format!("10.0.{}.{}", number / 256, number % 256);
        let flood = (0..20_000).map(|number| refused(&address(number % 2000), "no bearer token", 0));
        assert_eq!(lines(&tally, flood), LINES_OF_ALL);
        let counted = tally.take(at(60), false);
        assert_eq!(counted.len(), APART + 1);
        assert_eq!(counted.iter().map(|line| line.count).sum::<u64>() + LINES_OF_ALL, 20_000, "all there were");
        let rest: Vec<_> = counted.iter().filter(|line| line.source.is_none()).collect();
        assert_eq!((rest.len(), rest[0].reason.as_str(), rest[0].count), (1, MIXED, 20_000 - 10 * APART as u64));
    }

    #[test]
    fn whoever_commands_a_network_is_one_address() {
        let tally = Tally::default();
        let flood = (0..1000).map(|number| refused(&format!("2001:db8::{number:x}"), "no bearer token", 0));
        assert_eq!(lines(&tally, flood), LINES);
        assert_eq!(tally.take(at(60), false).len(), 1);
    }

    #[test]
    fn a_flood_of_strangers_hides_nobody_whose_token_has_ended() {
        let tally = Tally::default();
        let address = |number: u64| format!("10.0.{}.{}", number / 256, number % 256);
        lines(&tally, (0..20_000).map(|number| refused(&address(number % 2000), "it was revoked", 0)));
        assert_eq!(lines(&tally, [of_holder("10.0.0.1", 1), of_holder("10.9.9.9", 1)]), 2);
        assert_eq!(lines(&tally, (0..100).map(|_| of_holder("10.0.0.1", 2))), LINES - 1, "nor has one no end of lines");
    }

    #[test]
    fn refusals_of_the_authorization_server_are_counted_by_step_and_the_end_of_the_trail_waits_for_no_window() {
        let tally = Tally::default();
        let of = |event: Step| {
            let step = Authorization { source: "203.0.113.7".parse().ok(), ..Authorization::new(event, "c") };
            let kind = Kind::OAuth(Box::new(step.because("over")));
            Event { time: at(0), request_id: None, trace_id: None, kind }
        };
        let steps = [Step::SignInFailed, Step::AuthorizationRefused];
        assert_eq!(lines(&tally, (0..200).map(|number| of(steps[number % 2]))), 2 * LINES);
        let counted = tally.take(at(1), true);
        let told: Vec<_> = counted.iter().map(|line| (line.of, line.event, line.count)).collect();
        assert_eq!(told.len(), 2);
        assert!(steps.iter().all(|step| told.contains(&("oauth", Some(*step), 100 - LINES))), "{told:?}");
    }

    #[test]
    fn a_calendar_that_is_set_back_ends_the_window() {
        let tally = Tally::default();
        lines(&tally, (0..100).map(|_| refused("203.0.113.7", "no bearer token", 1000)));
        assert_eq!(tally.take(at(0), false).len(), 1);
    }
}
