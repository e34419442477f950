//! Policies as files: those that must load and keep their word, those that must be refused and why, and every YAML
//! block of the documentation.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use std::fs;
use std::path::{Path, PathBuf};

use portcullis_policy::{BackendName, Document, Policy};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn yaml_files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|ext| ext == "yaml")).collect();
    files.sort();
    assert!(!files.is_empty(), "no file in {}", directory.display());
    files
}

/// The backends named by a `# backends:` comment.
fn named_backends(text: &str) -> Vec<BackendName> {
    let names = text.lines().find_map(|line| line.strip_prefix("# backends: ")).unwrap_or("weather");
    names.split_whitespace().map(|name| BackendName::try_from(name).unwrap()).collect()
}

/// Loads a policy, and holds it to its tests and to the lint.
fn keeps_its_word(what: &str, text: &str) {
    let document = Document::from_yaml(text).unwrap_or_else(|faults| panic!("{what}:\n{faults}"));
    let policy = Policy::compile(&document, &document.backends()).unwrap_or_else(|faults| panic!("{what}:\n{faults}"));
    let report = policy.run_cases(&document);
    let failures: Vec<String> = report.failures().iter().map(ToString::to_string).collect();
    assert!(failures.is_empty(), "{what}:\n{}", failures.join("\n"));
}

#[test]
fn policies_that_load_keep_their_word() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    for file in yaml_files(&directory) {
        let text = fs::read_to_string(&file).unwrap();
        keeps_its_word(&file.display().to_string(), &text);
        assert!(text.contains("cases:"), "{} tests nothing", file.display());
    }
}

#[test]
fn the_example_policies_keep_their_word_without_a_warning() {
    for file in yaml_files(&root().join("examples/policies")) {
        let text = fs::read_to_string(&file).unwrap();
        keeps_its_word(&file.display().to_string(), &text);
        let document = Document::from_yaml(&text).unwrap();
        let policy = Policy::compile(&document, &document.backends()).unwrap();
        assert_eq!(policy.lint(&document), [], "{}", file.display());
        assert!(policy.run_cases(&document).total() >= 5, "{} tests little", file.display());
    }
}

/// A refused file stands beside the faults that it must yield, word for word. `UPDATE=1` writes them anew.
#[test]
fn policies_that_are_refused_say_everything_that_is_wrong() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/refused");
    for file in yaml_files(&directory) {
        let text = fs::read_to_string(&file).unwrap();
        let faults = Policy::from_yaml(&text, &named_backends(&text)).map(|_| ()).unwrap_err().to_string() + "\n";
        let expected = file.with_extension("faults");
        if option_env!("UPDATE").is_some() {
            fs::write(&expected, &faults).unwrap();
        }
        let expected = fs::read_to_string(&expected).unwrap_or_else(|error| panic!("{}: {error}", expected.display()));
        assert_eq!(faults, expected, "{}", file.display());
    }
}

/// The `yaml` blocks of a page, with their first lines.
fn blocks(page: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, line) in page.lines().enumerate() {
        match (&mut open, line) {
            (None, "```yaml") => open = Some((index + 2, String::new())),
            (Some(_), "```") => blocks.extend(open.take()),
            (Some((_, block)), line) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, _) => {}
        }
    }
    blocks
}

#[test]
fn every_policy_of_the_documentation_keeps_its_word() {
    let page = fs::read_to_string(root().join("docs/policy.md")).unwrap();
    let blocks = blocks(&page);
    assert!(blocks.len() >= 5, "{} blocks", blocks.len());
    for (line, block) in blocks {
        let what = format!("docs/policy.md, line {line}");
        keeps_its_word(&what, &block);
        let document = Document::from_yaml(&block).unwrap();
        let policy = Policy::compile(&document, &document.backends()).unwrap();
        let warnings: Vec<String> = policy.lint(&document).iter().map(ToString::to_string).collect();
        assert!(warnings.is_empty(), "{what}:\n{}", warnings.join("\n"));
    }
}
