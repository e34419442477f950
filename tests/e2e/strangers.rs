//! What one caller has of another: ids, cursors, sessions, events, streams. None of it gets them anything that is not
//! their own, and the other notices nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_tests::backend::{Request, answer, json_answer, mcp};
use portcullis_tests::{Backend, World, WorldBuilder};
use reqwest::{Method, Response};
use serde_json::{Value, json};

const MODERN: &str = "2026-07-28";

fn token(world: &World, person: &str) -> String {
    world.identity.mint(person, &Value::Null)
}

fn call(id: &Value, arguments: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": "get_forecast", "arguments": arguments } })
}

fn text_result(id: &Value, text: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "result": { "content": [{ "type": "text", "text": text }] } })
}

/// Answers a call in the way that it asks for: with its canary, and with `stray` for whoever else has an id.
fn in_the_way_asked_for(request: &Request) -> Vec<u8> {
    let message = request.json();
    let arguments = &message["params"]["arguments"];
    let own = text_result(&message["id"], arguments["canary"].as_str().unwrap_or_default());
    let stray = |id: &Value| text_result(id, "stray");
    match arguments["way"].as_str().unwrap_or_default() {
        "an event" => answer("200 OK", "text/event-stream", &format!("data: {own}\n\n")),
        "one more behind it" => [json_answer(&own), json_answer(&stray(&message["id"]))].concat(),
        "one more event" => {
            let events = [own, stray(&message["id"]), stray(&json!(1))].map(|event| format!("data: {event}\n\n"));
            answer("200 OK", "text/event-stream", &events.concat())
        }
        "another id" => json_answer(&stray(&json!(1))),
        "another id's event" => answer("200 OK", "text/event-stream", &format!("data: {}\n\n", stray(&json!(1)))),
        _ => json_answer(&own),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_go_to_the_caller_who_asked_whoever_else_asks_under_the_same_id() {
    const OWN: [&str; 4] = ["plain", "an event", "one more behind it", "one more event"];
    const STRAY: [&str; 2] = ["another id", "another id's event"];
    let backend = Backend::start(Arc::new(in_the_way_asked_for)).await;
    let world = Arc::new(WorldBuilder::new(&backend).start().await);
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..100 {
        for person in ["rita", "walt"] {
            let (world, token) = (Arc::clone(&world), token(&world, person));
            clients.spawn(async move {
                for (round, way) in OWN.into_iter().chain(STRAY).enumerate() {
                    let canary = format!("{person}-{client}-{round}");
                    let id = if client % 2 == 0 { json!(0) } else { json!("0") };
                    let response = world.post(&token, &call(&id, &json!({ "canary": canary, "way": way }))).await;
                    let status = response.status().as_u16();
                    let text = response.text().await.unwrap_or_default();
                    assert!(!text.contains("stray"), "{way}: {text}");
                    assert_eq!(status == 200 && text.contains(&canary), OWN.contains(&way), "{way}: {status} {text}");
                    let canaries = text.matches("rita-").count() + text.matches("walt-").count();
                    assert_eq!(canaries, usize::from(OWN.contains(&way)), "{way}: {text}");
                }
            });
        }
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    let of = |request: &Request| request.json()["params"]["arguments"]["canary"].to_string().contains("rita");
    let asked: Vec<bool> = backend.requests().iter().map(of).collect();
    assert_eq!(asked.len(), 200 * (OWN.len() + STRAY.len()), "each call arrived, and once");
    assert!(asked.windows(2).filter(|pair| pair[0] != pair[1]).count() > 50, "the control: they ask at once");
}

/// A server that goes by the cursor alone, whatever list is asked for: two pages of tools behind the first, the former of
/// which has nothing for a reader.
fn by_cursor(request: &Request) -> Vec<u8> {
    let message = request.json();
    let tools = |names: &[&str]| {
        names.iter().map(|name| json!({ "name": name, "inputSchema": { "type": "object" } })).collect::<Vec<_>>()
    };
    let cursor = message["params"]["cursor"].as_str();
    let result = match (cursor, message["method"].as_str().unwrap_or_default()) {
        (None, "tools/list") => json!({ "tools": tools(&["get_first", "delete_first"]), "nextCursor": "t2" }),
        (None, "resources/list") => {
            json!({ "resources": [{ "uri": "weather://stations/oslo", "name": "get_oslo" }], "nextCursor": "r2" })
        }
        (Some("t2"), _) => json!({ "tools": tools(&["delete_second", "rotate_keys"]), "nextCursor": "t3" }),
        (Some("t3"), _) => json!({ "tools": tools(&["get_third", "delete_third"]) }),
        (Some("r2"), _) => json!({ "resources": [{ "uri": "weather://keys/k", "name": "delete_k" }] }),
        _ => {
            let error = json!({ "code": -32602, "message": "Invalid cursor" });
            return json_answer(&json!({ "jsonrpc": "2.0", "id": message["id"], "error": error }));
        }
    };
    json_answer(&json!({ "jsonrpc": "2.0", "id": message["id"], "result": result }))
}

#[tokio::test]
async fn a_cursor_of_another_caller_or_list_leads_to_nothing_but_ones_own() {
    let backend = Backend::start(Arc::new(by_cursor)).await;
    let world = WorldBuilder::new(&backend).start().await;
    let (rita, max) = (token(&world, "rita"), token(&world, "max"));
    let page = async |token: &str, method: &str, cursor: Option<&str>| {
        let params = cursor.map_or(json!({}), |cursor| json!({ "cursor": cursor }));
        world.ask(token, method, params).await
    };
    let names = |page: &Value| -> Vec<String> {
        let list = page["result"]["tools"].as_array().or_else(|| page["result"]["resources"].as_array());
        list.into_iter().flatten().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    };
    // Who may see everything walks through both lists, and every cursor of theirs is brought by who may not.
    let mut cursors = BTreeSet::new();
    let mut seen = Vec::new();
    for method in ["tools/list", "resources/list"] {
        let mut cursor = None;
        loop {
            let found = page(&max, method, cursor.as_deref()).await;
            seen.extend(names(&found));
            cursor = found["result"]["nextCursor"].as_str().map(str::to_owned);
            let Some(next) = &cursor else { break };
            cursors.insert(next.clone());
        }
    }
    let all = ["get_first", "delete_first", "delete_second", "rotate_keys", "get_third", "delete_third"];
    assert_eq!(seen, [all.as_slice(), &["get_oslo", "delete_k"]].concat(), "the control: the server honours cursors");
    for (method, cursor, own) in [
        ("tools/list", None, vec!["get_first"]),
        ("tools/list", Some("t2"), vec![]),
        ("tools/list", Some("t3"), vec!["get_third"]),
        ("resources/list", None, vec!["get_oslo"]),
        ("resources/list", Some("r2"), vec![]),
    ] {
        let found = page(&rita, method, cursor).await;
        assert_eq!(names(&found), own, "{method} {cursor:?}: {found}");
        assert_eq!(found["result"]["nextCursor"].is_string(), cursor.is_none_or(|cursor| cursor == "t2"), "{found}");
    }
    let made_up = ["", "t4", "delete_second", "../t2"];
    for method in ["tools/list", "resources/list", "prompts/list", "resources/templates/list"] {
        for cursor in cursors.iter().map(String::as_str).chain(made_up) {
            for person in ["rita", "walt", "nora"] {
                let found = page(&token(&world, person), method, Some(cursor)).await.to_string();
                for shut in ["delete_", "rotate_", "keys/"] {
                    assert!(!found.contains(shut), "{person} {method} {cursor}: {found}");
                }
            }
        }
    }
}

/// A server with a session for each client, named after it, and streams that stay open.
fn with_sessions(request: &Request) -> Vec<u8> {
    const HELD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-held: 1\r\n\r\n";
    let session = request.header("mcp-session-id").unwrap_or_default();
    if request.head.starts_with("GET") {
        let event = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"begun"}}"#;
        return format!("{HELD}id: raw-event-of-{session}\ndata: {event}\n\n").into_bytes();
    }
    if request.head.starts_with("DELETE") {
        return b"HTTP/1.1 204 No Content\r\n\r\n".to_vec();
    }
    let message = request.json();
    match message["method"].as_str().unwrap_or_default() {
        "initialize" => {
            let body = mcp(&message).to_string();
            let name = message["params"]["clientInfo"]["name"].as_str().unwrap();
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nmcp-session-id: raw-{name}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
        }
        "subscriptions/listen" => {
            let begun = r#"{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{}}"#;
            format!("{HELD}data: {begun}\n\n").into_bytes()
        }
        _ if message["params"]["arguments"]["held"] == true => HELD.into(),
        _ => json_answer(&mcp(&message)),
    }
}

/// The bytes of an event that `Backend::push` sends on every stream that is open.
fn said(data: &str) -> String {
    let message =
        json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": { "level": "info", "data": data } });
    format!("data: {message}\n\n")
}

async fn begin(world: &World, person: &str) -> String {
    let hello = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": { "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": person, "version": "1" } } });
    let response = world.post(&token(world, person), &hello).await;
    response.headers()["mcp-session-id"].to_str().unwrap().to_owned()
}

async fn send(world: &World, method: Method, token: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Response {
    let mut request = world.http().request(method, world.mcp()).bearer_auth(token);
    request = request.header("accept", "application/json, text/event-stream");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if let Some(body) = body {
        request = request.json(body);
    }
    request.send().await.unwrap()
}

fn listen() -> Value {
    json!({ "jsonrpc": "2.0", "id": 5, "method": "subscriptions/listen", "params": { "notifications": { "toolsListChanged": true },
        "_meta": { "io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {} } } })
}

const LISTEN: [(&str, &str); 2] = [("mcp-protocol-version", MODERN), ("mcp-method", "subscriptions/listen")];

/// Reads on until this is said; what came until then.
async fn until(stream: &mut Response, words: &str) -> String {
    let mut text = String::new();
    while !text.contains(words) {
        let chunk = tokio::time::timeout(Duration::from_secs(20), stream.chunk()).await;
        let chunk = chunk.unwrap_or_else(|_| panic!("`{words}` does not come: {text}")).unwrap();
        text += std::str::from_utf8(&chunk.unwrap_or_else(|| panic!("it ends without `{words}`: {text}"))).unwrap();
    }
    text
}

fn event_of(text: &str) -> String {
    text.lines().find_map(|line| line.strip_prefix("id: ")).unwrap().to_owned()
}

#[tokio::test]
async fn an_event_of_another_callers_stream_resumes_nothing() {
    let backend = Backend::start(Arc::new(with_sessions)).await;
    let world = WorldBuilder::new(&backend).start().await;
    let (rita, walt) = (token(&world, "rita"), token(&world, "walt"));
    let (hers, his) = (begin(&world, "rita").await, begin(&world, "walt").await);
    let mut events = Vec::new();
    for (token, session) in [(&rita, &hers), (&walt, &his)] {
        let mut stream = send(&world, Method::GET, token, &[("mcp-session-id", session)], None).await;
        events.push(event_of(&until(&mut stream, "begun").await));
    }
    let (her_event, his_event) = (&events[0], &events[1]);
    assert!(events.iter().all(|event| !event.contains("raw")));
    let before = backend.requests().len();
    let swapped = format!("{}{}", &her_event[..her_event.len() / 2], &his_event[her_event.len() / 2..]);
    for (session, event, status) in [
        (&hers, his_event.as_str(), 400),
        (&hers, "raw-event-of-raw-walt", 400),
        (&hers, "raw-event-of-raw-rita", 400),
        (&hers, swapped.as_str(), 400),
        (&hers, &her_event.to_uppercase(), 400),
        (&hers, "-1", 400),
        (&hers, "0", 400),
        (&his, his_event, 404),
        (&his, her_event, 404),
    ] {
        let headers = [("mcp-session-id", session.as_str()), ("last-event-id", event)];
        let refused = send(&world, Method::GET, &rita, &headers, None).await;
        assert_eq!(refused.status(), status, "{event}");
        assert!(!refused.text().await.unwrap().contains("begun"));
    }
    let long = "a".repeat(1024 * 1024);
    let headers = [("mcp-session-id", hers.as_str()), ("last-event-id", long.as_str())];
    let request = world.http().get(world.mcp()).bearer_auth(&rita);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    assert!(request.send().await.is_ok_and(|response| response.status() == 431), "a head has its bounds");
    assert_eq!(backend.requests().len(), before, "the backend was asked nothing");

    // Where an event means nothing, it is not passed on: by POST, by DELETE, and where there are no sessions.
    let headers = [("mcp-session-id", hers.as_str()), ("last-event-id", his_event)];
    let answered = send(&world, Method::POST, &rita, &headers, Some(&call(&json!(1), &json!({})))).await;
    assert_eq!(answered.status(), 200);
    let headers = [LISTEN.as_slice(), &headers].concat();
    let mut stream = send(&world, Method::POST, &rita, &headers, Some(&listen())).await;
    until(&mut stream, "acknowledged").await;
    // The control: one's own.
    let own = [("mcp-session-id", hers.as_str()), ("last-event-id", her_event)];
    let mut resumed = send(&world, Method::GET, &rita, &own, None).await;
    until(&mut resumed, "begun").await;
    let headers = [("mcp-session-id", hers.as_str()), ("last-event-id", his_event)];
    assert_eq!(send(&world, Method::DELETE, &rita, &headers, None).await.status(), 204);
    let sent: Vec<Option<String>> =
        backend.requests()[before..].iter().map(|request| request.header("last-event-id")).collect();
    assert_eq!(sent, [None, None, Some("raw-event-of-raw-rita".to_owned()), None]);
    let sessions: Vec<Option<String>> =
        backend.requests()[before..].iter().map(|request| request.header("mcp-session-id")).collect();
    assert_eq!(sessions, [Some("raw-rita".to_owned()), None, Some("raw-rita".to_owned()), Some("raw-rita".to_owned())]);
}

#[tokio::test]
async fn nobody_takes_a_stream_over_or_ends_it_for_another() {
    let backend = Backend::start(Arc::new(with_sessions)).await;
    let world = WorldBuilder::new(&backend).start().await;
    let (rita, walt) = (token(&world, "rita"), token(&world, "walt"));
    let (hers, his) = (begin(&world, "rita").await, begin(&world, "walt").await);
    let in_hers = [("mcp-session-id", hers.as_str())];
    let mut streams = Vec::new();
    for _ in 0..2 {
        let mut stream = send(&world, Method::GET, &rita, &in_hers, None).await;
        until(&mut stream, "begun").await;
        backend.push(&said(&format!("to {} of them", streams.len() + 1)));
        streams.push(stream);
        for stream in &mut streams {
            until(stream, "of them").await;
        }
    }
    let before = backend.requests().len();
    // With her session, in his place: as themselves, and beside a session that is theirs.
    let one = call(&json!(1), &json!({}));
    let cancel = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 1 } });
    for (method, body) in
        [(Method::GET, None), (Method::POST, Some(&one)), (Method::POST, Some(&cancel)), (Method::DELETE, None)]
    {
        let refused = send(&world, method.clone(), &walt, &in_hers, body).await;
        assert_eq!(refused.status(), 404, "{method}");
        let both = [("mcp-session-id", his.as_str()), ("mcp-session-id", hers.as_str())];
        assert_eq!(send(&world, method.clone(), &walt, &both, body).await.status(), 400, "{method}");
    }
    assert_eq!(backend.requests().len(), before, "none of it arrived");
    // Where there are no sessions, hers is not looked at.
    let headers = [LISTEN.as_slice(), &in_hers].concat();
    let mut listening = send(&world, Method::POST, &walt, &headers, Some(&listen())).await;
    until(&mut listening, "acknowledged").await;
    assert_eq!(backend.requests().last().unwrap().header("mcp-session-id"), None);
    // His own begins and ends.
    let in_his = [("mcp-session-id", his.as_str())];
    let mut own = send(&world, Method::GET, &walt, &in_his, None).await;
    until(&mut own, "begun").await;
    assert_eq!(send(&world, Method::DELETE, &walt, &in_his, None).await.status(), 204);
    assert_eq!(backend.requests().last().unwrap().header("mcp-session-id").as_deref(), Some("raw-walt"));
    backend.push(&said("still there"));
    for stream in &mut streams {
        until(stream, "still there").await;
    }
}

#[tokio::test]
async fn every_kind_of_stream_ends_with_the_token_that_asked_for_it() {
    let backend = Backend::start(Arc::new(with_sessions)).await;
    let world = WorldBuilder::new(&backend).start().await;
    let long = token(&world, "rita");
    let claims = URL_SAFE_NO_PAD.decode(long.split('.').nth(1).unwrap()).unwrap();
    let now = serde_json::from_slice::<Value>(&claims).unwrap()["iat"].as_u64().unwrap();
    let session = begin(&world, "rita").await;
    let in_session = [("mcp-session-id", session.as_str())];
    let open = async |token: &str| {
        let held = call(&json!(7), &json!({ "held": true }));
        let mut streams = [
            send(&world, Method::GET, token, &in_session, None).await,
            send(&world, Method::POST, token, &in_session, Some(&held)).await,
            send(&world, Method::POST, token, &LISTEN, Some(&listen())).await,
        ];
        backend.push(&said("to all of them"));
        for stream in &mut streams {
            until(stream, "to all of them").await;
        }
        streams
    };
    let [get, post, listening] = open(&world.identity.mint("rita", &json!({ "exp": now + 4 }))).await;
    let lasting = open(&long).await;
    for (stream, kind, told) in [(get, "GET", None), (post, "POST", Some(7)), (listening, "listen", Some(5))] {
        let text = tokio::time::timeout(Duration::from_secs(20), stream.text()).await;
        let text = text.unwrap_or_else(|_| panic!("{kind} goes on")).unwrap();
        // Who waits for an answer is told why there is none.
        let end: Option<Value> = text.lines().filter_map(|line| line.strip_prefix("data: ")).find_map(|data| {
            let message: Value = serde_json::from_str(data).unwrap();
            message["error"].is_object().then_some(message)
        });
        assert_eq!(
            end.as_ref().map(|end| (end["id"].clone(), end["error"]["code"].clone())),
            told.map(|id| (json!(id), json!(-31401))),
            "{kind}: {text}"
        );
    }
    backend.push(&said("the control"));
    for mut stream in lasting {
        until(&mut stream, "the control").await;
    }
}
