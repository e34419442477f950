//! `portcullis check FILE`: is this file fit to run with?

use std::fmt::Write;
use std::path::Path;

use super::{Answer, policy_test};
use crate::backend::pinning::LockFile;
use crate::config::{self, Environment};

/// Checks a configuration file, or a policy file on its own.
pub(super) fn run(file: &Path) -> Result<Answer, String> {
    if policy_test::is_policy(file)? {
        return policy_test::run(file);
    }
    let config = config::load(file, &Environment::process()).map_err(|faults| faults.to_string())?;
    let locks = config.backends.iter().filter_map(|backend| Some((&backend.drift.as_ref()?.lock, &backend.name)));
    let faults = locks.filter_map(|(lock, name)| LockFile::read(lock, name).err());
    let faults: Vec<String> = faults.map(|fault| format!("{}: {fault}", file.display())).collect();
    if !faults.is_empty() {
        return Err(faults.join("\n"));
    }
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
