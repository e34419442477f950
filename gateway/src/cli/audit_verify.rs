//! `portcullis audit verify FILE…`: is the trail the one that was written?

use std::fmt::Write;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use jsonwebtoken::jwk::JwkSet;

use super::Answer;
use crate::audit::sqlite_lines;
use crate::audit::verify::verify;

/// What a SQLite database begins with.
const SQLITE: &[u8] = b"SQLite format 3\0";

/// What is verified, and with what.
#[derive(Debug, Args)]
pub(super) struct Question {
    /// The files of the trail, oldest first: audit.jsonl.2 audit.jsonl.1 audit.jsonl; or its SQLite database; or `-`.
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
        let part = open(path).map_err(|error| format!("{}: {error}", path.display()))?;
        trail = Box::new(trail.chain(part).chain(Cursor::new(b"\n")));
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
    // Lines that nobody signed can be made by anybody who can write.
    let is_vouched_for = keys.is_none() || report.signed > 0;
    let verdict = match (report.is_intact(), is_vouched_for) {
        (false, _) => "NOT intact",
        (true, false) => {
            "NOT vouched for (in order, and no checkpoint of these keys in it; a gateway signs once a minute)"
        }
        (true, true) => "intact",
    };
    let _ = write!(
        text,
        "{verdict}: {} line(s) of {} run(s) in order, {} checkpoint(s) verified, {} line(s) after the last",
        report.lines, report.runs, report.signed, report.unsigned_tail
    );
    Ok(if report.is_intact() && is_vouched_for { Answer::Yes(text) } else { Answer::No(text) })
}

/// The lines of a file, of a database, or of standard input.
fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin()));
    }
    let mut file = File::open(path)?;
    let mut magic = Vec::new();
    file.by_ref().take(SQLITE.len() as u64).read_to_end(&mut magic)?;
    if magic != SQLITE {
        return Ok(Box::new(Cursor::new(magic).chain(file)));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let lines = runtime.block_on(sqlite_lines(path)).map_err(io::Error::other)?;
    Ok(Box::new(Cursor::new(lines.join("\n"))))
}
