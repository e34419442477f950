//! `portcullis audit verify FILE…`: is the trail the one that was written?

use std::fmt::Write;
use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read};
use std::path::PathBuf;

use clap::Args;
use jsonwebtoken::jwk::JwkSet;

use super::Answer;
use crate::audit::verify::verify;

/// What is verified, and with what.
#[derive(Debug, Args)]
pub(super) struct Question {
    /// The files of the trail, oldest first: audit.jsonl.2 audit.jsonl.1 audit.jsonl.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The gateway's public keys, saved from its /jwks; without them the chain is verified, and no signature.
    #[arg(long)]
    jwks: Option<PathBuf>,
}

/// Verifies the files as one trail.
pub(super) fn run(question: &Question) -> Result<Answer, String> {
    let keys = question.jwks.as_ref().map(|path| {
        let text = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        serde_json::from_slice::<JwkSet>(&text).map_err(|error| format!("{}: {error}", path.display()))
    });
    let keys = keys.transpose()?;
    let mut trail: Box<dyn Read> = Box::new(std::io::empty());
    for path in &question.files {
        let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
        trail = Box::new(trail.chain(file).chain(Cursor::new(b"\n")));
    }
    let trail: Box<dyn BufRead> = Box::new(BufReader::new(trail));
    let report = verify(trail, keys.as_ref()).map_err(|error| format!("the trail cannot be read: {error}"))?;
    let mut text = String::new();
    for fault in &report.faults {
        let _ = writeln!(text, "{fault}");
    }
    if report.begins_inside {
        let _ = writeln!(text, "the trail begins inside a run: what came before is in an older file");
    }
    if report.unchecked > 0 {
        let _ = writeln!(text, "{} checkpoint(s) not checked: pass the gateway's keys with --jwks", report.unchecked);
    }
    let verdict = if report.is_intact() { "intact" } else { "NOT intact" };
    let _ = write!(
        text,
        "{verdict}: {} line(s) of {} run(s) in order, {} checkpoint(s) verified, {} line(s) after the last",
        report.lines, report.runs, report.signed, report.unsigned_tail
    );
    Ok(if report.is_intact() { Answer::Yes(text) } else { Answer::No(text) })
}
