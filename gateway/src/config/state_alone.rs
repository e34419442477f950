//! The section `state`, whatever the rest of the file is like: for commands that end sessions, replace keys or read
//! digests. They are wanted when something is wrong, which may be the file.
//!
//! What they need is as strict as ever. A file that has no `state` has the default's, unless one of its keys is unknown: it may be
//! `state` misspelt, and the wrong store would be asked.

use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::document::{self, State};
use super::{ConfigError, Environment, Fault, Files, resolve, settings};

/// Every section by its name.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Outline {
    state: State,
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
    #[serde(rename = "audit")]
    _audit: IgnoredAny,
    #[serde(rename = "traces")]
    _traces: IgnoredAny,
    #[serde(rename = "policy")]
    _policy: IgnoredAny,
}

/// A file that has the section, and whatever else.
#[derive(Debug, Deserialize)]
struct Named {
    state: State,
}

/// Reads and validates the section `state` of a configuration file.
///
/// # Errors
///
/// Returns every fault of the section, and of the files and environment names that it refers to; and a fault of the file
/// where it does not say which section is which.
pub fn load_state(path: &Path, environment: &Environment) -> Result<settings::State, ConfigError> {
    let text = Files::default().read(path).map_err(|source| ConfigError::unreadable(path, &source))?;
    let written = written(&text).map_err(|fault| ConfigError::new(path, vec![fault]))?;
    resolve::resolve_state(written, path, environment)
}

/// The section as it is written. Of what is wrong, the fault of the whole file is told, which shows where.
fn written(text: &str) -> Result<State, Fault> {
    let first = match document::read_as::<Outline>(text) {
        Ok(outline) => return Ok(outline.state),
        Err(fault) => fault,
    };
    let named = document::read_as::<Named>(text).or_else(|_of_the_file| document::read_as::<Named>(&lines(text)));
    named.map(|named| named.state).map_err(|_of_the_section| first)
}

/// The lines of the section, the others emptied, so that places stay: for a file that is no YAML as a whole.
fn lines(text: &str) -> String {
    let mut within = false;
    let mut kept = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        if !line.starts_with([' ', '\t', '#', '\r', '\n']) {
            within = line.starts_with("state:");
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
        let written = written(text).map_err(|fault| ConfigError::new(file, vec![fault]).to_string())?;
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
