//! `portcullis policy test FILE`: do the policy's own tests pass?

use std::fmt::Write;
use std::path::Path;

use serde_json::{Value, json};

use super::report::Finding;
use super::{Answer, source};

/// Runs the tests of a policy file, or of a configuration's policy.
pub(super) fn run(file: &Path, json: bool) -> Result<Answer, String> {
    let loaded = match source::load(file) {
        Ok(loaded) => loaded,
        Err(faults) => return faults.answer(json),
    };
    let (policy, document) = (&loaded.policy, &loaded.document);
    let report = policy.run_cases(document);
    let failures = report.failures();
    let warnings: Vec<Finding> =
        policy.lint(document).iter().map(|fault| Finding::of_policy(&loaded.file, fault)).collect();
    let failed_tests = failures.iter().map(|failure| &failure.line).collect::<std::collections::BTreeSet<_>>().len();
    let passed = report.total() - failed_tests;
    let text = if json {
        let failure = |failure: &portcullis_policy::CaseFailure| {
            json!({ "file": loaded.file.display().to_string(), "line": failure.line, "column": failure.column,
                "name": failure.name, "message": failure.message })
        };
        json!({
            "ok": failures.is_empty(), "policy": **policy.hash(), "passed": passed,
            "failed": failures.iter().map(failure).collect::<Vec<Value>>(),
            "warnings": warnings.iter().map(Finding::to_json).collect::<Vec<Value>>(),
        })
        .to_string()
    } else {
        let mut text = String::new();
        for warning in &warnings {
            let _ = writeln!(text, "{warning}");
        }
        for failure in failures {
            let _ = writeln!(text, "{}", Finding::of_policy(&loaded.file, &failure.fault()));
        }
        let _ =
            write!(text, "{}: policy {}, {passed} tests passed, {failed_tests} failed", file.display(), policy.hash());
        text
    };
    Ok(if failures.is_empty() { Answer::Yes(text) } else { Answer::No(text) })
}
