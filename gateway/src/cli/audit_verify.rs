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
use crate::audit::verify::{Newest, Report, Rules, Unvouched, Why, verify};
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
    /// A file that names the last lines of what came before, as `--ends` prints them; may be given several times. Every
    /// run that begins in the middle has to go on behind one of them: nothing between is missing.
    #[arg(long, value_name = "ENDS")]
    after: Vec<PathBuf>,
    /// Which place's trail it is, where several were written: a start names the last line of each. By default, of a SQLite
    /// database its own, and of anything else any.
    #[arg(long, value_parser = ["file", "sqlite", "postgres", "stdout"])]
    place: Option<String>,
    /// Print the last line of each run, for a later `--after`.
    #[arg(long)]
    ends: bool,
    /// The trail is at its end: every run has stopped in order, and every line is signed.
    #[arg(long, requires = "jwks")]
    closed: bool,
}

/// Verifies the files as one trail.
pub(super) fn run(question: &Question) -> Result<Answer, String> {
    let mut trail: Box<dyn Read> = Box::new(std::io::empty());
    let (mut differing, mut notes) = (Vec::new(), String::new());
    for (at, path) in question.files.iter().enumerate() {
        let part = open(path, &mut differing, &mut notes).map_err(|error| format!("{}: {error}", path.display()))?;
        // A line that a part was cut in does not go on in the next one; behind the last, what is cut is to be seen.
        let between: &[u8] = if at == 0 { b"" } else { b"\n" };
        trail = Box::new(trail.chain(between).chain(part));
    }
    let trail: Box<dyn BufRead> = Box::new(BufReader::new(trail));
    let place = question.place.clone().or_else(|| (!differing.is_empty()).then(|| "sqlite".to_owned()));
    let keys = keys(&question.jwks)?;
    let heads = named(&question.heads, question.head.iter().cloned())?;
    let rules = Rules { keys, heads, before: named(&question.after, [])?, place };
    let report = verify(trail, &rules).map_err(|error| format!("the trail cannot be read: {error}"))?;
    let differing: u64 = differing.iter().map(|rows| rows.load(Ordering::Relaxed)).sum();
    let is_intact = report.is_intact() && differing == 0;
    let has_keys = rules.keys.is_some();
    let is_vouched_for = !has_keys || report.is_vouched_for() && (!question.closed || report.is_closed());
    let verdict = verdict(&report, is_intact, is_vouched_for, has_keys);
    let mut text = notes + &told(&report, has_keys, question);
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

/// The verdict in words.
fn verdict(report: &Report, is_intact: bool, is_vouched_for: bool, has_keys: bool) -> String {
    let mut verdict = match (is_intact, is_vouched_for) {
        (false, _) => "NOT intact",
        (true, false) if !report.unknown_keys.is_empty() => "in order, but signed by keys that are in no --jwks",
        (true, false) if report.is_vouched_for() => "NOT closed, though in order",
        (true, false) => "NOT vouched for, though in order",
        (true, true) if !has_keys => "in order, no signature checked",
        (true, true) if report.left() > 0 => "in order, but not all of it is signed",
        (true, true) if report.unheld > 0 => "in order, but not held against what came before",
        (true, true) => "intact",
    }
    .to_owned();
    if is_intact && report.lost > 0 {
        let _ = write!(verdict, ", but for {} line(s) that the gateway says it has lost", report.lost);
    }
    verdict
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

/// The lines that files name, and these.
fn named(files: &[PathBuf], more: impl IntoIterator<Item = Head>) -> Result<BTreeSet<Head>, String> {
    let mut all: BTreeSet<Head> = more.into_iter().collect();
    for path in files {
        let text = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let named = Head::named_in(&String::from_utf8_lossy(&text));
        if named.is_empty() {
            return Err(format!(
                "{}: it names no `instance:number:hash`; is it a gateway's log, or what `--ends` printed?",
                path.display()
            ));
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
    text.push_str(&stands(report, question));
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
    if question.ends {
        for end in &report.ends {
            let _ = writeln!(text, "end {end}");
        }
    }
    text
}

/// How it stands to what came before it, and in which order.
fn stands(report: &Report, question: &Question) -> String {
    let mut text = String::new();
    if report.begins_inside > 0 && question.after.is_empty() {
        let _ = writeln!(
            text,
            "{} run(s) begin in the middle: what came before is in an older file, or was deleted for its age, or taken away; \
             hold them against what was verified before with --after",
            report.begins_inside
        );
    }
    if report.unheld > 0 {
        let _ = writeln!(
            text,
            "{} of them begin behind the start of another: a gateway that had been quiet for long, or the first lines of a run \
             were taken out; --after tells",
            report.unheld
        );
    }
    if !report.goes_on_after.is_empty() {
        let heads: Vec<String> = report.goes_on_after.iter().map(Head::to_string).collect();
        let _ = writeln!(
            text,
            "the first run goes on after {}, which is not there: in an older file, or taken away",
            heads.join(" or ")
        );
    }
    if !report.places.is_empty() {
        let places: Vec<&str> = report.places.iter().map(String::as_str).collect();
        let _ = writeln!(
            text,
            "starts name the last lines of several places ({}), and any was taken for this one's: say which it is with --place",
            places.join(", ")
        );
    }
    for line in &report.backwards {
        let _ = writeln!(
            text,
            "line {line}: it is older than one before it by more than clocks differ: runs were put in another order, or a clock \
             was set back"
        );
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
            Why::Left => {
                "ended without being signed behind that, and no later start has found it: who can write there can have made, \
                 changed or taken out some"
            }
            Why::Recent => "is not signed behind that: who can write there can have made or changed these lines",
            Why::Found => {
                "was not signed behind that, and a later start has found these lines: who can write there can have made, \
                 changed or taken out some before it"
            }
        };
        let _ = writeln!(text, "run {instance}, {lines} line(s) from number {from}: the run {why}");
    }
    if report.unended > 0 {
        let _ = writeln!(
            text,
            "{} run(s) have not stopped: they go on, or were killed, and what they wrote last may be missing",
            report.unended
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
fn open(path: &Path, differing: &mut Vec<Arc<AtomicU64>>, notes: &mut String) -> io::Result<Box<dyn Read>> {
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
    notes.extend(rows.note(path).map(|note| note + "\n"));
    differing.push(rows.differing());
    Ok(Box::new(rows))
}
