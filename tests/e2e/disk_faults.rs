//! A disk that is slow, that forgets what was not synced, or that gives back something else than was written.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis_tests::flow::REDIRECT;
use portcullis_tests::process::binary;
use portcullis_tests::{Backend, Flow, Process, World, WorldBuilder, fault, free_port};
use rand::Rng;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::Instant;

async fn call(world: &World, token: &str) -> u16 {
    let params = json!({ "name": "get_forecast", "arguments": {} });
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
    world.post(token, &message).await.status().as_u16()
}

/// Calls of many clients at once: how many were answered, how many refused, how long the slowest took.
async fn calls(world: &World, token: &str, count: usize) -> (usize, usize, Duration) {
    let began = Instant::now();
    let statuses = futures_util::future::join_all((0..count).map(|_| call(world, token))).await;
    let of = |wanted: u16| statuses.iter().filter(|status| **status == wanted).count();
    let (answered, refused) = (of(200), of(503));
    assert_eq!(answered + refused, count, "{statuses:?}");
    (answered, refused, began.elapsed())
}

/// Waits until the gateway is ready, or is not for want of its audit trail.
async fn ready(world: &World, wanted: bool) {
    let mut said = String::new();
    for _ in 0..200 {
        said = world.probe("/readyz").await;
        if said.starts_with("ready\n") == wanted {
            assert!(wanted || said.contains("the audit trail is not written"), "{said}");
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("ready, {wanted}: {said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_disk_holds_calls_up_together_and_loses_none() {
    let mut figures = Vec::new();
    for (sink, place) in [("file", "path: audit.jsonl"), ("sqlite", "sqlite: audit.db")] {
        let directory = tempfile::tempdir().unwrap();
        let slow = directory.path().join("slow");
        let backend = Backend::plain().await;
        let builder = WorldBuilder::new(&backend).trail(place).audit("durability: fsync");
        let mut world = builder.unlucky(directory.path(), "SLOW_SYNC", &slow).start().await;
        let token = world.identity.mint("rita", &Value::Null);
        let (answered, _, quick) = calls(&world, &token, 60).await;
        assert_eq!(answered, 60, "{sink}: the control");
        let before = world.gateway.memory();
        std::fs::write(&slow, "1000").unwrap();
        let mut taken = Duration::ZERO;
        for _ in 0..3 {
            let (answered, _, took) = calls(&world, &token, 60).await;
            assert_eq!(answered, 60, "{sink}: sixty calls share a sync");
            taken = taken.max(took);
        }
        assert!(taken > quick && taken < Duration::from_secs(20), "{sink}: {taken:?}");
        // Longer than a call waits for its line: it is refused, and never goes to the backend.
        std::fs::write(&slow, "7000").unwrap();
        let executed = backend.requests().len();
        let (answered, refused, _) = calls(&world, &token, 40).await;
        assert!(refused == 40 && answered == 0, "{sink}: {answered} answered, {refused} refused");
        assert_eq!(backend.requests().len(), executed, "{sink}: a refused call was carried out");
        ready(&world, false).await;
        let more = world.gateway.memory().saturating_sub(before) / 1024;
        assert!(more < 64, "{sink}: {more} MB more");
        std::fs::write(&slow, "0").unwrap();
        let mut back = 0;
        for _ in 0..200 {
            back = call(&world, &token).await;
            if back == 200 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(back, 200, "{sink}: it goes on by itself");
        ready(&world, true).await;
        world.gateway.terminate().await;
        let name = if sink == "file" { "audit.jsonl" } else { "audit.db" };
        let verified = world.command(&["audit", "verify", name]).await;
        assert!(verified.status.success(), "{sink}: {}", String::from_utf8_lossy(&verified.stdout));
        let text = match sink {
            "file" => std::fs::read_to_string(world.directory().join(name)).unwrap(),
            _ => sqlite(&world.directory().join(name), "SELECT line FROM audit").await,
        };
        let (executed, allowed) = (backend.requests().len(), text.matches("\"decision\":\"allow\"").count());
        assert!(executed <= allowed, "{sink}: {executed} carried out, {allowed} recorded");
        figures.push(format!("{sink}: 180 calls answered in batches of {taken:.1?} at 1 s a sync, +{more} MB, {executed} carried out and recorded"));
    }
    fault(18, &format!("{}; at 7 s a sync all are refused", figures.join("; ")), "memory bounded, 0 lost");
}

/// What the program of SQLite says.
async fn sqlite(database: &Path, statement: &str) -> String {
    let output = Command::new("sqlite3").arg(database).arg(statement).output().await;
    let output = output.unwrap_or_else(|error| panic!("sqlite3: {error}; run `tests/setup.sh all`"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// How long a file was when it was last synced, as the log of syncs says.
fn synced(log: &Path, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(log).unwrap();
    let of = text.lines().rev().find_map(|line| line.split_once(' ').filter(|(_, path)| path.ends_with(name)));
    of.map(|(length, _)| length.parse().unwrap())
}

/// A second gateway, on what is left of the first one's state.
fn on(world: &World, state: &Path) -> (Process, u16, u16) {
    let text = std::fs::read_to_string(world.directory().join("gateway.yaml")).unwrap();
    let (port, admin) = (free_port(), free_port());
    let text = text
        .replace(&world.port.to_string(), &port.to_string())
        .replace(&world.admin_port.to_string(), &admin.to_string())
        .replace("state: { path: state }", &format!("state: {{ path: '{}' }}", state.display()))
        .replace("path: audit.jsonl", &format!("path: '{}'", state.join("audit.jsonl").display()));
    let file = state.join("gateway.yaml");
    std::fs::write(&file, text).unwrap();
    std::fs::copy(world.directory().join("secret"), state.join("secret")).unwrap();
    let mut command = Command::new(binary("portcullis"));
    command.args(["serve", "--config"]).arg(&file);
    (Process::start(command, state.join("gateway.log")), port, admin)
}

/// A copy of the state as the disk would have it if the power failed now: of the log, only what was synced.
fn cut(world: &World, log: &Path, copy: &Path, garbage: bool) {
    let state = world.directory().join("state");
    std::fs::create_dir(copy).unwrap();
    std::fs::set_permissions(copy, PermissionsExt::from_mode(0o700)).unwrap();
    for name in ["portcullis.db", "portcullis.db-wal", "seal.key"] {
        std::fs::copy(state.join(name), copy.join(name)).unwrap();
    }
    let wal = copy.join("portcullis.db-wal");
    let kept = synced(log, "/portcullis.db-wal").unwrap_or(0);
    let mut bytes = std::fs::read(&wal).unwrap();
    let length = bytes.len();
    bytes.truncate(usize::try_from(kept).unwrap());
    if garbage {
        // What was not synced may be there in part, or be anything.
        bytes.extend(std::iter::repeat_with(rand::random::<u8>).take(length - bytes.len()));
    }
    std::fs::write(&wal, bytes).unwrap();
}

/// Registrations that nobody used are dropped beyond ten thousand, the oldest first.
const KEPT: usize = 9000;

async fn power_cuts(cuts: usize) {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("syncs");
    let builder = WorldBuilder::new(&Backend::plain().await).unlucky(directory.path(), "SYNC_LOG", &log);
    let world = Arc::new(builder.start().await);
    let (over, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::<String>::new())));
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let (world, over, acknowledged) = (Arc::clone(&world), Arc::clone(&over), Arc::clone(&acknowledged));
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let client = Flow::register(&world).await.client_id;
                    acknowledged.lock().unwrap().push(client);
                }
            })
        })
        .collect();
    let (mut whole, mut last, mut unsynced) = (0, 0, 0);
    for number in 0..cuts {
        tokio::time::sleep(Duration::from_millis(rand::rng().random_range(20..200))).await;
        let copy = directory.path().join(format!("cut-{number}"));
        world.gateway.signal("STOP").await;
        // Whatever was answered by now was acknowledged.
        let mut expected = acknowledged.lock().unwrap().clone();
        expected.drain(..expected.len().saturating_sub(KEPT));
        cut(&world, &log, &copy, number % 2 == 1);
        let now = std::fs::metadata(world.directory().join("state/portcullis.db-wal")).unwrap().len();
        unsynced += usize::from(synced(&log, "/portcullis.db-wal").is_some_and(|kept| kept < now));
        world.gateway.signal("CONT").await;
        let (mut process, _, admin) = on(&world, &copy);
        let ready = format!("http://127.0.0.1:{admin}/readyz");
        let mut is_up = false;
        for _ in 0..400 {
            is_up = world.http().get(&ready).send().await.is_ok_and(|answer| answer.status().is_success());
            if is_up {
                break;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        assert!(is_up, "cut {number}: {}", process.said());
        process.terminate().await;
        let there = sqlite(&copy.join("portcullis.db"), "SELECT id FROM client").await;
        let there: std::collections::BTreeSet<&str> = there.lines().collect();
        expected.retain(|client| !there.contains(client.as_str()));
        assert!(expected.is_empty(), "cut {number}: {} of {} acknowledged are lost", expected.len(), there.len());
        (whole, last) = (whole + 1, there.len());
    }
    over.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    assert!(last > 20, "the control: {last}");
    let figure = format!(
        "{whole} of {cuts} cuts recovered, {unsynced} of them with writes that were not synced; 0 of up to {last} acknowledged registrations lost"
    );
    fault(22, &figure, "100 of 100 open or recover, never silently empty");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_loses_nothing_that_was_acknowledged() {
    power_cuts(6).await;
}

/// A minute or two; `make chaos` and `make test-all`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a hundred power cuts take minutes"]
async fn a_hundred_power_cuts_lose_nothing_that_was_acknowledged() {
    power_cuts(100).await;
}

/// What a gateway says that does not start.
async fn refused_start(world: &World) -> String {
    let started = world.command(&["serve", "--config", "gateway.yaml"]);
    let output = tokio::time::timeout(Duration::from_secs(30), started).await.expect("it started");
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stderr).unwrap()
}

fn damaged(good: &[u8], how: &str) -> Vec<u8> {
    let half = good.len() / 2;
    match how {
        "empty" => Vec::new(),
        "cut in half" => good[..half].to_vec(),
        "zeroed" => vec![0; good.len()],
        "cut within its first page" => good[..100].to_vec(),
        "overwritten from the middle" => [&good[..half], &vec![0xa5; good.len() - half]].concat(),
        "overwritten at its head" => [&vec![0xa5; 512], &good[512..]].concat(),
        _ => b"no database at all, and longer than the magic of one".to_vec(),
    }
}

#[tokio::test]
async fn a_store_or_trail_that_is_damaged_is_refused_and_left_as_it_is() {
    let kinds = [
        "empty",
        "cut in half",
        "zeroed",
        "cut within its first page",
        "overwritten from the middle",
        "overwritten at its head",
        "text",
    ];
    let builder = WorldBuilder::new(&Backend::plain().await).own_tokens_only().trail("sqlite: state/audit.db");
    let mut world = builder.start().await;
    let (client_id, verifier, refresh) = {
        let flow = Flow::register(&world).await;
        let tokens = flow.tokens(&flow.code("rita").await).await;
        (flow.client_id.clone(), flow.verifier.clone(), tokens.refresh)
    };
    for _ in 0..60 {
        Flow::register(&world).await;
    }
    world.gateway.terminate().await;
    let mut refused = 0;
    for name in ["portcullis.db", "audit.db"] {
        let file: PathBuf = world.directory().join("state").join(name);
        sqlite(&file, "PRAGMA wal_checkpoint(TRUNCATE)").await;
        let good = std::fs::read(&file).unwrap();
        // Of a trail, which may be large, a start reads the head and the end only; `audit verify` reads all of it.
        let kinds =
            if name == "audit.db" { ["empty", "zeroed", "overwritten at its head", "text"].as_slice() } else { &kinds };
        for how in kinds {
            let bad = damaged(&good, how);
            std::fs::write(&file, &bad).unwrap();
            for more in ["-wal", "-shm"] {
                let _ = std::fs::remove_file(world.directory().join("state").join(format!("{name}{more}")));
            }
            let said = refused_start(&world).await;
            assert!(
                said.contains(name) && said.contains("backup"),
                "{name}, {how}: it does not say what to do: {said}"
            );
            assert!(std::fs::read(&file).unwrap() == bad, "{name}, {how}: it was changed");
            refused += 1;
        }
        std::fs::write(&file, good).unwrap();
    }
    world.restart().await;
    let form = [("grant_type", "refresh_token"), ("client_id", client_id.as_str()), ("refresh_token", &refresh)];
    let answer = world.http().post(format!("{}/token", world.url())).form(&form).send().await.unwrap();
    assert_eq!(answer.status(), 200, "the control: restored, it is as it was");
    let flow = Flow { world: &world, client_id, verifier, at: world.url() };
    assert_eq!(flow.authorize(&flow.parameters("rita")).await.status(), 200, "{REDIRECT}");
    let figure = format!("{refused} of {} starts refused with what to do, files untouched", kinds.len() + 4);
    fault(23, &figure, "refused or set aside, never a fresh install");
}
