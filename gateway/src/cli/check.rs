//! `portcullis check FILE`: is this file fit to run with?

use std::fmt::Write;
use std::path::Path;

use serde_json::{Value, json};

use super::report::{Faults, Finding};
use super::{Answer, policy_test, source};
use crate::backend::pinning::LockFile;
use crate::config::{self, Config, Environment};

/// Checks a configuration file, or a policy file on its own.
pub(super) fn run(file: &Path, json: bool) -> Result<Answer, String> {
    match source::is_policy(file) {
        Ok(true) => return policy_test::run(file, json),
        Ok(false) => {}
        Err(faults) => return faults.answer(json),
    }
    match checked(file) {
        Ok(config) => Ok(Answer::Yes(fine(file, &config, json))),
        Err(faults) => faults.answer(json),
    }
}

fn checked(file: &Path) -> Result<Config, Faults> {
    let config = config::load(file, &Environment::process())?;
    let locks = config.backends.iter().filter_map(|backend| Some((&backend.drift.as_ref()?.lock, &backend.name)));
    let faults = locks.filter_map(|(lock, name)| LockFile::read(lock, name).err());
    let faults: Vec<Finding> = faults.map(|fault| Finding::of_file(file, fault.to_string())).collect();
    if faults.is_empty() { Ok(config) } else { Err(Faults(faults)) }
}

fn fine(file: &Path, config: &Config, json: bool) -> String {
    let names: Vec<&str> = config.backends.iter().map(|backend| backend.name.as_ref()).collect();
    let cases = config.policy.run_cases(&config.policy_document).total();
    if json {
        let warning = |text: &String| Finding::warning(file, text.clone()).to_json();
        let warnings: Vec<Value> = config.warnings.iter().map(warning).collect();
        return json!({
            "ok": true, "backends": names, "policy": **config.policy.hash(), "passed": cases, "failed": [],
            "warnings": warnings,
        })
        .to_string();
    }
    let mut text = String::new();
    for warning in &config.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    let _ = write!(
        text,
        "{}: fine; {} backend(s) ({}), policy {}, {cases} policy test(s) passed",
        file.display(),
        names.len(),
        names.join(", "),
        config.policy.hash(),
    );
    text
}
