//! `portcullis check FILE`: is this file fit to run with?

use std::fmt::Write;
use std::path::Path;

use super::{Answer, policy_test};
use crate::config::{self, Environment};

/// Checks a configuration file, or a policy file on its own.
pub(super) fn run(file: &Path) -> Result<Answer, String> {
    if policy_test::is_policy(file)? {
        return policy_test::run(file);
    }
    let config = config::load(file, &Environment::process()).map_err(|faults| faults.to_string())?;
    let mut text = String::new();
    for warning in &config.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    let names: Vec<&str> = config.backends.iter().map(|backend| backend.name.as_ref()).collect();
    let cases = config.policy.run_cases(&config.policy_document).total();
    let _ = write!(
        text,
        "{}: fine; {} backend(s) ({}), policy {}, {cases} policy test(s) passed",
        file.display(),
        names.len(),
        names.join(", "),
        config.policy.hash(),
    );
    Ok(Answer::Yes(text))
}
