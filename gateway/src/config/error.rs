//! What can be wrong with a configuration, for the operator who has to mend it.

use std::fmt;
use std::path::{Path, PathBuf};

use super::Files;

/// One thing to mend: where it is, what is wrong, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Line in the file, from 1; `None` when the fault has no single place.
    pub line: Option<u64>,
    /// Column in the line, from 1.
    pub column: Option<u64>,
    /// What is wrong, and the remedy after a semicolon.
    pub message: String,
}

impl Fault {
    /// A fault of the file as a whole.
    #[must_use]
    pub fn whole(message: impl Into<String>) -> Self {
        Self { line: None, column: None, message: message.into() }
    }

    /// A fault at a place in the file.
    #[must_use]
    pub fn at(location: serde_saphyr::Location, message: impl Into<String>) -> Self {
        if location == serde_saphyr::Location::UNKNOWN {
            return Self::whole(message);
        }
        Self { line: Some(location.line()), column: Some(location.column()), message: message.into() }
    }
}

/// Every fault of a configuration file.
#[derive(Debug)]
pub struct ConfigError {
    path: PathBuf,
    faults: Vec<Fault>,
    files: Files,
}

impl ConfigError {
    /// The error that reports `faults` of the file at `path`.
    #[must_use]
    pub fn new(path: &Path, faults: Vec<Fault>) -> Self {
        Self { path: path.to_owned(), faults, files: Files::default() }
    }

    /// The file at `path` cannot be read.
    #[must_use]
    pub fn unreadable(path: &Path, source: &std::io::Error) -> Self {
        Self::new(path, vec![Fault::whole(format!("cannot be read: {source}; check the name and its permissions"))])
    }

    /// With the files that were read, or would have been.
    #[must_use]
    pub fn with_files(self, files: Files) -> Self {
        Self { files, ..self }
    }

    /// The files that were read, or would have been.
    #[must_use]
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The faults, in the order of the file.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{}", self.path.display())?;
            if let (Some(line), Some(column)) = (fault.line, fault.column) {
                write!(f, ":{line}:{column}")?;
            }
            write!(f, ": {}", fault.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
