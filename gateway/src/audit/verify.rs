//! Reads a trail back: whether every line is the one that was written, and how much of it the gateway vouches for.
//!
//! The hashes say that lines stand as they were chained; anybody who can write can chain lines of their own. That the
//! gateway wrote them is said by its signatures alone, so that every run needs one (`runs`). What no trail can show of
//! itself is that it was cut off behind a signature: for that a head is held against it that was noted elsewhere. Nor
//! can it show what came before its first lines, where old ones are deleted: for that the ends of what was verified before.

mod content;
mod runs;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, BufRead};

use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};

use super::chain::{CHECKPOINT, Head, Line, Signed};
use content::Content;
use runs::{Broken, Hole, Seen};
pub use runs::{Unvouched, Why};

/// What was found in a trail.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Lines that are what they were when they were written.
    pub lines: u64,
    /// Runs of the gateway.
    pub runs: u64,
    /// Checkpoints whose signature verifies.
    pub signed: u64,
    /// Checkpoints whose signature was not looked at, for want of keys.
    pub unchecked: u64,
    /// Checkpoints that are signed by a key that was not given, under its name (`kid`). They vouch for nothing, and say
    /// nothing against the lines: a gateway whose store was begun anew has another key.
    pub unknown_keys: BTreeMap<String, u64>,
    /// The newest of those that verify.
    pub newest: Option<Newest>,
    /// Lines that nothing but the chain vouches for, run by run.
    pub unvouched: Vec<Unvouched>,
    /// Runs that begin in the middle, as in a rotated file, or where old rows were deleted: their first line here cannot be
    /// checked, and a signature of theirs has to follow.
    pub begins_inside: u64,
    /// Those of them that begin behind the start of another, and were not held against what came before: of a fleet, one
    /// that was quiet for long; or the first lines of a run were taken out.
    pub unheld: u64,
    /// The lines that the first run goes on after, none of which is there: in an older file, or taken away.
    pub goes_on_after: Vec<Head>,
    /// Runs that have not stopped: they go on, or were killed, and what they wrote last may be missing.
    pub unended: u64,
    /// Lines that this place has not got, as the gateway itself says (`audit.gap`).
    pub lost: u64,
    /// Starts that name the last lines of several places, of which only one is read: it was not said which.
    pub places: BTreeSet<String>,
    /// Starts and signatures before which one stands that is later by more than clocks differ.
    pub backwards: Vec<u64>,
    /// The last line of each run.
    pub ends: Vec<Head>,
    /// Pieces of lines where a run ended in the middle of one, as after a kill: what they said is not known, and they
    /// vouch for nothing.
    pub cut_short: u64,
    /// Heads that should be there and are not.
    pub missing: BTreeSet<Head>,
    /// What is wrong, each with the number of its line in the file, from 1.
    pub faults: Vec<Fault>,
}

/// A checkpoint's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newest {
    /// When it was signed, in seconds since the Unix epoch.
    pub at: u64,
    /// What was signed.
    pub head: Head,
}

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line in the file, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub what: &'static str,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl Report {
    /// Whether every line stands as it was chained, and every head that was asked for is there.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.faults.is_empty() && self.missing.is_empty()
    }

    /// Whether the gateway vouches for it: all of it, but for the last lines of runs, as many as a gateway leaves
    /// unsigned.
    #[must_use]
    pub fn is_vouched_for(&self) -> bool {
        let is_allowed = |lines: &Unvouched| matches!(lines.why, Why::Recent | Why::Left | Why::Found);
        self.signed > 0 && self.unknown_keys.is_empty() && self.unvouched.iter().all(is_allowed)
    }

    /// Whether it is vouched for to the last line, of runs that have all stopped in order.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        let is_whole = self.cut_short == 0 && self.unended == 0 && self.unheld == 0 && self.backwards.is_empty();
        self.is_vouched_for() && self.unvouched.is_empty() && is_whole
    }

    /// How many lines runs have left that are over, and nobody signed, whether or not a later run found them there.
    #[must_use]
    pub fn left(&self) -> u64 {
        let is_left = |lines: &&Unvouched| matches!(lines.why, Why::Left | Why::Found);
        self.unvouched.iter().filter(is_left).map(|lines| lines.lines).sum()
    }

    /// How many lines nothing but the chain vouches for.
    #[must_use]
    pub fn unsigned(&self) -> u64 {
        self.unvouched.iter().map(|lines| lines.lines).sum()
    }
}

/// What a trail is held against.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// The gateway's public keys, if they are at hand.
    pub keys: Option<JwkSet>,
    /// Lines that must be there.
    pub heads: BTreeSet<Head>,
    /// The last lines of what came before: a run that begins inside has to go on behind one of them. With none, it is not
    /// looked at.
    pub before: BTreeSet<Head>,
    /// Which place's trail it is, by its label (`file`, `sqlite`, `postgres`); unknown when it is not said.
    pub place: Option<String>,
}

/// Clocks of a fleet differ by less.
const CLOCKS_DIFFER: f64 = 300.0;

/// Reads a trail and holds it against the rules.
///
/// # Errors
///
/// Returns an error when the trail cannot be read.
pub fn verify(mut trail: impl BufRead, rules: &Rules) -> io::Result<Report> {
    let mut report = Report { missing: rules.heads.clone(), ..Report::default() };
    let mut seen = Seen::default();
    let mut bytes = Vec::new();
    for number in 1.. {
        bytes.clear();
        if trail.read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
        let is_ended = bytes.ends_with(b"\n");
        let text = std::str::from_utf8(&bytes).map(|text| text.trim_end_matches(['\r', '\n']));
        if text == Ok("") {
            continue;
        }
        let Some(line) = text.ok().and_then(Line::parse) else {
            let is_whole = text.is_ok_and(|text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok());
            report.broken(seen.broken.replace(Broken { line: number, is_ended, is_whole }));
            continue;
        };
        report.line(number, &line, &mut seen, rules);
    }
    match seen.broken.take() {
        // It may be being written at this moment, or be what a kill has left.
        Some(Broken { is_ended: false, is_whole: false, .. }) if seen.newest_goes_on() => report.cut_short += 1,
        broken => report.broken(broken),
    }
    for hole in seen.holes() {
        report.fault(hole.line, hole.what);
    }
    report.unvouched = seen.unvouched();
    report.unended = seen.unended();
    report.ends = seen.ends();
    Ok(report)
}

const BROKEN: &str = "it was changed, or lines before it were taken out or put in";
const UNPLACED: &str = "lines before it are missing; if this place had lost lines, say which it is with --place";
const TORN: &str = "its run begins in the middle, behind the start of another: lines were taken out; or, of a fleet's \
                    trail, say which place it is with --place";
const CUT_OUT: &str = "lines are missing before this start";

impl Report {
    fn fault(&mut self, line: u64, what: &'static str) {
        self.faults.push(Fault { line, what });
    }

    fn broken(&mut self, broken: Option<Broken>) {
        if let Some(Broken { line, .. }) = broken {
            self.fault(line, "this is no line of a trail, or was cut short");
        }
    }

    /// Takes one whole line in.
    fn line(&mut self, number: u64, line: &Line, seen: &mut Seen, rules: &Rules) {
        self.missing.remove(&line.head);
        if self.goes_on_after.contains(&line.head) {
            self.fault(number, "a run stands before the one that it goes on after");
        }
        let content = Content::of(line);
        let last = seen.last_of(&line.head.instance).cloned();
        self.place(number, line, &content, last.as_ref(), seen, rules);
        if content.kind.starts_with("audit.") && seen.is_long_after(content.time, CLOCKS_DIFFER) {
            self.backwards.push(number);
        }
        let found = self.joins(number, &content, seen, rules);
        seen.add(line.head.clone(), &content.kind, content.time, found);
        if content.kind == "audit.checkpoint" {
            let signature = content.signature.unwrap_or_default();
            // Where it is the first line that is there, it says itself on which it stands.
            let stands_on = |head: &Head| last.as_ref().map_or_else(|| line.follows(Some(head)), |last| head == last);
            if let Some(signed) = self.checkpoint(number, &signature, stands_on, rules.keys.as_ref()) {
                seen.sign(&line.head);
                if self.newest.as_ref().is_none_or(|newest| newest.at <= signed.iat) {
                    self.newest = Some(Newest { at: signed.iat, head: signed.head });
                }
            }
        }
    }

    /// Holds what a start says to have found against what is there, and is the line that it found.
    fn joins(&mut self, number: u64, content: &Content, seen: &mut Seen, rules: &Rules) -> Option<Head> {
        let named = content.found(rules.place.as_deref());
        if named.len() > 1 {
            self.places.extend(content.after.keys().cloned());
        }
        // A run that ended in the middle of a line is followed by one that begins where its last whole line is.
        let is_behind_newest = seen.newest().is_some_and(|newest| named.contains(newest));
        match seen.broken.take() {
            Some(Broken { is_whole: false, .. }) if is_behind_newest && seen.newest_goes_on() => self.cut_short += 1,
            broken => self.broken(broken),
        }
        let is_known = |head: &&Head| seen.can_be_found(head) || rules.before.contains(head);
        let known = named.iter().find(is_known).cloned();
        let is_first = seen.newest().is_none();
        if known.is_none() && !named.is_empty() && !(is_first && rules.before.is_empty()) {
            self.fault(number, CUT_OUT);
        }
        if is_first && known.is_none() {
            self.goes_on_after = named;
        }
        known
    }

    /// Holds a line against its place in its run.
    fn place(
        &mut self,
        number: u64,
        line: &Line,
        content: &Content,
        last: Option<&Head>,
        seen: &mut Seen,
        rules: &Rules,
    ) {
        let begins = line.head.number == 1;
        self.runs += u64::from(last.is_none());
        let fault = if begins && last.is_some() {
            Err("this run was there before: its lines were put in a second time")
        } else if begins && content.kind != "audit.started" {
            Err("a run begins with its start, and this is none")
        } else if last.is_none() && !begins {
            self.inside(line, seen, rules)
        } else if !seen.goes_on(&line.head.instance, &content.kind) {
            Err("it stands behind the end of its run, where the gateway writes nothing")
        } else {
            self.follows(number, line, content, last, seen, rules)
        };
        match fault {
            Ok(()) => self.lines += 1,
            Err(what) => self.fault(number, what),
        }
    }

    /// Holds a line against the one before it. Lines between them may be missing where the gateway says how many it has lost.
    fn follows(
        &mut self,
        number: u64,
        line: &Line,
        content: &Content,
        last: Option<&Head>,
        seen: &mut Seen,
        rules: &Rules,
    ) -> Result<(), &'static str> {
        let missing = last.map_or(0, |last| line.head.number.saturating_sub(last.number + 1));
        let is_gap = content.kind == "audit.gap";
        // Behind a hole a line is held against what it says itself to stand on: whoever made it anew would have to find
        // another of the same hash.
        let behind = content.behind(line).filter(|_| missing > 0);
        if !line.follows(behind.as_ref().or(last)) {
            return Err(BROKEN);
        }
        if missing > 0 {
            let what = if rules.place.is_none() { UNPLACED } else { BROKEN };
            if let Some(open) = seen.open_hole(&line.head.instance, Hole { line: number, missing, what }) {
                self.fault(open.line, open.what);
            }
        }
        let told = content.told_lost(rules.place.as_deref());
        match seen.hole(&line.head.instance) {
            Some(hole) if hole.is_some_and(|hole| told.is_some_and(|lost| lost >= hole.missing)) => {
                self.lost += hole.take().map_or(0, |hole| hole.missing);
            }
            // The gateway says it at once, for each place in a line of its own.
            Some(hole) if !is_gap => {
                if let Some(hole) = hole.take() {
                    self.fault(hole.line, hole.what);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes the first line that is there of a run that began before.
    fn inside(&mut self, line: &Line, seen: &Seen, rules: &Rules) -> Result<(), &'static str> {
        if !rules.before.is_empty() {
            if !rules.before.iter().any(|end| line.follows(Some(end))) {
                return Err("its run does not go on from where it ended in what came before");
            }
        } else if seen.has_begun() && !self.goes_on_after.iter().any(|head| head.instance == line.head.instance) {
            // Behind a start, only another gateway that writes there can have been there before, and be heard of so late.
            let is_shared = matches!(rules.place.as_deref(), Some("postgres" | "stdout"));
            if !is_shared || self.begins_inside == 0 && self.goes_on_after.is_empty() {
                return Err(if rules.place.is_none() { TORN } else { BROKEN });
            }
            self.unheld += 1;
        }
        self.begins_inside += 1;
        self.lines += 1;
        Ok(())
    }

    fn checkpoint(
        &mut self,
        line: u64,
        signature: &str,
        stands_on: impl Fn(&Head) -> bool,
        keys: Option<&JwkSet>,
    ) -> Option<Signed> {
        let Some(keys) = keys else {
            self.unchecked += 1;
            return None;
        };
        let Some(kid) = key_of(signature) else {
            self.fault(line, "the checkpoint has no signature of a gateway");
            return None;
        };
        let Some(key) = keys.find(&kid) else {
            *self.unknown_keys.entry(kid).or_default() += 1;
            return None;
        };
        match signed(signature, key) {
            Some(signed) if stands_on(&signed.head) => {
                self.signed += 1;
                return Some(signed);
            }
            Some(_) => self.fault(line, "the checkpoint signs another chain than stands before it"),
            None => self.fault(line, "the signature of the checkpoint does not verify with these keys"),
        }
        None
    }
}

/// Which key is said to have made a checkpoint's signature.
fn key_of(token: &str) -> Option<String> {
    let header = jsonwebtoken::decode_header(token).ok()?;
    let is_checkpoint = header.typ.as_deref() == Some(CHECKPOINT) && header.alg == Algorithm::ES256;
    header.kid.filter(|_| is_checkpoint)
}

fn signed(token: &str, key: &Jwk) -> Option<Signed> {
    let mut rules = Validation::new(Algorithm::ES256);
    rules.required_spec_claims.clear();
    rules.validate_exp = false;
    rules.validate_aud = false;
    Some(decode::<Signed>(token, &DecodingKey::from_jwk(key).ok()?, &rules).ok()?.claims)
}
