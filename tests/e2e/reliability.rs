//! The fault table is whole: every row is tried by tests that exist, or says why it cannot be tried, and the document shows
//! what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use portcullis_tests::process::file;
use portcullis_tests::reliability::{Found, Printed, Row, found, parts, rows, table};
use portcullis_tests::source::tests_under;

/// Rows of the table.
const LAST: u32 = 35;

fn document() -> String {
    std::fs::read_to_string(file("../docs/reliability.md")).unwrap()
}

/// Where the tests of a suite are.
fn suite(name: &str) -> PathBuf {
    let of_tests = file("e2e").join(name);
    match name {
        "lib" => file("../gateway/src"),
        "forward_path" => file("../gateway/tests/forward_path"),
        _ if of_tests.is_dir() => of_tests,
        _ => of_tests.with_extension("rs"),
    }
}

#[test]
fn every_row_names_a_test_that_exists_or_says_why_there_is_none() {
    let rows = rows();
    assert_eq!(rows.iter().map(|row| row.row).collect::<Vec<_>>(), (1..=LAST).collect::<Vec<_>>());
    let mut suites: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for Row { row, tests, reason, .. } in &rows {
        let reason = reason.as_deref().unwrap_or_default();
        assert!(tests.is_empty() != reason.is_empty(), "row {row}: tests, or a reason why there are none");
        assert!(reason.is_empty() || reason.len() > 20, "row {row}: `{reason}` is no reason");
        for test in tests {
            let (name, test) = test.split_once("::").unwrap_or_else(|| panic!("row {row}: `{test}` has no suite"));
            let found = suites.entry(name).or_insert_with(|| {
                let mut found = BTreeSet::new();
                tests_under(&suite(name), &mut found);
                found
            });
            assert!(found.contains(test), "row {row}: there is no test `{test}` in `{name}`");
        }
    }
    assert!(!suites["faults"].contains("nothing_ever_fails"), "the control: not every name is found");
}

#[test]
fn the_document_shows_every_row_and_no_row_is_open() {
    let document = document();
    let shown = parts(&document).1;
    let found = found(shown);
    assert!(table(&rows(), &found) == shown, "run `make chaos`: the table is not of this catalogue");
    for Row { row, .. } in &rows() {
        let Found { figure, verdict } = found.get(row).unwrap_or_else(|| panic!("row {row} is not in the document"));
        assert!(["held", "not run here"].contains(&verdict.as_str()), "row {row} is {verdict}: {figure}");
        assert!(!figure.is_empty(), "row {row} has no figure");
    }
}

#[test]
fn a_line_of_a_test_is_read_as_it_was_meant() {
    let line = "fault 2: p99 1.2 x (of 3 ms); ended (pass: p99 < 2 x, deadline 10 s)";
    let read = Printed::read(line).unwrap();
    assert_eq!((read.row, read.figure.as_str(), read.is_met), (2, "p99 1.2 x (of 3 ms); ended", true));
    assert!(!Printed::read(&format!("{line} missed")).unwrap().is_met);
    assert_eq!(Printed::read("fault finding: none"), None);
}
