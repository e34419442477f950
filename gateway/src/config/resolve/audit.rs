//! The audit trail: where it goes, when it counts as written, what it says of arguments.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::values::Resolver;
use super::{MIB, places};
use crate::audit::{Collector, Destination, Format, OnFailure, Rotation};
use crate::config::Secret;
use crate::config::document::{self, Text};
use crate::config::settings::{Arguments, Audit};

const DAY: Duration = Duration::from_secs(24 * 3600);
const DEFAULT_DATABASE: &str = "audit.db";

/// Resolves the section; `state` is the directory of the default database.
pub(super) fn resolve(resolver: &mut Resolver<'_>, written: &document::Audit, state: &Path) -> Audit {
    let format = format(resolver, written.format.as_ref());
    let mut destinations: Vec<Destination> = Vec::new();
    destinations.extend(lines(resolver, written, format));
    destinations.extend(written.sqlite.as_ref().and_then(|path| database(resolver, written, path)));
    destinations.extend(written.postgres.as_ref().and_then(|postgres| self::postgres(resolver, postgres)));
    destinations.extend(written.otlp.as_ref().and_then(|otlp| collector(resolver, otlp, format)));
    // Somewhere there are always lines that can be verified.
    if !destinations.iter().any(keeps_native_lines) {
        let retention = retention(resolver, written.retention.as_ref());
        destinations.push(Destination::Sqlite { path: state.join(DEFAULT_DATABASE), retention });
    } else if written.sqlite.is_none() && written.retention.is_some() {
        resolver.fault(written.retention.as_ref(), "`retention` is for `audit.sqlite`; a file has `rotate` and `keep`");
    }
    places::check(resolver, written, &destinations, state);
    let keeps = destinations.iter().any(Destination::is_on_a_disk);
    let durable = match one_of(resolver, written.durability.as_ref(), "durability", &["queue", "fsync"]) {
        1 if !keeps => {
            resolver.fault(
                written.durability.as_ref(),
                "`fsync` needs a place on a disk; name one in `audit.path` or `audit.sqlite`",
            );
            false
        }
        choice => choice == 1,
    };
    let on_failure = match one_of(resolver, written.on_failure.as_ref(), "on_failure", &["deny", "continue"]) {
        0 => OnFailure::Deny,
        _ => OnFailure::Continue,
    };
    Audit { destinations, durable, on_failure, arguments: arguments(resolver, &written.arguments) }
}

fn keeps_native_lines(destination: &Destination) -> bool {
    match destination {
        Destination::Stdout(format) | Destination::File { format, .. } => *format == Format::Native,
        Destination::Sqlite { .. } | Destination::Postgres { .. } => true,
        Destination::Otlp(_) => false,
    }
}

fn lines(resolver: &mut Resolver<'_>, written: &document::Audit, format: Format) -> Option<Destination> {
    let is_file = written.path.as_ref().is_some_and(|path| path.value != "-");
    places::check_rotation(resolver, written, is_file);
    let rotation = written.rotate.as_ref().map(|rotate| Rotation {
        bytes: resolver.size(Some(rotate), MIB, MIB..=1024 * 1024 * MIB) as u64,
        keep: resolver.size(written.keep.as_ref(), 10, 0..=1000),
    });
    let path = written.path.as_ref()?;
    if resolver.text(path)? == "-" {
        return Some(Destination::Stdout(format));
    }
    Some(Destination::File { path: resolver.path(path)?, format, rotation })
}

fn database(resolver: &mut Resolver<'_>, written: &document::Audit, path: &Text) -> Option<Destination> {
    let retention = retention(resolver, written.retention.as_ref());
    Some(Destination::Sqlite { path: resolver.path(path)?, retention })
}

fn retention(resolver: &mut Resolver<'_>, written: Option<&Text>) -> Option<Duration> {
    let retention = resolver.duration(written, DAY);
    if retention < DAY {
        resolver.fault(written, "audit rows are kept for a day at least; write `90d`");
    }
    written.map(|_| retention)
}

fn postgres(resolver: &mut Resolver<'_>, written: &document::Postgres) -> Option<Destination> {
    let url = match (&written.url, &written.url_file) {
        (Some(url), None) => Secret::new(resolver.text(url)?),
        (None, Some(file)) => resolver.secret_file(file)?,
        (at, _) => {
            resolver.fault(at.as_ref(), "`audit.postgres` needs either `url` or `url_file`");
            return None;
        }
    };
    let known = ["postgres://", "postgresql://"].iter().any(|scheme| url.expose().starts_with(scheme));
    if !known {
        let at = written.url.as_ref().or(written.url_file.as_ref());
        resolver.fault(at, "this is no address of a PostgreSQL database; write `postgres://user@host/database`");
    }
    Some(Destination::Postgres { url })
}

fn collector(resolver: &mut Resolver<'_>, written: &document::Otlp, format: Format) -> Option<Destination> {
    let (endpoint, headers) = endpoint(resolver, written)?;
    Some(Destination::Otlp(Collector { endpoint: format!("{endpoint}/v1/logs"), headers, format }))
}

/// Where a collector is, without the path of a signal, and the fields that it wants.
pub(super) fn endpoint(
    resolver: &mut Resolver<'_>,
    written: &document::Otlp,
) -> Option<(String, Vec<(String, Secret)>)> {
    let endpoint = resolver.text(&written.endpoint)?;
    let endpoint = endpoint.trim_end_matches('/');
    if !endpoint.starts_with("http://") && !endpoint.starts_with("https://") {
        resolver.fault(Some(&written.endpoint), "a collector is reached over HTTP; write `http://127.0.0.1:4318`");
    }
    let mut headers = Vec::new();
    for (name, value) in &written.headers {
        headers.push((name.clone(), Secret::new(resolver.text(value)?)));
    }
    Some((endpoint.to_owned(), headers))
}

fn arguments(resolver: &mut Resolver<'_>, written: &document::Arguments) -> Arguments {
    let values_of: BTreeSet<String> = written.values_of.iter().filter_map(|tag| resolver.text(tag)).collect();
    let redact: Vec<String> = written.redact.iter().filter_map(|pointer| resolver.text(pointer)).collect();
    for (text, pointer) in written.redact.iter().zip(&redact) {
        if !pointer.starts_with('/') {
            resolver.fault(Some(text), format!("`{pointer}` is no JSON Pointer; write `/{pointer}`"));
        }
    }
    let digest = written.digest.unwrap_or(true);
    if !digest && !values_of.is_empty() {
        resolver.fault(written.values_of.first(), "values are recorded beside their digest; take `digest: false` out");
    }
    Arguments { digest, values_of, redact }
}

fn format(resolver: &mut Resolver<'_>, written: Option<&Text>) -> Format {
    match one_of(resolver, written, "format", &["native", "ocsf", "ecs"]) {
        1 => Format::Ocsf,
        2 => Format::Ecs,
        _ => Format::Native,
    }
}

/// The place of the word among those that there are; 0, the default, when there is none or another.
fn one_of(resolver: &mut Resolver<'_>, written: Option<&Text>, key: &str, words: &[&str]) -> usize {
    let Some(word) = written.and_then(|text| resolver.text(text)) else { return 0 };
    words.iter().position(|known| *known == word).unwrap_or_else(|| {
        resolver.fault(written, format!("`{word}` is no `audit.{key}`; there are {}", words.join(", ")));
        0
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, parse};

    fn audit(section: &str) -> Result<Audit, String> {
        let text = format!(
            "server: {{ public_url: https://a.example }}\nstate: {{ path: s }}\naudit: {section}\n\
             entra: {{ tenant_id: 11111111-2222-4333-8444-555555555555, client_id: aaaaaaaa-0000-4000-8000-00000000c1d1, client_secret: sssssss }}\n\
             backends: {{ weather: {{ url: 'http://127.0.0.1:9/mcp' }} }}\n\
             policy: {{ roles: {{ R: {{ opens: [read] }} }}, tools: {{ weather: {{ read: [a] }} }} }}\n"
        );
        let config = parse(&text, Path::new("d/gateway.yaml"), &Environment::fixed([]));
        config.map(|config| config.audit).map_err(|error| error.to_string())
    }

    fn labels(section: &str) -> Vec<&'static str> {
        audit(section).unwrap().destinations.iter().map(Destination::label).collect()
    }

    #[test]
    fn somewhere_there_are_always_lines_that_can_be_verified() {
        for (section, expected) in [
            ("{}", &["sqlite"][..]),
            ("{ path: a.jsonl }", &["file"]),
            ("{ path: '-' }", &["stdout"]),
            ("{ path: a.jsonl, format: ocsf }", &["file", "sqlite"]),
            ("{ path: '-', format: ecs, sqlite: b.db }", &["stdout", "sqlite"]),
            ("{ otlp: { endpoint: 'http://127.0.0.1:4318' } }", &["otlp", "sqlite"]),
            ("{ postgres: { url: 'postgres://u:p@h/d' }, otlp: { endpoint: 'https://c' } }", &["postgres", "otlp"]),
        ] {
            assert_eq!(labels(section), expected, "{section}");
        }
        let Destination::Sqlite { path, retention } = audit("{ retention: 90d }").unwrap().destinations.remove(0)
        else {
            panic!("the default is a database");
        };
        assert_eq!((path, retention), (Path::new("d/s/audit.db").to_owned(), Some(90 * DAY)));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_to_write() {
        for (section, word) in [
            ("{ format: xml }", "native, ocsf, ecs"),
            ("{ durability: always }", "queue, fsync"),
            ("{ on_failure: ignore }", "deny, continue"),
            ("{ path: '-', durability: fsync }", "audit.sqlite"),
            ("{ postgres: {} }", "url_file"),
            ("{ postgres: { url: 'mysql://h' } }", "postgres://"),
            ("{ otlp: { endpoint: 'grpc://h' } }", "over HTTP"),
            ("{ path: a, retention: 90d }", "rotate"),
            ("{ path: /dev/stdout, durability: fsync }", "audit.sqlite"),
            ("{ path: a, keep: 3 }", "write `rotate`"),
            ("{ path: '-', rotate: 1048576 }", "`rotate` and `keep` are for a file"),
            ("{ path: '-', keep: 3 }", "`rotate` and `keep` are for a file"),
            ("{ rotate: 1048576 }", "`rotate` and `keep` are for a file"),
            ("{ path: a, sqlite: ./a }", "is named twice"),
            ("{ path: s/audit.db, format: ocsf }", "is named twice"),
            ("{ path: s/portcullis.db }", "the gateway's own"),
            ("{ sqlite: s/portcullis.db }", "the gateway's own"),
            ("{ path: s/../s/seal.key }", "the gateway's own"),
            ("{ path: s/portcullis.db-wal }", "the gateway's own"),
            ("{ sqlite: a, retention: 1h }", "90d"),
            ("{ arguments: { redact: [password] } }", "`/password`"),
            ("{ arguments: { digest: false, values_of: [read] } }", "digest: false"),
        ] {
            let fault = audit(section).unwrap_err();
            assert!(fault.contains(word), "{section}: {fault}");
        }
        assert!(audit("{ sqlite: a, durability: fsync, on_failure: continue, arguments: { values_of: [read], redact: [/password] } }").is_ok());
        for fine in [
            "{ path: a, rotate: 1048576, keep: 3, sqlite: b, durability: fsync }",
            "{ path: s/audit.jsonl, rotate: 1048576 }",
            "{ path: portcullis.db }",
            "{ sqlite: s/audit.db }",
        ] {
            assert!(audit(fine).is_ok(), "{fine}: {:?}", audit(fine));
        }
    }
}
