//! What the revisions have beside calls and lists: batches, rounds, subscriptions, resumed streams. Longer than other files,
//! for each test has a server of its own.

use std::sync::Arc;

use portcullis_tests::backend::{Request, answer, json_answer, mcp};
use portcullis_tests::{Backend, World, WorldBuilder, raw};
use serde_json::{Value, json};

fn rita(world: &World) -> String {
    world.identity.mint("rita", &Value::Null)
}

fn result(request: &Request, result: &Value) -> Vec<u8> {
    json_answer(&json!({ "jsonrpc": "2.0", "id": request.json()["id"], "result": result }))
}

fn events(data: &[String]) -> Vec<u8> {
    answer("200 OK", "text/event-stream", &data.concat())
}

#[tokio::test]
async fn a_batch_is_decided_message_by_message() {
    let script = |request: &Request| match request.json()["method"].as_str() {
        Some("prompts/get") => {
            let note = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}"#;
            let end = json!({ "jsonrpc": "2.0", "id": request.json()["id"], "result": { "messages": [] } });
            events(&[format!("data: {note}\n\n"), format!("id: 4\ndata: {end}\n\n")])
        }
        Some(method) if method.starts_with("notifications/") => answer("202 Accepted", "text/plain", ""),
        _ => json_answer(&mcp(&request.json())),
    };
    let backend = Backend::start(Arc::new(script)).await;
    let world = WorldBuilder::new(&backend).start().await;
    let call = |id: u64, tool: &str| json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": tool, "arguments": {} } });
    let batch = json!([
        call(1, "get_forecast"),
        call(2, "delete_station"),
        { "jsonrpc": "2.0", "id": "p", "method": "prompts/get", "params": { "name": "plan" } },
        { "jsonrpc": "2.0", "method": "notifications/initialized" },
        { "jsonrpc": "2.0", "id": 4, "method": "tools/list" },
    ]);
    let response = world.post_with(&rita(&world), &batch, &[("mcp-protocol-version", "2025-03-26")]).await;
    assert_eq!(response.status(), 200);
    let answers: Value = response.json().await.unwrap();
    let ids: Vec<&Value> = answers.as_array().unwrap().iter().map(|answer| &answer["id"]).collect();
    assert_eq!(ids, [&json!(1), &json!(2), &json!("p"), &json!(4)]);
    assert_eq!(answers[0]["result"]["content"][0]["text"], "done");
    assert_eq!(answers[1]["error"]["message"], "Unknown tool: delete_station");
    assert!(answers[2]["result"]["messages"].is_array());
    assert_eq!(answers[3]["result"]["tools"].as_array().unwrap().len(), 1);
    let sent: Vec<Value> = backend.requests().iter().map(|request| request.json()["method"].clone()).collect();
    assert_eq!(sent, ["tools/call", "prompts/get", "notifications/initialized", "tools/list"]);
    assert!(backend.requests().iter().all(|request| !request.json().to_string().contains("delete_station")));

    let before = backend.requests().len();
    let hello = json!({ "jsonrpc": "2.0", "id": 9, "method": "initialize", "params": {} });
    let unreadable = json!([call(1, "get_forecast"), { "jsonrpc": "2.0", "id": 2, "Method": "tools/list" }]);
    for bad in [json!([]), json!([call(1, "get_forecast"), call(1, "get_x")]), json!([hello]), json!([[]]), unreadable]
    {
        let refused = world.post_with(&rita(&world), &bad, &[("mcp-protocol-version", "2025-03-26")]).await;
        assert_eq!(refused.status(), 400, "{bad}");
    }
    for version in ["2025-06-18", "2025-11-25", "2026-07-28"] {
        let refused = world.post_with(&rita(&world), &batch, &[("mcp-protocol-version", version)]).await;
        assert_eq!(refused.status(), 400, "{version}");
    }
    assert_eq!(backend.requests().len(), before);
    let notes = json!([{ "jsonrpc": "2.0", "method": "notifications/initialized" }]);
    assert_eq!(world.post(&rita(&world), &notes).await.status(), 202);
}

#[tokio::test]
async fn a_batch_without_its_revision_is_of_a_session_that_has_batches() {
    let script = |request: &Request| {
        let message = request.json();
        let media = if message["method"] == "initialize" {
            "application/json\r\nmcp-session-id: raw"
        } else {
            "application/json"
        };
        answer("200 OK", media, &mcp(&message).to_string())
    };
    let backend = Backend::start(Arc::new(script)).await;
    let world = WorldBuilder::new(&backend).start().await;
    let rita = rita(&world);
    let batch = json!([{ "jsonrpc": "2.0", "id": 1, "method": "tools/list" }]);
    for (asked, status) in [("2025-03-26", 200), ("2025-06-18", 400), ("2025-11-25", 400), ("novel", 400)] {
        let hello =
            json!({ "protocolVersion": asked, "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } });
        let hello = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello });
        let begun = world.post(&rita, &hello).await;
        let session = begun.headers()["mcp-session-id"].to_str().unwrap();
        let before = backend.requests().len();
        let response = world.post_with(&rita, &batch, &[("mcp-session-id", session)]).await;
        assert_eq!(response.status(), status, "{asked}");
        assert_eq!(backend.requests().len(), before + usize::from(status == 200), "{asked}");
        // The revision that was agreed on may be an older one than was asked for, and its client says so.
        let told = [("mcp-session-id", session), ("mcp-protocol-version", "2025-03-26")];
        assert_eq!(world.post_with(&rita, &batch, &told).await.status(), 200, "{asked}");
    }
    assert_eq!(world.post(&rita, &batch).await.status(), 200, "whoever keeps no session");
}

#[tokio::test]
async fn a_round_goes_on_for_the_caller_and_the_tool_it_was_begun_for() {
    let script = |request: &Request| {
        let message = request.json();
        if message["params"]["requestState"] == "raw-state" {
            return result(request, &json!({ "resultType": "complete", "content": [] }));
        }
        let ask = json!({ "method": "elicitation/create", "params": { "message": "?", "requestedSchema": { "type": "object" } } });
        result(
            request,
            &json!({ "resultType": "input_required", "inputRequests": { "a": ask }, "requestState": "raw-state" }),
        )
    };
    let backend = Backend::start(Arc::new(script)).await;
    let world = WorldBuilder::new(&backend).start().await;
    let alice = world.identity.mint("alice", &Value::Null);
    let begun = world.ask_modern(&alice, "tools/call", Some("get_forecast"), json!({ "name": "get_forecast" })).await;
    let state = begun["result"]["requestState"].as_str().unwrap().to_owned();
    assert!(!state.contains("raw"), "{begun}");
    let capabilities = &backend.requests()[0].json()["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"];
    assert_eq!(*capabilities, json!({ "elicitation": { "form": {} }, "roots": {} }));

    let again = |tool: &str, state: &str| json!({ "name": tool, "requestState": state, "inputResponses": { "a": { "action": "accept" } } });
    let before = backend.requests().len();
    for (token, tool, state) in [
        (&alice, "delete_station", state.as_str()),
        (&rita(&world), "get_forecast", &state),
        (&alice, "get_forecast", "raw-state"),
        (&alice, "get_forecast", &state[1..]),
    ] {
        let refused = world.ask_modern(token, "tools/call", Some(tool), again(tool, state)).await;
        assert_eq!(refused["error"]["code"], -32602, "{refused}");
    }
    assert_eq!(backend.requests().len(), before);
    let ended = world.ask_modern(&alice, "tools/call", Some("get_forecast"), again("get_forecast", &state)).await;
    assert_eq!(ended["result"]["resultType"], "complete", "{ended}");
}

#[tokio::test]
async fn what_is_listed_or_discovered_asks_nothing_back() {
    let script = |request: &Request| {
        let message = request.json();
        let (kind, form) = match message["params"]["case"].as_str() {
            Some(case) => case.split_once(' ').unwrap(),
            None => ("complete", "json"),
        };
        let mut found = if message["method"] == "tools/list" {
            json!({ "resultType": kind, "tools": [{ "name": "get_forecast" }] })
        } else {
            json!({ "resultType": kind, "supportedVersions": ["2026-07-28"], "capabilities": { "tools": {} } })
        };
        if kind == "input_required" {
            let ask =
                json!({ "method": "elicitation/create", "params": { "mode": "url", "url": "https://evil.example" } });
            found["inputRequests"] =
                json!({ "a": ask, "b": { "method": "tools/call", "params": { "name": "delete_station" } } });
        }
        match form {
            "sse" => {
                let end = json!({ "jsonrpc": "2.0", "id": message["id"], "result": found });
                events(&[format!("data: {end}\n\n")])
            }
            _ => result(request, &found),
        }
    };
    let backend = Backend::start(Arc::new(script)).await;
    let world = WorldBuilder::new(&backend).start().await;
    let rita = rita(&world);
    let ask = async |method: &str, case: &str| {
        let meta = json!({ "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {} });
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": { "case": case, "_meta": meta } });
        let headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", method)];
        let response = world.post_with(&rita, &message, &headers).await;
        (response.status().as_u16(), response.text().await.unwrap_or_default())
    };
    for method in ["tools/list", "server/discover"] {
        for kind in ["input_required", "task", "novel"] {
            let (status, body) = ask(method, &format!("{kind} json")).await;
            assert!(status == 502 && !body.contains("evil"), "{method} {kind}: {status} {body}");
            let (_, body) = ask(method, &format!("{kind} sse")).await;
            assert!(!body.contains("evil") && !body.contains("result"), "{method} {kind}: {body}");
        }
        for form in ["json", "sse"] {
            let (status, body) = ask(method, &format!("complete {form}")).await;
            assert!(status == 200 && body.contains(r#""resultType":"complete""#), "{method}: {status} {body}");
        }
    }
}

#[tokio::test]
async fn a_subscription_is_for_what_is_open() {
    let script = |request: &Request| {
        let note = |uri: &str| {
            format!(
                "data: {{\"jsonrpc\":\"2.0\",\"method\":\"notifications/resources/updated\",\"params\":{{\"uri\":\"{uri}\"}}}}\n\n"
            )
        };
        let begun =
            "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/subscriptions/acknowledged\",\"params\":{}}\n\n";
        let end = json!({ "jsonrpc": "2.0", "id": request.json()["id"], "result": { "resultType": "complete" } });
        events(&[
            begun.to_owned(),
            note("weather://keys/k"),
            format!("id: 1\n{}", note("weather://stations/oslo")),
            format!("data: {end}\n\n"),
        ])
    };
    let backend = Backend::start(Arc::new(script)).await;
    let world = WorldBuilder::new(&backend).start().await;
    let asked = json!({ "notifications": { "toolsListChanged": true, "resourceSubscriptions": ["weather://keys/k", "weather://stations/oslo"] } });
    let mut message = json!({ "jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": asked });
    message["params"]["_meta"] = json!({ "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {} });
    let headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "subscriptions/listen")];
    let stream = world.post_with(&rita(&world), &message, &headers).await.text().await.unwrap();
    assert!(stream.contains("acknowledged") && stream.contains("stations/oslo"), "{stream}");
    assert!(!stream.contains("keys/k") && !stream.contains("id: 1\n"), "{stream}");
    let sent = &backend.requests()[0].json()["params"]["notifications"];
    assert_eq!(*sent, json!({ "toolsListChanged": true, "resourceSubscriptions": ["weather://stations/oslo"] }));
}

#[tokio::test]
async fn a_stream_is_resumed_in_its_own_session_only() {
    let script = |request: &Request| {
        if request.head.starts_with("GET") {
            return events(&["id: raw-event-1\ndata:\n\n".to_owned()]);
        }
        let message = request.json();
        let body = mcp(&message).to_string();
        let session = if message["params"]["clientInfo"]["name"] == "a" { "session-a" } else { "session-b" };
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nmcp-session-id: {session}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
    };
    let backend = Backend::start(Arc::new(script)).await;
    let world = WorldBuilder::new(&backend).start().await;
    let token = rita(&world);
    let mut sessions = Vec::new();
    for name in ["a", "b"] {
        let hello = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": { "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": name } } });
        let response = world.post(&token, &hello).await;
        sessions.push(response.headers()["mcp-session-id"].to_str().unwrap().to_owned());
    }
    let get = async |session: &str, last: Option<&str>| {
        let mut request = world.http().get(world.mcp()).bearer_auth(&token).header("mcp-session-id", session);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let (_, stream) = get(&sessions[0], None).await;
    let event = stream.lines().find_map(|line| line.strip_prefix("id: ")).unwrap().to_owned();
    assert!(!event.contains("raw"), "{stream}");
    let before = backend.requests().len();
    for (session, last) in [(&sessions[1], event.as_str()), (&sessions[0], "raw-event-1"), (&sessions[0], &event[1..])]
    {
        assert_eq!(get(session, Some(last)).await.0, 400);
    }
    assert_eq!(backend.requests().len(), before);
    assert_eq!(get(&sessions[0], Some(&event)).await.0, 200);
    assert_eq!(backend.requests().last().unwrap().header("last-event-id").as_deref(), Some("raw-event-1"));
}

#[tokio::test]
async fn an_introduction_mentions_what_the_caller_reaches() {
    let script = |request: &Request| {
        let capabilities = json!({ "tools": { "listChanged": true }, "prompts": {}, "resources": {}, "tasks": { "list": {} }, "experimental": { "x": {} } });
        let told = json!({ "protocolVersion": "2025-11-25", "capabilities": capabilities, "serverInfo": { "name": "s", "version": "1" }, "instructions": "First get_forecast, then delete_station." });
        result(request, &told)
    };
    let backend = Backend::start(Arc::new(script)).await;
    let world = WorldBuilder::new(&backend).start().await;
    let hello =
        json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } });
    let told = async |person: &str| {
        let token = world.identity.mint(person, &Value::Null);
        world.ask(&token, "initialize", hello.clone()).await["result"].clone()
    };
    let alice = told("alice").await;
    assert!(alice["instructions"].is_string() && alice["capabilities"]["prompts"].is_object(), "{alice}");
    assert!(alice["capabilities"]["tasks"].is_null() && alice["capabilities"]["experimental"].is_null());
    let rita = told("rita").await;
    assert!(rita["instructions"].is_null() && rita["capabilities"]["resources"].is_object(), "{rita}");
    let nora = told("nora").await;
    assert_eq!(nora["capabilities"], json!({}));
}

#[tokio::test]
async fn an_introduction_names_no_prompt_or_resource_that_is_closed() {
    let script = |request: &Request| {
        let told = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": { "name": "s", "version": "1" }, "instructions": request.json()["params"]["clientInfo"]["title"] });
        result(request, &told)
    };
    let backend = Backend::start(Arc::new(script)).await;
    let world = WorldBuilder::new(&backend).start().await;
    let rita = rita(&world);
    for (text, passes) in [
        ("Ask for weather://stations/oslo with get_forecast.", true),
        ("The key is at weather://keys/current.", false),
        ("Then Delete_Station, or mcp__weather__delete_station.", false),
    ] {
        let hello = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "1", "title": text } });
        let told = world.ask(&rita, "initialize", hello).await;
        assert_eq!(told["result"]["instructions"].is_string(), passes, "{told}");
    }
}

#[tokio::test]
async fn what_speaks_of_another_request_needs_a_session() {
    let backend = Backend::plain().await;
    let world = WorldBuilder::new(&backend).start().await;
    for method in ["notifications/cancelled", "notifications/progress", "notifications/roots/list_changed"] {
        let note = json!({ "jsonrpc": "2.0", "method": method, "params": { "requestId": 1, "progressToken": 1 } });
        assert_eq!(world.post(&rita(&world), &note).await.status(), 202);
    }
    assert!(backend.requests().is_empty());
    let control = world.ask(&rita(&world), "tools/list", json!({})).await;
    assert!(control["result"].is_object());
}

const HEAD_OF_EVENTS: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n";

/// A server whose calls go as their argument says.
fn as_told(request: &Request) -> Vec<u8> {
    let message = request.json();
    let done = mcp(&message).to_string();
    match message["params"]["arguments"]["case"].as_str().unwrap_or_default() {
        "array" => events(&[format!("data: [{done}]\n\n")]),
        "stray" => events(&[format!("data: {}\n\n", mcp(&json!({ "id": "stray" }))), format!("data: {done}\n\n")]),
        "nothing" => events(&[":\n\n".to_owned()]),
        "cut" => format!("{HEAD_OF_EVENTS}content-length: 100\r\nconnection: close\r\n\r\n:\n\n").into_bytes(),
        "let go" => events(&["id: 1\ndata:\n\n".to_owned()]),
        "let go, unreadable" => events(&["id: 1\ndata:\n\n".to_owned(), format!("data: [{done}]\n\n")]),
        "answered" => events(&[format!("data: {done}\n\n")]),
        "401" => answer("401 Unauthorized", "application/json", &done),
        "302" => answer("302 Found", "application/json", &done),
        "500" => answer("500 Internal Server Error", "application/json", &done),
        "404" => answer("404 Not Found", "application/json", "{}"),
        "evil" => answer("200 OK", "application/jsonEVIL", &done),
        "patch" => answer("200 OK", "application/json-patch+json", &done),
        _ if message["method"] == "initialize" => {
            let length = done.len();
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nmcp-session-id: s\r\ncontent-length: {length}\r\n\r\n{done}")
                .into_bytes()
        }
        _ => json_answer(&mcp(&message)),
    }
}

fn told(id: u64, case: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": "get_forecast", "arguments": { "case": case } } })
}

async fn session(world: &World, token: &str) -> String {
    let hello = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": { "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } } });
    world.post(token, &hello).await.headers()["mcp-session-id"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn who_waits_for_an_answer_that_does_not_come_is_told_unless_the_stream_may_be_resumed() {
    let backend = Backend::start(Arc::new(as_told)).await;
    let world = WorldBuilder::new(&backend).start().await;
    let token = rita(&world);
    let session = session(&world, &token).await;
    for (case, is_told, is_told_in_session) in [
        ("array", true, true),
        ("stray", true, true),
        ("nothing", true, true),
        ("cut", true, true),
        ("let go", true, false),
        ("let go, unreadable", true, true),
        ("answered", false, false),
    ] {
        let mut modern = told(7, case);
        modern["params"]["_meta"] = json!({ "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {} });
        let of_modern =
            [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "get_forecast")];
        let in_session = [("mcp-session-id", session.as_str())];
        for (message, headers, is_told) in [
            (told(7, case), &[][..], is_told),
            (modern, &of_modern[..], is_told),
            (told(7, case), &in_session[..], is_told_in_session),
        ] {
            let response = world.post_with(&token, &message, headers).await;
            assert_eq!(response.status(), 200, "{case}");
            let text = response.text().await.unwrap();
            let error = text.contains("-32603") && text.contains(r#""id":7"#);
            assert_eq!(error, is_told, "{case} {headers:?}: {text}");
            assert_eq!(text.contains("\"result\""), case == "answered", "{case}: {text}");
        }
    }
}

#[tokio::test]
async fn what_is_of_no_use_alone_is_of_none_in_a_batch() {
    let backend = Backend::start(Arc::new(as_told)).await;
    let world = WorldBuilder::new(&backend).start().await;
    let token = rita(&world);
    let cases = ["401", "302", "500", "404", "evil", "patch", "array", "stray", "nothing", "cut", "", "answered"];
    let batch: Vec<Value> = (0..).zip(cases).map(|(id, case)| told(id, case)).collect();
    let legacy = [("mcp-protocol-version", "2025-03-26")];
    let answers: Value = world.post_with(&token, &json!(batch), &legacy).await.json().await.unwrap();
    for (id, case) in cases.iter().enumerate() {
        assert_eq!(answers[id]["id"], json!(id), "{case}: {answers}");
        let good = ["", "answered"].contains(case);
        assert_eq!(answers[id]["result"].is_object(), good, "{case}: {answers}");
        assert!(good || answers[id]["error"]["code"] == -32603, "{case}: {answers}");
    }
    let session = session(&world, &token).await;
    let legacy = [("mcp-protocol-version", "2025-03-26"), ("mcp-session-id", session.as_str())];
    let gone = world.post_with(&token, &json!([told(1, "404"), told(2, "")]), &legacy).await;
    assert_eq!(gone.status(), 404, "its session is over");
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_no_interim_answer_and_no_stream() {
    let backend = Backend::start(Arc::new(as_told)).await;
    let world = WorldBuilder::new(&backend).start().await;
    let token = rita(&world);
    for (version, case, status) in
        [("1.1", "", 100), ("1.0", "", 200), ("1.1", "answered", 100), ("1.0", "answered", 502)]
    {
        let body = told(1, case).to_string();
        let request = format!(
            "POST /mcp HTTP/{version}\r\nhost: 127.0.0.1:{}\r\nauthorization: Bearer {token}\r\naccept: application/json, text/event-stream\r\ncontent-type: application/json\r\nexpect: 100-continue\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            world.port,
            body.len()
        );
        let answer = raw::send(world.port, request.as_bytes()).await;
        assert_eq!(raw::status(&answer), status, "{version} {case}: {answer}");
        assert_eq!(answer.contains("\"result\""), status != 502, "{answer}");
    }
}
