//! Trails of many gateways in one place, as they are read again.

use super::chain::Line;
use super::forged::chained;
use super::tests::{check, file, outcome, start, write};
use crate::jose::signing_key::SigningKey;

/// All but the lines that say this.
fn without(text: &str, what: &str) -> String {
    let kept = text.split_inclusive('\n').filter(|line| !line.contains(what));
    kept.collect()
}

#[test]
fn a_run_may_be_quiet_while_any_number_of_others_begin() {
    let (directory, key) = (tempfile::tempdir().unwrap(), SigningKey::generate().unwrap());
    let path = directory.path().join("audit.jsonl");
    let quiet = start(vec![file(&path, None)], &key, false).unwrap();
    for _ in 0..40 {
        write(&path, &key, 2, None);
    }
    quiet.record(outcome(4711)).unwrap();
    quiet.record(outcome(4712)).unwrap();
    drop(quiet);
    let text = std::fs::read_to_string(&path).unwrap();
    let report = check(&text, &key);
    assert!(report.is_intact() && report.is_vouched_for() && report.runs == 41, "{report:?}");
    // What it wrote before and after the pause still has to be there.
    let first = text.lines().nth(1).unwrap();
    for gone in [first, "\"milliseconds\":4711"] {
        assert!(!check(&without(&text, gone), &key).is_intact(), "{gone}");
    }
}

#[test]
fn a_node_that_comes_back_after_many_lines_of_others_goes_on_behind_its_own() {
    let (directory, key) = (tempfile::tempdir().unwrap(), SigningKey::generate().unwrap());
    let path = directory.path().join("node-1.jsonl");
    write(&path, &key, 3, None);
    let before = std::fs::read_to_string(&path).unwrap();
    write(&path, &key, 1, None);
    let both = std::fs::read_to_string(&path).unwrap();
    let after = both.strip_prefix(&before).unwrap();
    let content = "{\"time\":1800000000,\"type\":\"mcp.outcome\",\"status\":200}";
    let others = chained("deadbeefdeadbeef", std::iter::repeat_n(content, 70_000)).join("\n");
    let fleet = |before: &str| format!("{before}{others}\n{after}");
    let report = check(&fleet(&before), &key);
    assert!(report.is_intact() && report.runs == 3, "{:?}", report.faults);
    // Its end of before cannot be taken away, nor can all of it.
    let last = before.lines().last().unwrap();
    let named = Line::parse(after.lines().next().unwrap()).unwrap();
    assert!(named.json.contains(&Line::parse(last).unwrap().head.hash), "the control");
    let cut = without(&before, last);
    for cut in [cut.as_str(), ""] {
        assert!(!check(&fleet(cut), &key).is_intact());
    }
}
