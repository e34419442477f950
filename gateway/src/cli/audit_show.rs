//! `portcullis audit show`: the lines of a trail, as they were written, of one request, person, kind or time.

use std::fmt;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use serde::Deserialize;

use super::{Answer, DEFAULT_CONFIG, say};
use crate::audit::{Bounds, Kept};
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Environment};

/// Which lines, and of which trail.
#[derive(Debug, Args)]
pub(super) struct Question {
    /// The files of a trail, oldest first, or its SQLite database, or `-`; else the first place of the configuration that
    /// keeps lines.
    files: Vec<PathBuf>,
    /// The configuration file, where no file is named.
    #[arg(short, long, default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// The lines of a request, by the `X-Request-Id` of its answer.
    #[arg(long, value_name = "ID")]
    request: Option<String>,
    /// What a person or a service did, by the object ID (`oid`), and what was issued to them.
    #[arg(long, value_name = "OID")]
    subject: Option<String>,
    /// Lines of a type, as in `mcp.decision`; may be given several times.
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// None of before: a time (`2026-01-31T08:00:00Z`), a day (`2026-01-31`), or how long ago (`2h`). Times are UTC.
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Time>,
    /// None of then or later.
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<Time>,
}

/// A time as it was asked for.
#[derive(Clone, Copy, Debug)]
enum Time {
    At(Duration),
    Ago(Duration),
}

impl Time {
    /// Seconds since the Unix epoch.
    fn seconds(self) -> i64 {
        let seconds = match self {
            Self::At(since) => since.as_secs(),
            Self::Ago(ago) => SystemClock.now().as_secs().saturating_sub(ago.as_secs()),
        };
        i64::try_from(seconds).unwrap_or(i64::MAX)
    }
}

/// Writes them to standard output.
pub(super) fn run(question: &Question) -> Result<Answer, String> {
    let bounds = question.bounds();
    let mut count = Count::default();
    let mut out = BufWriter::new(io::stdout().lock());
    for kept in trails(question, &bounds)? {
        if let Some(note) = &kept.note {
            say(&mut io::stderr(), note);
        }
        let shown = show(kept, question, &bounds, (&mut out, &mut count)).and_then(|()| out.flush());
        match shown {
            Ok(()) => {}
            // Who reads has read enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(Answer::Yes(String::new())),
            Err(error) => return Err(format!("the trail cannot be read: {error}")),
        }
    }
    drop(out);
    if count.unread > 0 {
        say(
            &mut io::stderr(),
            &format!("{} line(s) are none of a trail, or were cut short, and were not looked at", count.unread),
        );
    }
    if count.shown == 0 {
        say(&mut io::stderr(), &format!("none of {} line(s)", count.read));
        return Ok(Answer::No(String::new()));
    }
    Ok(Answer::Yes(String::new()))
}

/// What was read.
#[derive(Default)]
struct Count {
    read: u64,
    shown: u64,
    unread: u64,
}

impl Question {
    fn bounds(&self) -> Bounds {
        let unbounded = Bounds::default();
        Bounds {
            request_id: self.request.clone(),
            from: self.since.map_or(unbounded.from, Time::seconds),
            to: self.until.map_or(unbounded.to, Time::seconds),
        }
    }

    fn is_everything(&self) -> bool {
        let Self { request, subject, types, since, until, files: _, config: _ } = self;
        request.is_none() && subject.is_none() && types.is_empty() && since.is_none() && until.is_none()
    }
}

/// The places to read, one after another.
fn trails(question: &Question, bounds: &Bounds) -> Result<Vec<Kept>, String> {
    let named = |name: &dyn fmt::Display, error: io::Error| format!("{name}: {error}");
    if !question.files.is_empty() {
        let open = |path: &PathBuf| {
            if path == Path::new("-") {
                return Ok(Kept { lines: Box::new(io::stdin()), note: None });
            }
            Kept::file(path, bounds).map_err(|error| named(&path.display(), error))
        };
        return question.files.iter().map(open).collect();
    }
    let (_, places) =
        config::load_places(&question.config, &Environment::process()).map_err(|faults| faults.to_string())?;
    let place = places.iter().find(|place| place.is_kept());
    let place = place.ok_or("this trail goes where it is not read back from; ask the platform that collects it")?;
    place.read_back(bounds).map(|kept| vec![kept]).map_err(|error| named(&place.label(), error))
}

fn show(
    kept: Kept,
    question: &Question,
    bounds: &Bounds,
    (out, count): (&mut impl Write, &mut Count),
) -> io::Result<()> {
    let mut lines = BufReader::new(kept.lines);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        let text = line.trim_ascii();
        if !text.is_empty() {
            count.read += 1;
            let told = Told::of(text);
            count.unread += u64::from(told.is_none() && !question.is_everything());
            let is_asked_for = question.is_everything() || told.is_some_and(|told| told.is(question, bounds));
            if is_asked_for {
                count.shown += 1;
                out.write_all(text)?;
                out.write_all(b"\n")?;
            }
        }
        line.clear();
    }
    Ok(())
}

/// What a line says of itself.
#[derive(Deserialize)]
struct Told {
    time: f64,
    #[serde(rename = "type")]
    kind: String,
    request_id: Option<String>,
    subject: Option<String>,
    actor: Option<Actor>,
}

#[derive(Deserialize)]
struct Actor {
    subject: Option<String>,
}

impl Told {
    fn of(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    fn is(&self, question: &Question, bounds: &Bounds) -> bool {
        let is_of = |wanted: &Option<String>, found: &[Option<&str>]| {
            wanted.as_deref().is_none_or(|wanted| found.contains(&Some(wanted)))
        };
        let actor = self.actor.as_ref().and_then(|actor| actor.subject.as_deref());
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are far below 2^53")]
        let (from, to) = (bounds.from as f64, bounds.to as f64);
        is_of(&question.request, &[self.request_id.as_deref()])
            && is_of(&question.subject, &[self.subject.as_deref(), actor])
            && (question.types.is_empty() || question.types.contains(&self.kind))
            && self.time >= from
            && self.time < to
    }
}

fn time(text: &str) -> Result<Time, String> {
    if let Ok(ago) = humantime::parse_duration(text) {
        return Ok(Time::Ago(ago));
    }
    let whole = if text.len() == "2026-01-31".len() { format!("{text}T00:00:00Z") } else { text.to_owned() };
    let since = |time: SystemTime| time.duration_since(UNIX_EPOCH).ok();
    let parsed = humantime::parse_rfc3339_weak(&whole).ok().and_then(since);
    parsed
        .map(Time::At)
        .ok_or_else(|| "write `2026-01-31T08:00:00Z`, `2026-01-31` or, for how long ago, `2h`".to_owned())
}
