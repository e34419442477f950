//! What `docs/operations.md` tells an operator to type, done to a gateway: backup and restore, a key that is lost.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use portcullis_tests::flow::{Flow, Tokens};
use portcullis_tests::{Backend, World, WorldBuilder};
use serde_json::{Value, json};

async fn world() -> World {
    WorldBuilder::new(&Backend::plain().await).start().await
}

async fn call(world: &World, tokens: &Tokens) -> u16 {
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "get_forecast" } });
    world.post(&tokens.access, &message).await.status().as_u16()
}

async fn refresh(flow: &Flow<'_>, tokens: &Tokens) -> (u16, Value) {
    let answer = flow.token(&flow.refresh_form(&tokens.refresh)).await;
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// The same client, at the gateway as it is now.
fn flow<'w>(world: &'w World, client_id: &str) -> Flow<'w> {
    Flow { world, client_id: client_id.to_owned(), verifier: "v".repeat(43), at: world.url() }
}

async fn keys(world: &World) -> String {
    world.http().get(format!("{}/jwks", world.url())).send().await.unwrap().text().await.unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Removes what SQLite would mend a database from.
fn without_log(state: &Path) {
    for name in ["portcullis.db-wal", "portcullis.db-shm"] {
        let _ = std::fs::remove_file(state.join(name));
    }
}

/// What a gateway says that does not start.
async fn refused_start(world: &World) -> String {
    let started = world.command(&["serve", "--config", "gateway.yaml"]);
    let output = tokio::time::timeout(Duration::from_secs(30), started).await.expect("it started");
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn a_backup_that_was_made_while_it_ran_brings_everything_back() {
    let mut world = world().await;
    let state = world.directory().join("state");
    let (database, copy) = (state.join("portcullis.db"), world.directory().join("backup/portcullis.db"));
    let client_id = Flow::register(&world).await.client_id;
    let tokens = {
        let flow = flow(&world, &client_id);
        let code = flow.code("rita").await;
        flow.tokens(&code).await
    };
    let signed_by = keys(&world).await;
    let made = world.command(&["backup", "backup"]).await;
    assert!(made.status.success() && text(&made).contains("seal.key"), "{}", text(&made));
    assert!(!world.directory().join("backup/audit.db").exists(), "the trail is no database here");
    world.gateway.terminate().await;
    without_log(&state);
    std::fs::write(&database, "no database at all").unwrap();
    let said = refused_start(&world).await;
    assert!(said.contains("restore it from a backup"), "{said}");

    without_log(&state);
    std::fs::copy(&copy, &database).unwrap();
    std::fs::set_permissions(&database, PermissionsExt::from_mode(0o600)).unwrap();
    world.restart().await;
    assert_eq!(keys(&world).await, signed_by);
    assert_eq!(call(&world, &tokens).await, 200);
    let (status, renewed) = refresh(&flow(&world, &client_id), &tokens).await;
    assert_eq!(status, 200, "{renewed}");

    let tenant = identity::Options::default().tenant_id;
    let ended = world.command(&["sessions", "revoke", "--tenant", &tenant]).await;
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(call(&world, &tokens).await, 401, "what the backup knew too much of");
    let renewed = Tokens { refresh: renewed["refresh_token"].as_str().unwrap().to_owned(), ..tokens };
    assert_eq!(refresh(&flow(&world, &client_id), &renewed).await.0, 400);
    let anew = world.sign_in("rita").await;
    assert_eq!(call(&world, &anew).await, 200, "the control");
}

#[tokio::test]
async fn without_its_sealing_key_a_store_is_not_opened_and_one_can_begin_anew() {
    let mut world = world().await;
    let state = world.directory().join("state");
    let tokens = world.sign_in("rita").await;
    let signed_by = keys(&world).await;
    world.gateway.terminate().await;
    let key = std::fs::read(state.join("seal.key")).unwrap();
    std::fs::remove_file(state.join("seal.key")).unwrap();
    let said = refused_start(&world).await;
    assert!(said.contains("seal.key") && said.contains("is missing; restore it"), "{said}");
    std::fs::write(state.join("seal.key"), [7; 32]).unwrap();
    std::fs::set_permissions(state.join("seal.key"), PermissionsExt::from_mode(0o600)).unwrap();
    let said = refused_start(&world).await;
    assert!(said.contains("a sealed value cannot be opened"), "{said}");

    // The copy of the key that the guide tells to keep.
    std::fs::write(state.join("seal.key"), key).unwrap();
    world.restart().await;
    assert_eq!(call(&world, &tokens).await, 200);

    // And without one: begin anew.
    world.gateway.terminate().await;
    std::fs::remove_file(state.join("seal.key")).unwrap();
    std::fs::rename(state.join("portcullis.db"), state.join("portcullis.db.lost")).unwrap();
    without_log(&state);
    world.restart().await;
    assert_ne!(keys(&world).await, signed_by);
    assert_eq!(call(&world, &tokens).await, 401, "a token of before");
    let anew = world.sign_in("rita").await;
    assert_eq!(call(&world, &anew).await, 200);
}

/// What the commands of incidents say, one after another: sessions, keys, digests.
async fn at_night(world: &World) -> [Output; 3] {
    let run = async |arguments: &[&str]| world.command(arguments).await;
    [
        run(&["sessions", "revoke", "--all"]).await,
        run(&["keys", "rotate"]).await,
        run(&["audit", "digest", "asked"]).await,
    ]
}

#[tokio::test]
async fn in_an_incident_the_commands_need_the_state_and_nothing_else_of_the_file() {
    let (certificate, another) = (portcullis_tests::certificate::pair().0, portcullis_tests::certificate::pair().1);
    let world = world().await;
    std::fs::write(world.directory().join("asked"), r#"{"city":"Aachen"}"#).unwrap();
    for (file, text) in [("a.crt", &certificate), ("b.key", &another)] {
        std::fs::write(world.directory().join(file), text).unwrap();
        std::fs::set_permissions(world.directory().join(file), PermissionsExt::from_mode(0o600)).unwrap();
    }
    let good = std::fs::read_to_string(world.directory().join("gateway.yaml")).unwrap();
    let digest = world.command(&["audit", "digest", "asked"]).await.stdout;
    assert!(!digest.is_empty());
    let tls = "server: { tls: { certificate_file: a.crt, key_file: b.key },";
    for (what, broken) in [
        ("a fault of the policy", good.replacen("policy:\n", "policy:\n  rolls: {}\n", 1)),
        ("no YAML", format!("{good}  - [\n")),
        (
            "a variable that the unit sets",
            format!("{good}traces: {{ otlp: {{ endpoint: '${{CREDENTIALS_DIRECTORY}}' }} }}\n"),
        ),
        ("a certificate of which half is new", good.replacen("server: {", tls, 1)),
        ("a section that there is not", format!("{good}polices: {{}}\n")),
    ] {
        std::fs::write(world.directory().join("gateway.yaml"), &good).unwrap();
        let tokens = world.sign_in("rita").await;
        assert_eq!(call(&world, &tokens).await, 200, "{what}: the control");
        std::fs::write(world.directory().join("gateway.yaml"), &broken).unwrap();
        assert!(!world.command(&["check"]).await.status.success(), "{what}: it is none");
        let said = at_night(&world).await;
        for output in &said {
            assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
        }
        assert_eq!(said[2].stdout, digest, "{what}: of the same store");
        tokio::time::sleep(Duration::from_millis(1200)).await;
        assert_eq!(call(&world, &tokens).await, 401, "{what}");
    }
    for (what, state) in [
        ("`NOWHERE` is not set", "state: { path: '${NOWHERE}' }"),
        ("is missing; see `state.path`", "state: { path: elsewhere }"),
        ("seal_key_files", "state: { redis: { url: 'rediss://127.0.0.1:1' } }"),
        ("stat", "stat: { path: state }"),
    ] {
        let line = good.lines().find(|line| line.starts_with("state:")).unwrap();
        std::fs::write(world.directory().join("gateway.yaml"), good.replacen(line, state, 1)).unwrap();
        for output in at_night(&world).await {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success() && said.contains(what), "{state}: {said}");
        }
    }
}

const SHOW: [&str; 2] = ["audit", "show"];

async fn shown(world: &World, more: &[&str]) -> Vec<Value> {
    let output = world.command(&[&SHOW[..], more].concat()).await;
    let lines = String::from_utf8(output.stdout.clone()).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(output.status.success(), !lines.is_empty(), "{more:?}: {}", text(&output));
    lines
}

/// What asks for a tool, and the id of the request.
async fn asked(world: &World, token: &str) -> String {
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "get_forecast" } });
    let answer = world.post(token, &message).await;
    assert_eq!(answer.status().as_u16(), 200);
    answer.headers()["x-request-id"].to_str().unwrap().to_owned()
}

/// As soon as this is in the trail.
async fn until_written(world: &World, id: &str) {
    for _ in 0..200 {
        if shown(world, &["--request", id]).await.len() == 2 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{id} does not come");
}

#[tokio::test]
async fn a_trail_is_searched_by_the_program_alone_wherever_it_is_kept() {
    let postgres = portcullis_tests::postgres::Postgres::start();
    let places = [
        "sqlite: a.db".to_owned(),
        "path: a.jsonl".to_owned(),
        format!("postgres: {{ url: '{}' }}", postgres.url("postgres")),
    ];
    for place in places {
        let world = WorldBuilder::new(&Backend::plain().await).trail(&place).start().await;
        let [rita, walt] = ["rita", "walt"].map(|name| world.identity.mint(name, &Value::Null));
        let (first, second) = (asked(&world, &rita).await, asked(&world, &walt).await);
        until_written(&world, &first).await;
        until_written(&world, &second).await;
        let lines = shown(&world, &["--request", &first]).await;
        assert!(
            lines.iter().all(|line| line["request_id"] == first.as_str() && line["chain"].is_object()),
            "{lines:?}"
        );
        let subject = lines.iter().find_map(|line| line["actor"]["subject"].as_str()).unwrap();
        let decisions = shown(&world, &["--subject", subject, "--type", "mcp.decision"]).await;
        assert_eq!(decisions.len(), 1, "{place}: {decisions:?}");
        assert_eq!(decisions[0]["request_id"], first.as_str());
        let outcomes = shown(&world, &["--type", "mcp.outcome", "--type", "mcp.decision", "--since", "1h"]).await;
        assert_eq!(outcomes.len(), 4, "{place}");
        for none in
            [&["--request", "nobody's"][..], &["--until", "1h"], &["--since", "2126-01-01"], &["--subject", "nobody"]]
        {
            assert!(shown(&world, none).await.is_empty(), "{place}: {none:?}");
        }
        // All of it is the trail, and can be verified.
        let everything = world.command(&SHOW).await.stdout;
        std::fs::write(world.directory().join("all.jsonl"), everything).unwrap();
        let verified = world.command(&["audit", "verify", "all.jsonl"]).await;
        assert!(verified.status.success(), "{place}: {}", text(&verified));
    }
}

#[tokio::test]
async fn a_trail_is_copied_while_it_is_written_and_the_copy_is_evidence() {
    let mut world = WorldBuilder::new(&Backend::plain().await).trail("sqlite: state/audit.db").start().await;
    let rita = world.identity.mint("rita", &Value::Null);
    let id = asked(&world, &rita).await;
    until_written(&world, &id).await;
    std::fs::write(world.directory().join("jwks.json"), keys(&world).await).unwrap();
    let made = world.command(&["backup", "a/b"]).await;
    assert!(made.status.success(), "{}", text(&made));
    let (copies, state) = (world.directory().join("a/b"), world.directory().join("state"));
    for (path, mode) in
        [(copies.clone(), 0o700), (copies.join("portcullis.db"), 0o600), (copies.join("audit.db"), 0o600)]
    {
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode, "{}", path.display());
    }
    // Nothing is written over, and half a backup is none.
    std::fs::remove_file(copies.join("portcullis.db")).unwrap();
    let again = world.command(&["backup", "a/b"]).await;
    assert!(!again.status.success() && text(&again).contains("audit.db"), "{}", text(&again));
    assert!(!copies.join("portcullis.db").exists());
    // Who may only read can verify the copy, and nothing comes to lie beside it.
    std::fs::set_permissions(&copies, PermissionsExt::from_mode(0o500)).unwrap();
    let verified = world.command(&["audit", "verify", "--jwks", "jwks.json", "a/b/audit.db"]).await;
    assert!(verified.status.success(), "{}", text(&verified));
    assert_eq!(shown(&world, &["a/b/audit.db", "--request", &id]).await.len(), 2);
    assert_eq!(std::fs::read_dir(&copies).unwrap().count(), 1);
    std::fs::set_permissions(&copies, PermissionsExt::from_mode(0o700)).unwrap();
    // What `cp` would have: it says why there is nothing in it.
    std::fs::copy(state.join("audit.db"), world.directory().join("cp.db")).unwrap();
    let lacking = world.command(&["audit", "show", "cp.db", "--request", &id]).await;
    assert!(!lacking.status.success() && text(&lacking).contains("portcullis backup"), "{}", text(&lacking));
    // Put back, it is what it was: with the log of before it would be neither.
    world.gateway.terminate().await;
    for name in ["audit.db-wal", "audit.db-shm"] {
        let _ = std::fs::remove_file(state.join(name));
    }
    std::fs::copy(copies.join("audit.db"), state.join("audit.db")).unwrap();
    world.restart().await;
    let after = asked(&world, &rita).await;
    until_written(&world, &after).await;
    assert_eq!(shown(&world, &["--request", &id]).await.len(), 2);
    // One without a log beside it is read where it may not be written, and it is said that it may be such a copy.
    world.gateway.terminate().await;
    let closed = std::process::Command::new("sqlite3")
        .arg(state.join("audit.db"))
        .arg("PRAGMA wal_checkpoint(TRUNCATE)")
        .status();
    assert!(closed.unwrap_or_else(|error| panic!("sqlite3: {error}; run `tests/setup.sh all`")).success());
    assert!(!state.join("audit.db-wal").exists());
    std::fs::set_permissions(&state, PermissionsExt::from_mode(0o500)).unwrap();
    let files = || std::fs::read_dir(&state).unwrap().count();
    let before = files();
    let stopped = world.command(&["audit", "show", "--request", &after]).await;
    assert!(stopped.status.success() && text(&stopped).contains("newest lines"), "{}", text(&stopped));
    assert_eq!(files(), before);
    std::fs::set_permissions(&state, PermissionsExt::from_mode(0o700)).unwrap();
}

#[tokio::test]
async fn what_is_in_no_database_is_backed_up_another_way_and_it_is_said() {
    let world = world().await;
    let config = world.directory().join("gateway.yaml");
    let good = std::fs::read_to_string(&config).unwrap();
    let state = good.lines().find(|line| line.starts_with("state:")).unwrap();
    std::fs::write(world.directory().join("seal"), [7; 32]).unwrap();
    std::fs::set_permissions(world.directory().join("seal"), PermissionsExt::from_mode(0o600)).unwrap();
    let redis = "state: { path: state, redis: { url: 'redis://127.0.0.1:1' }, seal_key_files: [seal] }";
    std::fs::write(&config, good.replace(state, redis)).unwrap();
    let none = world.command(&["backup", "backup"]).await;
    assert!(!none.status.success() && text(&none).contains("PostgreSQL"), "{}", text(&none));
    assert!(!world.directory().join("backup").exists());
    std::fs::write(&config, good).unwrap();
    assert!(world.command(&["backup", "backup"]).await.status.success(), "the control");
}
