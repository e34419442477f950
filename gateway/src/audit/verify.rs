//! Reads a trail back: whether every line is the one that was written, and how much of it the gateway vouches for.
//!
//! The hashes say that lines stand as they were chained; anybody who can write can chain lines of their own. That the
//! gateway wrote them is said by its signatures alone, so that every run needs one (`runs`). What no trail can show of
//! itself is that it was cut off behind a signature: for that a head is held against it that was noted elsewhere.

mod runs;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, BufRead};

use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::Deserialize;

use super::chain::{CHECKPOINT, Head, Line, Signed};
use runs::Seen;
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
    /// Whether the trail begins in the middle of a run, as a rotated file does. Its first line cannot be checked then.
    pub begins_inside: bool,
    /// The line that the first run goes on after, which is not there: in an older file, or taken away.
    pub goes_on_after: Option<Head>,
    /// Runs whose only voucher is the next one, which found them there when it began.
    pub found: u64,
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
        self.signed > 0 && self.unknown_keys.is_empty() && self.unvouched.iter().all(|lines| lines.why == Why::Recent)
    }

    /// How many lines nothing but the chain vouches for.
    #[must_use]
    pub fn unsigned(&self) -> u64 {
        self.unvouched.iter().map(|lines| lines.lines).sum()
    }
}

#[derive(Default, Deserialize)]
struct Content {
    #[serde(rename = "type", default)]
    kind: String,
    /// In seconds, whole or not.
    #[serde(default)]
    time: f64,
    signature: Option<String>,
    after: Option<Head>,
}

/// Reads a trail, with the gateway's public keys if they are at hand; `heads` are lines that must be in it.
///
/// # Errors
///
/// Returns an error when the trail cannot be read.
pub fn verify(mut trail: impl BufRead, keys: Option<&JwkSet>, heads: &BTreeSet<Head>) -> io::Result<Report> {
    let mut report = Report { missing: heads.clone(), ..Report::default() };
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
        report.line(number, line, &mut seen, keys);
    }
    match seen.broken.take() {
        // It may be being written at this moment, or be what a kill has left.
        Some((_, false)) => report.cut_short += 1,
        broken => report.broken(broken),
    }
    (report.unvouched, report.found) = seen.unvouched();
    Ok(report)
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

    /// Takes one whole line in.
    fn line(&mut self, number: u64, line: Line, seen: &mut Seen, keys: Option<&JwkSet>) {
        self.missing.remove(&line.head);
        let last = seen.last_of(&line.head.instance).cloned();
        self.place(number, &line, last.as_ref(), seen);
        let content: Content = serde_json::from_str(&line.json).unwrap_or_default();
        let after = content.after.filter(|_| content.kind == "audit.started");
        // A run that ended in the middle of a line is followed by one that begins where its last whole line is.
        let is_cut = after.is_some() && after.as_ref() == seen.newest();
        match seen.broken.take() {
            Some(_) if is_cut => self.cut_short += 1,
            broken => self.broken(broken),
        }
        let known = after.as_ref().is_some_and(|after| seen.can_be_found(after));
        if seen.newest().is_none() {
            self.goes_on_after.clone_from(&after);
        } else if after.is_some() && !known {
            self.fault(number, "lines are missing before this start");
        }
        let (head, before) = (line.head.clone(), after.filter(|_| known));
        seen.add(line.head, content.time, before);
        if content.kind == "audit.checkpoint" {
            let signed = self.checkpoint(number, &content.signature.unwrap_or_default(), last.as_ref(), keys);
            if let Some(signed) = signed {
                seen.sign(&head);
                if self.newest.as_ref().is_none_or(|newest| newest.at <= signed.iat) {
                    self.newest = Some(Newest { at: signed.iat, head: signed.head });
                }
            }
        }
    }

    /// Holds a line against the one before of its run.
    fn place(&mut self, number: u64, line: &Line, last: Option<&Head>, seen: &Seen) {
        let begins = line.head.number == 1;
        self.runs += u64::from(begins || last.is_none());
        let inside = seen.newest().is_none() && !begins;
        self.begins_inside |= inside;
        if begins && seen.has_begun(&line.head.instance) {
            self.fault(number, "this run was there before: its lines were put in a second time");
        } else if !inside && !line.follows(last.filter(|_| !begins)) {
            self.fault(number, "it was changed, or lines before it were taken out or put in");
        } else {
            self.lines += 1;
        }
    }

    fn checkpoint(&mut self, line: u64, signature: &str, last: Option<&Head>, keys: Option<&JwkSet>) -> Option<Signed> {
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
            Some(signed) if Some(&signed.head) == last => {
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
