//! What a caller sees and reaches, and what a backend gets to see of it. Longer than other files here because that is most of
//! what there is.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_tests::backend::{Request, answer, json_answer, mcp};
use portcullis_tests::{Backend, World, WorldBuilder};
use serde_json::{Value, json};

async fn world() -> (World, Backend) {
    let backend = Backend::plain().await;
    (WorldBuilder::new(&backend).start().await, backend)
}

fn names(answer: &Value) -> Vec<String> {
    let tools = answer["result"]["tools"].as_array().unwrap_or_else(|| panic!("no list: {answer}"));
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_list_shows_what_the_roles_open_and_keeps_everything_else() {
    let (world, _) = world().await;
    for (person, sees) in [
        ("nora", vec![]),
        ("rita", vec!["get_forecast"]),
        ("dora", vec!["delete_station"]),
        ("alice", vec!["get_forecast", "delete_station"]),
    ] {
        let answer = world.ask(&world.identity.mint(person, &Value::Null), "tools/list", json!({})).await;
        assert_eq!(names(&answer), sees, "{person}");
        assert_eq!((&answer["result"]["nextCursor"], &answer["result"]["_meta"]["x"]), (&json!("next"), &json!(1)));
    }
}

#[tokio::test]
async fn a_refused_tool_answers_like_an_unknown_one_and_never_arrives() {
    let (world, backend) = world().await;
    let token = world.identity.mint("rita", &Value::Null);
    let mut answers = Vec::new();
    for tool in [
        "delete_station",
        "untagged",
        "no_such_tool",
        "GET_forecast",
        " get_forecast",
        "get_forecast ",
        "get_forecast\u{200b}x",
        "get_forecast\u{202e}",
        "get_forecast\0",
        "get_forecast\ndelete_station",
        "rotate_keys",
    ] {
        let answer = world.ask(&token, "tools/call", json!({ "name": tool, "arguments": {} })).await;
        assert_eq!(answer["error"]["message"], format!("Unknown tool: {tool}"));
        let name = Value::from(tool).to_string();
        answers.push(answer.to_string().replace(name.trim_matches('"'), "X"));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert!(backend.requests().is_empty());
    let control = world.ask(&token, "tools/call", json!({ "name": "get_forecast", "arguments": {} })).await;
    assert_eq!(control["result"]["content"][0]["text"], "done");
    assert_eq!(backend.requests().len(), 1);
}

#[tokio::test]
async fn prompts_and_resources_are_decided_too() {
    let (world, backend) = world().await;
    let token = world.identity.mint("rita", &Value::Null);
    let refused = world.ask(&token, "resources/read", json!({ "uri": "weather://keys/current" })).await;
    assert_eq!(refused["error"]["code"], -32002);
    let traversal = world.ask(&token, "resources/read", json!({ "uri": "weather://stations/../keys/current" })).await;
    assert_eq!(traversal["error"]["code"], -32002);
    let nobody = world.identity.mint("nora", &Value::Null);
    assert!(world.ask(&nobody, "prompts/get", json!({ "name": "plan" })).await["error"].is_object());
    let complete =
        json!({ "ref": { "type": "ref/prompt", "name": "plan" }, "argument": { "name": "a", "value": "b" } });
    assert!(world.ask(&nobody, "completion/complete", complete.clone()).await["error"].is_object());
    assert!(backend.requests().is_empty());
    assert!(
        world.ask(&token, "resources/read", json!({ "uri": "weather://stations/oslo" })).await["result"].is_object()
    );
    assert!(world.ask(&token, "prompts/get", json!({ "name": "plan" })).await["result"].is_object());
    assert!(world.ask(&token, "completion/complete", complete).await["result"].is_object());
    assert_eq!(backend.requests().len(), 3);
}

#[tokio::test]
async fn a_backend_sees_the_decided_message_and_no_token() {
    let (world, backend) = world().await;
    let token = world.identity.mint("rita", &Value::Null);
    let body = r#" {"params":{"arguments":{"n":1.50,"Name":"x"},"name":"get_\u0066orecast"}, "id":"7", "method":"tools/call","jsonrpc":"2.0"} "#;
    let response = world
        .http()
        .post(world.mcp())
        .bearer_auth(&token)
        .header("content-type", "application/json")
        .header("cookie", "a=b")
        .header("x-forwarded-for", "1.2.3.4")
        .header("x-user", "admin")
        .header("mcp-param-city", "Oslo")
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let request = backend.requests().remove(0);
    assert_eq!(
        String::from_utf8(request.body.clone()).unwrap(),
        r#"{"jsonrpc":"2.0","id":"7","method":"tools/call","params":{"arguments":{"n":1.50,"Name":"x"},"name":"get_\u0066orecast"}}"#
    );
    for absent in ["authorization", "cookie", "x-forwarded-for", "x-user", "origin", "transfer-encoding"] {
        assert_eq!(request.header(absent), None, "{absent}");
    }
    assert_eq!(request.header("mcp-param-city").as_deref(), Some("Oslo"));
    assert!(!request.head.contains(&token));
}

#[tokio::test]
async fn messages_that_could_be_read_in_two_ways_never_arrive() {
    let (world, backend) = world().await;
    let token = world.identity.mint("alice", &Value::Null);
    let call = |inside: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{{inside}}}}}"#);
    let bodies = [
        call(r#""name":"get_forecast","name":"delete_station""#),
        call(r#""name":"get_forecast","Name":"delete_station""#),
        call(r#""name":"get_forecast","arguments":{"a":1,"a":2}"#),
        call(r#""name":"get_forecast""#) + "x",
        format!("\u{feff}{}", call(r#""name":"get_forecast""#)),
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call","params":{"name":"delete_station"}}"#
            .to_owned(),
        r#"{"jsonrpc":"2.0","id":null,"method":"tools/call","params":{"name":"get_forecast"}}"#.to_owned(),
        r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"get_forecast"}}"#.to_owned(),
    ];
    let send = async |body: String, media: &'static str| {
        let request = world.http().post(world.mcp()).bearer_auth(&token).header("content-type", media).body(body);
        request.send().await.unwrap().status().as_u16()
    };
    for body in bodies {
        assert_eq!(send(body.clone(), "application/json").await, 400, "{body}");
    }
    let good = call(r#""name":"get_forecast""#);
    for media in
        ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16", "application/jsonx"]
    {
        assert_eq!(send(good.clone(), media).await, 415, "{media}");
    }
    assert!(backend.requests().is_empty());
    assert_eq!(send(good, "application/json; charset=UTF-8").await, 200);
}

#[tokio::test]
async fn bearers_that_are_not_to_be_believed_are_challenged() {
    let (world, backend) = world().await;
    let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
    let challenge = |response: &reqwest::Response| response.headers()["www-authenticate"].to_str().unwrap().to_owned();
    let missing = world.post("", &list).await;
    assert_eq!(missing.status(), 401);
    let metadata = format!("resource_metadata=\"{}/.well-known/oauth-protected-resource/mcp\"", world.url());
    assert!(challenge(&missing).contains(&metadata) && !challenge(&missing).contains("error="));
    let mint = |claims: Value| world.identity.mint("alice", &claims);
    let bad = [
        "x".to_owned(),
        mint(json!({ "aud": "00000003-0000-0000-c000-000000000000" })),
        mint(json!({ "iss": "https://login.microsoftonline.com/x/v2.0" })),
        mint(json!({ "tid": "99999999-8888-4777-8666-555555555555" })),
        mint(json!({ "exp": 1 })),
        mint(json!({ "ver": "1.0" })),
        mint(json!({ "nonce": "n" })),
        mint(json!({ "azp": null })),
        mint(json!({ "scp": "other" })),
        mint(Value::Null) + "x",
    ];
    for token in &bad {
        let refused = world.post(token, &list).await;
        assert_eq!(refused.status(), 401);
        assert!(challenge(&refused).contains("error=\"invalid_token\""));
        assert!(refused.text().await.unwrap().is_empty());
    }
    let query = world
        .http()
        .post(format!("{}?access_token={}", world.mcp(), mint(Value::Null)))
        .json(&list)
        .send()
        .await
        .unwrap();
    assert_eq!(query.status(), 401);
    assert!(backend.requests().is_empty());
    assert_eq!(world.post(&mint(Value::Null), &list).await.status(), 200);
}

#[tokio::test]
async fn an_entra_token_is_refused_where_the_backend_does_not_opt_in() {
    let backend = Backend::plain().await;
    let world = WorldBuilder::new(&backend).own_tokens_only().start().await;
    let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
    assert_eq!(world.post(&world.identity.mint("alice", &Value::Null), &list).await.status(), 401);
    let tokens = world.sign_in("alice").await;
    assert_eq!(world.post(&tokens.access, &list).await.status(), 200);
    assert_eq!(world.post(&tokens.refresh, &list).await.status(), 401);
}

#[tokio::test]
async fn two_backends_are_two_resources() {
    let (first, second) = (Backend::plain().await, Backend::plain().await);
    let policy = "  roles: { Task.Read: { on: [weather, crm], opens: [read] } }\n  tools: { weather: { read: ['get_*'] }, crm: { delete: ['get_*'] } }\n";
    let world = WorldBuilder::new(&first).backend("crm", &second.url()).policy(policy).start().await;
    let token = world.identity.mint("rita", &Value::Null);
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "get_forecast" } });
    let at = async |path: &str| {
        let response =
            world.http().post(format!("{}{path}", world.url())).bearer_auth(&token).json(&call).send().await.unwrap();
        response.text().await.unwrap()
    };
    assert!(at("/weather/mcp").await.contains("done"));
    assert!(at("/weather/mcp/").await.contains("done"));
    assert!(at("/crm/mcp").await.contains("Unknown tool"));
    assert!(!at("/mcp").await.contains("done"));
    assert_eq!((first.requests().len(), second.requests().len()), (2, 0));
}

#[tokio::test]
async fn the_modern_era_is_served_with_its_own_rules() {
    let (world, backend) = world().await;
    let token = world.identity.mint("rita", &Value::Null);
    let meta = json!({ "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {} });
    let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": { "_meta": meta } });
    let headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/list")];
    let answer: Value = world.post_with(&token, &list, &headers).await.json().await.unwrap();
    assert_eq!(names(&answer), ["get_forecast"]);
    assert_eq!(answer["result"]["cacheScope"], "private");
    let lying = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "ping")];
    let refused = world.post_with(&token, &list, &lying).await;
    assert_eq!(refused.status(), 400);
    assert_eq!(refused.json::<Value>().await.unwrap()["error"]["code"], -32020);
    let unknown = json!({ "jsonrpc": "2.0", "id": 2, "method": "tasks/list", "params": { "_meta": meta } });
    let headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tasks/list")];
    let refused = world.post_with(&token, &unknown, &headers).await;
    assert_eq!(refused.status(), 404);
    assert_eq!(refused.json::<Value>().await.unwrap()["error"]["code"], -32601);
    assert_eq!(backend.requests().len(), 1);
    assert_eq!(backend.requests()[0].header("mcp-method").as_deref(), Some("tools/list"));
}

#[tokio::test]
async fn what_a_caller_gets_is_kept_by_nobody_else_and_not_for_long() {
    let backend = Backend::start(Arc::new(|request: &Request| {
        let message = request.json();
        let ttl = &message["params"]["ttl"];
        let result = json!({ "resultType": "complete", "tools": [{ "name": "get_forecast" }], "contents": [], "cacheScope": "public", "ttlMs": ttl });
        let answer = json!({ "jsonrpc": "2.0", "id": message["id"], "result": result });
        if message["params"]["form"] == "sse" {
            answer_of_events(&answer)
        } else {
            json_answer(&answer)
        }
    }))
    .await;
    let world = WorldBuilder::new(&backend).start().await;
    let rita = world.identity.mint("rita", &Value::Null);
    for form in ["json", "sse"] {
        for (ttl, kept) in [(json!(1000), 1000), (json!(99_999_999), 300_000), (json!("1000"), 0), (json!(-1), 0)] {
            // Twice, for a list that was seen before is served from memory.
            for _ in 0..2 {
                let list = world.ask_modern(&rita, "tools/list", None, json!({ "ttl": ttl, "form": form })).await;
                assert_eq!(names(&list), ["get_forecast"]);
                assert_eq!(
                    (&list["result"]["cacheScope"], &list["result"]["ttlMs"]),
                    (&json!("private"), &json!(kept))
                );
            }
            let uri = "weather://stations/oslo";
            let params = json!({ "uri": uri, "ttl": ttl, "form": form });
            let read = world.ask_modern(&rita, "resources/read", Some(uri), params).await;
            assert_eq!((&read["result"]["cacheScope"], &read["result"]["ttlMs"]), (&json!("private"), &json!(kept)));
        }
    }
    let legacy = world.ask(&rita, "resources/read", json!({ "uri": "weather://stations/oslo", "ttl": 1 })).await;
    assert_eq!(legacy["result"]["cacheScope"], "public", "it means nothing there");
}

fn answer_of_events(message: &Value) -> Vec<u8> {
    answer("200 OK", "text/event-stream", &format!("data: {message}\n\n"))
}

#[tokio::test]
async fn a_list_in_an_event_stream_is_filtered_like_any_other() {
    let backend = Backend::start(Arc::new(|request: &Request| {
        let list = mcp(&request.json()).to_string();
        let events = format!(": hello\n\nid: 1\ndata:\n\ndata: {{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{{}}}}\n\nevent: message\nid: 2\ndata: {list}\n\n");
        let mut bytes = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        for piece in events.as_bytes().chunks(11) {
            bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            bytes.extend_from_slice(piece);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        bytes
    }))
    .await;
    let world = WorldBuilder::new(&backend).start().await;
    let token = world.identity.mint("rita", &Value::Null);
    let list = json!({ "jsonrpc": "2.0", "id": 5, "method": "tools/list" });
    let text = world.post(&token, &list).await.text().await.unwrap();
    assert!(text.starts_with(":\n\nid: ") && text.contains("\ndata: \n\n"), "{text}");
    assert!(text.contains("notifications/message") && text.contains("get_forecast"));
    assert!(text.matches("id: ").count() == 2 && !text.contains("id: 1\n") && !text.contains("id: 2\n"), "{text}");
    assert!(!text.contains("delete_station") && !text.contains("untagged"));
}

#[tokio::test]
async fn answers_that_are_not_to_this_request_or_unreadable_are_refused() {
    let script = |request: &Request| {
        let case = request.json()["params"]["arguments"]["case"].as_str().unwrap_or_default().to_owned();
        let good = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
        match case.as_str() {
            "other id" => answer("200 OK", "application/json", r#"{"jsonrpc":"2.0","id":2,"result":{}}"#),
            "null id" => answer("200 OK", "application/json", r#"{"jsonrpc":"2.0","id":null,"result":{}}"#),
            "twice" => answer("200 OK", "application/json", r#"{"jsonrpc":"2.0","id":1,"result":{},"result":{}}"#),
            "batch" => answer("200 OK", "application/json", r#"[{"jsonrpc":"2.0","id":1,"result":{}}]"#),
            "html" => answer("200 OK", "text/html", good),
            "401" => answer("401 Unauthorized", "application/json", good),
            "302" => b"HTTP/1.1 302 Found\r\nlocation: http://evil.example/\r\ncontent-length: 0\r\n\r\n".to_vec(),
            "500" => answer("500 Internal Server Error", "application/json", good),
            "gzip" => format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n{good}", good.len()).into_bytes(),
            "cut" => b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\nconnection: close\r\n\r\n{\"jsonrpc\"".to_vec(),
            "other id in a stream" => answer("200 OK", "text/event-stream", "data: {\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{}}\n\n"),
            _ => json_answer(&mcp(&request.json())),
        }
    };
    let backend = Backend::start(Arc::new(script)).await;
    let world = WorldBuilder::new(&backend).start().await;
    let token = world.identity.mint("rita", &Value::Null);
    for case in ["other id", "null id", "twice", "batch", "html", "401", "302", "500", "gzip", "cut"] {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "get_forecast", "arguments": { "case": case } } });
        let response = world.post(&token, &call).await;
        assert_eq!(response.status(), 502, "{case}");
        assert!(!response.headers().contains_key("location") && !response.headers().contains_key("www-authenticate"));
        let body: Value = response.json().await.unwrap();
        assert_eq!((&body["id"], &body["error"]["code"]), (&json!(1), &json!(-32603)), "{case}");
    }
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "get_forecast", "arguments": { "case": "other id in a stream" } } });
    let streamed = world.post(&token, &call).await.text().await;
    assert!(streamed.is_err() || !streamed.unwrap().contains("result"));
    let control = world.ask(&token, "tools/call", json!({ "name": "get_forecast", "arguments": {} })).await;
    assert_eq!(control["result"]["content"][0]["text"], "done");
}

#[tokio::test]
async fn a_backend_that_is_gone_or_slow_is_said_so_with_the_id() {
    let silent = Backend::start(Arc::new(|_: &Request| Vec::new())).await;
    let policy = "  roles: { Task.Read: { on: ['*'], opens: [read] } }\n  tools: { weather: { read: ['*'] }, slow: { read: ['*'] } }\n";
    let more = format!("  slow: {{ url: '{}', timeout: 300ms, accept_entra_tokens: true }}", silent.url());
    let world = WorldBuilder::with_url("http://127.0.0.1:1/mcp").more(&more).policy(policy).start().await;
    let token = world.identity.mint("rita", &Value::Null);
    for (path, status) in [("/weather/mcp", 502), ("/slow/mcp", 504)] {
        let call = json!({ "jsonrpc": "2.0", "id": "x", "method": "tools/call", "params": { "name": "a" } });
        let response =
            world.http().post(format!("{}{path}", world.url())).bearer_auth(&token).json(&call).send().await.unwrap();
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(response.json::<Value>().await.unwrap()["id"], "x");
    }
    assert_eq!(silent.requests().len(), 1, "a call is never sent twice");
}

#[tokio::test]
async fn a_backend_that_asks_is_told_who_calls_by_the_gateway_alone() {
    let backend = Backend::plain().await;
    let identity = "identity: { headers: true, assertion: true }";
    let world = WorldBuilder::new(&backend).backend_more(identity).start().await;
    let token = world.identity.mint("rita", &Value::Null);
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "get_forecast" } });
    let forged = [
        ("x-portcullis-subject", "root"),
        ("x-portcullis-roles", "MCPServer.Admin"),
        ("x-portcullis-assertion", "a.b.c"),
        ("X_Portcullis_Subject", "root"),
    ];
    assert_eq!(world.post_with(&token, &call, &forged).await.status(), 200);
    let request = backend.requests().remove(0);
    assert_eq!(request.head.to_lowercase().matches("portcullis-").count(), 5, "{}", request.head);
    assert_eq!(request.header("x-portcullis-roles").as_deref(), Some("Task.Read"));
    let subject = request.header("x-portcullis-subject").unwrap();
    assert!(subject.len() == 36 && request.head.starts_with("POST /mcp HTTP/1.1\r\n"), "{}", request.head);
    let assertion = request.header("x-portcullis-assertion").unwrap();
    let part = |number: usize| -> Value {
        let part = assertion.split('.').nth(number).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    };
    let (head, claims) = (part(0), part(1));
    assert_eq!((&head["typ"], &claims["aud"]), (&json!("portcullis-assertion+jwt"), &json!(backend.url())));
    assert_eq!((&claims["oid"], &claims["iss"]), (&json!(subject), &json!(world.url())));
    assert!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap() <= 120);
    let keys = async |path: &str| -> Value {
        world.http().get(format!("{}{path}", world.url())).send().await.unwrap().json().await.unwrap()
    };
    assert_eq!(keys("/jwks/assertion").await["keys"][0]["kid"], head["kid"]);
    assert_ne!(keys("/jwks").await["keys"][0]["kid"], head["kid"]);
    // It is no bearer here, whatever else it is, and no credential of another kind.
    let arrived = backend.requests().len();
    assert_eq!(world.post(&assertion, &call).await.status(), 401);
    for grant in
        ["grant_type=refresh_token&refresh_token", "grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion"]
    {
        let body = format!("{grant}={assertion}&client_id={}", claims["client_id"].as_str().unwrap_or("x"));
        let request = world.http().post(format!("{}/token", world.url())).body(body);
        let answer = request.header("content-type", "application/x-www-form-urlencoded").send().await.unwrap();
        assert!(matches!(answer.status().as_u16(), 400 | 401), "{grant}: {}", answer.status());
    }
    assert_eq!(backend.requests().len(), arrived);
    assert_eq!(world.post_with(&token, &call, &[]).await.status(), 200, "the control");

    let silent = Backend::plain().await;
    let plain = WorldBuilder::new(&silent).start().await;
    plain.post_with(&plain.identity.mint("rita", &Value::Null), &call, &forged).await;
    assert!(!silent.requests()[0].head.to_lowercase().contains("portcullis"));
}
