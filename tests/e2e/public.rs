//! Backends that let in who brings no token: to what is opened to anybody, through the same door as everybody.

use std::collections::BTreeSet;

use portcullis_tests::backend::{Request, json_answer, mcp};
use portcullis_tests::{Backend, World, WorldBuilder};
use reqwest::header::AUTHORIZATION;
use serde_json::{Value, json};

const POLICY: &str = "
  roles: { anybody: { members: { public: true }, on: [weather], opens: [read] }, Task.Read: { inherits: [anybody], on: ['*'], opens: [read] }, Task.All: { on: ['*'], opens: [read, delete] } }
  tools: { weather: { read: ['get_*'], delete: ['delete_*'] }, crm: { read: ['get_*'] } }
";

/// A server with sessions.
async fn server() -> Backend {
    Backend::start(std::sync::Arc::new(|request: &Request| {
        let message = request.json();
        let mut answer = json_answer(&mcp(&message));
        if message["method"] == "initialize" {
            let body = mcp(&message).to_string();
            answer = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nmcp-session-id: raw-1\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes();
        }
        answer
    }))
    .await
}

/// A gateway whose `weather` is public, and `crm` is not.
async fn world(weather: &Backend, crm: &Backend, limits: &str) -> World {
    let more = format!("limits: {{ {limits} }}\n");
    let mut builder = WorldBuilder::new(weather)
        .backend("crm", &crm.url())
        .policy(POLICY)
        .server("allow_public: true, trusted_proxies: [127.0.0.1]")
        .backend_more("identity: { headers: true, assertion: true }");
    if !limits.is_empty() {
        builder = builder.more(&more);
    }
    builder.public("weather").start().await
}

async fn ask(world: &World, path: &str, headers: &[(&str, &str)], message: &Value) -> (u16, Value, Option<String>) {
    let request = world.http().post(format!("{}{path}", world.url()));
    let mut request = request.header("accept", "application/json, text/event-stream").json(message);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.unwrap();
    let session = response.headers().get("mcp-session-id").map(|id| id.to_str().unwrap().to_owned());
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default(), session)
}

fn message(method: &str, params: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })
}

fn list() -> Value {
    message("tools/list", &json!({}))
}

fn call(tool: &str) -> Value {
    message("tools/call", &json!({ "name": tool, "arguments": {} }))
}

fn names(answer: &Value) -> BTreeSet<&str> {
    let tools = answer["result"]["tools"].as_array().unwrap_or_else(|| panic!("{answer}"));
    tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn who_brings_no_token_sees_and_calls_what_is_open_to_anybody() {
    let (weather, crm) = (server().await, server().await);
    let world = world(&weather, &crm, "").await;
    let path = "/weather/mcp";
    let (status, answer, _) = ask(&world, path, &[], &list()).await;
    assert_eq!((status, names(&answer)), (200, BTreeSet::from(["get_forecast"])));
    let (status, answer, _) = ask(&world, path, &[], &call("get_forecast")).await;
    assert_eq!((status, answer["result"].is_object()), (200, true), "{answer}");
    let before = weather.requests().len();
    for tool in ["delete_station", "untagged", "no_such_tool"] {
        let (status, answer, _) = ask(&world, path, &[], &call(tool)).await;
        let told = format!("Unknown tool: {tool}");
        assert_eq!((status, &answer["error"]["message"]), (200, &Value::from(told)), "{answer}");
    }
    assert_eq!(weather.requests().len(), before, "what is not open never arrives");
    // Nothing is said of nobody, whatever they say of themselves.
    let claimed = [("x-portcullis-subject", "admin"), ("x-portcullis-roles", "Task.All"), ("cookie", "a=b")];
    let (status, _, _) = ask(&world, path, &claimed, &call("get_forecast")).await;
    assert_eq!(status, 200);
    let heads: Vec<String> = weather.requests().iter().map(|request| request.head.to_ascii_lowercase()).collect();
    assert!(!heads.iter().any(|head| head.contains("x-portcullis-") || head.contains("cookie")), "{heads:?}");
    // With a token they are who they are, and are told so.
    let max = world.identity.mint("alice", &Value::Null);
    let (_, answer, _) = ask(&world, path, &[("authorization", &format!("Bearer {max}"))], &list()).await;
    assert_eq!(names(&answer), BTreeSet::from(["get_forecast", "delete_station"]));
    assert!(weather.requests().iter().any(|request| request.header("x-portcullis-assertion").is_some()));
}

#[tokio::test]
async fn who_brings_no_token_gets_streams_as_everybody_does() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n";
    // A server that answers everything by events, as most of them do.
    let weather = Backend::start(std::sync::Arc::new(move |request: &Request| {
        if request.head.starts_with("GET") {
            return format!("{head}x-held: 1\r\n\r\n").into_bytes();
        }
        let message = request.json();
        let session = if message["method"] == "initialize" { "mcp-session-id: raw-1\r\n" } else { "" };
        let body = format!("data: {}\n\n", mcp(&message));
        format!("{head}{session}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }))
    .await;
    let crm = server().await;
    let world = world(&weather, &crm, "").await;
    let hello = message(
        "initialize",
        &json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } }),
    );
    let url = format!("{}/weather/mcp", world.url());
    let post = |session: &str, message: &Value| {
        let request = world.http().post(&url).header("accept", "application/json, text/event-stream");
        let request = if session.is_empty() { request } else { request.header("mcp-session-id", session) };
        request.json(message).send()
    };
    let answer = post("", &hello).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["content-type"]),
        (200, &"text/event-stream".parse().unwrap())
    );
    let session = answer.headers()["mcp-session-id"].to_str().unwrap().to_owned();
    let text = answer.text().await.expect("the whole answer");
    assert!(text.contains("protocolVersion"), "{text}");
    let text = post(&session, &call("get_forecast")).await.unwrap().text().await.expect("the whole answer");
    assert!(text.contains("done"), "{text}");
    let listening = world.http().get(&url).header("accept", "text/event-stream").header("mcp-session-id", &session);
    let mut stream = listening.send().await.unwrap();
    assert_eq!(stream.status(), 200);
    weather.push("data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\n\n");
    let event = stream.chunk().await.unwrap().expect("an event");
    assert!(String::from_utf8_lossy(&event).contains("list_changed"), "{event:?}");
}

#[tokio::test]
async fn a_bad_token_is_refused_and_another_backend_stays_shut() {
    let (weather, crm) = (server().await, server().await);
    let world = world(&weather, &crm, "").await;
    assert_eq!(ask(&world, "/weather/mcp", &[], &list()).await.0, 200, "the control");
    for line in ["", "Basic YTpi", "Bearer x", "Bearer a.b.c"] {
        let (status, _, _) = ask(&world, "/weather/mcp", &[(AUTHORIZATION.as_str(), line)], &list()).await;
        assert_eq!(status, 401, "{line}");
    }
    assert_eq!(ask(&world, "/crm/mcp", &[], &list()).await.0, 401);
    assert!(crm.requests().is_empty());
    // The message is read as strictly as everybody's.
    let double = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call"}"#;
    let request = world.http().post(format!("{}/weather/mcp", world.url())).header("content-type", "application/json");
    assert_eq!(request.body(double).send().await.unwrap().status(), 400);
}

#[tokio::test]
async fn rates_and_sessions_are_those_of_the_address() {
    let (weather, crm) = (server().await, server().await);
    let world = world(&weather, &crm, "calls_per_minute: 4").await;
    let from = |address: &'static str| [("x-forwarded-for", address)];
    let hello = message(
        "initialize",
        &json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } }),
    );
    let (_, _, session) = ask(&world, "/weather/mcp", &from("203.0.113.7"), &hello).await;
    let session = session.expect("a session");
    let with = |address: &'static str| [("x-forwarded-for", address), ("mcp-session-id", session.as_str())];
    assert_eq!(ask(&world, "/weather/mcp", &with("203.0.113.7"), &list()).await.0, 200);
    assert_eq!(ask(&world, "/weather/mcp", &with("203.0.113.8"), &list()).await.0, 404, "another's session");
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(ask(&world, "/weather/mcp", &from("203.0.113.7"), &list()).await.0);
    }
    assert_eq!(statuses, [200, 200, 429, 429]);
    assert_eq!(
        ask(&world, "/weather/mcp", &from("203.0.113.9"), &list()).await.0,
        200,
        "the others are not slowed down"
    );
}

#[tokio::test]
async fn the_trail_says_who_came_without_a_token_and_from_where() {
    let (weather, crm) = (server().await, server().await);
    let world = world(&weather, &crm, "").await;
    let from = [("x-forwarded-for", "203.0.113.7")];
    let _ = ask(&world, "/weather/mcp", &from, &call("get_forecast")).await;
    let _ = ask(&world, "/weather/mcp", &from, &call("delete_station")).await;
    let lines = world.audit(4).await;
    let decided: Vec<_> = lines.iter().filter(|line| line["actor"]["kind"] == "public").collect();
    let of = |decision: &str| decided.iter().find(|line| line["decision"] == decision).copied();
    for decision in ["allow", "deny"] {
        let line = of(decision).unwrap_or_else(|| panic!("no {decision} in {lines:?}"));
        assert_eq!((&line["actor"]["subject"], &line["actor"]["roles"]), (&json!("203.0.113.7"), &json!([])), "{line}");
    }
}

#[tokio::test]
async fn one_word_in_one_place_does_not_open_a_backend() {
    let weather = server().await;
    let world = WorldBuilder::new(&weather).start().await;
    let check = async |change: &dyn Fn(&str) -> String| {
        let file = world.directory().join("other.yaml");
        let text = std::fs::read_to_string(world.directory().join("gateway.yaml")).unwrap();
        std::fs::write(&file, change(&text)).unwrap();
        let output = world.command(&["check", file.to_str().unwrap()]).await;
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let open = |text: &str| text.replacen("accept_entra_tokens: true", "accept_entra_tokens: true, access: public", 1);
    let allow = |text: &str| text.replacen("threads: 2", "threads: 2, allow_public: true", 1);
    let (good, said) = check(&|text| allow(&open(text))).await;
    assert!(good, "the control: {said}");
    let (good, said) = check(&open).await;
    assert!(!good && said.contains("allow_public: true"), "{said}");
    let (good, said) = check(&|text| allow(&open(text)).replace("access: public", "access: everybody")).await;
    assert!(!good && said.contains("`everybody` is no kind of access"), "{said}");
}
