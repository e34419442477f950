//! Faults with their places, for people and for programs.

use std::fmt;
use std::path::Path;

use portcullis_policy::{Fault, Severity};
use serde_json::{Value, json};

use super::Answer;
use crate::config::ConfigError;

/// One thing to mend.
#[derive(Debug)]
pub(super) struct Finding {
    file: String,
    place: Option<(u64, u64)>,
    severity: Severity,
    message: String,
}

/// Why a file cannot be used.
#[derive(Debug)]
pub(super) struct Faults(pub(super) Vec<Finding>);

impl Finding {
    pub(super) fn of_file(file: &Path, message: impl Into<String>) -> Self {
        let file = file.display().to_string();
        Self { file, place: None, severity: Severity::Error, message: message.into() }
    }

    pub(super) fn of_policy(file: &Path, fault: &Fault) -> Self {
        let place = (fault.line > 0).then_some((fault.line, fault.column));
        Self { place, severity: fault.severity, ..Self::of_file(file, fault.message.clone()) }
    }

    pub(super) fn warning(file: &Path, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::of_file(file, message) }
    }

    pub(super) fn at(self, line: u64, column: u64) -> Self {
        Self { place: Some((line, column)), ..self }
    }

    pub(super) fn to_json(&self) -> Value {
        let (line, column) = self.place.unzip();
        let severity = if self.severity == Severity::Error { "error" } else { "warning" };
        json!({ "file": self.file, "line": line, "column": column, "severity": severity, "message": self.message })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some((line, column)) = self.place {
            write!(f, ":{line}:{column}")?;
        }
        let word = if self.severity == Severity::Error { "" } else { "warning: " };
        write!(f, ": {word}{}", self.message)
    }
}

impl Faults {
    pub(super) fn of_file(file: &Path, message: impl Into<String>) -> Self {
        Self(vec![Finding::of_file(file, message)])
    }

    /// The faults as the answer to a question that wants JSON.
    pub(super) fn answer(self, json: bool) -> Result<Answer, String> {
        if json {
            let faults: Vec<Value> = self.0.iter().map(Finding::to_json).collect();
            return Ok(Answer::No(json!({ "ok": false, "faults": faults }).to_string()));
        }
        Err(self.to_string())
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for fault in &self.0 {
            write!(f, "{separator}{fault}")?;
            separator = "\n";
        }
        Ok(())
    }
}

impl From<ConfigError> for Faults {
    fn from(error: ConfigError) -> Self {
        let finding = |fault: &crate::config::Fault| {
            let finding = Finding::of_file(error.path(), fault.message.clone());
            match (fault.line, fault.column) {
                (Some(line), Some(column)) => finding.at(line, column),
                _ => finding,
            }
        };
        Self(error.faults().iter().map(finding).collect())
    }
}
