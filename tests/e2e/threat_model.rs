//! The threat model's table is what the catalogue says, the catalogue is whole, and every test that it names exists.
//!
//! `THREAT_MODEL=write` brings the table in `docs/threat-model.md` up to date with `threats.yaml`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use portcullis_tests::process::file;
use portcullis_tests::source::tests_under;
use serde_json::Value;

/// Numbers of attacks.
const LAST: u64 = 278;
/// Groups in which nothing may be open.
const CLOSED: &str = "ABCDEFGHI";
const BEGIN: &str = "<!-- made from tests/threats.yaml -->\n";

fn catalogue() -> Vec<Value> {
    serde_saphyr::from_str(&std::fs::read_to_string(file("threats.yaml")).unwrap()).unwrap()
}

fn attacks(group: &Value) -> &Vec<Value> {
    group["attacks"].as_array().unwrap()
}

fn names(attack: &Value) -> Vec<&str> {
    attack["tests"].as_array().into_iter().flatten().map(|name| name.as_str().unwrap()).collect()
}

fn root() -> PathBuf {
    file("..")
}

fn table(groups: &[Value]) -> String {
    let mut out = String::new();
    for group in groups {
        let (letter, title) = (group["group"].as_str().unwrap(), group["title"].as_str().unwrap());
        writeln!(out, "\n### {letter}. {title}\n\n| | attack | what must come of it | held by |\n|---|---|---|---|")
            .unwrap();
        for attack in attacks(group) {
            let held = match (names(attack).as_slice(), attack["reason"].as_str()) {
                ([], Some(reason)) => reason.to_owned(),
                ([], None) => "open".to_owned(),
                (names, _) => names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
            };
            let outcome = attack["outcome"].as_str().unwrap_or("does not apply");
            writeln!(out, "| {} | {} | {outcome} | {held} |", attack["number"], attack["attack"].as_str().unwrap())
                .unwrap();
        }
    }
    out
}

#[test]
fn every_attack_is_in_the_catalogue_once_and_what_matters_most_is_held() {
    let groups = catalogue();
    let numbers: Vec<u64> = groups.iter().flat_map(attacks).map(|attack| attack["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=LAST).collect::<Vec<_>>());
    let open: Vec<&Value> = groups
        .iter()
        .filter(|group| CLOSED.contains(group["group"].as_str().unwrap()))
        .flat_map(attacks)
        .filter(|attack| names(attack).is_empty() && attack["reason"].as_str().is_none_or(|reason| reason.len() < 20))
        .map(|attack| &attack["number"])
        .collect();
    assert!(open.is_empty(), "nothing holds {open:?}");
}

#[test]
fn every_test_that_the_catalogue_names_exists() {
    let mut found = BTreeSet::new();
    for folder in ["policy", "gateway", "tests", "examples", "fuzz"] {
        tests_under(&root().join(folder), &mut found);
    }
    let groups = catalogue();
    let named = groups.iter().flat_map(attacks).flat_map(names);
    let absent: BTreeSet<&str> = named.filter(|name| !found.contains(*name)).collect();
    assert!(absent.is_empty(), "there are no tests called {absent:?}");
    assert!(!found.contains("every_attack_is_stopped"), "the control: not every name is found");
}

#[test]
fn the_document_shows_the_catalogue() {
    let path = root().join("docs/threat-model.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (model, shown) = text.split_once(BEGIN).expect("the document has no place for the table");
    let table = table(&catalogue());
    if std::env::var_os("THREAT_MODEL").is_some_and(|wish| wish == "write") {
        std::fs::write(&path, format!("{model}{BEGIN}{table}")).unwrap();
    } else {
        assert!(shown == table, "run `THREAT_MODEL=write cargo test -p portcullis-tests --test threat_model`");
    }
}
