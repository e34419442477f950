//! Trails in several places, of which one fails or is not always there, as each is read again.

use super::tests::{check_by, file, options, outcome, rules, signer, start};
use super::verify::{Report, Rules};
use super::*;
use crate::jose::signing_key::SigningKey;

fn check(text: &str, key: &SigningKey, place: &str) -> Report {
    check_by(text, &Rules { place: Some(place.to_owned()), ..rules(key) })
}

#[test]
fn what_a_place_has_missed_is_told_there_in_full_however_long_it_was_out() {
    let (directory, key) = (tempfile::tempdir().unwrap(), SigningKey::generate().unwrap());
    let (good, bad) = (directory.path().join("good.db"), directory.path().join("bad"));
    std::fs::create_dir(&bad).unwrap();
    let path = bad.join("audit.jsonl");
    let places = vec![Destination::Sqlite { path: good.clone(), retention: None }, file(&path, None)];
    let auditor = Auditor::start(places, signer(&key), options(true, OnFailure::Continue)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let record = |number| runtime.block_on(auditor.record_first(outcome(number))).unwrap();
    record(0);
    std::fs::rename(&bad, directory.path().join("away")).unwrap();
    // Each is a batch of its own.
    for number in 1..40 {
        record(number);
    }
    std::fs::rename(directory.path().join("away"), &bad).unwrap();
    let mut number = 100;
    while !std::fs::read_to_string(&path).unwrap().contains("audit.gap") {
        record(number);
        number += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
    runtime.block_on(auditor.close()).unwrap();
    drop(auditor);
    let whole = std::io::read_to_string(Rows::open(&good).unwrap()).unwrap();
    let report = check(&whole, &key, "sqlite");
    assert!(report.is_intact() && report.is_closed() && report.lost == 0, "the control: {report:?}");
    let text = std::fs::read_to_string(&path).unwrap();
    let report = check(&text, &key, "file");
    assert!(report.is_intact() && report.is_closed(), "{report:?}");
    assert_eq!(usize::try_from(report.lost), Ok(whole.lines().count() - text.lines().count()));
    assert!(report.lost >= 39, "{report:?}");
    // No more is missing than the gateway says.
    let before = text.lines().position(|line| line.contains("audit.gap")).unwrap() - 1;
    let gone = text.lines().nth(before).unwrap();
    assert!(!check(&text.replace(&format!("{gone}\n"), ""), &key, "file").is_intact());
    // Where it is not said which place it is, the word of any would do.
    let unplaced = check_by(&text, &rules(&key));
    assert!(unplaced.faults.iter().any(|fault| fault.what.contains("--place")), "{unplaced:?}");
    // Nor is it another place that says it.
    let elsewhere = check(&text, &key, "postgres");
    assert!(!elsewhere.is_intact(), "{elsewhere:?}");
}

#[test]
fn a_place_that_was_not_there_for_a_run_is_held_against_what_it_had() {
    let (directory, key) = (tempfile::tempdir().unwrap(), SigningKey::generate().unwrap());
    let (database, lines) = (directory.path().join("audit.db"), directory.path().join("audit.jsonl"));
    for has_database in [true, false, true] {
        let mut places = vec![file(&lines, None)];
        places.extend(has_database.then(|| Destination::Sqlite { path: database.clone(), retention: None }));
        let auditor = start(places, &key, false).unwrap();
        auditor.record(outcome(1)).unwrap();
    }
    let rows = std::io::read_to_string(Rows::open(&database).unwrap()).unwrap();
    for (text, place, runs) in [(std::fs::read_to_string(&lines).unwrap(), "file", 3), (rows.clone(), "sqlite", 2)] {
        let report = check(&text, &key, place);
        assert!(report.is_intact() && report.is_vouched_for() && report.runs == runs, "{place}: {report:?}");
        // By default any place will do, and it is said.
        let report = check_by(&text, &rules(&key));
        assert!(report.is_intact() && !report.places.is_empty(), "{place}: {report:?}");
    }
    // What it had cannot be taken away for all that.
    let last = rows.lines().nth(rows.lines().count() / 2 - 1).unwrap();
    assert!(!check(&rows.replace(&format!("{last}\n"), ""), &key, "sqlite").is_intact());
}
