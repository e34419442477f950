//! The section `state`, or that and `audit`, whatever the rest of the file is like: for commands that end sessions, replace
//! keys, read digests and trails or make backups. They are wanted when something is wrong, which may be the file.
//!
//! What they need is as strict as ever. A file that lacks a section has the default's, unless one of its keys is unknown: it
//! may be the section misspelt, and the wrong store would be asked.

use std::path::Path;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::document::{self, Audit, State};
use super::{ConfigError, Environment, Fault, Files, resolve, settings};
use crate::audit::Destination;

/// Every section by its name; `A` is what is wanted of `audit`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, bound = "A: Default + DeserializeOwned")]
struct Outline<A> {
    state: State,
    audit: A,
    #[serde(rename = "server")]
    _server: IgnoredAny,
    #[serde(rename = "entra")]
    _entra: IgnoredAny,
    #[serde(rename = "oauth")]
    _oauth: IgnoredAny,
    #[serde(rename = "backends")]
    _backends: IgnoredAny,
    #[serde(rename = "limits")]
    _limits: IgnoredAny,
    #[serde(rename = "traces")]
    _traces: IgnoredAny,
    #[serde(rename = "policy")]
    _policy: IgnoredAny,
}

/// A file that has the section, and whatever else.
#[derive(Debug, Deserialize)]
struct OfState {
    state: State,
}

/// A file that has both.
#[derive(Debug, Deserialize)]
struct OfPlaces {
    state: State,
    audit: Audit,
}

/// Reads and validates the section `state` of a configuration file.
///
/// # Errors
///
/// Returns every fault of the section, and of the files and environment names that it refers to; and a fault of the file
/// where it does not say which section is which.
pub fn load_state(path: &Path, environment: &Environment) -> Result<settings::State, ConfigError> {
    let written = state(&read(path)?).map_err(|fault| ConfigError::new(path, vec![fault]))?;
    resolve::resolve_state(written, path, environment)
}

/// Reads and validates the sections `state` and `audit`: where the store is, and where the trail goes.
///
/// # Errors
///
/// As [`load_state`], of both.
pub fn load_places(path: &Path, environment: &Environment) -> Result<(settings::State, Vec<Destination>), ConfigError> {
    let written = places(&read(path)?).map_err(|fault| ConfigError::new(path, vec![fault]))?;
    resolve::resolve_places(written, path, environment)
}

fn read(path: &Path) -> Result<String, ConfigError> {
    Files::default().read(path).map_err(|source| ConfigError::unreadable(path, &source))
}

/// The section as it is written. Of what is wrong, the fault of the whole file is told, which shows where.
fn state(text: &str) -> Result<State, Fault> {
    match document::read_as::<Outline<IgnoredAny>>(text) {
        Ok(outline) => Ok(outline.state),
        Err(first) => named::<OfState>(text, &["state:"]).map(|of| of.state).ok_or(first),
    }
}

/// The same of both.
fn places(text: &str) -> Result<(State, Audit), Fault> {
    match document::read_as::<Outline<Audit>>(text) {
        Ok(outline) => Ok((outline.state, outline.audit)),
        Err(first) => named::<OfPlaces>(text, &["state:", "audit:"]).map(|of| (of.state, of.audit)).ok_or(first),
    }
}

/// Sections that are there, whatever else is.
fn named<T: DeserializeOwned>(text: &str, sections: &[&str]) -> Option<T> {
    document::read_as::<T>(text).or_else(|_of_the_file| document::read_as::<T>(&lines(text, sections))).ok()
}

/// The lines of these sections, the others emptied, so that places stay: for a file that is no YAML as a whole.
fn lines(text: &str, sections: &[&str]) -> String {
    let mut within = false;
    let mut kept = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        if !line.starts_with([' ', '\t', '#', '\r', '\n']) {
            within = sections.iter().any(|section| line.starts_with(section));
        }
        kept.push_str(if within { line } else { "\n" });
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(text: &str) -> Result<settings::State, String> {
        let file = Path::new("d/gateway.yaml");
        let written = super::state(text).map_err(|fault| ConfigError::new(file, vec![fault]).to_string())?;
        resolve::resolve_state(written, file, &Environment::fixed([])).map_err(|error| error.to_string())
    }

    #[test]
    fn whatever_the_rest_is_like_the_section_is_read() {
        for rest in [
            "server: { public_url: '${NOT_SET}' }",
            "server: { publc_url: a }",
            "srever: {}",
            "policy: { roles: { r: { opens: 7 } } }",
            "policy:\n  roles: [\n",
            "backends:\n   a: {}\n  b: {}",
            "policy: missing.yaml\npolicy: twice.yaml",
            "policy:\n\tx: y",
        ] {
            for text in [format!("state: {{ path: s }}\n{rest}\n"), format!("{rest}\nstate:\n  # why\n\n  path: s\n")] {
                let state = state(&text).unwrap_or_else(|fault| panic!("{text}: {fault}"));
                assert_eq!(state.directory, Path::new("d/s"), "{text}");
            }
        }
        assert_eq!(state("policy: a.yaml\n").unwrap().directory, Path::new("d/portcullis-state"));
    }

    fn places(text: &str) -> Result<Vec<Destination>, String> {
        let file = Path::new("d/gateway.yaml");
        let written = super::places(text).map_err(|fault| ConfigError::new(file, vec![fault]).to_string())?;
        let resolved = resolve::resolve_places(
            written,
            file,
            &Environment::fixed([("MREG_POSTGRES_HOST", "h"), ("MREG_POSTGRES_USER", "u"), ("MREG_POSTGRES_DB", "d")]),
        );
        resolved.map(|(_, places)| places).map_err(|error| error.to_string())
    }

    #[test]
    fn where_the_trail_goes_is_read_as_a_gateway_reads_it() {
        for text in [
            "state: { path: s }\naudit: { sqlite: a.db }\nserver: { publc_url: a }\n",
            "audit:\n  sqlite: a.db\npolicy:\n  roles: [\nstate: { path: s }\n",
        ] {
            let places = places(text).unwrap_or_else(|fault| panic!("{text}: {fault}"));
            let labels: Vec<&str> = places.iter().map(Destination::label).collect();
            assert_eq!(labels, ["sqlite", "postgres"], "{text}: and what the environment says");
        }
        // A trail that is misspelt is not looked for elsewhere, while the state can be read still.
        for text in ["state: { path: s }\naudt: { sqlite: a.db }\n", "state: { path: s }\naudit: { sqlte: a.db }\n"] {
            assert!(places(text).is_err() && state(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_with_the_section_is_refused_and_no_other_store_is_taken() {
        for (text, words) in [
            ("state: { path: '${NOT_SET}' }", "`NOT_SET` is not set"),
            ("state: { pth: s }", "pth"),
            ("stat: { path: s }", "stat"),
            ("state: { path: s }\nstate: { path: t }", "state"),
            ("state: { path: s }\npolicy: [\nstate: { path: t }", ":"),
            ("state: { redis: { url: 'rediss://h:6380' } }", "seal_key_files"),
            ("policy:\n  roles: [\n", ":"),
            ("{ state: { path: s }, policy: [ }", ":"),
            ("state: { path: s", ":"),
            ("- state", ":"),
        ] {
            let fault = state(text).expect_err(text);
            assert!(fault.contains(words), "{text}: {fault}");
        }
    }
}
