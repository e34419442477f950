//! The fault table: what fails, what must hold then, which tests hold it, and what it cost when it was last tried.
//!
//! `tests/faults.yaml` says the first three; tests print the figures, `make chaos` collects them, and both are the
//! table in `docs/reliability.md`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Deserialize;

use crate::process::file;

const BEGIN: &str = "<!-- made by `make chaos` from tests/faults.yaml and from what the tests printed -->\n";
const END: &str = "<!-- end of the table -->\n";
const MISSED: &str = " missed";

/// Prints a row of the fault table on a line of its own: what a fault cost, beside what it may cost. Whoever prints it
/// has asserted that the one is within the other.
pub fn fault(row: u32, figure: &str, pass: &str) {
    println!("\nfault {row}: {figure} (pass: {pass})");
}

/// As [`fault`], for what a slow machine may miss: it is not asserted, and the line says whether it was met.
pub fn measured(row: u32, figure: &str, is_met: bool, pass: &str) {
    println!("\nfault {row}: {figure} (pass: {pass}){}", if is_met { "" } else { MISSED });
}

/// A row of the fault table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Its number.
    pub row: u32,
    /// What fails.
    pub fault: String,
    /// What must hold then.
    pub required: String,
    /// The figure that must be reached.
    pub pass: String,
    /// What operators see of it, and what is left to them.
    pub expect: String,
    /// What holds it, as `suite::test`; a suite is one of `tests/e2e`, or `forward_path`, or `lib`.
    #[serde(default)]
    pub tests: Vec<String>,
    /// Why nothing here can hold it.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What came of a row when it was last tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The figure that was printed.
    pub figure: String,
    /// Whether it was held.
    pub verdict: String,
}

/// A line that a test printed.
#[derive(Debug, PartialEq, Eq)]
pub struct Printed {
    /// The row that it is of.
    pub row: u32,
    /// The figure.
    pub figure: String,
    /// Whether the figure is within what it may be.
    pub is_met: bool,
}

impl Printed {
    /// Reads a line; `None` when it is no row of the fault table.
    #[must_use]
    pub fn read(line: &str) -> Option<Self> {
        let (row, rest) = line.strip_prefix("fault ")?.split_once(": ")?;
        let (figure, pass) = rest.rsplit_once(" (pass: ")?;
        Some(Self { row: row.parse().ok()?, figure: figure.to_owned(), is_met: !pass.ends_with(MISSED) })
    }
}

/// Every row, in order.
#[must_use]
pub fn rows() -> Vec<Row> {
    serde_saphyr::from_str(&std::fs::read_to_string(file("faults.yaml")).unwrap()).unwrap()
}

/// The document, and the table in it: what stands before, the table, what stands behind.
///
/// # Panics
///
/// Panics when there is no place for the table.
#[must_use]
pub fn parts(document: &str) -> (&str, &str, &str) {
    let (before, rest) = document.split_once(BEGIN).expect("the document has no place for the table");
    let (table, after) = rest.split_once(END).expect("the table has no end");
    (before, table, after)
}

/// A document with this table.
#[must_use]
pub fn with_table(document: &str, table: &str) -> String {
    let (before, _, after) = parts(document);
    format!("{before}{BEGIN}{table}{END}{after}")
}

/// What a table says that was found.
#[must_use]
pub fn found(table: &str) -> BTreeMap<u32, Found> {
    let rows = table.lines().filter_map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [row, _, _, figure, _, verdict] = cells.as_slice() else { return None };
        Some((row.parse().ok()?, Found { figure: (*figure).to_owned(), verdict: (*verdict).to_owned() }))
    });
    rows.collect()
}

/// The table of what was found, and what to make of each row.
#[must_use]
pub fn table(rows: &[Row], found: &BTreeMap<u32, Found>) -> String {
    let mut out =
        String::from("\n| | what fails | what must hold | figure | pass mark | verdict |\n|---|---|---|---|---|---|\n");
    let nothing = Found { figure: "not tried".to_owned(), verdict: "open".to_owned() };
    for row in rows {
        let here = Found { figure: row.reason.clone().unwrap_or_default(), verdict: "not run here".to_owned() };
        let is = if row.reason.is_some() { &here } else { found.get(&row.row).unwrap_or(&nothing) };
        let Row { row, fault, required, pass, .. } = row;
        writeln!(out, "| {row} | {fault} | {required} | {} | {pass} | {} |", is.figure, is.verdict).unwrap();
    }
    out += "\n## What to expect\n\n| | what you see, and what is left to you | held by |\n|---|---|---|\n";
    for Row { row, expect, tests, .. } in rows {
        let names = tests.iter().map(|test| format!("`{}`", test.rsplit("::").next().unwrap()));
        let held = if tests.is_empty() { "nothing here".to_owned() } else { names.collect::<Vec<_>>().join(", ") };
        writeln!(out, "| {row} | {expect} | {held} |").unwrap();
    }
    out + "\n"
}
