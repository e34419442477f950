//! Trails that somebody who can write has made or changed, and knows the format: each has hashes that are right.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::chain::{Chain, Line};
use super::tests::{check, check_by, check_with, file, options, outcome, rules, signer, start, write};
use super::verify::{Report, Rules, Why};
use super::*;
use crate::jose::signing_key::SigningKey;

const TIME: u64 = 1_800_000_000;
const CHECKPOINT: &str = "\"audit.checkpoint\"";

/// Two runs that ended in order, and a third that was killed, or goes on still.
struct Trail {
    directory: tempfile::TempDir,
    key: SigningKey,
    lines: Vec<String>,
    /// The number of the first line of each run.
    starts: Vec<usize>,
}

impl Trail {
    fn new() -> Self {
        let (directory, key) = (tempfile::tempdir().unwrap(), SigningKey::generate().unwrap());
        let path = directory.path().join("audit.jsonl");
        write(&path, &key, 6, None);
        write(&path, &key, 4, None);
        let text = killed(&path, &key, 3);
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let begins = |(at, line): (usize, &String)| line.contains("\"audit.started\"").then_some(at);
        let starts: Vec<usize> = lines.iter().enumerate().filter_map(begins).collect();
        assert_eq!(starts.len(), 3);
        Self { directory, key, lines, starts }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("audit.jsonl")
    }

    fn check(&self, lines: &[String]) -> Report {
        check(&text(lines), &self.key)
    }

    /// The lines before a run, those of the run, and those after it.
    fn around(&self, run: usize) -> (&[String], &[String], &[String]) {
        let (from, to) = (self.starts[run], self.starts.get(run + 1).copied().unwrap_or(self.lines.len()));
        (&self.lines[..from], &self.lines[from..to], &self.lines[to..])
    }

    fn head(&self, at: usize) -> Head {
        Line::parse(&self.lines[at]).unwrap().head
    }
}

fn text(lines: &[String]) -> String {
    lines.join("\n") + "\n"
}

/// A run that was killed: it has no last checkpoint.
fn killed(path: &Path, key: &SigningKey, lines: u64) -> String {
    let auditor = start(vec![file(path, None)], key, true).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for number in 0..lines {
        runtime.block_on(auditor.record_first(outcome(number))).unwrap();
    }
    let text = std::fs::read_to_string(path).unwrap();
    drop(auditor);
    std::fs::write(path, &text).unwrap();
    text
}

/// A run that ends in order, at this time.
fn orderly(path: &Path, key: &SigningKey, lines: u64, time: u64) -> Vec<String> {
    let before = std::fs::read_to_string(path).unwrap_or_default();
    let clock = Arc::new(crate::clock::ManualClock::new(Timestamp::from_secs(time)));
    let signer = Signer { clock, ..signer(key) };
    let auditor = Auditor::start(vec![file(path, None)], signer, options(false, OnFailure::Deny)).unwrap();
    for number in 0..lines {
        auditor.record(outcome(number)).unwrap();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(auditor.close()).unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    text.strip_prefix(&before).unwrap().lines().map(str::to_owned).collect()
}

/// The trail with these lines in it, behind which a gateway has begun and stopped.
fn restarted(path: &Path, key: &SigningKey, lines: &[String]) -> Report {
    std::fs::write(path, text(lines)).unwrap();
    orderly(path, key, 1, TIME);
    check(&std::fs::read_to_string(path).unwrap(), key)
}

/// Chains what the lines of one run say anew, from its start.
pub(super) fn chained<'j>(instance: &str, contents: impl IntoIterator<Item = &'j str>) -> Vec<String> {
    let mut chain = Chain::new(instance.to_owned());
    let link = |json: &str| {
        let mut line = json.as_bytes().to_vec();
        chain.link(&mut line);
        String::from_utf8(line).unwrap()
    };
    contents.into_iter().map(link).collect()
}

/// A run that the gateway never made, behind this line.
fn made_up(after: Option<&Head>) -> Vec<String> {
    let after = after
        .map(|head| format!(",\"after\":{{\"file\":{}}}", serde_json::to_string(head).unwrap()))
        .unwrap_or_default();
    let started = format!("{{\"time\":1800000000,\"type\":\"audit.started\",\"version\":\"0.1.0\"{after}}}");
    let call = "{\"time\":1800000001,\"type\":\"mcp.decision\",\"decision\":\"allow\",\"actor\":{\"subject\":\"ceo\"}}";
    chained("deadbeefdeadbeef", [started.as_str(), call])
}

/// The run with what it says changed, chained anew; without its signatures behind the line `keep`, which would not hold.
fn rewritten(run: &[String], keep: usize, change: impl Fn(usize, &str) -> String) -> Vec<String> {
    let parsed: Vec<Line> = run.iter().map(|line| Line::parse(line).unwrap()).collect();
    let kept = parsed.iter().enumerate().filter(|(at, line)| *at < keep || !line.json.contains(CHECKPOINT));
    let contents: Vec<String> =
        kept.map(|(at, line)| if at < keep { line.json.clone() } else { change(at, &line.json) }).collect();
    chained(&parsed[0].head.instance, contents.iter().map(String::as_str))
}

fn forbidden(_at: usize, json: &str) -> String {
    json.replace("\"status\":200", "\"status\":403")
}

#[test]
fn a_run_that_the_gateway_never_made_is_not_vouched_for_wherever_it_stands() {
    let trail = Trail::new();
    let honest = trail.check(&trail.lines);
    assert!(honest.is_intact() && honest.is_vouched_for() && honest.left() == 0, "the control: {honest:?}");
    let (first, second, last) = (trail.around(0).1, trail.around(1).1, trail.around(2).1);
    let forged = [
        [trail.lines.clone(), made_up(Some(&trail.head(trail.lines.len() - 1)))].concat(),
        [first, &made_up(Some(&trail.head(first.len() - 1))), second, last].concat(),
        [made_up(None), trail.lines.clone()].concat(),
        [trail.lines.clone(), made_up(None)].concat(),
        made_up(None),
    ];
    for lines in &forged {
        let report = trail.check(lines);
        let of_nobody: Vec<_> = report.unvouched.iter().filter(|lines| lines.why == Why::NoSignature).collect();
        assert!(report.is_intact() && !report.is_vouched_for(), "{report:?}");
        assert_eq!((of_nobody.len(), of_nobody[0].instance.as_str()), (1, "deadbeefdeadbeef"));
    }
}

#[test]
fn a_run_that_is_written_anew_is_not_vouched_for() {
    let trail = Trail::new();
    for run in 0..3 {
        let (before, lines, after) = trail.around(run);
        let forged = [before, &rewritten(lines, 0, forbidden), after].concat();
        let report = trail.check(&forged);
        assert!(!report.is_intact() || !report.is_vouched_for(), "run {run}: {report:?}");
        assert!(trail.check(&[before, &rewritten(lines, lines.len(), forbidden), after].concat()).is_vouched_for());
    }
    // The signature of its first line can be kept: then it goes on for longer than a gateway signs nothing.
    let (before, lines, _) = trail.around(2);
    let slow = |at: usize, json: &str| {
        forbidden(at, json).replace("\"time\":1800000000", &format!("\"time\":{}", 1_800_000_000 + 120 * at))
    };
    let report = trail.check(&[before, &rewritten(lines, 2, slow)].concat());
    assert!(report.is_intact() && report.is_vouched_for(), "a busy gateway may be late: {report:?}");
    let late = |at: usize, json: &str| {
        forbidden(at, json).replace("\"time\":1800000000", &format!("\"time\":{}", 1_800_000_000 + 400 * at))
    };
    let report = trail.check(&[before, &rewritten(lines, 2, late)].concat());
    assert!(report.is_intact() && !report.is_vouched_for(), "{report:?}");
    assert!(report.unvouched.iter().any(|lines| lines.why == Why::Overdue));
    let many: Vec<String> = lines.iter().cloned().chain((0..20_000).map(|_| lines[3].clone())).collect();
    let report = trail.check(&[before, &rewritten(&many, 2, forbidden)].concat());
    assert!(report.is_intact() && !report.is_vouched_for(), "{:?}", report.unvouched);
}

#[test]
fn lines_behind_the_last_signature_are_named_and_a_closed_trail_has_none() {
    let trail = Trail::new();
    let (before, last, _) = trail.around(2);
    let forged = [before, &rewritten(last, 2, forbidden)].concat();
    // Of a run that goes on nobody can tell; what was signed of it afterwards can.
    let (honest, edited) = (trail.check(&trail.lines), trail.check(&forged));
    for report in [&honest, &edited] {
        assert!(report.is_vouched_for() && report.unsigned() == 3, "{report:?}");
        assert_eq!((report.unvouched[0].from, report.unvouched[0].why), (3, Why::Recent));
    }
    let noted = trail.head(trail.lines.len() - 1);
    assert!(check_with(&text(&trail.lines), &trail.key, std::slice::from_ref(&noted)).is_intact(), "the control");
    assert!(!check_with(&text(&forged), &trail.key, &[noted]).is_intact());
    // The next run vouches for what a killed one has left.
    std::fs::write(trail.path(), text(&trail.lines)).unwrap();
    write(&trail.path(), &trail.key, 1, None);
    let next: Vec<String> = std::fs::read_to_string(trail.path()).unwrap().lines().map(str::to_owned).collect();
    let (honest, edited) = (trail.check(&next), trail.check(&[&forged, &next[forged.len()..]].concat()));
    assert!(honest.is_intact() && honest.is_vouched_for() && honest.unsigned() == honest.left(), "{honest:?}");
    assert!(honest.left() == 3 && !honest.is_closed(), "found, and not signed");
    assert!(!edited.is_intact());
}

#[test]
fn a_trail_that_was_cut_off_at_a_signature_lacks_a_head_that_was_noted() {
    let trail = Trail::new();
    let noted = trail.head(trail.starts[2]);
    assert!(check_with(&text(&trail.lines), &trail.key, std::slice::from_ref(&noted)).is_intact(), "the control");
    for end in [2, trail.starts[1], trail.starts[2]] {
        let cut = &trail.lines[..end];
        let alone = trail.check(cut);
        assert!(alone.is_vouched_for() && alone.unsigned() == 0, "by itself it shows nothing: {alone:?}");
        let report = check_with(&text(cut), &trail.key, std::slice::from_ref(&noted));
        assert_eq!((report.is_intact(), report.missing), (false, BTreeSet::from([noted.clone()])));
    }
    let newest = trail.check(&trail.lines).newest.unwrap();
    assert_eq!((newest.at, newest.head), (1_800_000_000, noted), "it says itself how far it is signed");
}

#[test]
fn a_run_that_is_missing_at_the_front_is_named() {
    let trail = Trail::new();
    let (first, _, _) = trail.around(0);
    assert!(first.is_empty() && trail.check(&trail.lines).goes_on_after.is_empty(), "the control");
    let report = trail.check(&trail.lines[trail.starts[1]..]);
    assert_eq!(report.goes_on_after, [trail.head(trail.starts[1] - 1)]);
    let (first, _, last) = trail.around(1);
    assert!(!trail.check(&[first, last].concat()).is_intact(), "in the middle it is broken");
}

#[test]
fn the_next_start_vouches_for_a_killed_run_of_before_and_for_no_made_up_one() {
    // Gateways of before signed after a minute only: a run that was killed by then has no signature of its own.
    let (directory, key) = (tempfile::tempdir().unwrap(), SigningKey::generate().unwrap());
    let path = directory.path().join("audit.jsonl");
    std::fs::write(&path, text(&made_up(None))).unwrap();
    assert!(!check(&std::fs::read_to_string(&path).unwrap(), &key).is_vouched_for());
    write(&path, &key, 2, None);
    let report = check(&std::fs::read_to_string(&path).unwrap(), &key);
    assert!(report.is_intact() && report.is_vouched_for() && report.left() == 2, "{report:?}");
    // Put in between two runs that sign at once, it is not believed, though the next one stands behind it.
    let trail = Trail::new();
    std::fs::write(
        trail.path(),
        text(&[trail.lines.clone(), made_up(Some(&trail.head(trail.lines.len() - 1)))].concat()),
    )
    .unwrap();
    write(&trail.path(), &trail.key, 2, None);
    let report = check(&std::fs::read_to_string(trail.path()).unwrap(), &trail.key);
    assert!(report.is_intact() && !report.is_vouched_for(), "{report:?}");
}

#[test]
fn lines_that_only_a_later_start_has_found_are_no_intact_trail() {
    let (directory, key) = (tempfile::tempdir().unwrap(), SigningKey::generate().unwrap());
    let path = directory.path().join("audit.jsonl");
    let run = orderly(&path, &key, 3, TIME);
    let honest = restarted(&path, &key, &run);
    assert!(honest.is_intact() && honest.is_closed() && honest.unended == 0, "the control: {honest:?}");
    let parsed: Vec<Line> = run.iter().map(|line| Line::parse(line).unwrap()).collect();
    let call = "{\"time\":1800000001,\"type\":\"mcp.decision\",\"decision\":\"allow\",\"actor\":{\"subject\":\"ceo\"}}";
    let with_calls = |kept: usize| {
        let contents = parsed[..kept].iter().map(|line| line.json.as_str()).chain([call; 5]);
        chained(&parsed[0].head.instance, contents)
    };
    // Behind the end of a run, where a gateway writes nothing.
    assert!(!restarted(&path, &key, &with_calls(run.len())).is_intact());
    // In place of its end, it looks like a run that was killed: found, and not signed.
    let killed = restarted(&path, &key, &with_calls(run.len() - 2));
    assert!(killed.is_intact() && killed.is_vouched_for() && !killed.is_closed(), "{killed:?}");
    assert_eq!((killed.left(), killed.unended), (8, 1), "of the run, what the gateway signed is the first line");
    // A run begins with its start.
    let one = chained("ab12ab12ab12ab12", [call]);
    assert!(!restarted(&path, &key, &[run.as_slice(), &one].concat()).is_intact());
    // A line that is whole was not cut short, and behind the end of a run none was.
    let piece = call.get(..40).unwrap();
    for text in [call, piece] {
        let report = restarted(&path, &key, &[run.as_slice(), &[text.to_owned()]].concat());
        assert!(!report.is_intact(), "{text}");
    }
    let cut = [&run[..4], &[piece.to_owned()]].concat();
    let report = restarted(&path, &key, &cut);
    assert!(report.is_intact() && report.cut_short == 1 && !report.is_closed(), "the control: {report:?}");
}

#[test]
fn runs_that_are_put_in_another_order_show() {
    let (directory, key) = (tempfile::tempdir().unwrap(), SigningKey::generate().unwrap());
    let path = directory.path().join("audit.jsonl");
    let runs = [0, 3600, 7200].map(|later| orderly(&path, &key, 2, TIME + later));
    let check =
        |order: &[usize]| check(&text(&order.iter().flat_map(|at| runs[*at].clone()).collect::<Vec<_>>()), &key);
    let honest = check(&[0, 1, 2]);
    assert!(honest.is_intact() && honest.is_closed() && honest.backwards.is_empty(), "the control: {honest:?}");
    for order in [[2, 0, 1], [1, 0, 2], [0, 2, 1]] {
        assert!(!check(&order).is_intact(), "{order:?}");
    }
    // With the one between them gone, nothing but the time shows it.
    let report = check(&[2, 0]);
    assert!(!report.backwards.is_empty() && !report.is_closed(), "{report:?}");
}

#[test]
fn no_line_can_be_made_the_word_for_lines_that_were_taken_out() {
    let trail = Trail::new();
    let rules = Rules { place: Some("file".to_owned()), ..rules(&trail.key) };
    assert!(check_by(&text(&trail.lines), &rules).is_intact(), "the control");
    let forge = |at: usize, from: usize, behind: &str| {
        let (_, place) = trail.lines[at].rsplit_once(",\"chain\":").unwrap();
        let word = format!(
            "{{\"time\":1800000000,\"type\":\"audit.gap\",\"sink\":\"file\",\"lost\":99{behind},\"chain\":{place}"
        );
        let lines = [&trail.lines[..from], &[word], &trail.lines[at + 1..]].concat();
        check_by(&text(&lines), &rules)
    };
    for at in 3..trail.lines.len() {
        for from in 1..at {
            let stood_on = format!(",\"behind\":\"{}\"", trail.head(at - 1).hash);
            for behind in ["", &stood_on] {
                assert!(!forge(at, from, behind).is_intact(), "{from}..{at}");
            }
        }
    }
}

#[test]
fn one_line_more_is_no_better_word_for_a_run_that_was_killed() {
    let trail = Trail::new();
    std::fs::write(trail.path(), text(&trail.lines)).unwrap();
    let behind = orderly(&trail.path(), &trail.key, 1, TIME + 3600);
    let honest = trail.check(&[trail.lines.as_slice(), &behind].concat());
    assert!(honest.is_intact() && honest.left() == 3, "the control: {honest:?}");
    let mut killed: Vec<String> = trail.around(2).1.iter().map(|line| Line::parse(line).unwrap().json).collect();
    let call = "{\"time\":1800000001,\"type\":\"mcp.decision\",\"decision\":\"allow\",\"actor\":{\"subject\":\"ceo\"}}";
    killed.push(call.to_owned());
    let instance = trail.head(trail.starts[2]).instance;
    let more = chained(&instance, killed.iter().map(String::as_str)).pop().unwrap();
    let forged = trail.check(&[trail.lines.as_slice(), &behind, &[more]].concat());
    assert!(forged.is_intact() && forged.left() == 4, "{forged:?}");
}

#[test]
fn behind_a_start_no_run_of_one_gateway_begins_in_the_middle() {
    let (directory, key) = (tempfile::tempdir().unwrap(), SigningKey::generate().unwrap());
    let path = directory.path().join("audit.jsonl");
    let [one, two, three] = [0, 60, 120].map(|later| orderly(&path, &key, 4, TIME + later));
    let check_at = |place: &str, lines: &[&[String]]| {
        check_by(&text(&lines.concat()), &Rules { place: Some(place.to_owned()), ..rules(&key) })
    };
    let rotated = check_at("file", &[&one[3..], &two, &three]);
    assert!(rotated.is_intact() && rotated.is_closed() && rotated.begins_inside == 1, "the control: {rotated:?}");
    assert!(!check_at("file", &[&one[3..], &two, &three[3..]]).is_intact());
    assert!(!check_at("file", &[&two, &three[2..]]).is_intact());
    // Of a fleet nobody can tell, and that is said.
    let fleet = check_at("postgres", &[&one[3..], &two, &three[3..]]);
    assert!(fleet.is_intact() && fleet.unheld == 1 && !fleet.is_closed(), "{fleet:?}");
}

#[test]
fn what_is_left_goes_on_from_the_ends_of_what_went() {
    let (directory, key) = (tempfile::tempdir().unwrap(), SigningKey::generate().unwrap());
    let path = directory.path().join("audit.jsonl");
    let runs = [0, 60, 120].map(|later| orderly(&path, &key, 4, TIME + later)).concat();
    let went = check(&text(&runs[..4]), &key);
    let joined = Rules { before: went.ends.into_iter().collect(), ..rules(&key) };
    let rest = |from: usize| check_by(&text(&runs[from..]), &joined);
    assert!(rest(4).is_intact() && rest(4).goes_on_after.is_empty(), "the control: {:?}", rest(4));
    for from in 5..runs.len() {
        assert!(!rest(from).is_intact(), "from {from}: {:?}", rest(from));
    }
    let ended = Rules { before: check(&text(&runs[..8]), &key).ends.into_iter().collect(), ..rules(&key) };
    assert!(check_by(&text(&runs[8..]), &ended).goes_on_after.is_empty(), "a start goes on from an end, too");
}

#[test]
fn a_trail_may_begin_with_any_line_that_is_signed() {
    let (directory, key) = (tempfile::tempdir().unwrap(), SigningKey::generate().unwrap());
    let path = directory.path().join("audit.jsonl");
    let lines = [0, 60].map(|later| orderly(&path, &key, 3, TIME + later)).concat();
    for from in 0..lines.len() {
        let report = check(&text(&lines[from..]), &key);
        assert!(report.is_intact() && report.is_vouched_for() && report.unsigned() == 0, "{from}: {report:?}");
    }
    // A signature of something else is none of what stands before it.
    let last = Line::parse(lines.last().unwrap()).unwrap();
    let foreign = chained(&last.head.instance, [last.json.as_str()]).concat().replace("\"number\":1", "\"number\":9");
    assert!(!check(&(foreign + "\n"), &key).is_intact());
}
