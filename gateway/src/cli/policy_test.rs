//! `portcullis policy test FILE`: do the policy's own tests pass?

use std::fmt::Write;
use std::path::Path;

use portcullis_policy::{Document, Policy};

use super::Answer;
use crate::config::document::{self, PolicySource};

/// Runs the tests of a policy file, or of a configuration's policy.
pub(super) fn run(file: &Path) -> Result<Answer, String> {
    let (policy, document) = load(file)?;
    let report = policy.run_cases(&document);
    let failures = report.failures();
    let mut text = String::new();
    for fault in policy.lint(&document) {
        let _ = writeln!(text, "{}:{fault}", file.display());
    }
    for failure in failures {
        let _ = writeln!(text, "failed: {failure}");
    }
    let passed = report.total() - failures.len();
    let _ = write!(text, "{}: policy {}, {passed} passed, {} failed", file.display(), policy.hash(), failures.len());
    Ok(if failures.is_empty() { Answer::Yes(text) } else { Answer::No(text) })
}

/// The policy in a file of either kind.
pub(super) fn load(file: &Path) -> Result<(Policy, Document), String> {
    let document = policy_document(file)?;
    let policy = Policy::compile(&document, &document.backends()).map_err(|faults| located(file, &faults))?;
    Ok((policy, document))
}

/// Whether a file holds a policy alone: it has no `backends`.
pub(super) fn is_policy(file: &Path) -> Result<bool, String> {
    let text = read(file)?;
    Ok(!text.lines().any(|line| line.starts_with("backends:")))
}

fn policy_document(file: &Path) -> Result<Document, String> {
    if is_policy(file)? {
        return parse(file);
    }
    let configuration = document::read(&read(file)?).map_err(|fault| {
        let (line, column) = (fault.line.unwrap_or(1), fault.column.unwrap_or(1));
        format!("{}:{line}:{column}: {}", file.display(), fault.message)
    })?;
    match configuration.policy {
        PolicySource::Inline(document) => Ok(*document),
        PolicySource::File(name) => parse(&file.parent().unwrap_or(Path::new("")).join(name)),
    }
}

fn parse(file: &Path) -> Result<Document, String> {
    Document::from_yaml(&read(file)?).map_err(|faults| located(file, &faults))
}

fn read(file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|error| format!("{}: cannot be read: {error}", file.display()))
}

fn located(file: &Path, faults: &portcullis_policy::Faults) -> String {
    let mut text = String::new();
    for fault in faults {
        let _ = writeln!(text, "{}:{fault}", file.display());
    }
    text
}
