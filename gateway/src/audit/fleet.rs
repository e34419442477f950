//! Trails of many gateways in one place, as they are read again.

use super::chain::Line;
use super::forged::chained;
use super::tests::{check, check_by, file, outcome, rules, start, write};
use super::verify::Rules;
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
    let began = "{\"time\":1800000000,\"type\":\"audit.started\"}";
    let content = "{\"time\":1800000000,\"type\":\"mcp.outcome\",\"status\":200}";
    let all = std::iter::once(began).chain(std::iter::repeat_n(content, 70_000));
    let others = chained("deadbeefdeadbeef", all).join("\n");
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

#[test]
fn what_is_left_of_a_fleets_trail_when_old_lines_go_is_held_against_what_went() {
    let (directory, key) = (tempfile::tempdir().unwrap(), SigningKey::generate().unwrap());
    let path = directory.path().join("audit.jsonl");
    write(&path, &key, 1, None);
    // Two that write in turns.
    let two = [0, 1].map(|_| start(vec![file(&path, None)], &key, true).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for number in 0..12 {
        runtime.block_on(two[number % 2].record_first(outcome(number as u64))).unwrap();
    }
    drop(two);
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let join = |lines: &[&str]| lines.join("\n") + "\n";
    let (went, left) = lines.split_at(lines.len() - 8);
    let (went, rest) = (check(&join(went), &key), check(&join(left), &key));
    assert!(went.is_intact() && went.ends.len() == 3, "{went:?}");
    assert!(rest.is_intact() && rest.is_vouched_for() && rest.begins_inside == 2, "{rest:?}");
    // Held against the ends of what went, nothing between can be missing.
    let joined = Rules { before: went.ends.into_iter().collect(), ..rules(&key) };
    assert!(check_by(&join(left), &joined).is_intact(), "the control");
    let shorter = check_by(&join(&left[1..]), &joined);
    assert!(!shorter.is_intact() && check(&join(&left[1..]), &key).is_intact(), "{shorter:?}");
    // What is left has to be signed, and behind the very first start nothing is old.
    let unsigned = join(&left[..4]);
    assert!(!check(&unsigned, &key).is_vouched_for());
    let of_two = |line: &&&str| !lines[..3].contains(*line);
    let begun = lines.iter().filter(of_two).position(|line| line.contains("audit.started")).unwrap() + 3;
    let torn: Vec<&str> = lines.iter().enumerate().filter(|(at, _)| *at != begun).map(|(_, line)| *line).collect();
    assert!(!check(&join(&torn), &key).is_intact());
}
