//! What the catalogue of attacks in `threats.yaml` asks for and no other suite has.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use portcullis_tests::backend::{Request, answer, json_answer, mcp};
use portcullis_tests::{Backend, World, WorldBuilder, raw};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn world() -> (World, Backend, String) {
    let backend = Backend::plain().await;
    let world = WorldBuilder::new(&backend).start().await;
    let token = world.identity.mint("rita", &Value::Null);
    (world, backend, token)
}

fn call() -> String {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "get_forecast" } }).to_string()
}

/// Two requests on one connection, the second after the answer to the first, which has this target: how many are answered
/// with 200.
async fn two(world: &World, token: &str, target: &str) -> usize {
    let body = call();
    let mut stream = TcpStream::connect(("127.0.0.1", world.port)).await.unwrap();
    let mut answered = 0;
    for target in [target, "/mcp"] {
        let request = format!(
            "POST {target} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\naccept: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            world.port,
            body.len()
        );
        if stream.write_all(request.as_bytes()).await.is_err() {
            break;
        }
        let mut answer = Vec::new();
        while !answer.ends_with(b"}") && matches!(stream.read_buf(&mut answer).await, Ok(read) if read > 0) {}
        answered += usize::from(raw::status(&String::from_utf8_lossy(&answer)) == 200);
    }
    answered
}

#[tokio::test]
async fn a_control_character_in_a_query_is_the_last_request_of_its_connection() {
    let (world, backend, token) = world().await;
    assert_eq!(two(&world, &token, "/mcp?a=b%20c").await, 2, "the control");
    for target in ["/mcp?a\rb", "/mcp?a=%0d%0Ab", "/mcp?%7f", "/mcp?\u{1}"] {
        assert_eq!(two(&world, &token, target).await, 1, "{target:?}");
    }
    assert_eq!(backend.requests().len(), 2 + 4, "no second request was seen");
    for target in ["/mcp /x", "/mcp\r", "/mcp%20", "/<mcp>", "/mcp?a\rcontent-length: 5\rx:"] {
        assert_eq!(two(&world, &token, target).await, 0, "{target:?}");
    }
}

fn tool_call(id: u64, arguments: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": "get_forecast", "arguments": arguments } })
}

#[tokio::test]
async fn what_a_client_accepts_changes_no_decision() {
    let (world, backend, token) = world().await;
    let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
    let accepted = ["", "text/event-stream", "application/json", "*/*;q=0", "text/html", "application/json;q=0, */*"];
    for accept in accepted {
        let request = world.http().post(world.mcp()).bearer_auth(&token).header("accept", accept).json(&list);
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        assert!(matches!(status, 200 | 406), "{accept:?}");
        let text = response.text().await.unwrap();
        assert_eq!(text.contains("get_forecast"), status == 200, "{accept:?}: {text}");
        assert!(!text.contains("delete_station") && !text.contains("untagged"), "{accept:?}: {text}");
    }
    assert!(!backend.requests().is_empty());
}

#[tokio::test]
async fn a_mirroring_header_is_there_once() {
    let (world, backend, token) = world().await;
    let body = call();
    let length = body.len();
    let send = async |more: &str| {
        let request = format!(
            "POST /mcp HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\naccept: application/json\r\n{more}content-length: {length}\r\n\r\n{body}",
            world.port
        );
        raw::status(&raw::send(world.port, request.as_bytes()).await)
    };
    for (name, value) in
        [("mcp-method", "tools/call"), ("mcp-name", "get_forecast"), ("mcp-protocol-version", "2025-11-25")]
    {
        assert_eq!(send(&format!("{name}: {value}\r\n")).await, 200, "{name}: the control");
        for twice in [format!("{name}: {value}\r\n{name}: {value}\r\n"), format!("{name}: {value}, {value}\r\n")] {
            assert_eq!(send(&twice).await, 400, "{twice}");
        }
    }
    assert_eq!(backend.requests().len(), 3);
}

#[tokio::test]
async fn what_a_message_says_of_its_caller_changes_nothing() {
    let backend = Backend::plain().await;
    let world = WorldBuilder::new(&backend).backend_more("identity: { headers: true }").start().await;
    let token = world.identity.mint("rita", &Value::Null);
    let claims = json!({ "user": "admin", "roles": ["MCPServer.Admin"], "sub": "root", "authorization": "Bearer x",
        "io.modelcontextprotocol/clientInfo": { "name": "admin" } });
    let ask = async |tool: &str, meta: &Value| {
        world.ask(&token, "tools/call", json!({ "name": tool, "_meta": meta, "arguments": {} })).await
    };
    for tool in ["delete_station", "rotate_keys"] {
        assert_eq!(ask(tool, &claims).await["error"]["message"], format!("Unknown tool: {tool}"));
    }
    assert!(backend.requests().is_empty());
    let span = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7";
    let good = format!("00-{span}-01");
    for (parent, arrives) in [
        (json!(good), true),
        (json!(format!("00-{span}-01\r\nx-user: root")), false),
        (json!(format!("00-{span}-01-root")), false),
        (json!("00-1\r\nx-user: root"), false),
        (json!("root"), false),
        (json!(["root"]), false),
        (json!({ "user": "root" }), false),
    ] {
        let mut meta = claims.clone();
        (meta["traceparent"], meta["tracestate"]) = (parent.clone(), json!("v=1"));
        assert!(ask("get_forecast", &meta).await["result"].is_object());
        let got = backend.requests().pop().unwrap();
        // Who calls is said in the head, by the gateway; the body has the client's own words, which nobody vouches for.
        let head = got.head.to_lowercase();
        assert!(!head.contains("root") && !head.contains("admin") && !head.contains("traceparent"), "{head}");
        assert_eq!(got.header("x-portcullis-roles").as_deref(), Some("Task.Read"));
        let mut expected = claims.clone();
        if arrives {
            (expected["traceparent"], expected["tracestate"]) = (parent.clone(), json!("v=1"));
        }
        assert_eq!(got.json()["params"]["_meta"], expected, "{parent}");
    }
    for (parent, arrives) in [(good.as_str(), true), ("root", false), ("00-1-2-01", false)] {
        let headers = [("traceparent", parent), ("tracestate", "v=1")];
        assert_eq!(world.post_with(&token, &tool_call(1, &json!({})), &headers).await.status(), 200);
        let got = backend.requests().pop().unwrap();
        assert_eq!(got.header("traceparent").as_deref(), arrives.then_some(parent));
        assert_eq!(got.header("tracestate").as_deref(), arrives.then_some("v=1"));
    }
}

#[tokio::test]
async fn a_list_that_changed_names_nothing_and_is_told_to_whom_it_concerns() {
    let script = |request: &Request| {
        let note = |list: &str| {
            format!(
                "data: {{\"jsonrpc\":\"2.0\",\"method\":\"notifications/{list}/list_changed\",\"params\":{{\"added\":[\"delete_station\"]}}}}\n\n"
            )
        };
        let list = format!("{}{}data: {}\n\n", note("tools"), note("prompts"), mcp(&request.json()));
        answer("200 OK", "text/event-stream", &list)
    };
    let backend = Backend::start(Arc::new(script)).await;
    let world = WorldBuilder::new(&backend).start().await;
    let told = async |person: &str| {
        let token = world.identity.mint(person, &Value::Null);
        world.post(&token, &json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" })).await.text().await.unwrap()
    };
    let rita = told("rita").await;
    assert_eq!(rita.matches("list_changed").count(), 2, "{rita}");
    assert!(!rita.contains("delete_station"), "{rita}");
    let dora = told("dora").await;
    assert!(dora.contains("tools/list_changed") && !dora.contains("prompts/list_changed"), "{dora}");
    assert_eq!(told("nora").await.matches("list_changed").count(), 0);
}

#[tokio::test]
async fn an_error_of_the_gateway_says_nothing_of_what_is_behind_it() {
    let backend = Backend::start(Arc::new(|_: &Request| {
        answer("500 Internal Server Error", "text/plain", "at db.internal:5432")
    }))
    .await;
    let world = WorldBuilder::new(&backend).start().await;
    let token = world.identity.mint("rita", &Value::Null);
    let hidden = [
        backend.url().replace("http://", "").replace("/mcp", ""),
        "db.internal".to_owned(),
        "Task.".to_owned(),
        "weather".to_owned(),
    ];
    let shut = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "delete_station" } });
    for (message, status) in [(tool_call(1, &json!({})), 502), (shut, 200), (json!({ "jsonrpc": "2.0" }), 400)] {
        let response = world.post(&token, &message).await;
        assert_eq!(response.status(), status);
        let said = format!("{:?}{}", response.headers().clone(), response.text().await.unwrap());
        assert!(hidden.iter().all(|hidden| !said.contains(hidden.as_str())), "{said}");
    }
}

/// A server that begins sessions, all of this one id while `fixed`, and keeps streams open.
fn sessions(fixed: &Arc<AtomicBool>) -> impl Fn(&Request) -> Vec<u8> + Send + Sync + use<> {
    let (fixed, begun) = (Arc::clone(fixed), std::sync::atomic::AtomicUsize::new(0));
    move |request: &Request| {
        if request.head.starts_with("GET") {
            let event = "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{}}\n\n";
            return answer("200 OK", "text/event-stream", event);
        }
        let message = request.json();
        if message["method"] != "initialize" {
            return json_answer(&mcp(&message));
        }
        let number = if fixed.load(Ordering::SeqCst) { 0 } else { begun.fetch_add(1, Ordering::SeqCst) };
        let body = mcp(&message).to_string();
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nmcp-session-id: raw-{number}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }
}

async fn begin(world: &World, token: &str, headers: &[(&str, &str)]) -> String {
    let hello = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": { "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } } });
    let response = world.post_with(token, &hello, headers).await;
    response.headers()["mcp-session-id"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_session_gives_no_role_that_the_token_has_not() {
    let backend = Backend::start(Arc::new(sessions(&Arc::default()))).await;
    let world = WorldBuilder::new(&backend).start().await;
    let session = begin(&world, &world.identity.mint("rita", &Value::Null), &[]).await;
    let lesser = world.identity.mint("rita", &json!({ "roles": [] }));
    let in_session = [("mcp-session-id", session.as_str())];
    let before = backend.requests().len();
    let refused: Value = world.post_with(&lesser, &tool_call(1, &json!({})), &in_session).await.json().await.unwrap();
    assert_eq!(refused["error"]["message"], "Unknown tool: get_forecast");
    assert_eq!(backend.requests().len(), before);
    let again = world.identity.mint("rita", &Value::Null);
    let control: Value = world.post_with(&again, &tool_call(1, &json!({})), &in_session).await.json().await.unwrap();
    assert!(control["result"].is_object(), "{control}");
}

#[tokio::test]
async fn what_is_no_session_id_finds_none() {
    let backend = Backend::start(Arc::new(sessions(&Arc::default()))).await;
    let world = WorldBuilder::new(&backend).start().await;
    let token = world.identity.mint("rita", &Value::Null);
    let session = begin(&world, &token, &[]).await;
    let body = tool_call(1, &json!({})).to_string();
    let send = async |lines: &str| {
        let request = format!(
            "POST /mcp HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n{lines}content-length: {}\r\n\r\n{body}",
            world.port,
            body.len()
        );
        raw::status(&raw::send(world.port, request.as_bytes()).await)
    };
    assert_eq!(send(&format!("mcp-session-id: {session}\r\n")).await, 200);
    let before = backend.requests().len();
    for bad in [
        format!("mcp-session-id: {session}\r\nmcp-session-id: {session}\r\n"),
        format!("mcp-session-id: {session}, {session}\r\n"),
        format!("mcp-session-id: {session} x\r\n"),
        format!("mcp-session-id: {}\r\n", "a".repeat(10_000)),
        "mcp-session-id: s\u{e4}\u{2603}\r\n".to_owned(),
        "mcp-session-id: a\rb\r\n".to_owned(),
        "mcp-session-id:\r\n".to_owned(),
        "mcp-session-id: ../x\r\n".to_owned(),
    ] {
        assert!(matches!(send(&bad).await, 400 | 404), "{bad:.80}");
    }
    assert_eq!(backend.requests().len(), before);
}

#[tokio::test]
async fn each_initialization_begins_a_session_of_its_own() {
    let backend = Backend::start(Arc::new(sessions(&Arc::default()))).await;
    let world = WorldBuilder::new(&backend).start().await;
    let token = world.identity.mint("rita", &Value::Null);
    let first = begin(&world, &token, &[]).await;
    let second = begin(&world, &token, &[]).await;
    let third = begin(&world, &token, &[("mcp-session-id", &first)]).await;
    assert!(first != second && second != third && third != first);
    for (session, raw) in [(&first, "raw-0"), (&second, "raw-1"), (&third, "raw-2")] {
        world.post_with(&token, &tool_call(1, &json!({})), &[("mcp-session-id", session)]).await;
        assert_eq!(backend.requests().last().unwrap().header("mcp-session-id").as_deref(), Some(raw));
    }
}

#[tokio::test]
async fn an_id_that_a_backend_gives_again_is_not_the_first_ones_any_more() {
    let fixed = Arc::new(AtomicBool::new(true));
    let backend = Backend::start(Arc::new(sessions(&fixed))).await;
    let world = WorldBuilder::new(&backend).start().await;
    let (rita, walt) = (world.identity.mint("rita", &Value::Null), world.identity.mint("walt", &Value::Null));
    let ask = async |token: &str, session: &str| {
        world.post_with(token, &tool_call(1, &json!({})), &[("mcp-session-id", session)]).await.status().as_u16()
    };
    let first = begin(&world, &rita, &[]).await;
    assert_eq!(ask(&rita, &first).await, 200);
    let second = begin(&world, &walt, &[]).await;
    let before = backend.requests().len();
    assert_eq!(ask(&rita, &first).await, 404, "the backend has begun anew");
    assert_eq!(backend.requests().len(), before);
    assert_eq!(ask(&walt, &second).await, 200);
}

#[tokio::test]
async fn a_call_is_decided_by_the_policy_of_its_time() {
    let (mut world, backend, token) = world().await;
    assert!(world.ask(&token, "tools/list", json!({})).await.to_string().contains("get_forecast"));
    let file = world.directory().join("gateway.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &file,
        text.replace("read: ['get_*', 'list_*']", "read: ['list_*'], admin: ['get_*', rotate_keys]")
            .replace(", admin: [rotate_keys] } }", " } }"),
    )
    .unwrap();
    world.restart().await;
    let before = backend.requests().len();
    let answer = world.ask(&token, "tools/call", json!({ "name": "get_forecast" })).await;
    assert_eq!(answer["error"]["message"], "Unknown tool: get_forecast", "{answer}");
    assert_eq!(backend.requests().len(), before);
}
