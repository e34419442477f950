//! What a server may ask of a client, in whatever form it asks, and the tasks that it gives.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use portcullis_tests::backend::{Request, answer, json_answer, mcp};
use portcullis_tests::{Backend, World, WorldBuilder};
use serde_json::{Value, json};

const RELATED: &str = "io.modelcontextprotocol/related-task";

fn rita(world: &World) -> String {
    world.identity.mint("rita", &Value::Null)
}

fn result(request: &Request, result: &Value) -> Vec<u8> {
    json_answer(&json!({ "jsonrpc": "2.0", "id": request.json()["id"], "result": result }))
}

fn events(data: &[String]) -> Vec<u8> {
    answer("200 OK", "text/event-stream", &data.concat())
}

/// The messages of a stream.
fn messages(stream: &str) -> Vec<Value> {
    let data = stream.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).unwrap()).collect()
}

#[tokio::test]
async fn a_question_that_the_backend_may_not_ask_is_not_passed() {
    let script = |request: &Request| {
        let message = request.json();
        if message["params"]["_meta"].is_object() {
            let ask =
                json!({ "method": "elicitation/create", "params": { "mode": "url", "url": "https://evil.example" } });
            return result(request, &json!({ "resultType": "input_required", "inputRequests": { "a": ask } }));
        }
        let ask = |id: &str, method: &str, params: &str| {
            format!("data: {{\"jsonrpc\":\"2.0\",\"id\":\"{id}\",\"method\":\"{method}\",\"params\":{params}}}\n\n")
        };
        let end = json!({ "jsonrpc": "2.0", "id": message["id"], "result": { "content": [] } });
        events(&[
            ask("a", "elicitation/create", r#"{"mode":"url","url":"https://evil.example"}"#),
            ask("b", "sampling/createMessage", "{}"),
            ask("c", "tasks/get", "{}"),
            ask("d", "roots/list", "{}"),
            format!("data: {end}\n\n"),
        ])
    };
    let backend = Backend::start(Arc::new(script)).await;
    let world = WorldBuilder::new(&backend).features("roots").start().await;
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "get_forecast" } });
    let stream = world.post(&rita(&world), &call).await.text().await.unwrap();
    assert!(stream.contains("roots/list") && stream.contains("\"content\""), "{stream}");
    for absent in ["evil.example", "sampling", "tasks/get"] {
        assert!(!stream.contains(absent), "{stream}");
    }
    let modern =
        world.ask_modern(&rita(&world), "tools/call", Some("get_forecast"), json!({ "name": "get_forecast" })).await;
    assert!(modern["error"].is_object() && !modern.to_string().contains("evil.example"), "{modern}");
    let hello = json!({ "protocolVersion": "2025-11-25", "capabilities": { "sampling": {}, "roots": {}, "elicitation": {} }, "clientInfo": {} });
    world.ask(&rita(&world), "initialize", hello).await;
    assert_eq!(backend.requests().last().unwrap().json()["params"]["capabilities"], json!({ "roots": {} }));
}

#[tokio::test]
async fn a_task_is_its_callers_where_tasks_are_named() {
    let script = |request: &Request| {
        let message = request.json();
        match message["method"].as_str().unwrap() {
            "tools/call" if message["params"]["task"].is_object() => {
                result(request, &json!({ "task": { "taskId": "raw-task", "status": "working" } }))
            }
            "tasks/get" => result(request, &json!({ "taskId": message["params"]["taskId"], "status": "completed" })),
            "tasks/result" => result(
                request,
                &json!({ "content": [], "_meta": { "io.modelcontextprotocol/related-task": { "taskId": "raw-task" } } }),
            ),
            _ => result(request, &json!({ "content": [] })),
        }
    };
    let backend = Backend::start(Arc::new(script)).await;
    let words = "elicitation, sampling, roots, logging, progress, tasks";
    let world = WorldBuilder::new(&backend).features(words).start().await;
    let rita = rita(&world);
    let call = json!({ "name": "get_forecast", "arguments": {}, "task": { "ttl": 1000 } });
    let begun = world.ask(&rita, "tools/call", call.clone()).await;
    let task = begun["result"]["task"]["taskId"].as_str().unwrap().to_owned();
    assert!(!task.contains("raw"), "{begun}");
    let got = world.ask(&rita, "tasks/get", json!({ "taskId": task })).await;
    assert_eq!(got["result"]["taskId"], json!(task), "{got}");
    assert_eq!(backend.requests().last().unwrap().json()["params"]["taskId"], "raw-task");
    let ended = world.ask(&rita, "tasks/result", json!({ "taskId": task })).await;
    assert_eq!(ended["result"]["_meta"]["io.modelcontextprotocol/related-task"]["taskId"], json!(task));

    let before = backend.requests().len();
    let dora = world.identity.mint("alice", &Value::Null);
    for (token, id) in [(&dora, task.as_str()), (&rita, "raw-task"), (&rita, &task[2..])] {
        let refused = world.ask(token, "tasks/get", json!({ "taskId": id })).await;
        assert_eq!(refused["error"], json!({ "code": -32602, "message": "Task not found" }));
    }
    assert_eq!(world.ask(&rita, "tasks/list", json!({})).await["error"]["code"], -32601);
    assert_eq!(backend.requests().len(), before);

    let plain = WorldBuilder::new(&backend).start().await;
    let token = plain.identity.mint("rita", &Value::Null);
    assert!(plain.ask(&token, "tools/call", call).await["result"]["content"].is_array());
    assert_eq!(plain.ask(&token, "tasks/get", json!({ "taskId": task })).await["error"]["code"], -32601);
}

#[tokio::test]
async fn a_question_about_a_task_names_it_as_the_client_does_and_so_does_the_answer() {
    let script = |request: &Request| {
        let message = request.json();
        let about = |task: &str| json!({ RELATED: { "taskId": task } });
        let ask = |id: u64, task: &str| {
            let params = json!({ "_meta": about(task), "message": "sure?", "requestedSchema": { "type": "object" } });
            let ask = json!({ "jsonrpc": "2.0", "id": id, "method": "elicitation/create", "params": params });
            format!("data: {ask}\n\n")
        };
        match message["method"].as_str() {
            Some("tools/call") => result(request, &json!({ "task": { "taskId": "raw-task", "status": "working" } })),
            Some("tasks/result") => {
                let params = json!({ "_meta": about("raw-task"), "level": "info", "data": "still at it" });
                let note = json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": params });
                let end = json!({ "jsonrpc": "2.0", "id": message["id"], "result": { "content": [], "_meta": about("raw-task") } });
                let note = format!("data: {note}\n\n");
                events(&[ask(71, "raw-task"), ask(72, "raw-other"), note, format!("data: {end}\n\n")])
            }
            _ => answer("202 Accepted", "text/plain", ""),
        }
    };
    let backend = Backend::start(Arc::new(script)).await;
    let world = WorldBuilder::new(&backend).features("elicitation, logging, tasks").start().await;
    let rita = rita(&world);
    let call = json!({ "name": "get_forecast", "arguments": {}, "task": { "ttl": 1000 } });
    let begun = world.ask(&rita, "tools/call", call).await;
    let task = begun["result"]["task"]["taskId"].clone();
    let wait = json!({ "jsonrpc": "2.0", "id": 9, "method": "tasks/result", "params": { "taskId": task } });
    let stream = world.post(&rita, &wait).await.text().await.unwrap();
    assert!(!stream.contains("raw-"), "{stream}");
    let told = messages(&stream);
    assert_eq!(told.len(), 4, "{stream}");
    let of = |message: &Value| message["params"]["_meta"][RELATED]["taskId"].clone();
    assert_eq!((of(&told[0]), of(&told[2])), (task.clone(), task.clone()));
    assert_eq!(of(&told[1]), Value::Null, "of another task the client knows nothing");
    assert_eq!(told[3]["result"]["_meta"][RELATED]["taskId"], task);

    let say = |id: u64, meta: Value| {
        let accepted = json!({ "action": "accept", "content": {}, "_meta": meta });
        json!({ "jsonrpc": "2.0", "id": id, "result": accepted })
    };
    assert_eq!(world.post(&rita, &say(71, json!({ RELATED: { "taskId": task } }))).await.status(), 202);
    let heard = backend.requests().last().unwrap().json();
    assert_eq!((&heard["id"], &heard["result"]["_meta"][RELATED]["taskId"]), (&json!(71), &json!("raw-task")));
    let before = backend.requests().len();
    let guessed = world.post(&rita, &say(72, json!({ RELATED: { "taskId": "raw-task" } }))).await;
    assert!(guessed.text().await.unwrap().contains("Task not found"));
    assert_eq!(backend.requests().len(), before);
    assert_eq!(world.post(&rita, &say(72, json!({}))).await.status(), 202);
}

#[tokio::test]
async fn an_error_sends_nobody_to_an_address_and_lists_nothing() {
    let script = |request: &Request| {
        let message = request.json();
        let data = match message["method"].as_str() {
            Some("tools/call") => {
                json!({ "more": 1, "elicitations": [{ "mode": "url", "url": "https://evil.example" }] })
            }
            _ => json!({ "tools": [{ "name": "delete_station" }], "supported": ["2025-11-25"] }),
        };
        let error = json!({ "code": -32042, "message": "first", "data": data });
        json_answer(&json!({ "jsonrpc": "2.0", "id": message["id"], "error": error }))
    };
    let backend = Backend::start(Arc::new(script)).await;
    let world = WorldBuilder::new(&backend).start().await;
    let call = json!({ "name": "get_forecast", "arguments": {} });
    let asked = world.ask(&rita(&world), "tools/call", call.clone()).await;
    assert_eq!(asked["error"], json!({ "code": -32042, "message": "first", "data": { "more": 1 } }));
    let listed = world.ask(&rita(&world), "tools/list", json!({})).await;
    assert_eq!(listed["error"]["data"], json!({ "supported": ["2025-11-25"] }));
    let named = WorldBuilder::new(&backend).features("url_elicitation").start().await;
    let asked = named.ask(&rita(&named), "tools/call", call).await;
    assert_eq!(asked["error"]["data"]["elicitations"][0]["url"], "https://evil.example", "the control");
}

#[tokio::test]
async fn a_clients_model_is_given_no_tool_that_is_closed_to_the_caller() {
    let script = |request: &Request| {
        let message = request.json();
        let tools = json!([{ "name": "get_forecast" }, { "name": "delete_station" }, { "name": "the_servers_own" }]);
        let params = json!({ "messages": [], "maxTokens": 1, "tools": tools });
        if message["params"]["_meta"].is_object() {
            let ask = json!({ "a": { "method": "sampling/createMessage", "params": params } });
            let is_respelt = message["params"]["arguments"]["respelt"].is_boolean();
            let name = if is_respelt { "InputRequests" } else { "inputRequests" };
            return result(request, &json!({ "resultType": "input_required", name: ask }));
        }
        let ask = json!({ "jsonrpc": "2.0", "id": 5, "method": "sampling/createMessage", "params": params });
        let respelt = ask.to_string().replace("\"tools\"", "\"Tools\"").replace(":5", ":6");
        let end = json!({ "jsonrpc": "2.0", "id": message["id"], "result": { "content": [] } });
        events(&[format!("data: {respelt}\n\n"), format!("data: {ask}\n\n"), format!("data: {end}\n\n")])
    };
    let backend = Backend::start(Arc::new(script)).await;
    let world = WorldBuilder::new(&backend).start().await;
    let open = json!([{ "name": "get_forecast" }, { "name": "the_servers_own" }]);
    let params = json!({ "name": "get_forecast", "arguments": {} });
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
    let stream = world.post(&rita(&world), &call).await.text().await.unwrap();
    assert_eq!(messages(&stream)[0]["params"]["tools"], open, "{stream}");
    assert!(messages(&stream).len() == 2 && !stream.contains("delete_station"), "{stream}");
    let modern = world.ask_modern(&rita(&world), "tools/call", Some("get_forecast"), params).await;
    assert_eq!(modern["result"]["inputRequests"]["a"]["params"]["tools"], open, "{modern}");
    let params = json!({ "name": "get_forecast", "arguments": { "respelt": true } });
    let respelt = world.ask_modern(&rita(&world), "tools/call", Some("get_forecast"), params).await;
    assert!(respelt["error"].is_object() && !respelt.to_string().contains("delete_station"), "{respelt}");
}

#[tokio::test]
async fn a_question_is_answered_however_few_places_there_are_and_open_until_its_answer_has_arrived() {
    let is_busy = Arc::new(AtomicBool::new(true));
    let busy = Arc::clone(&is_busy);
    let script = move |request: &Request| {
        let message = request.json();
        match message["method"].as_str() {
            Some("initialize") => answer("200 OK", "application/json\r\nmcp-session-id: s", &mcp(&message).to_string()),
            Some("tools/call") => {
                let params = json!({ "message": "sure?", "requestedSchema": { "type": "object" } });
                let ask = json!({ "jsonrpc": "2.0", "id": 71, "method": "elicitation/create", "params": params });
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-held: 1\r\n\r\n";
                format!("{head}data: {ask}\n\n").into_bytes()
            }
            None if message["result"].is_object() && busy.swap(false, Ordering::Relaxed) => {
                answer("503 Service Unavailable", "text/plain", "")
            }
            _ => answer("202 Accepted", "text/plain", ""),
        }
    };
    let backend = Backend::start(Arc::new(script)).await;
    let world = WorldBuilder::new(&backend).backend_more("max_concurrent: 1, max_queued: 0").start().await;
    let rita = rita(&world);
    let hello = json!({ "protocolVersion": "2025-11-25", "capabilities": { "elicitation": {} }, "clientInfo": { "name": "t", "version": "1" } });
    let hello = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello });
    let session = world.post(&rita, &hello).await.headers()["mcp-session-id"].to_str().unwrap().to_owned();
    let headers = [("mcp-session-id", session.as_str()), ("mcp-protocol-version", "2025-11-25")];
    let say = async |message: Value| world.post_with(&rita, &message, &headers).await.status().as_u16();
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "get_forecast" } });
    let mut stream = world.post_with(&rita, &call, &headers).await;
    let asked = stream.chunk().await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&asked).contains("sure?"), "{asked:?}");
    assert_eq!(say(json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/list" })).await, 503, "the only place is taken");

    let accept = json!({ "jsonrpc": "2.0", "id": 71, "result": { "action": "accept", "content": {} } });
    assert_eq!(say(accept.clone()).await, 502, "its server does not take it");
    assert_eq!(say(accept.clone()).await, 202, "so it is open still");
    let heard = || backend.requests().iter().filter(|request| request.json()["id"] == 71).count();
    assert_eq!((say(accept).await, heard()), (400, 2), "it is answered, and the session goes on");
    let cancel = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 1 } });
    assert_eq!(say(cancel).await, 202);
    assert_eq!(backend.requests().last().unwrap().json()["method"], "notifications/cancelled");
    let end = world.http().delete(world.mcp()).bearer_auth(&rita).header("mcp-session-id", &session);
    assert!(end.send().await.unwrap().status().is_success());
    assert!(backend.requests().last().unwrap().head.starts_with("DELETE "));
}
