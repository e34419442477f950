//! `portcullis audit verify FILE…`: is the trail the one that was written?

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;
use jsonwebtoken::jwk::JwkSet;

use super::Answer;
use crate::audit::verify::{Newest, Report, Unvouched, Why, verify};
use crate::audit::{Head, Rows};

/// What a SQLite database begins with.
const SQLITE: &[u8] = b"SQLite format 3\0";
/// Of the name of a key, which may be anybody's text, so much is shown.
const LONGEST_NAME: usize = 64;

/// What is verified, and with what.
#[derive(Debug, Args)]
pub(super) struct Question {
    /// The files of the trail, oldest first: audit.jsonl.2 audit.jsonl.1 audit.jsonl; or its SQLite database; or `-`.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The gateway's public keys, saved from its /jwks; without them the chain is verified, and no signature. May be given
    /// several times: a gateway whose store was begun anew signs with another key from then on.
    #[arg(long)]
    jwks: Vec<PathBuf>,
    /// A line that must be there, as the gateway's log names what it signed (`head`); may be given several times. A
    /// trail that was cut off, even behind a signature, lacks it.
    #[arg(long, value_name = "INSTANCE:NUMBER:HASH")]
    head: Vec<Head>,
    /// A file that names such lines, each of which must be there: the gateways' logs. May be given several times. A trail
    /// that lacks a run altogether shows by that alone.
    #[arg(long, value_name = "LOG")]
    heads: Vec<PathBuf>,
    /// The trail is at its end, with an orderly stop: every line must be vouched for, the last ones too.
    #[arg(long, requires = "jwks")]
    closed: bool,
}

/// Verifies the files as one trail.
pub(super) fn run(question: &Question) -> Result<Answer, String> {
    let keys = keys(&question.jwks)?;
    let mut trail: Box<dyn Read> = Box::new(std::io::empty());
    let mut differing = Vec::new();
    for path in &question.files {
        let part = open(path, &mut differing).map_err(|error| format!("{}: {error}", path.display()))?;
        trail = Box::new(trail.chain(part).chain(Cursor::new(b"\n")));
    }
    let trail: Box<dyn BufRead> = Box::new(BufReader::new(trail));
    let report = verify(trail, keys.as_ref(), &heads(question)?);
    let report = report.map_err(|error| format!("the trail cannot be read: {error}"))?;
    let differing: u64 = differing.iter().map(|rows| rows.load(Ordering::Relaxed)).sum();
    let is_intact = report.is_intact() && differing == 0;
    let is_vouched_for = keys.is_none() || report.is_vouched_for() && (!question.closed || report.unvouched.is_empty());
    let verdict = match (is_intact, is_vouched_for, keys.is_some()) {
        (false, _, _) => "NOT intact",
        (true, false, _) if !report.unknown_keys.is_empty() => "in order, but signed by keys that are in no --jwks",
        (true, false, _) => "NOT vouched for, though in order",
        (true, true, false) => "in order, no signature checked",
        (true, true, true) => "intact",
    };
    let mut text = told(&report, keys.is_some(), question);
    if differing > 0 {
        let _ = writeln!(
            text,
            "{differing} row(s) have a time, type, request, run or number that is not that of their line: the columns of the \
             database were changed, by which rows are found and, when they are old, deleted"
        );
    }
    let _ = write!(
        text,
        "{verdict}: {} line(s) of {} run(s) in order, {} checkpoint(s) verified, {} line(s) that nothing vouches for",
        report.lines,
        report.runs,
        report.signed,
        report.unsigned()
    );
    Ok(if is_intact && is_vouched_for { Answer::Yes(text) } else { Answer::No(text) })
}

/// The keys of every file together; none where no file is named.
fn keys(files: &[PathBuf]) -> Result<Option<JwkSet>, String> {
    let mut all: Option<JwkSet> = None;
    for path in files {
        let named = |error: String| format!("{}: {error}", path.display());
        let text = std::fs::read(path).map_err(|error| named(error.to_string()))?;
        let set = serde_json::from_slice::<JwkSet>(&text).map_err(|error| named(error.to_string()))?;
        all.get_or_insert(JwkSet { keys: Vec::new() }).keys.extend(set.keys);
    }
    Ok(all)
}

/// The lines that must be there.
fn heads(question: &Question) -> Result<BTreeSet<Head>, String> {
    let mut all: BTreeSet<Head> = question.head.iter().cloned().collect();
    for path in &question.heads {
        let text = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let named = Head::named_in(&String::from_utf8_lossy(&text));
        if named.is_empty() {
            return Err(format!("{}: it names no `instance:number:hash`; is it a gateway's log?", path.display()));
        }
        all.extend(named);
    }
    Ok(all)
}

/// What there is to know beside the verdict.
fn told(report: &Report, checked: bool, question: &Question) -> String {
    let mut text = String::new();
    for fault in &report.faults {
        let _ = writeln!(text, "{fault}");
    }
    for head in &report.missing {
        let _ = writeln!(
            text,
            "{head} is not there: the trail was cut off before it, or changed, or the run was taken out"
        );
    }
    if report.begins_inside {
        text.push_str(
            "the trail begins inside a run: what came before is in an older file, without which the first line here \
             cannot be checked\n",
        );
    }
    if let Some(head) = &report.goes_on_after {
        let _ =
            writeln!(text, "the first run goes on after {head}, which is not there: in an older file, or taken away");
    }
    if report.cut_short > 0 {
        let _ = writeln!(
            text,
            "{} line(s) cut short where a run ended: killed, or without power; what stood there is not known",
            report.cut_short
        );
    }
    if report.unchecked > 0 {
        let _ = writeln!(text, "{} checkpoint(s) not checked: pass the gateway's keys with --jwks", report.unchecked);
    }
    for (kid, checkpoints) in &report.unknown_keys {
        let kid: String = kid.chars().take(LONGEST_NAME).collect();
        let _ = writeln!(
            text,
            "{checkpoints} checkpoint(s) are signed by the key {kid:?}, which is in no --jwks: pass the /jwks that was saved \
             when the gateway had that key, with another --jwks; if none of your gateways ever had it, somebody else has \
             signed these lines"
        );
    }
    if checked {
        text.push_str(&vouched(report, question));
    }
    text
}

/// How far the gateway's word reaches.
fn vouched(report: &Report, question: &Question) -> String {
    let mut text = String::new();
    for Unvouched { instance, from, lines, why } in &report.unvouched {
        let why = match why {
            Why::NoSignature => {
                "has no signature of these keys: these lines may be anybody's (a gateway signs its first line)"
            }
            Why::Overdue => {
                "goes on without a signature for longer than a gateway does, which signs once a minute: these lines \
                 may be anybody's"
            }
            Why::Recent => "is not signed behind that: who can write there can have made or changed these lines",
        };
        let _ = writeln!(text, "run {instance}, {lines} line(s) from number {from}: the run {why}");
    }
    if report.found > 0 {
        let _ = writeln!(
            text,
            "{} run(s) without a signature of their own: the next run vouches that it found their lines, not who wrote them",
            report.found
        );
    }
    match &report.newest {
        Some(Newest { at, head }) => {
            let at = humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + Duration::from_secs(*at));
            let _ = writeln!(text, "the newest signature is of {at}, over {head}");
        }
        None => text.push_str("no checkpoint of these keys is in it; a gateway signs when it begins\n"),
    }
    if question.head.is_empty() && question.heads.is_empty() {
        text.push_str(
            "whether it was cut off behind a signature, or lacks whole runs, no trail can show by itself: hold it against \
             the gateways' logs, which name each `head` that was signed, with --heads LOG or --head\n",
        );
    }
    text
}

/// The lines of a file, of a database, or of standard input; a database counts in `differing` what is not right beside them.
fn open(path: &Path, differing: &mut Vec<Arc<AtomicU64>>) -> io::Result<Box<dyn Read>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin()));
    }
    let mut file = File::open(path)?;
    let mut magic = Vec::new();
    file.by_ref().take(SQLITE.len() as u64).read_to_end(&mut magic)?;
    if magic != SQLITE {
        return Ok(Box::new(Cursor::new(magic).chain(file)));
    }
    let rows = Rows::open(path)?;
    differing.push(rows.differing());
    Ok(Box::new(rows))
}
