//! In what a backend's tools differ from the lock file, and what is done about it.

use std::fmt;

use super::LockFile;
use crate::backend::catalogue::{Catalogue, Field};

/// What is done about a tool that is new or described anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It does not exist until it is approved.
    Quarantine,
    /// It passes; log, metrics and audit trail tell of it.
    Report,
    /// It passes.
    Pass,
}

impl Mode {
    /// Its name in the configuration and the audit trail.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Quarantine => "quarantine",
            Self::Report => "report",
            Self::Pass => "pass",
        }
    }
}

/// Which mode is for which tool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rule {
    /// Quarantine for what only a `*` of the policy matches, report for what the policy names.
    #[default]
    ByName,
    /// One mode for all.
    Always(Mode),
}

impl Rule {
    /// What a configuration can say.
    pub const WORDS: [&'static str; 3] = ["quarantine", "report", "pass"];

    /// The rule of this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "quarantine" => Some(Self::Always(Mode::Quarantine)),
            "report" => Some(Self::Always(Mode::Report)),
            "pass" => Some(Self::Always(Mode::Pass)),
            _ => None,
        }
    }

    /// The mode for a tool, by whether the policy spells its name out.
    #[must_use]
    pub fn mode(self, is_named: bool) -> Mode {
        match self {
            Self::Always(mode) => mode,
            Self::ByName if is_named => Mode::Report,
            Self::ByName => Mode::Quarantine,
        }
    }
}

/// How a tool differs from what was approved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is not in the lock file.
    New,
    /// These parts of its definition are others.
    Changed(Vec<Field>),
    /// The backend has it no more.
    Gone,
}

impl Change {
    /// Its name in the audit trail.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Changed(_) => "changed",
            Self::Gone => "gone",
        }
    }

    /// The parts that are others.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        match self {
            Self::Changed(fields) => fields,
            Self::New | Self::Gone => &[],
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => f.write_str("is new"),
            Self::Gone => f.write_str("is gone"),
            Self::Changed(fields) => {
                let fields: Vec<_> = fields.iter().map(|field| field.as_str()).collect();
                write!(f, "has another {}", fields.join(", "))
            }
        }
    }
}

/// One tool that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its name.
    pub tool: String,
    /// How.
    pub change: Change,
}

/// Everything in which a catalogue differs from what was approved, by name.
#[must_use]
pub fn compare(lock: &LockFile, catalogue: &Catalogue) -> Vec<Finding> {
    let live = catalogue.tools().iter().filter_map(|tool| {
        let change = match lock.get(tool.name()) {
            None => Change::New,
            Some(approved) if approved.fingerprint() == tool.fingerprint() => return None,
            Some(approved) => Change::Changed(approved.differs(tool)),
        };
        Some(Finding { tool: tool.name().to_owned(), change })
    });
    let gone = lock.tools().filter(|tool| catalogue.get(tool.name()).is_none());
    let gone = gone.map(|tool| Finding { tool: tool.name().to_owned(), change: Change::Gone });
    let mut findings: Vec<Finding> = live.chain(gone).collect();
    findings.sort_by(|a, b| a.tool.cmp(&b.tool));
    findings
}
