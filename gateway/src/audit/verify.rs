//! Reads a trail back: whether every line is the one that was written, and how much of it the gateway has signed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::io::{self, BufRead};

use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::Deserialize;

use super::chain::{CHECKPOINT, Head, Line, Signed};

/// Runs that may be going on at once, and some more; an older one does not go on.
const OPEN_RUNS: usize = 16;
/// How far before a start its predecessor's last known line may be: others may have been written in between.
const RECENT: usize = 4096;

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
    /// Lines behind the last checkpoint that verifies: nothing but the chain vouches for these.
    pub unsigned_tail: u64,
    /// Whether the trail begins in the middle of a run, as a rotated file does.
    pub begins_inside: bool,
    /// Pieces of lines where a run ended in the middle of one, as after a kill: what they said is not known, and they
    /// vouch for nothing.
    pub cut_short: u64,
    /// The same, by run.
    unsigned: BTreeMap<String, u64>,
    /// What is wrong, each with the number of its line in the file, from 1.
    pub faults: Vec<Fault>,
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
    /// Whether everything is as it was written.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.faults.is_empty()
    }
}

#[derive(Default, Deserialize)]
struct Content {
    #[serde(rename = "type", default)]
    kind: String,
    signature: Option<String>,
    after: Option<Head>,
}

/// Reads a trail, with the gateway's public keys if they are at hand.
///
/// # Errors
///
/// Returns an error when the trail cannot be read.
pub fn verify(mut trail: impl BufRead, keys: Option<&JwkSet>) -> io::Result<Report> {
    let mut report = Report::default();
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
            report.broken(seen.broken.replace((number, is_ended)));
            continue;
        };
        let last = seen.run(&line.head.instance).cloned();
        report.place(number, &line, last.as_ref(), &seen);
        let content: Content = serde_json::from_str(&line.json).unwrap_or_default();
        let after = content.after.filter(|_| content.kind == "audit.started");
        // A run that ended in the middle of a line is followed by one that begins where its last whole line is.
        let is_cut = after.is_some() && after.as_ref() == seen.recent.back();
        match seen.broken.take() {
            Some(_) if is_cut => report.cut_short += 1,
            broken => report.broken(broken),
        }
        if after.is_some_and(|after| !seen.recent.is_empty() && !seen.recent.contains(&after)) {
            report.fault(number, "lines are missing before this start");
        }
        *report.unsigned.entry(line.head.instance.clone()).or_default() += 1;
        if content.kind == "audit.checkpoint" {
            let run = &line.head.instance;
            report.checkpoint((number, run), &content.signature.unwrap_or_default(), last.as_ref(), keys);
        }
        seen.add(line.head);
    }
    match seen.broken.take() {
        // It may be being written at this moment, or be what a kill has left.
        Some((_, false)) => report.cut_short += 1,
        broken => report.broken(broken),
    }
    report.unsigned_tail = report.unsigned.values().sum();
    Ok(report)
}

/// The lines that what comes is held against. While one process takes over from another, both write.
#[derive(Default)]
struct Seen {
    /// The last line of each run, the latest run last.
    runs: Vec<Head>,
    /// The last lines, whosever.
    recent: VecDeque<Head>,
    /// Every run that has begun.
    begun: BTreeSet<String>,
    /// The last line, by its number, when it was none; and whether it was ended.
    broken: Option<(u64, bool)>,
}

impl Seen {
    fn run(&self, instance: &str) -> Option<&Head> {
        self.runs.iter().rev().find(|head| head.instance == instance)
    }

    fn add(&mut self, head: Head) {
        if head.number == 1 {
            self.begun.insert(head.instance.clone());
        }
        match self.runs.iter_mut().rev().find(|known| known.instance == head.instance) {
            Some(known) => *known = head.clone(),
            None => self.runs.push(head.clone()),
        }
        if self.runs.len() > OPEN_RUNS {
            self.runs.remove(0);
        }
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(head);
    }
}

impl Report {
    fn fault(&mut self, line: u64, what: &'static str) {
        self.faults.push(Fault { line, what });
    }

    fn broken(&mut self, line: Option<(u64, bool)>) {
        if let Some((number, _)) = line {
            self.fault(number, "this is no line of a trail, or was cut short");
        }
    }

    /// Holds a line against the one before of its run.
    fn place(&mut self, number: u64, line: &Line, last: Option<&Head>, seen: &Seen) {
        let begins = line.head.number == 1;
        self.runs += u64::from(begins || last.is_none());
        let inside = seen.recent.is_empty() && !begins;
        self.begins_inside |= inside;
        if begins && seen.begun.contains(&line.head.instance) {
            self.fault(number, "this run was there before: its lines were put in a second time");
        } else if !inside && !line.follows(last.filter(|_| !begins)) {
            self.fault(number, "it was changed, or lines before it were taken out or put in");
        } else {
            self.lines += 1;
        }
    }

    fn checkpoint(&mut self, (line, run): (u64, &str), signature: &str, last: Option<&Head>, keys: Option<&JwkSet>) {
        let Some(keys) = keys else {
            self.unchecked += 1;
            return;
        };
        match signed(signature, keys) {
            Some(signed) if Some(&signed.head) == last => {
                self.signed += 1;
                self.unsigned.remove(run);
            }
            Some(_) => self.fault(line, "the checkpoint signs another chain than stands before it"),
            None => self.fault(line, "the signature of the checkpoint does not verify with these keys"),
        }
    }
}

fn signed(token: &str, keys: &JwkSet) -> Option<Signed> {
    let header = jsonwebtoken::decode_header(token).ok()?;
    let is_checkpoint = header.typ.as_deref() == Some(CHECKPOINT) && header.alg == Algorithm::ES256;
    let key: &Jwk = keys.find(header.kid.as_deref()?).filter(|_| is_checkpoint)?;
    let mut rules = Validation::new(Algorithm::ES256);
    rules.required_spec_claims.clear();
    rules.validate_exp = false;
    rules.validate_aud = false;
    Some(decode::<Signed>(token, &DecodingKey::from_jwk(key).ok()?, &rules).ok()?.claims)
}
