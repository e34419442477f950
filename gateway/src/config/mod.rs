//! The configuration: one YAML file, plus a few environment names for what changes between places.
//!
//! [`document`] is what the operator writes, [`settings`] is what the rest of the gateway uses, and [`resolve`] is
//! the one conversion between them: it expands `${NAME}`, reads `*_file` secrets, fills in defaults and reports
//! every fault at once. Nothing else in the gateway reads the environment.

pub mod document;
pub mod environment;
pub mod error;
mod files;
pub mod names;
mod resolve;
mod schema;
pub mod secret;
mod sections_alone;
pub mod settings;
mod shape;

use std::path::Path;

pub use environment::Environment;
pub use error::{ConfigError, Fault};
pub use files::Files;
pub use schema::json_schema;
pub use secret::Secret;
pub use sections_alone::{load_places, load_state};
pub use settings::Config;

/// Reads and validates a configuration file.
///
/// # Errors
///
/// Returns every fault found: in the file's syntax, in its values, in the files and environment names that it
/// refers to, and in the policy.
pub fn load(path: &Path, environment: &Environment) -> Result<Config, ConfigError> {
    loaded(path, environment, Pair::Checked)
}

/// As [`load`], for a gateway that runs: its certificate is read anew by itself, and one that cannot be used just now, or
/// that has ended, keeps no change of the policy from counting.
///
/// # Errors
///
/// As [`load`].
pub fn load_anew(path: &Path, environment: &Environment) -> Result<Config, ConfigError> {
    loaded(path, environment, Pair::Named)
}

fn loaded(path: &Path, environment: &Environment, pair: Pair) -> Result<Config, ConfigError> {
    let mut files = Files::default();
    match files.read(path) {
        Ok(text) => parsed(&text, path, environment, pair, files),
        Err(source) => Err(ConfigError::unreadable(path, &source).with_files(files)),
    }
}

fn parsed(text: &str, path: &Path, environment: &Environment, pair: Pair, files: Files) -> Result<Config, ConfigError> {
    match document::read(text) {
        Ok(document) => resolve::resolve(document, path, environment, pair, files),
        Err(first) => {
            let mut faults = shape::faults(text);
            // What the walk does not know of, a key that is missing for instance.
            if !faults.iter().any(|fault| fault.line == first.line) {
                faults.push(first);
            }
            Err(ConfigError::new(path, faults).with_files(files))
        }
    }
}

/// What is asked of the listener's certificate and key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pair {
    /// That they can be used now.
    Checked,
    /// That they are named.
    Named,
}

/// Validates the text of a configuration file; `path` names it in messages and anchors relative file names.
///
/// # Errors
///
/// As [`load`].
pub fn parse(text: &str, path: &Path, environment: &Environment) -> Result<Config, ConfigError> {
    parsed(text, path, environment, Pair::Checked, Files::default())
}
