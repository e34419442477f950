//! Calls that are large, while the trail is well and while it is stuck: what waits is bounded in bytes, too.

use std::path::Path;

use super::tests::{file, outcome, signer};
use super::*;
use crate::jose::signing_key::SigningKey;

/// Bytes of a large call, which do not fill the room to the last byte.
const LARGE: usize = 1_000_000;

/// A call that was let through, with arguments of so many bytes.
fn call(bytes: usize) -> Event {
    called_with(format!(r#"{{"arguments":{{"text":"{}"}}}}"#, "x".repeat(bytes)).into_bytes())
}

/// The same, with what is no JSON: it takes as much room and no time to be read.
fn quick(bytes: usize) -> Event {
    called_with(vec![b'x'; bytes])
}

fn called_with(params: Vec<u8>) -> Event {
    let target = Target { backend: "weather".to_owned(), method: "tools/call".to_owned(), name: None };
    let decision = Decision {
        decision: Verdict::Allow,
        reason: Reason::Text("a test".to_owned()),
        actor: None,
        source: None,
        target,
        policy_hash: None,
        params: Some(params.into_boxed_slice()),
        arguments: None,
    };
    Event { kind: Kind::Decision(Box::new(decision)), ..outcome(0) }
}

fn start(path: &Path, durable: bool, on_failure: OnFailure) -> Auditor {
    let digester = Digester::new(b"a key of thirty-two bytes, or so", std::collections::BTreeSet::new(), Vec::new());
    let options = Options { durable, on_failure, digester, metrics: None };
    Auditor::start(vec![file(path, None)], signer(&SigningKey::generate().unwrap()), options).unwrap()
}

/// A trail in a pipe that nobody reads, and that is full. A test that fails closes it before it waits for the writer.
struct Stuck {
    end: std::fs::File,
    auditor: Auditor,
    _directory: tempfile::TempDir,
}

impl Stuck {
    fn new(on_failure: OnFailure) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let end = std::fs::File::options().read(true).write(true).open(&path).unwrap();
        let auditor = start(&path, false, on_failure);
        let stuck = Self { end, auditor, _directory: directory };
        while !stuck.is_full() {}
        stuck
    }

    /// Whether lines stay in the queue for half a second.
    fn is_full(&self) -> bool {
        for number in 0..200 {
            self.auditor.record(outcome(number)).unwrap();
        }
        let is_taken = || {
            std::thread::sleep(std::time::Duration::from_millis(10));
            self.auditor.waiting().events == 0
        };
        !(0..50).any(|_| is_taken())
    }

    async fn end(self) {
        assert!(self.auditor.close().await.is_err(), "lines are lost, and it says so");
        drop((self.auditor, self.end));
    }
}

#[tokio::test]
async fn large_calls_are_recorded_one_after_the_other_for_as_long_as_the_trail_is_well() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    let auditor = start(&path, true, OnFailure::Deny);
    for _ in 0..100 {
        auditor.record_first(quick(LARGE)).await.unwrap();
    }
    assert_eq!(auditor.waiting().bytes, 0, "what was written holds nothing");
    // One that is larger than all the room there is: whoever allows such bodies has them recorded.
    auditor.record_first(quick(QUEUE_BYTES + 1)).await.unwrap();
    auditor.record_first(call(LARGE)).await.unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!((text.matches("mcp.decision").count(), text.matches("hmac_sha256").count()), (102, 1));
    assert!(text.len() < 102 * 1024, "no line is as large as its call: {}", text.len());
}

#[tokio::test(start_paused = true)]
async fn a_stuck_trail_holds_so_many_bytes_of_calls_and_refuses_the_rest() {
    let stuck = Stuck::new(OnFailure::Deny);
    let refuses = |auditor: &Auditor| auditor.fault().is_some_and(|(_, refuses)| refuses);
    assert!(!refuses(&stuck.auditor), "the control");
    let mut taken = 0;
    while stuck.auditor.record(quick(LARGE)).is_ok() {
        taken += 1;
        assert!(taken < 200, "it takes them for ever");
    }
    let waiting = stuck.auditor.waiting();
    assert!(waiting.bytes <= waiting.most_bytes && waiting.bytes > waiting.most_bytes - 2 * LARGE, "{waiting:?}");
    assert!(waiting.events < waiting.most_events / 2, "{waiting:?}: long before it is full of events");
    assert!(refuses(&stuck.auditor), "whoever asks whether it is ready hears of it");
    // What is small has room, and what became of calls has it always.
    stuck.auditor.record(call(16)).unwrap();
    stuck.auditor.record(outcome(0)).unwrap();
    stuck.end().await;
}

#[tokio::test(start_paused = true)]
async fn where_losing_events_was_chosen_a_stuck_trail_loses_large_calls_and_counts_them() {
    let stuck = Stuck::new(OnFailure::Continue);
    for _ in 0..100 {
        stuck.auditor.record(quick(LARGE)).unwrap();
    }
    let waiting = stuck.auditor.waiting();
    assert!(waiting.bytes <= waiting.most_bytes, "{waiting:?}");
    let lost = stuck.auditor.shared.overflowed.load(Ordering::Relaxed);
    assert!((20..40).contains(&lost), "what was not taken is counted: {lost}");
    stuck.end().await;
}
