//! A configuration that changes while the gateway runs: all of it is taken, or nothing. Longer than other files, for there
//! are many ways to change one.

use std::sync::Arc;
use std::time::Duration;

use portcullis_tests::backend::{Request, answer, json_answer, mcp};
use portcullis_tests::{Backend, World, WorldBuilder};
use serde_json::{Value, json};

async fn world() -> (World, Backend, String) {
    let backend = Backend::plain().await;
    let world = WorldBuilder::new(&backend).start().await;
    let token = world.identity.mint("rita", &Value::Null);
    (world, backend, token)
}

fn opens_delete(text: &str) -> String {
    text.replace("Task.Read: { opens: [read] }", "Task.Read: { opens: [read, delete] }")
}

const APPLIED: &str = "portcullis_config_reloads_total{result=\"applied\"} 1";
const REFUSED: &str = "portcullis_config_reloads_total{result=\"refused\"} 1";

async fn may_delete(world: &World, token: &str) -> bool {
    world.ask(token, "tools/call", json!({ "name": "delete_station" })).await["error"].is_null()
}

#[tokio::test]
async fn a_changed_policy_counts_from_the_next_request_on_and_the_trail_knows() {
    let (world, _backend, token) = world().await;
    assert!(!may_delete(&world, &token).await);
    world.configure(opens_delete);
    world.until_metric(APPLIED).await;
    assert!(may_delete(&world, &token).await);
    let lines = world.audit(5).await;
    let reloads: Vec<&Value> = lines.iter().filter(|line| line["event"] == "config_reloaded").collect();
    assert_eq!(reloads.len(), 1);
    let decisions: Vec<&Value> = lines.iter().filter(|line| line["type"] == "mcp.decision").collect();
    assert_eq!((&decisions[0]["decision"], &decisions[1]["decision"]), (&json!("deny"), &json!("allow")));
    assert_eq!(decisions[0]["policy_hash"], reloads[0]["before"]);
    assert_eq!(decisions[1]["policy_hash"], reloads[0]["policy_hash"]);
    assert_ne!(reloads[0]["before"], reloads[0]["policy_hash"]);
}

/// What the trail says of the files before and after each reload, once there were so many.
async fn digests(world: &World, reloads: usize) -> Vec<(String, String)> {
    let text = |line: &Value, name: &str| line[name].as_str().unwrap().to_owned();
    for tries in 0.. {
        let lines = world.audit(1).await;
        let all = lines.iter().filter(|line| line["event"] == "config_reloaded");
        let all: Vec<_> = all.map(|line| (text(line, "config_before"), text(line, "config_hash"))).collect();
        if all.len() >= reloads {
            return all;
        }
        assert!(tries < 200, "{lines:?}");
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    unreachable!()
}

#[tokio::test]
async fn the_trail_tells_files_apart_by_a_digest_that_nobody_without_the_key_can_make() {
    let (mut world, _backend, _token) = world().await;
    let first = std::fs::read_to_string(world.directory().join("gateway.yaml")).unwrap();
    world.configure(opens_delete);
    world.until_metric(APPLIED).await;
    world.configure(|_| first.clone());
    world.until_metric("portcullis_config_reloads_total{result=\"applied\"} 2").await;
    std::fs::write(world.directory().join("secret"), "hunter2\n").unwrap();
    let known = digests(&world, 3).await;
    assert_eq!(known[0].0, known[1].1, "the same files, the same digest");
    assert_eq!(known[0].1, known[1].0);
    assert_ne!(known[1].1, known[2].1, "a secret is part of it");
    // After a restart it is the same still; under the key of another store, the same files have another.
    world.restart().await;
    world.configure(opens_delete);
    let again = digests(&world, 4).await;
    assert_eq!(again[3].0, known[2].1);
    world.gateway.terminate().await;
    std::fs::remove_dir_all(world.directory().join("state")).unwrap();
    world.restart().await;
    world.configure(|_| first);
    let anew = digests(&world, 5).await;
    assert_ne!(anew[4].0, again[3].1, "the files of before");
    assert_ne!(anew[4].1, again[3].0);
}

#[tokio::test]
async fn what_is_left_of_a_batch_is_not_decided_by_the_policy_that_it_began_under() {
    let held = |request: &Request| {
        let message = request.json();
        let stream = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-held: 1\r\n\r\n";
        if message["id"] == 7 { stream.into() } else { json_answer(&mcp(&message)) }
    };
    let backend = Backend::start(Arc::new(held)).await;
    let world = WorldBuilder::new(&backend).start().await;
    let token = world.identity.mint("rita", &Value::Null);
    let call = |id: u64| json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": "get_forecast", "arguments": {} } });
    let legacy = [("mcp-protocol-version", "2025-03-26")];
    let changed = async {
        while backend.requests().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        world.configure(|text| text.replace("Task.Read: { opens: [read] }", "Task.Read: { opens: [] }"));
        world.until_metric(APPLIED).await;
        let answer = json!({ "jsonrpc": "2.0", "id": 7, "result": { "content": [] } });
        backend.push(&format!("data: {answer}\n\n"));
    };
    let batch = json!([call(7), call(8), call(9)]);
    let (answer, ()) = tokio::join!(world.post_with(&token, &batch, &legacy), changed);
    let answers: Value = answer.json().await.unwrap();
    assert!(answers[0]["result"].is_object(), "what was on its way is answered: {answers}");
    assert_eq!((&answers[1]["error"]["code"], &answers[2]["error"]["code"]), (&json!(-31503), &json!(-31503)));
    assert_eq!(backend.requests().len(), 1);
    let alone = world.ask(&token, "tools/call", json!({ "name": "get_forecast", "arguments": {} })).await;
    assert_eq!(alone["error"]["message"], "Unknown tool: get_forecast", "the control: {alone}");
}

/// Reads a stream on to where it says this.
async fn until(stream: &mut reqwest::Response, needle: &str) -> String {
    let mut heard = String::new();
    while !heard.contains(needle) {
        let piece = tokio::time::timeout(Duration::from_secs(10), stream.chunk()).await.unwrap().unwrap();
        heard += std::str::from_utf8(&piece.unwrap_or_else(|| panic!("the stream ended: {heard}"))).unwrap();
    }
    heard
}

/// A world whose server answers calls, and who listens, by a stream that says nothing of itself.
async fn world_of_streams() -> (World, Backend, String) {
    let script = |request: &Request| {
        let stream = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-held: 1\r\n\r\n";
        let message = request.json();
        match message["method"].as_str() {
            Some("initialize") => answer("200 OK", "application/json\r\nmcp-session-id: s", &mcp(&message).to_string()),
            None | Some("tools/call") => stream.into(),
            Some(_) => json_answer(&mcp(&message)),
        }
    };
    let backend = Backend::start(Arc::new(script)).await;
    let world = WorldBuilder::new(&backend).features("logging, progress").start().await;
    let token = world.identity.mint("rita", &Value::Null);
    (world, backend, token)
}

#[tokio::test]
async fn what_still_comes_in_answer_to_a_call_goes_by_the_rules_that_count_by_then() {
    let (world, backend, token) = world_of_streams().await;
    let call = json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": { "name": "get_forecast", "arguments": {} } });
    let mut stream = world.post(&token, &call).await;
    let updated = r#"data: {"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"weather://stations/oslo"}}"#;
    let logged =
        r#"data: {"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"logged"}}"#;
    let progress =
        r#"data: {"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#;
    let everything = format!("{updated}\n\n{logged}\n\n{progress}\n\n");
    backend.push(&everything);
    let heard = until(&mut stream, "progressToken").await;
    assert!(heard.contains("stations/oslo") && heard.contains("logged"), "the control: {heard}");
    world.configure(|text| {
        text.replace("{ read: ['weather://stations/**']", "{ write: ['weather://stations/**']")
            .replace("client_features: [logging, progress]", "client_features: [progress]")
    });
    world.until_metric(APPLIED).await;
    backend.push(&everything);
    let heard = until(&mut stream, "progressToken").await;
    assert!(!heard.contains("stations/oslo") && !heard.contains("logged"), "{heard}");
    let answer = json!({ "jsonrpc": "2.0", "id": 7, "result": { "content": [] } });
    backend.push(&format!("data: {answer}\n\n"));
    let heard = until(&mut stream, "content").await;
    assert!(heard.contains(r#""id":7"#), "its tool is open still: {heard}");
}

#[tokio::test]
async fn the_stream_of_a_call_ends_with_a_word_when_a_reload_closes_its_tool() {
    let (world, _backend, token) = world_of_streams().await;
    let call = json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": { "name": "get_forecast", "arguments": {} } });
    let stream = world.post(&token, &call).await;
    world.configure(|text| text.replace("Task.Read: { opens: [read] }", "Task.Read: { opens: [write] }"));
    let text = tokio::time::timeout(Duration::from_secs(10), stream.text()).await.unwrap().unwrap();
    assert!(text.contains("-31403") && text.contains(r#""id":7"#), "{text}");
}

#[tokio::test]
async fn who_listens_is_told_when_other_features_count() {
    let (world, backend, token) = world_of_streams().await;
    let hello = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": { "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } } });
    let session = world.post(&token, &hello).await.headers()["mcp-session-id"].to_str().unwrap().to_owned();
    let get = || world.http().get(world.mcp()).bearer_auth(&token).header("mcp-session-id", &session).send();
    let logged = "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":\"logged\"}}\n\n";
    let mut stream = get().await.unwrap();
    backend.push(logged);
    until(&mut stream, "logged").await;
    world.configure(|text| text.replace("threads: 2", "threads: 2, allowed_origins: ['https://a.example']"));
    world.until_metric(APPLIED).await;
    backend.push(logged);
    until(&mut stream, "logged").await;
    world.configure(|text| text.replace("client_features: [logging, progress]", "client_features: [progress]"));
    until(&mut stream, "retry:").await;
}

#[tokio::test]
async fn a_bad_file_is_refused_with_every_fault_and_what_ran_goes_on() {
    let (world, _backend, token) = world().await;
    world.configure(|text| opens_delete(text).replace("threads: 2", "thread: 2"));
    world.until_metric(REFUSED).await;
    assert!(!may_delete(&world, &token).await);
    let ready = world.probe("/readyz").await;
    assert!(ready.starts_with("ready\n") && ready.contains("is refused") && ready.contains("thread"), "{ready}");
    // Two faults, of a file that is well-formed.
    world.configure(|text| {
        opens_delete(text)
            .replace("thread: 2", "threads: 2, drain_delay: soon")
            .replace("Admin: { opens", "Admin: { inherits: [nobody], opens")
    });
    world.until_metric("portcullis_config_reloads_total{result=\"refused\"} 2").await;
    let said = world.gateway.said();
    for fault in ["`soon` is not a duration", "role `nobody` is not declared"] {
        assert!(said.contains(fault), "`{fault}` is not in the log");
    }
    assert!(!may_delete(&world, &token).await);
    // The control: the same file without its faults.
    world.configure(|text| text.replace(", drain_delay: soon", "").replace("inherits: [nobody], ", ""));
    world.until_metric(APPLIED).await;
    assert!(may_delete(&world, &token).await);
    assert_eq!(world.probe("/readyz").await, "ready\n");
}

#[tokio::test]
async fn a_policy_whose_tests_fail_is_refused() {
    let (world, _backend, token) = world().await;
    let tests = "  tests: { catalogue: { weather: [delete_station] }, cases: [{ name: readers do not delete, as: { roles: [Task.Read] }, call: weather/delete_station, expect: deny }] }\n";
    world.configure(|text| opens_delete(text) + tests);
    world.until_metric(REFUSED).await;
    assert!(!may_delete(&world, &token).await);
    assert!(world.gateway.said().contains("mend the policy, or the test"));
}

/// A policy whose tests take a while, longer than anybody would wait for between two changes.
fn slow(text: &str) -> String {
    let case = |number: usize| {
        format!(
            "    - {{ name: case {number}, as: {{ roles: [Task.Read] }}, call: weather/get_forecast, expect: allow }}\n"
        )
    };
    let cases: String = (0..6000).map(case).collect();
    format!(
        "{text}  tests:\n    catalogue: {{ weather: [get_forecast] }}\n    cases:\n{}",
        cases.replace("    -", "      -")
    )
}

#[tokio::test]
async fn what_is_changed_while_a_change_is_taken_counts_in_the_end() {
    let (mut world, _backend, token) = world().await;
    let first = std::fs::read_to_string(world.directory().join("gateway.yaml")).unwrap();
    let reloads = |world: &World| world.gateway.said().matches("the configuration is reloaded").count();
    let until = async |world: &World, more_than: Option<usize>, opens: bool| {
        for _ in 0..300 {
            let is_later = more_than.is_none_or(|before| reloads(world) > before);
            if is_later && may_delete(world, &token).await == opens {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("what is on the disk does not count: {}", world.gateway.said());
    };
    for pause in [600, 1000, 1400] {
        let before = reloads(&world);
        world.configure(|_| slow(&opens_delete(&first)));
        tokio::time::sleep(Duration::from_millis(pause)).await;
        world.configure(|_| format!("{first}# {pause}\n"));
        until(&world, Some(before), false).await;
    }
    // Whatever is refused while it is mended is looked at again.
    let wrong = "      - { name: wrong, as: { roles: [Task.Read] }, call: weather/get_forecast, expect: deny }\n";
    world.configure(|_| slow(&first) + wrong);
    tokio::time::sleep(Duration::from_millis(800)).await;
    world.configure(|_| opens_delete(&first));
    until(&world, None, true).await;
    // So is what is changed while the gateway starts.
    world.configure(|_| slow(&opens_delete(&first)));
    let file = world.directory().join("gateway.yaml");
    let changed = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(700)).await;
        std::fs::write(file.with_extension("new"), first).unwrap();
        std::fs::rename(file.with_extension("new"), file).unwrap();
    });
    world.restart().await;
    changed.await.unwrap();
    until(&world, None, false).await;
}

#[tokio::test]
async fn what_only_a_restart_can_change_is_named_and_nothing_else_is_taken() {
    let (world, _backend, token) = world().await;
    for (number, (from, to, name)) in (1..).zip([
        ("threads: 2", "threads: 3", "server.threads"),
        ("state: { path: state }", "state: { path: elsewhere }", "`state`"),
        ("shutdown_grace: 1s", "shutdown_grace: 2s", "server.shutdown_grace"),
        ("audit: { path: audit.jsonl", "audit: { path: other.jsonl", "`audit`"),
    ]) {
        let before = std::fs::read_to_string(world.directory().join("gateway.yaml")).unwrap();
        assert!(before.contains(from));
        world.configure(|text| opens_delete(&text.replace(from, to)));
        world.until_metric(&format!("portcullis_config_reloads_total{{result=\"refused\"}} {number}")).await;
        let ready = world.probe("/readyz").await;
        assert!(ready.contains(name) && ready.contains("restart"), "{ready}");
        assert!(!may_delete(&world, &token).await);
        world.configure(|_| before);
        world.until_metric(&format!("portcullis_config_reloads_total{{result=\"applied\"}} {number}")).await;
    }
}

#[tokio::test]
async fn a_refused_file_does_not_start_either() {
    let (mut world, _backend, _) = world().await;
    world.configure(|text| text.replace("threads: 2", "thread: 2"));
    world.until_metric(REFUSED).await;
    world.gateway.terminate().await;
    let mut again = world.upgrade();
    again.terminate().await;
    assert_eq!(world.gateway.ended().await, Some(1));
    assert!(world.gateway.said().contains("thread"), "{}", world.gateway.said());
}

#[tokio::test]
async fn however_a_file_is_changed_it_is_seen() {
    use std::os::unix::fs::symlink;
    let (world, _backend, token) = world().await;
    let directory = world.directory();
    let path = directory.join("gateway.yaml");
    let shut = std::fs::read_to_string(&path).unwrap();
    let open = opens_delete(&shut);
    let mut applied = 0;
    let mut seen = async |open: bool| {
        applied += 1;
        world.until_metric(&format!("portcullis_config_reloads_total{{result=\"applied\"}} {applied}")).await;
        assert_eq!(may_delete(&world, &token).await, open);
    };
    // Written in place.
    std::fs::write(&path, &open).unwrap();
    seen(true).await;
    // As Kubernetes does it: the file is a link through a link to a directory, and that one is set anew.
    for (name, text) in [("one", &shut), ("two", &open)] {
        std::fs::create_dir(directory.join(name)).unwrap();
        std::fs::write(directory.join(name).join("gateway.yaml"), text).unwrap();
    }
    symlink("one", directory.join("..data")).unwrap();
    symlink("..data/gateway.yaml", directory.join("link")).unwrap();
    std::fs::rename(directory.join("link"), &path).unwrap();
    seen(false).await;
    symlink("two", directory.join("..new")).unwrap();
    std::fs::rename(directory.join("..new"), directory.join("..data")).unwrap();
    seen(true).await;
    // Gone, and back.
    std::fs::remove_file(&path).unwrap();
    world.until_metric(REFUSED).await;
    assert!(may_delete(&world, &token).await);
    std::fs::write(&path, &shut).unwrap();
    seen(false).await;
    // Half of it, and then the rest.
    let half = &open[..open.len() / 2];
    std::fs::write(&path, half).unwrap();
    world.until_metric("portcullis_config_reloads_total{result=\"refused\"} 2").await;
    std::fs::write(&path, &open).unwrap();
    seen(true).await;
    // Asked for outright.
    world.gateway.signal("HUP").await;
    seen(true).await;
}

#[tokio::test]
async fn whatever_stands_in_the_place_of_a_file_what_ran_goes_on() {
    use std::fmt::Write as _;
    use std::os::unix::fs::symlink;
    type Put<'p> = &'p dyn Fn(&std::path::Path);
    let (mut world, _backend, token) = world().await;
    let path = world.directory().join("gateway.yaml");
    let good = std::fs::read_to_string(&path).unwrap();
    let mut bomb = "bomb: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let before = vec![format!("*a{}", level - 1); 9].join(", ");
        writeln!(bomb, "bomb{level}: &a{level} [{before}]").unwrap();
    }
    let replacements: [(&str, Put); 9] = [
        ("a directory", &|path| std::fs::create_dir(path).unwrap()),
        ("a pipe", &|path| assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success())),
        ("a device without end", &|path| symlink("/dev/zero", path).unwrap()),
        ("a link to nowhere", &|path| symlink("nowhere", path).unwrap()),
        ("a link to itself", &|path| symlink(path, path).unwrap()),
        ("a file without end", &|path| std::fs::File::create(path).unwrap().set_len(1 << 40).unwrap()),
        ("aliases that unfold", &|path| std::fs::write(path, &bomb).unwrap()),
        ("a depth", &|path| std::fs::write(path, "[".repeat(100_000)).unwrap()),
        ("bytes that are no text", &|path| std::fs::write(path, [0xff, 0xfe, 0, 1]).unwrap()),
    ];
    for (number, (what, put)) in (1..).zip(replacements) {
        std::fs::remove_file(&path).unwrap();
        put(&path);
        world.gateway.signal("HUP").await;
        let refused = tokio::time::timeout(std::time::Duration::from_secs(20), async {
            while !world.probe("/readyz").await.contains("is refused") {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        });
        refused.await.unwrap_or_else(|_| panic!("{what} is not refused"));
        assert!(!may_delete(&world, &token).await, "{what}");
        if path.is_dir() && !path.is_symlink() {
            std::fs::remove_dir(&path).unwrap();
        } else {
            std::fs::remove_file(&path).unwrap();
        }
        std::fs::write(&path, format!("{good}# {number}\n")).unwrap();
        while world.probe("/readyz").await != "ready\n" {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
    let memory = std::fs::read_to_string(format!("/proc/{}/status", world.gateway.id())).unwrap();
    let most = memory.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let most: u64 = most.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(most < 400 * 1024, "{most} KB");
    world.gateway.terminate().await;
}

#[tokio::test]
async fn a_policy_of_its_own_file_is_watched_too() {
    let backend = Backend::plain().await;
    let world = WorldBuilder::new(&backend).start().await;
    let token = world.identity.mint("rita", &Value::Null);
    let text = std::fs::read_to_string(world.directory().join("gateway.yaml")).unwrap();
    let (rest, policy) = text.split_once("policy:\n").unwrap();
    let policy = policy.lines().map(|line| line.strip_prefix("  ").unwrap_or(line)).collect::<Vec<_>>().join("\n");
    std::fs::create_dir(world.directory().join("policies")).unwrap();
    let file = world.directory().join("policies/p.yaml");
    std::fs::write(&file, &policy).unwrap();
    world.configure(|_| format!("{rest}policy: policies/p.yaml\n"));
    world.until_metric(APPLIED).await;
    assert!(!may_delete(&world, &token).await);
    std::fs::write(&file, opens_delete(&policy)).unwrap();
    world.until_metric("portcullis_config_reloads_total{result=\"applied\"} 2").await;
    assert!(may_delete(&world, &token).await);
}

#[tokio::test]
async fn backends_come_and_go_and_the_others_keep_their_connections() {
    let (world, backend, token) = world().await;
    let other = Backend::plain().await;
    world.ask(&token, "tools/call", json!({ "name": "get_forecast" })).await;
    let path = world.directory().join("gateway.yaml");
    let alone = std::fs::read_to_string(&path).unwrap();
    let at = "weather: { url:";
    let line = format!("crm: {{ url: '{}', accept_entra_tokens: true }}\n  {at}", other.url());
    let both = alone.replace(at, &line).replace("weather: { read:", "crm: { read: ['get_*'] }, weather: { read:");
    let both =
        both.replace("weather: { url:", "weather: { path: /mcp, url:").replace("{ opens:", "{ on: ['*'], opens:");
    world.configure(|_| both);
    world.until_metric(APPLIED).await;
    assert_eq!(world.ask(&token, "tools/call", json!({ "name": "get_forecast" })).await["error"], Value::Null);
    assert_eq!(backend.closed(), 0, "the connection of a backend that did not change stays");
    let ask = async || {
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "get_invoice" } });
        let request = world.http().post(format!("{}/crm/mcp", world.url())).bearer_auth(&token).json(&message);
        request.header("accept", "application/json, text/event-stream").send().await.unwrap().status().as_u16()
    };
    assert_eq!((ask().await, other.requests().len()), (200, 1));
    world.configure(|_| alone);
    world.until_metric("portcullis_config_reloads_total{result=\"applied\"} 2").await;
    assert_eq!((ask().await, other.requests().len()), (404, 1));
    assert_eq!(world.ask(&token, "tools/call", json!({ "name": "get_forecast" })).await["error"], Value::Null);
    assert!(!world.probe("/metrics").await.contains("backend_up{backend=\"crm\""));
}

#[tokio::test]
async fn a_hundred_changes_are_a_few_reloads() {
    let (world, _backend, token) = world().await;
    let shut = std::fs::read_to_string(world.directory().join("gateway.yaml")).unwrap();
    for number in 0..100 {
        world.configure(|_| if number % 2 == 0 { shut.clone() } else { opens_delete(&shut) });
    }
    let last = opens_delete(&shut).replace("delete_*", "delete_stati*");
    world.configure(|_| last);
    for _ in 0..400 {
        if may_delete(&world, &token).await {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    assert!(may_delete(&world, &token).await);
    let metrics = world.probe("/metrics").await;
    let applied =
        metrics.lines().find_map(|line| line.strip_prefix("portcullis_config_reloads_total{result=\"applied\"} "));
    assert!(applied.unwrap().parse::<u32>().unwrap() < 20, "{metrics}");
}

/// Calls that are denied, until the trail takes no more of them.
async fn fill(world: &World, token: &str) {
    let call =
        |id: u64| json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": "delete_station" } });
    let batch = Value::Array((1..=50).map(call).collect());
    let legacy = [("mcp-protocol-version", "2025-03-26")];
    for _ in 0..600 {
        world.post_with(token, &batch, &legacy).await;
        if world.probe("/readyz").await.starts_with("not ready") {
            return;
        }
    }
    panic!("the queue is not full:\n{}", world.probe("/metrics").await);
}

#[tokio::test]
async fn a_change_that_the_trail_had_no_room_for_is_taken_later_and_the_trail_knows_both() {
    let directory = tempfile::tempdir().unwrap();
    let (pipe, trail) = (directory.path().join("pipe"), directory.path().join("trail"));
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // It is open to be read, and nobody does.
    let end = std::fs::File::options().read(true).write(true).open(&pipe).unwrap();
    let backend = Backend::plain().await;
    let mut world = WorldBuilder::new(&backend).trail(&format!("path: '{}'", pipe.display())).start().await;
    let token = world.identity.mint("rita", &Value::Null);
    fill(&world, &token).await;
    world.configure(|text| text.replace("Task.Read: { opens: [read] }", "Task.Read: { opens: [] }"));
    world.until_metric("portcullis_config_refused 1").await;
    let said = world.gateway.said();
    assert!(said.contains("does not take the reload") && said.contains("tried again"), "{said}");
    let out = std::fs::File::create(&trail).unwrap();
    let mut reader = std::process::Command::new("cat").stdin(end).stdout(out).spawn().unwrap();
    // By itself: the files say what they said.
    world.until_metric(APPLIED).await;
    world.until_metric("portcullis_config_refused 0").await;
    world.until_metric(REFUSED).await;
    let answer = world.ask(&token, "tools/call", json!({ "name": "get_forecast" })).await;
    assert!(answer["error"].is_object() && backend.requests().is_empty(), "it is the narrow one: {answer}");
    world.gateway.terminate().await;
    reader.kill().unwrap();
    reader.wait().unwrap();
    let text = std::fs::read_to_string(&trail).unwrap();
    let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let reloads: Vec<&Value> = lines.iter().filter(|line| line["type"] == "config").collect();
    let events: Vec<&Value> = reloads.iter().map(|line| &line["event"]).collect();
    assert_eq!(events, ["config_refused", "config_reloaded"], "{reloads:?}");
    assert_eq!(reloads[0]["config_hash"], reloads[1]["config_hash"]);
    assert_eq!(reloads[0]["policy_hash"], reloads[1]["before"]);
}
