//! The tests that are in the repository, by name: documents that say what holds something are held to it.

use std::collections::BTreeSet;
use std::path::Path;

/// The functions of every Rust file under a folder, or of one file, that stand behind a `#[test]`.
pub fn tests_under(folder: &Path, found: &mut BTreeSet<String>) {
    if folder.is_file() {
        tests_of(&std::fs::read_to_string(folder).unwrap(), found);
        return;
    }
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let is_source = path.extension().is_some_and(|extension| extension == "rs");
        if is_source || (path.is_dir() && !matches!(name, "target" | "node_modules" | ".tools")) {
            tests_under(&path, found);
        }
    }
}

fn tests_of(text: &str, found: &mut BTreeSet<String>) {
    let (mut is_test, mut is_listed) = (false, false);
    for line in text.lines().map(str::trim) {
        // What every store must pass is named in a list, and made into tests of each.
        is_listed = line == "contract!(" || (is_listed && line != ");");
        if is_listed && let Some(name) = line.strip_suffix(',') {
            found.insert(name.to_owned());
        }
        is_test |= line.starts_with("#[test") || line.starts_with("#[tokio::test");
        let code = line.trim_start_matches("pub ").trim_start_matches("async ");
        // A property's attribute may stand before its macro; its functions are tests all the same.
        if let Some(rest) = code.strip_prefix("fn ") {
            if is_test {
                found.insert(rest.split(['(', '<']).next().unwrap().to_owned());
            }
            is_test = false;
        }
    }
}
