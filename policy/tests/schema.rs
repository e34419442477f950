//! The JSON Schema for editors against every sample and every refused file: it lets through what loads, and sees what a
//! schema can see of what does not.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should say where")]

use std::fs;
use std::path::{Path, PathBuf};

use portcullis_policy::Document;
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn yaml_files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|ext| ext == "yaml")).collect();
    files.sort();
    files
}

/// What the schema says of a file; nothing where it is no YAML, which a schema is never asked about.
fn complaints(file: &Path) -> Option<Vec<String>> {
    let text = fs::read_to_string(file).unwrap();
    let value: Value = serde_saphyr::from_str(&text).ok()?;
    let validator = jsonschema::validator_for(&Document::json_schema()).unwrap();
    Some(validator.iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path())).collect())
}

#[test]
fn the_committed_schema_is_the_one_that_is_made() {
    let file = root().join("docs/schema/policy.schema.json");
    let made = serde_json::to_string_pretty(&Document::json_schema()).unwrap() + "\n";
    if option_env!("UPDATE").is_some() {
        fs::write(&file, &made).unwrap();
    }
    let committed = fs::read_to_string(&file).unwrap_or_default();
    assert!(committed == made, "write it anew: portcullis schema --policy > docs/schema/policy.schema.json");
}

#[test]
fn every_sample_is_as_the_schema_wants_it() {
    for directory in ["policy/tests/cases", "examples/policies"] {
        for file in yaml_files(&root().join(directory)) {
            assert_eq!(complaints(&file), Some(Vec::new()), "{}", file.display());
        }
    }
}

/// What is wrong with these is not a matter of shape: names that nothing declares, rules that say nothing.
const UNSEEN: [&str; 3] = ["circle", "merge-key", "tenants-none"];

#[test]
fn of_the_refused_files_the_schema_sees_those_of_a_wrong_shape() {
    let mut unseen = Vec::new();
    for file in yaml_files(&root().join("policy/tests/cases/refused")) {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        if complaints(&file).is_some_and(|complaints| complaints.is_empty()) {
            unseen.push(name);
        }
    }
    assert_eq!(unseen, UNSEEN);
}

#[test]
fn an_editor_is_told_what_is_wrong_and_where() {
    let validator = jsonschema::validator_for(&Document::json_schema()).unwrap();
    let good = "roles: { a: { opens: [read] } }\ntools: { w: { read: [x] } }\n";
    for (text, at) in [
        (good.to_owned(), None),
        (good.replace("opens", "open"), Some("/roles/a")),
        (good.replace("[read]", "read"), Some("/roles/a/opens")),
        (good.replace("[read]", "[openid]"), Some("/roles/a/opens/0")),
        (good.replace("[x]", "[1]"), Some("/tools/w/read/0")),
        (good.replace("tools", "tests"), Some("")),
        (format!("{good}denials: explian\n"), Some("/denials")),
        (format!("{good}version: 2\n"), Some("/version")),
        (
            format!(
                "{good}pins: [{{ id: a, tools: [w/x], prompts: [w/x], argument: /a, to: caller.tid, how: set }}]\n"
            ),
            Some("/pins/0"),
        ),
        (format!("{good}tags: {{ read: {{ step_up: {{ max_age: 0m }} }} }}\n"), Some("/tags/read/step_up/max_age")),
    ] {
        let value: Value = serde_saphyr::from_str(&text).unwrap();
        let found: Vec<String> = validator.iter_errors(&value).map(|error| error.instance_path().to_string()).collect();
        assert!(at.map_or(found.is_empty(), |at| found.iter().any(|path| path == at)), "{text}: {found:?}");
    }
}
