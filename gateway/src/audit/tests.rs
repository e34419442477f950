//! The trail as it is written and read again. Longer than other files here because each promise of it has its test.

use std::io::{self, Cursor};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::jwk::JwkSet;

use super::verify::{Report, Rules, verify};
use super::*;
use crate::clock::{ManualClock, Timestamp};
use crate::jose::signing_key::SigningKey;

pub(super) fn signer(key: &SigningKey) -> Signer {
    let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_800_000_000)));
    Signer { key: key.clone(), issuer: "https://mcp.example.com".to_owned(), clock }
}

pub(super) fn outcome(milliseconds: u64) -> Event {
    let outcome = Outcome { status: 200, forwarded: true, error: None, bytes: 3, milliseconds };
    Event {
        time: Timestamp::from_secs(1_800_000_000).into(),
        request_id: Some(RequestId::next()),
        trace_id: None,
        kind: Kind::Outcome(outcome),
    }
}

pub(super) fn options(durable: bool, on_failure: OnFailure) -> Options {
    Options { durable, on_failure, digester: Digester::none(), metrics: None }
}

pub(super) fn file(path: &Path, rotation: Option<Rotation>) -> Destination {
    Destination::File { path: path.to_owned(), format: Format::Native, rotation }
}

pub(super) fn start(destinations: Vec<Destination>, key: &SigningKey, durable: bool) -> io::Result<Auditor> {
    Auditor::start(destinations, signer(key), options(durable, OnFailure::Deny))
}

/// One run that writes so many lines of its own, beside the first two and the last.
pub(super) fn write(path: &Path, key: &SigningKey, lines: u64, rotation: Option<Rotation>) {
    let auditor = start(vec![file(path, rotation)], key, false).unwrap();
    for number in 0..lines {
        auditor.record(outcome(number)).unwrap();
    }
}

fn keys(key: &SigningKey) -> JwkSet {
    serde_json::from_value(serde_json::json!({ "keys": [key.public_jwk()] })).unwrap()
}

pub(super) fn check(text: &str, key: &SigningKey) -> Report {
    check_with(text, key, &[])
}

/// The same, with lines that must be there.
pub(super) fn check_with(text: &str, key: &SigningKey, heads: &[Head]) -> Report {
    check_by(text, &Rules { heads: heads.iter().cloned().collect(), ..rules(key) })
}

pub(super) fn rules(key: &SigningKey) -> Rules {
    Rules { keys: Some(keys(key)), ..Rules::default() }
}

pub(super) fn check_by(text: &str, rules: &Rules) -> Report {
    verify(Cursor::new(text.as_bytes()), rules).unwrap()
}

/// Without its last bytes.
fn cut(text: &str, bytes: usize) -> String {
    text.get(..text.len() - bytes).unwrap().to_owned()
}

#[test]
fn a_trail_of_several_runs_is_intact_and_signed_to_its_end() {
    let (directory, key) = (tempfile::tempdir().unwrap(), SigningKey::generate().unwrap());
    let path = directory.path().join("audit.jsonl");
    write(&path, &key, 5, None);
    write(&path, &key, 3, None);
    let report = check(&std::fs::read_to_string(&path).unwrap(), &key);
    assert_eq!((report.lines, report.runs, report.signed, report.unsigned()), (14, 2, 4, 0));
    assert!(report.is_intact(), "{:?}", report.faults);
    let unchecked = check_by(&std::fs::read_to_string(&path).unwrap(), &Rules::default());
    assert!(unchecked.is_intact() && unchecked.unchecked == 4 && unchecked.unsigned() == 14);
}

#[test]
fn whatever_is_done_to_a_trail_shows() {
    let (directory, key) = (tempfile::tempdir().unwrap(), SigningKey::generate().unwrap());
    let path = directory.path().join("audit.jsonl");
    write(&path, &key, 6, None);
    write(&path, &key, 2, None);
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let without = |gone: &[usize]| {
        let kept = lines.iter().enumerate().filter(|(at, _)| !gone.contains(at)).map(|(_, line)| *line);
        kept.collect::<Vec<_>>().join("\n") + "\n"
    };
    let swapped = {
        let mut lines = lines.clone();
        lines.swap(2, 3);
        lines.join("\n")
    };
    let tampered = [
        text.replacen("\"status\":200", "\"status\":403", 1),
        without(&[3]),
        without(&[0]),
        // The signed end of the first run, and some of the lines before it.
        without(&[6, 7, 8]),
        swapped,
        text.replacen("\"milliseconds\":4", "\"milliseconds\":5", 1),
        text.replace(lines[4], &format!("{}\n{}", lines[4], lines[4])),
        text.replacen("\"signature\":\"e", "\"signature\":\"f", 1),
    ];
    for bad in &tampered {
        // A trail that begins later may be a rotated file; every other is broken.
        let report = check(bad, &key);
        assert!(!report.is_intact() || report.begins_inside > 0, "{bad}");
    }
    assert_eq!(check(&without(&[0]), &key).begins_inside, 1);
    // Lines taken from the end leave the chain in order, but not signed to its end.
    for shorter in [without(&[12, 13]), cut(&text, 20)] {
        let shorter = check(&shorter, &key);
        assert!(shorter.is_intact() && shorter.unsigned() > 0, "{shorter:?}");
    }
    assert!(check(&text, &key).is_intact(), "the control");
}

#[test]
fn a_trail_of_two_keys_needs_both_and_says_which_is_missing() {
    let (directory, old) = (tempfile::tempdir().unwrap(), SigningKey::generate().unwrap());
    let new = SigningKey::generate().unwrap();
    let path = directory.path().join("audit.jsonl");
    write(&path, &old, 4, None);
    // The store was begun anew.
    write(&path, &new, 3, None);
    let text = std::fs::read_to_string(&path).unwrap();
    let with = |given: &[&SigningKey], text: &str| {
        let keys: Vec<_> = given.iter().flat_map(|key| keys(key).keys).collect();
        check_by(text, &Rules { keys: Some(JwkSet { keys }), ..Rules::default() })
    };
    let both = with(&[&new, &old], &text);
    assert!(both.is_intact() && both.is_vouched_for() && both.signed == 4, "the control: {both:?}");
    for (given, missing) in [(&new, &old), (&old, &new)] {
        let report = with(&[given], &text);
        assert!(report.is_intact() && !report.is_vouched_for(), "{report:?}");
        let unknown: Vec<_> = report.unknown_keys.iter().map(|(kid, of)| (kid.as_str(), *of)).collect();
        let missing = keys(missing).keys.remove(0).common.key_id.unwrap();
        assert_eq!(unknown, [(missing.as_str(), 2)]);
    }
    // Who has a key of their own is nobody whose word counts, wherever they sign.
    let stranger = SigningKey::generate().unwrap();
    write(&path, &stranger, 2, None);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!with(&[&new, &old], &text).is_vouched_for());
    // A key that is given and did not sign this is another matter.
    let mut posing = keys(&stranger).keys.remove(0);
    posing.common.key_id = keys(&new).keys.remove(0).common.key_id;
    let posing = JwkSet { keys: [vec![posing], keys(&old).keys].concat() };
    let report = check_by(&text, &Rules { keys: Some(posing), ..Rules::default() });
    assert!(!report.is_intact(), "{report:?}");
}

#[test]
fn a_line_that_was_cut_short_is_said_and_spoils_nothing() {
    let (directory, key) = (tempfile::tempdir().unwrap(), SigningKey::generate().unwrap());
    let path = directory.path().join("audit.jsonl");
    let read = || std::fs::read_to_string(&path).unwrap();
    write(&path, &key, 2, None);
    let whole = read();
    std::fs::write(&path, cut(&whole, 30)).unwrap();
    let report = check(&read(), &key);
    assert!(report.is_intact() && report.cut_short == 1 && report.lines == 4, "{report:?}");
    write(&path, &key, 1, None);
    let report = check(&read(), &key);
    assert_eq!((report.lines, report.runs, report.cut_short), (8, 2, 1));
    assert!(report.is_intact(), "a kill is no change: {:?}", report.faults);
    // What stands before it cannot be taken away with it.
    let lines: Vec<&str> = whole.lines().collect();
    assert!(!check(&read().replacen(&format!("{}\n", lines[2]), "", 1), &key).is_intact());
    // Anywhere else it is no end of a run.
    let inside = read().replacen(&format!("{}\n", lines[1]), &format!("{}\n", cut(lines[1], 30)), 1);
    assert!(!check(&inside, &key).is_intact());
    assert!(!check(&read().replacen('\n', "\nnonsense\n", 1), &key).is_intact());
    // Nor are two of them.
    let twice = read().replacen(&cut(lines[4], 29), &format!("{}\nnonsense", cut(lines[4], 29)), 1);
    assert!(!check(&twice, &key).is_intact(), "{twice}");
}

#[test]
fn what_is_no_text_is_named_and_the_rest_is_read() {
    let (directory, key) = (tempfile::tempdir().unwrap(), SigningKey::generate().unwrap());
    let path = directory.path().join("audit.jsonl");
    write(&path, &key, 3, None);
    // As some file systems leave a file behind that was being written when the power failed.
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.extend([0; 600]);
    std::fs::write(&path, &bytes).unwrap();
    write(&path, &key, 2, None);
    let report = verify(Cursor::new(std::fs::read(&path).unwrap()), &rules(&key)).unwrap();
    assert!(report.is_intact() && report.cut_short == 1 && report.runs == 2, "{report:?}");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[10] = 0xff;
    let report = verify(Cursor::new(bytes), &rules(&key)).unwrap();
    assert!(!report.is_intact() && report.runs == 2, "{report:?}");
}

#[test]
fn a_run_that_is_put_in_a_second_time_shows() {
    let (directory, key) = (tempfile::tempdir().unwrap(), SigningKey::generate().unwrap());
    let path = directory.path().join("audit.jsonl");
    write(&path, &key, 3, None);
    let first = std::fs::read_to_string(&path).unwrap();
    write(&path, &key, 2, None);
    let both = std::fs::read_to_string(&path).unwrap();
    assert!(check(&both, &key).is_intact(), "the control");
    let second = both.strip_prefix(&first).unwrap();
    for replayed in [format!("{both}{first}"), format!("{first}{both}"), format!("{both}{second}")] {
        assert!(!check(&replayed, &key).is_intact());
    }
}

#[test]
fn a_trail_that_is_moved_or_removed_goes_on_in_a_new_file() {
    let (directory, key) = (tempfile::tempdir().unwrap(), SigningKey::generate().unwrap());
    let path = directory.path().join("audit.jsonl");
    let moved = directory.path().join("moved");
    let auditor = start(vec![file(&path, None)], &key, true).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let record = |number| runtime.block_on(auditor.record_first(outcome(number)));
    record(1).unwrap();
    std::fs::rename(&path, &moved).unwrap();
    record(2).unwrap();
    let text = [std::fs::read_to_string(&moved).unwrap(), std::fs::read_to_string(&path).unwrap()].concat();
    assert!(check(&text, &key).is_intact() && text.contains("\"milliseconds\":2"), "{text}");
    std::fs::remove_file(&path).unwrap();
    record(3).unwrap();
    assert!(std::fs::read_to_string(&path).unwrap().contains("\"milliseconds\":3"), "nobody reads a removed file");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions()) & 0o777;
    assert_eq!(mode & 0o027, 0, "{mode:o}: a trail is not everybody's to read");
    // What takes everything and keeps nothing is no place for a trail.
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/dev/null", &path).unwrap();
    assert!(record(4).is_err());
}

#[test]
fn two_processes_share_a_trail_and_set_it_aside_once() {
    let (directory, key) = (tempfile::tempdir().unwrap(), SigningKey::generate().unwrap());
    let path = directory.path().join("audit.jsonl");
    let rotation = Rotation { bytes: 8192, keep: 200 };
    let two = [0, 1].map(|_| start(vec![file(&path, Some(rotation))], &key, false).unwrap());
    std::thread::scope(|scope| {
        for auditor in &two {
            scope.spawn(|| {
                for number in 0..400 {
                    auditor.record(outcome(number)).unwrap();
                    if number % 20 == 0 {
                        std::thread::sleep(Duration::from_millis(3));
                    }
                }
            });
        }
    });
    drop(two);
    let mut names: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort_by_key(|name| {
        let number = name.extension().and_then(|number| number.to_str()?.parse::<i32>().ok());
        std::cmp::Reverse(number.unwrap_or(0))
    });
    let sizes: Vec<u64> = names.iter().map(|name| std::fs::metadata(name).unwrap().len()).collect();
    assert!(sizes.iter().all(|size| *size <= rotation.bytes), "{sizes:?}");
    let text: String = names.iter().map(|name| std::fs::read_to_string(name).unwrap()).collect();
    let report = check(&text, &key);
    assert!(report.is_intact() && report.runs == 2 && report.lines == 806, "{report:?}");
}

#[test]
fn files_that_were_set_aside_are_one_trail() {
    let (directory, key) = (tempfile::tempdir().unwrap(), SigningKey::generate().unwrap());
    let path = directory.path().join("audit.jsonl");
    let rotation = Rotation { bytes: 4096, keep: 3 };
    write(&path, &key, 80, Some(rotation));
    let name = |number: usize| directory.path().join(format!("audit.jsonl.{number}"));
    assert!(name(3).exists() && !name(4).exists());
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    let text = [read(&name(3)), read(&name(2)), read(&name(1)), read(&path)].concat();
    assert!(read(&name(2)).len() <= 4096);
    let report = check(&text, &key);
    assert!(report.is_intact() && report.begins_inside == 1 && report.unsigned() == 0, "{report:?}");
    let hole = [read(&name(3)), read(&name(1)), read(&path)].concat();
    assert!(!check(&hole, &key).is_intact());
}

#[tokio::test]
async fn a_durable_event_is_on_the_disk_when_it_may_be_acted_upon() {
    let (directory, key) = (tempfile::tempdir().unwrap(), SigningKey::generate().unwrap());
    let path = directory.path().join("audit.jsonl");
    let auditor = start(vec![file(&path, None)], &key, true).unwrap();
    for number in 0..20 {
        auditor.record_first(outcome(7000 + number)).await.unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().contains(&format!("\"milliseconds\":{}", 7000 + number)));
    }
}

#[tokio::test]
async fn a_trail_that_cannot_be_written_takes_nothing_more() {
    let key = SigningKey::generate().unwrap();
    let full = Path::new("/dev/full");
    if !full.exists() {
        return;
    }
    assert!(start(vec![file(full, None)], &key, true).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_place_that_takes_nothing_and_fails_nothing_is_given_up_at_the_end_and_not_waited_for() {
    let (directory, key) = (tempfile::tempdir().unwrap(), SigningKey::generate().unwrap());
    let path = directory.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    // It is open to be read, and nobody does.
    let pipe = std::fs::File::options().read(true).write(true).open(&path).unwrap();
    let auditor = start(vec![file(&path, None)], &key, false).unwrap();
    for number in 0..5_000 {
        auditor.record(outcome(number)).unwrap();
    }
    assert!(auditor.close().await.is_err(), "lines are lost, and it says so");
    let (dropped, done) = channel();
    std::thread::spawn(move || {
        drop(auditor);
        dropped.send(())
    });
    done.recv_timeout(Duration::from_secs(20)).expect("the end waits for a writer that hangs");
    drop(pipe);
}

/// The lines of a database, in order.
fn rows(path: &Path) -> String {
    io::read_to_string(Rows::open(path).unwrap()).unwrap()
}

#[test]
fn a_database_is_a_trail_of_several_runs_like_a_file() {
    let (directory, key) = (tempfile::tempdir().unwrap(), SigningKey::generate().unwrap());
    let (path, lines) = (directory.path().join("audit.db"), directory.path().join("audit.jsonl"));
    for run in [5, 3] {
        let database = Destination::Sqlite { path: path.clone(), retention: None };
        let auditor = start(vec![database, file(&lines, None)], &key, run == 3).unwrap();
        for number in 0..run {
            auditor.record(outcome(number)).unwrap();
        }
    }
    let text = rows(&path);
    assert_eq!(text, std::fs::read_to_string(&lines).unwrap(), "every place gets the same lines");
    let report = check(&text, &key);
    assert_eq!((report.lines, report.runs, report.signed, report.unsigned()), (14, 2, 4, 0));
    assert!(report.is_intact(), "{:?}", report.faults);
    std::fs::write(directory.path().join("not.db"), vec![7; 8192]).unwrap();
    let foreign = Destination::Sqlite { path: directory.path().join("not.db"), retention: None };
    assert!(start(vec![foreign], &key, false).is_err());
}

#[test]
fn a_row_whose_columns_say_something_else_than_its_line_shows() {
    use sqlx::Connection;
    let (directory, key) = (tempfile::tempdir().unwrap(), SigningKey::generate().unwrap());
    let path = directory.path().join("audit.db");
    let auditor = start(vec![Destination::Sqlite { path: path.clone(), retention: None }], &key, false).unwrap();
    for number in 0..1_500 {
        auditor.record(outcome(number)).unwrap();
    }
    drop(auditor);
    let differing = || {
        let mut rows = Rows::open(&path).unwrap();
        let differing = rows.differing();
        let lines = io::copy(&mut rows, &mut io::sink()).map(|_| differing.load(Ordering::Relaxed));
        lines.unwrap()
    };
    assert_eq!((differing(), rows(&path).lines().count()), (0, 1_503), "the control, of several pages");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let put = |statement: &'static str| {
        runtime.block_on(async {
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
            let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
            sqlx::query(statement).execute(&mut connection).await.unwrap();
        });
    };
    for (number, statement) in [
        "UPDATE audit SET time = 1 WHERE number = 700",
        "UPDATE audit SET type = 'audit.stopped' WHERE number = 701",
        "UPDATE audit SET request_id = 'x' WHERE number = 702",
        "UPDATE audit SET number = 9000 WHERE number = 703",
        "UPDATE audit SET instance = 'x' WHERE number = 704",
    ]
    .into_iter()
    .enumerate()
    {
        put(statement);
        assert_eq!(differing(), number as u64 + 1, "{statement}");
    }
}

#[test]
fn a_row_in_whose_place_another_stands_does_not_count_as_written() {
    use super::sink::Entry;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.db");
    let mut sink = Destination::Sqlite { path: path.clone(), retention: None }.open().unwrap();
    let entry = |number: u64, says: &str| Entry {
        number,
        time: Timestamp::from_secs(1_800_000_000).into(),
        kind: "mcp.outcome",
        request_id: None,
        trace: None,
        json: format!("{{\"number\":{number},\"says\":\"{says}\"}}"),
    };
    let ours = |numbers: std::ops::RangeInclusive<u64>| numbers.map(|at| entry(at, "ours")).collect::<Vec<_>>();
    for durably in [false, true] {
        sink.write("run", &ours(1..=2), durably).unwrap();
    }
    // The answer was lost, and more has come since.
    sink.write("run", &ours(1..=3), true).unwrap();
    let whole = rows(&path);
    assert_eq!(whole.lines().count(), 3, "{whole}");
    // Somebody else who can write there is first.
    sink.write("run", &[entry(5, "theirs")], true).unwrap();
    for _ in 0..2 {
        let error = sink.write("run", &ours(4..=6), true).unwrap_err().to_string();
        assert!(error.contains("another line stands as number 5 of the run run"), "{error}");
    }
    assert_eq!(rows(&path), format!("{whole}{}\n", entry(5, "theirs").json), "nothing of the batch is there");
    sink.write("another", &ours(4..=6), true).unwrap();
}

#[test]
fn rows_older_than_the_retention_go() {
    let (directory, key) = (tempfile::tempdir().unwrap(), SigningKey::generate().unwrap());
    let path = directory.path().join("audit.db");
    let keep =
        |days: u64| Destination::Sqlite { path: path.clone(), retention: Some(Duration::from_secs(days * 24 * 3600)) };
    let run = |days: u64| {
        let auditor = start(vec![keep(days)], &key, false).unwrap();
        // The event is of the year 1970, the trail's own lines are of 2027.
        auditor.record(Event { time: Timestamp::from_secs(7).into(), ..outcome(1) }).unwrap();
    };
    run(40_000);
    assert!(rows(&path).contains("mcp.outcome"), "the control");
    run(30);
    assert!(!rows(&path).lines().take(3).any(|line| line.contains("mcp.outcome")), "{}", rows(&path));
}

#[test]
fn a_clock_that_leaps_ahead_makes_no_line_old() {
    let (directory, key) = (tempfile::tempdir().unwrap(), SigningKey::generate().unwrap());
    let path = directory.path().join("audit.db");
    let retention = Some(Duration::from_secs(30 * 24 * 3600));
    let auditor = start(vec![Destination::Sqlite { path: path.clone(), retention }], &key, false).unwrap();
    // The trail began in 2027; this is ten years later, a moment after.
    auditor.record(Event { time: Timestamp::from_secs(2_115_000_000).into(), ..outcome(1) }).unwrap();
    drop(auditor);
    let rows = rows(&path);
    assert!(rows.contains("audit.started") && rows.contains("mcp.outcome"), "{rows}");
}

#[test]
fn a_place_that_fails_gets_everything_once_it_works_again() {
    let (directory, key) = (tempfile::tempdir().unwrap(), SigningKey::generate().unwrap());
    let (good, bad) = (directory.path().join("good.jsonl"), directory.path().join("bad"));
    std::fs::create_dir(&bad).unwrap();
    let path = bad.join("audit.jsonl");
    let rotation = Rotation { bytes: 4096, keep: 100 };
    let auditor = start(vec![file(&good, None), file(&path, Some(rotation))], &key, false).unwrap();
    // A directory that is gone: the next file of the rotation cannot be made.
    std::fs::rename(&bad, directory.path().join("away")).unwrap();
    for number in 0..100 {
        auditor.record(outcome(number)).unwrap();
    }
    std::thread::sleep(Duration::from_millis(400));
    std::fs::rename(directory.path().join("away"), &bad).unwrap();
    for number in 100..200 {
        auditor.record(outcome(number)).unwrap();
    }
    drop(auditor);
    let mut names: Vec<_> = std::fs::read_dir(&bad).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort_by_key(|name| {
        let number = name.extension().and_then(|number| number.to_str()?.parse::<i32>().ok());
        std::cmp::Reverse(number.unwrap_or(0))
    });
    let text: String = names.iter().map(|name| std::fs::read_to_string(name).unwrap()).collect();
    assert_eq!(text, std::fs::read_to_string(&good).unwrap());
    let report = check(&text, &key);
    assert!(report.is_intact() && report.lines == 203, "{report:?}");
}

#[test]
fn what_became_of_a_call_is_taken_when_no_call_is() {
    let (directory, key) = (tempfile::tempdir().unwrap(), SigningKey::generate().unwrap());
    let place = directory.path().join("place");
    std::fs::create_dir(&place).unwrap();
    let trail = file(&place.join("audit.jsonl"), Some(Rotation { bytes: 65_536, keep: 3 }));
    let auditor = start(vec![trail], &key, false).unwrap();
    std::fs::rename(&place, directory.path().join("gone")).unwrap();
    let step =
        || Event { kind: Kind::Gap(Gap { sink: "queue", lost: 0, queue: 0, behind: String::new() }), ..outcome(0) };
    while auditor.record(step()).is_ok() {}
    for number in 0..8000 {
        auditor.record(outcome(number)).expect("a call that was let through is told to its end");
    }
    assert!(auditor.record(step()).is_err(), "and nothing new is let through");
    std::fs::rename(directory.path().join("gone"), &place).unwrap();
}

#[test]
fn a_database_that_was_emptied_is_not_begun_anew() {
    let (directory, key) = (tempfile::tempdir().unwrap(), SigningKey::generate().unwrap());
    let path = |name: &str| directory.path().join(name);
    let open = |name: &str| {
        let database = Destination::Sqlite { path: path(name), retention: None };
        start(vec![database], &key, false).map(drop).map_err(|error| error.to_string())
    };
    assert_eq!((open("audit.db"), open("audit.db")), (Ok(()), Ok(())), "the control");
    for (name, content, says) in [
        ("empty.db", b"".as_slice(), "is empty"),
        ("text.db", b"no database, but longer than its magic", "restore it from a backup"),
    ] {
        std::fs::write(path(name), content).unwrap();
        let error = open(name).unwrap_err();
        assert!(error.contains(says) && error.contains(name), "{error}");
        assert_eq!(std::fs::read(path(name)).unwrap(), content, "it is left as it is");
    }
}

#[tokio::test]
async fn a_full_queue_refuses_unless_losing_events_was_chosen() {
    let (directory, key) = (tempfile::tempdir().unwrap(), SigningKey::generate().unwrap());
    for (on_failure, refused) in [(OnFailure::Deny, true), (OnFailure::Continue, false)] {
        let place = directory.path().join(format!("{on_failure:?}"));
        std::fs::create_dir(&place).unwrap();
        let rotation = Rotation { bytes: 65_536, keep: 3 };
        let trail = file(&place.join("audit.jsonl"), Some(Rotation { keep: 1000, ..rotation }));
        let auditor = Auditor::start(vec![trail], signer(&key), options(false, on_failure)).unwrap();
        std::fs::rename(&place, directory.path().join("gone")).unwrap();
        let refuses = |auditor: &Auditor| auditor.fault().is_some_and(|(_, refuses)| refuses);
        let mut refusals = 0;
        for number in 0..40_000_u64 {
            refusals += u64::from(auditor.record(outcome(number)).is_err());
        }
        assert_eq!(refusals > 0, refused, "{on_failure:?}: {refusals}");
        // Where what cannot be recorded is refused, that is said before somebody is.
        while refused && auditor.held_up() < Duration::from_millis(50) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        while refused && auditor.record(outcome(0)).is_ok() {}
        assert_eq!(refuses(&auditor), refused, "{on_failure:?}");
        std::fs::rename(directory.path().join("gone"), &place).unwrap();
        for _ in 0..500 {
            if !refuses(&auditor) && auditor.held_up() == Duration::ZERO {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(!refuses(&auditor), "{on_failure:?}: it goes on by itself");
        auditor.record(outcome(0)).ok();
        drop(auditor);
        if on_failure == OnFailure::Continue {
            let files = std::fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().path());
            let text: String = files.map(|name| std::fs::read_to_string(name).unwrap()).collect();
            assert!(text.contains("audit.gap"), "{text}");
        }
    }
}

/// A request without a token from this address, refused.
fn stranger(source: &str, second: u64) -> Event {
    let target = Target { backend: "weather".to_owned(), method: "POST".to_owned(), name: None };
    let (reason, source) = (Reason::Text("no bearer token".to_owned()), source.parse().ok());
    let (actor, policy_hash, params, arguments) = (None, None, None, None);
    let decision = Verdict::Deny;
    let decision = Decision { decision, reason, actor, source, target, policy_hash, params, arguments };
    let time = Timestamp::from_secs(1_800_000_000 + second).into();
    Event { time, request_id: None, trace_id: None, kind: Kind::Decision(Box::new(decision)) }
}

#[test]
fn a_flood_of_strangers_is_a_few_lines_that_say_how_many_and_pushes_nothing_out() {
    let (directory, key) = (tempfile::tempdir().unwrap(), SigningKey::generate().unwrap());
    let path = directory.path().join("audit.jsonl");
    // What is set aside beyond one file is gone: without a bound the flood takes a hundred of them.
    let auditor = start(vec![file(&path, Some(Rotation { bytes: 64 * 1024, keep: 1 }))], &key, false).unwrap();
    auditor.record(outcome(77)).unwrap();
    let mut kept = 0;
    for number in 0..20_000 {
        kept += u64::from(auditor.refused(stranger("203.0.113.7", number / 500)).unwrap() == Admitted::Line);
    }
    assert_eq!(auditor.refused(stranger("198.51.100.1", 40)), Ok(Admitted::Line), "the control: another address");
    drop(auditor);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("\"milliseconds\":77"), "what was recorded before is still there");
    assert!(check(&text, &key).is_intact());
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |source: &str, kind: &str| {
        lines.iter().filter(|line| line["source"] == source && line["type"] == kind).cloned().collect::<Vec<_>>()
    };
    assert_eq!(of("203.0.113.7", "mcp.decision").len() as u64, kept);
    let counted = of("203.0.113.7", "refusals");
    assert_eq!((counted.len(), &counted[0]["count"]), (1, &serde_json::json!(20_000 - kept)), "{counted:?}");
    assert_eq!(counted[0]["reason"], "no bearer token");
    assert_eq!(counted[0]["of"], "mcp.decision");
    assert!(counted[0]["first"].as_f64() < counted[0]["last"].as_f64());
    assert_eq!((of("198.51.100.1", "mcp.decision").len(), of("198.51.100.1", "refusals").len()), (1, 0));
    assert!(kept < 100);
}
