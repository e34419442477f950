//! A policy, everything that it speaks of, and where that is known from.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args;
use portcullis_policy::{BackendName, Catalogue, Document, Policy, Universe};

use super::report::{Faults, Finding};
use super::tools;
use crate::backend::catalogue;
use crate::backend::pinning::LockFile;
use crate::config::document::{self, PolicySource};
use crate::config::{self, Environment};

/// Where it is known from which tools there are; the policy's own tests, where nothing is said.
#[derive(Debug, Args)]
pub(super) struct Known {
    /// The tools of a backend, from a lock file; may be repeated. Those of a configuration are read without being named.
    #[arg(long = "lock", value_name = "BACKEND=FILE")]
    locks: Vec<String>,
    /// Ask the backends of the configuration for their tools.
    #[arg(long)]
    live: bool,
}

/// A policy and the document that it was made of.
pub(super) struct Loaded {
    pub(super) policy: Policy,
    pub(super) document: Document,
    /// The file that holds the policy itself.
    pub(super) file: PathBuf,
}

/// The policy in a file of either kind.
pub(super) fn load(file: &Path) -> Result<Loaded, Faults> {
    let (document, file) = policy_document(file)?;
    let policy = Policy::compile(&document, &document.backends()).map_err(|faults| located(&file, &faults))?;
    Ok(Loaded { policy, document, file })
}

/// Whether a file holds a policy alone: it has no `backends`.
pub(super) fn is_policy(file: &Path) -> Result<bool, Faults> {
    let text = read(file)?;
    Ok(!text.lines().any(|line| line.starts_with("backends:")))
}

fn policy_document(file: &Path) -> Result<(Document, PathBuf), Faults> {
    if is_policy(file)? {
        return Ok((parse(file)?, file.to_owned()));
    }
    let configuration = document::read(&read(file)?).map_err(|fault| {
        let (line, column) = (fault.line.unwrap_or(1), fault.column.unwrap_or(1));
        Faults(vec![Finding::of_file(file, fault.message).at(line, column)])
    })?;
    match configuration.policy {
        PolicySource::Inline(document) => Ok((*document, file.to_owned())),
        PolicySource::File(name) => {
            let file = file.parent().unwrap_or(Path::new("")).join(name);
            Ok((parse(&file)?, file))
        }
    }
}

fn parse(file: &Path) -> Result<Document, Faults> {
    Document::from_yaml(&read(file)?).map_err(|faults| located(file, &faults))
}

fn read(file: &Path) -> Result<String, Faults> {
    std::fs::read_to_string(file).map_err(|error| Faults::of_file(file, format!("cannot be read: {error}")))
}

fn located(file: &Path, faults: &portcullis_policy::Faults) -> Faults {
    Faults(faults.iter().map(|fault| Finding::of_policy(file, fault)).collect())
}

impl Known {
    /// Everything that these policies speak of; `file` is the one whose configuration counts.
    pub(super) fn universe(&self, documents: &[&Document], file: &Path) -> Result<Universe, Faults> {
        let mut universe = Universe::of(documents);
        if !is_policy(file)? {
            self.of_configuration(&mut universe, file)?;
        } else if self.live {
            return Err(Faults::of_file(file, "a policy alone has no backends to ask; name a configuration file"));
        }
        for named in &self.locks {
            let (backend, lock) = named
                .split_once('=')
                .ok_or_else(|| Faults::of_file(file, format!("`{named}` names no lock file; write `BACKEND=FILE`")))?;
            let backend = BackendName::try_from(backend).map_err(|error| Faults::of_file(file, error.to_string()))?;
            let lock = LockFile::read(Path::new(lock), &backend);
            let lock = lock.map_err(|error| Faults::of_file(file, error.to_string()))?;
            universe.know(&backend, locked(&lock));
        }
        Ok(universe)
    }

    /// Lock files where there are some, or what the backends say.
    fn of_configuration(&self, universe: &mut Universe, file: &Path) -> Result<(), Faults> {
        let wrong = |message: String| Faults::of_file(file, message);
        if !self.live {
            let written = document::read(&read(file)?).map_err(|fault| wrong(fault.message))?;
            for (name, backend) in &written.backends {
                let Some(drift) = &backend.drift else { continue };
                let Ok(name) = BackendName::try_from(name.as_str()) else { continue };
                let lock = file.parent().unwrap_or(Path::new("")).join(&drift.lock.value);
                // A lock file that is not there yet, or named by a variable, is no reason not to answer.
                if let Ok(lock) = LockFile::read(&lock, &name) {
                    universe.know(&name, locked(&lock));
                }
            }
            return Ok(());
        }
        let config = config::load(file, &Environment::process())?;
        let backends: Vec<_> = config.backends.iter().collect();
        for (backend, offered) in tools::fetch(&config, &backends).map_err(wrong)? {
            let lock = backend.drift.as_ref().and_then(|drift| LockFile::read(&drift.lock, &backend.name).ok());
            universe.know(&backend.name, offered.map_err(wrong)?.for_policy(lock.as_ref()));
        }
        Ok(())
    }
}

/// The tools of a lock file, as the policy takes them.
fn locked(lock: &LockFile) -> Catalogue {
    let tools = catalogue::Catalogue::new(lock.tools().cloned().collect());
    tools.map(|tools| tools.for_policy(Some(lock))).unwrap_or_default()
}

/// What to say of backends whose tools are not known.
pub(super) fn guesses(universe: &Universe) -> Option<String> {
    let guessed: BTreeSet<String> = universe.guessed().iter().map(ToString::to_string).collect();
    let names = guessed.into_iter().collect::<Vec<_>>().join(", ");
    (!names.is_empty()).then(|| {
        format!("the tools of {names} are not known; the policy's patterns stand for them (see `--lock`, `--live`)")
    })
}
