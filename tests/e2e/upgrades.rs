//! A gateway that is replaced while people use it: nobody signs in again, no call is lost, and everything else that can
//! change may change at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use portcullis_tests::backend::{Request, json_answer, mcp};
use portcullis_tests::load::{Load, MIXED, Target, backend};
use portcullis_tests::{Backend, Calendar, Flow, Tokens, World, WorldBuilder, allowed, fault};
use reqwest::{Certificate, Client};
use serde_json::{Value, json};
use tokio::time::Instant;

/// From when a key is published to when it signs, in seconds.
const LEAD: i64 = 6 * 60;

/// Replaces the process by another of the same files, as `docs/operations.md` says.
async fn upgrade(world: &mut World) {
    let mut old = world.upgrade();
    // It waits for the sockets from the moment that its end of the way is there.
    while !world.directory().join("state/upgrade.sock").exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    old.signal("QUIT").await;
    assert_eq!(old.ended().await, Some(0));
    world.until_ready().await;
}

async fn is_intact(world: &World) -> bool {
    let output = world.command(&["audit", "verify", "audit.jsonl"]).await;
    println!("{}", String::from_utf8_lossy(&output.stdout));
    output.status.success()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_changes_at_once_what_was_carried_out_was_answered() {
    const ROUNDS: u32 = 3;
    let pair = || rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let pairs = [pair(), pair()];
    let backend = backend().await;
    let (certificate, key) = (pairs[0].cert.pem(), pairs[0].signing_key.serialize_pem());
    let calendar = Calendar::new();
    let mut world = WorldBuilder::new(&backend).tls(&certificate, &key).calendar(&calendar).start().await;
    // A reload, another certificate, another key that signs, another process: each while the others are under way.
    // Half of the clients connect anew for every call, and half keep their connections; some have a token of Entra's, and
    // some the gateway's own.
    let http = [0, 8].map(|idle| {
        let trust =
            |pair: &rcgen::CertifiedKey<rcgen::KeyPair>| Certificate::from_pem(pair.cert.pem().as_bytes()).unwrap();
        let client = Client::builder().pool_max_idle_per_host(idle);
        client.add_root_certificate(trust(&pairs[0])).add_root_certificate(trust(&pairs[1])).build().unwrap()
    });
    let target = Target::new(world.mcp(), world.identity.mint("rita", &Value::Null));
    let own = world.sign_in("rita").await.access;
    target.tokens.lock().unwrap().push(own.clone());
    let load = Load::at(std::slice::from_ref(&target), &http, &["get_forecast", "list_stations", "delete_station"]);
    let first = std::fs::read_to_string(world.directory().join("gateway.yaml")).unwrap();
    for round in 0..ROUNDS {
        load.calls(60).await;
        let pair = &pairs[usize::try_from(round + 1).unwrap() % 2];
        let glob = if round.is_multiple_of(2) { "get_*" } else { "list_*" };
        match round {
            0 => assert!(world.command(&["keys", "rotate"]).await.status.success()),
            1 => calendar.set(LEAD + 2),
            // The next key signs now; what the one before signed is still shown by some.
            _ => {
                let new = signed_anew(&world, &own).await;
                target.tokens.lock().unwrap().push(new);
            }
        }
        world.configure(|_| first.replace("read: ['get_*', 'list_*']", &format!("read: ['{glob}']")));
        world.certify(&pair.cert.pem(), &pair.signing_key.serialize_pem());
        upgrade(&mut world).await;
        load.calls(60).await;
    }
    let ledger = load.settle("everything at once", &backend).await;
    assert!(ledger.failed.is_empty(), "{} failed", ledger.failed.len());
    assert!(ledger.refused.len() > 50, "the control");
    world.gateway.terminate().await;
    assert!(is_intact(&world).await);
    let text = std::fs::read_to_string(world.directory().join("audit.jsonl")).unwrap();
    assert_eq!(allowed(&text), ledger.answered.len(), "the trail has each of them");
}

/// A token that another key signed than this one.
async fn signed_anew(world: &World, old: &str) -> String {
    let head = |token: &str| token.split('.').next().unwrap().to_owned();
    for _ in 0..40 {
        let token = world.sign_in("rita").await.access;
        if head(&token) != head(old) {
            return token;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    panic!("the next key does not sign");
}

/// A backend with sessions.
async fn with_sessions() -> Backend {
    Backend::start(Arc::new(|request: &Request| {
        let text = String::from_utf8(json_answer(&mcp(&request.json()))).unwrap();
        text.replacen("\r\n\r\n", "\r\nmcp-session-id: raw-1\r\n\r\n", 1).into_bytes()
    }))
    .await
}

/// What SQLite says of the store.
async fn ask(world: &World, statement: &str) -> String {
    let mut command = tokio::process::Command::new("sqlite3");
    let output = command.arg(world.directory().join("state/portcullis.db")).arg(statement).output().await;
    let output = output.unwrap_or_else(|error| panic!("sqlite3: {error}; run `tests/setup.sh all`"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// What people have of a gateway: a grant, and a session with a backend.
struct Held {
    client_id: String,
    verifier: String,
    tokens: Tokens,
    session: String,
}

impl Held {
    async fn of(world: &World) -> Self {
        let flow = Flow::register(world).await;
        let tokens = flow.tokens(&flow.code("rita").await).await;
        let hello = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": { "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "x", "version": "1" } } });
        let answer = world.post(&tokens.access, &hello).await;
        let session = answer.headers()["mcp-session-id"].to_str().unwrap().to_owned();
        Self { client_id: flow.client_id.clone(), verifier: flow.verifier.clone(), tokens, session }
    }

    /// The session is there still.
    async fn goes_on(&self, world: &World) {
        let call = json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": { "name": "get_forecast" } });
        let answer = world.post_with(&self.tokens.access, &call, &[("mcp-session-id", &self.session)]).await;
        assert_eq!(answer.status(), 200);
    }

    /// The grant is, too.
    async fn refreshed(&self, world: &World) -> Tokens {
        let (client_id, verifier) = (self.client_id.clone(), self.verifier.clone());
        Flow { world, client_id, verifier, at: world.url() }.refreshed(&self.tokens.refresh).await
    }
}

#[tokio::test]
async fn a_store_of_the_version_before_is_taken_over_and_its_backup_is_the_way_back() {
    let backend = with_sessions().await;
    let mut world = WorldBuilder::new(&backend).own_tokens_only().start().await;
    let held = Held::of(&world).await;
    held.goes_on(&world).await;
    world.gateway.terminate().await;
    // The last step of `gateway/src/store/embedded/schema.rs`, taken back: what the version before had written.
    let version: u32 = ask(&world, "PRAGMA user_version").await.parse().unwrap();
    ask(&world, &format!("DROP TABLE lease; PRAGMA user_version = {}", version - 1)).await;
    let backup = world.directory().join("backup.db");
    ask(&world, &format!("VACUUM INTO '{}'", backup.display())).await;
    // There; and once more from the backup, which is the way back.
    for _ in 0..2 {
        world.restart().await;
        let said = world.gateway.said();
        assert!(said.contains("an older Portcullis does not read it any more"), "{said}");
        held.goes_on(&world).await;
        held.refreshed(&world).await;
        world.gateway.terminate().await;
        assert_eq!(ask(&world, "PRAGMA user_version").await, version.to_string());
        let state = world.directory().join("state");
        for log in ["portcullis.db-wal", "portcullis.db-shm"] {
            let _ = std::fs::remove_file(state.join(log));
        }
        std::fs::copy(&backup, state.join("portcullis.db")).unwrap();
        assert_eq!(ask(&world, "PRAGMA user_version").await, (version - 1).to_string());
    }
    let figure = format!(
        "a session and a refresh token survive the step of the store from version {} to {version}, and a second time from its backup",
        version - 1
    );
    fault(33, &figure, "sessions and refresh tokens survive");
}

#[tokio::test]
async fn a_rollout_and_its_way_back_end_no_session_and_no_grant() {
    let backend = with_sessions().await;
    let mut world = WorldBuilder::new(&backend).own_tokens_only().start().await;
    let mut held = Held::of(&world).await;
    let (mut sessions, mut grants) = (0, 0);
    // There, back, and there again.
    for _ in 0..3 {
        upgrade(&mut world).await;
        held.goes_on(&world).await;
        sessions += 1;
        held.tokens = held.refreshed(&world).await;
        held.goes_on(&world).await;
        grants += 1;
    }
    world.gateway.terminate().await;
    // The store of a later program is left as it is.
    let version = ask(&world, "PRAGMA user_version").await;
    let rows = ask(&world, "PRAGMA user_version = 99; SELECT count(*) FROM refresh").await;
    let refused = tokio::time::timeout(Duration::from_secs(30), world.command(&["serve", "--config", "gateway.yaml"]));
    let refused = refused.await.expect("it started");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && said.contains("is of another version; run the Portcullis that wrote it"),
        "{said}"
    );
    assert_eq!(ask(&world, "PRAGMA user_version; SELECT count(*) FROM refresh").await, format!("99\n{rows}"));
    ask(&world, &format!("PRAGMA user_version = {version}")).await;
    world.restart().await;
    held.refreshed(&world).await;
    let figure = format!(
        "{sessions} of 3 sessions and {grants} of 3 refresh tokens survived from one process to the next; a store of a later version is refused and left as it is"
    );
    fault(33, &figure, "sessions and refresh tokens survive");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_balancer_a_gateway_that_is_told_to_stop_loses_no_call() {
    let backend = backend().await;
    let builder = WorldBuilder::new(&backend).server("drain_delay: 1s");
    let (mut first, second) = (builder.clone().start().await, builder.start().await);
    let targets = [&first, &second].map(|world| Target::new(world.mcp(), world.identity.mint("rita", &Value::Null)));
    let is_ready = Arc::clone(&targets[0].is_ready);
    let load = Load::at(&targets, std::slice::from_ref(first.http()), MIXED);
    // What a balancer does: it looks whether the first is ready, ten times a second.
    let over = Arc::new(AtomicBool::new(false));
    let looks = {
        let (over, http) = (Arc::clone(&over), first.http().clone());
        let url = format!("http://127.0.0.1:{}/readyz", first.admin_port);
        tokio::spawn(async move {
            while !over.load(Ordering::Relaxed) {
                let ready = http.get(&url).send().await.is_ok_and(|answer| answer.status().is_success());
                is_ready.store(ready, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
    };
    load.calls(200).await;
    first.gateway.signal("TERM").await;
    let began = Instant::now();
    assert_eq!(first.gateway.ended().await, Some(0));
    let ended = began.elapsed();
    load.calls(200).await;
    over.store(true, Ordering::Relaxed);
    looks.await.unwrap();
    let ledger = load.settle("SIGTERM behind a balancer", &backend).await;
    assert!(ledger.failed.is_empty(), "{} failed", ledger.failed.len());
    assert!(ended < Duration::from_secs(35), "{ended:?}");
    assert!(is_intact(&first).await, "the end of the trail is there and signed");
    let calls = ledger.answered.len() + ledger.refused.len();
    let figure = format!("0 of {calls} requests failed; exit 0 after {ended:.1?}");
    fault(20, &figure, "0 failed requests behind a retrying balancer, exit 0 within 35 s");
}
