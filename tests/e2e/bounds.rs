//! What callers can make grow: neither the number of series nor the room that the audit trail takes.

use std::collections::BTreeSet;

use portcullis_tests::{Backend, World, WorldBuilder};
use reqwest::Method;
use serde_json::{Value, json};

/// One request of every kind that carries a name which the caller made up.
async fn invent(world: &World, token: &str, number: u32) {
    let name = format!("made-up-{number}-{:016x}", rand::random::<u64>());
    for (method, params) in [
        ("tools/call", json!({ "name": name })),
        ("tools/call", json!({ "name": "get_forecast", "arguments": { &name: 1 } })),
        ("prompts/get", json!({ "name": name })),
        ("resources/read", json!({ "uri": format!("weather://{name}") })),
        (
            "completion/complete",
            json!({ "ref": { "type": "ref/prompt", "name": name }, "argument": { "name": "a", "value": "b" } }),
        ),
        (name.as_str(), json!({})),
    ] {
        let message = json!({ "jsonrpc": "2.0", "id": name, "method": method, "params": params });
        let fields = [("mcp-session-id", name.as_str()), ("user-agent", &name), ("x-request-id", &name)];
        world.post_with(token, &message, &fields[usize::from(number.is_multiple_of(2))..]).await;
        world.post_with(&name, &message, &[("mcp-protocol-version", name.as_str())]).await;
    }
    let url = |path: &str| format!("{}{path}", world.url());
    let send = async |method: Method, path: &str, host: Option<&str>| {
        let mut request = world.http().request(method, url(path)).bearer_auth(token);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        request.send().await.unwrap();
    };
    send(Method::GET, &format!("/{name}"), None).await;
    send(Method::POST, &format!("/{name}/mcp"), None).await;
    send(Method::from_bytes(name.as_bytes()).unwrap(), "/mcp", None).await;
    send(Method::GET, "/mcp", Some(&format!("{name}.example"))).await;
    send(Method::GET, &format!("/authorize?client_id={name}&redirect_uri=https://{name}.example/"), None).await;
    let client = json!({ "client_name": name, "redirect_uris": [format!("http://127.0.0.1/{name}")] });
    world.http().post(url("/register")).json(&client).send().await.unwrap();
    for form in
        [[("grant_type", name.as_str()), ("client_id", "x")], [("grant_type", "refresh_token"), ("client_id", &name)]]
    {
        world.http().post(url("/token")).form(&form).send().await.unwrap();
    }
}

/// Every series there is, by name and labels.
async fn series(world: &World) -> BTreeSet<String> {
    let text = world.probe("/metrics").await;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
}

#[tokio::test]
async fn whatever_names_callers_make_up_there_are_no_more_series() {
    let world = WorldBuilder::new(&Backend::plain().await).start().await;
    let token = world.identity.mint("rita", &Value::Null);
    for number in 0..5 {
        invent(&world, &token, number).await;
    }
    let before = series(&world).await;
    for number in 0..150 {
        invent(&world, &token, number).await;
    }
    let after = series(&world).await;
    let more: Vec<&String> = after.difference(&before).collect();
    assert!(more.is_empty(), "{more:?}");
    assert!(after.len() > 30 && after.len() < 500, "{}", after.len());
    assert!(!after.iter().any(|line| line.contains("made-up")), "{after:?}");
    // The control: what is counted does grow.
    let text = world.probe("/metrics").await;
    let denied = text.lines().find_map(|line| {
        line.strip_prefix("portcullis_decisions_total{backend=\"weather\",decision=\"deny\",reason=\"policy\"} ")
    });
    assert!(denied.unwrap().parse::<u32>().unwrap() > 150, "{text}");
}

#[tokio::test]
async fn patterns_of_the_worst_kind_decide_long_names_and_lists_of_many() {
    let (stars, across) = ("a*".repeat(100), "**/a*/".repeat(30));
    let policy = format!(
        "  roles: {{ Task.Read: {{ opens: [read] }}, Task.All: {{ opens: [read, odd] }} }}\n  \
         tools: {{ weather: {{ read: ['{stars}b', '*{stars}c', get_forecast], odd: ['*x*{stars}'] }} }}\n  \
         resources: {{ weather: {{ read: ['w://{across}b'] }} }}\n"
    );
    // Names that begin as the patterns do, all the way, and end otherwise; the last two match.
    let long = |end: &str, number: usize| format!("{}{number:05}{end}", "a".repeat(500));
    let mut names: Vec<String> = (0..4000).map(|number| long("x", number)).collect();
    names.extend([long("b", 1), long("c", 2)]);
    let tools: Vec<Value> =
        names.iter().map(|name| json!({ "name": name, "inputSchema": { "type": "object" } })).collect();
    let backend = Backend::with_tools(&tools).await;
    let world = WorldBuilder::new(&backend).policy(&policy).start().await;
    let token = world.identity.mint("rita", &Value::Null);
    // Whatever takes more than linear time does not end in any: there is no figure here to be near of.
    let work = async {
        let list = world.ask(&token, "tools/list", json!({})).await;
        let shown: Vec<&Value> = list["result"]["tools"].as_array().unwrap().iter().map(|tool| &tool["name"]).collect();
        assert_eq!(shown, [&json!(long("b", 1)), &json!(long("c", 2))]);
        let before = backend.requests().len();
        for number in 0..200 {
            let name = format!("{}x", "a".repeat(4000 + number % 90));
            let refused = world.ask(&token, "tools/call", json!({ "name": name })).await;
            assert_eq!(refused["error"]["message"], format!("Unknown tool: {name}"));
            let uri = format!("w://{}", "a/".repeat(2000));
            let refused = world.ask(&token, "resources/read", json!({ "uri": uri })).await;
            assert!(refused["error"].is_object(), "{refused}");
        }
        let deep = format!("{}{}", "[".repeat(400_000), "]".repeat(400_000));
        let same = vec![r#""k":1"#; 100_000].join(",");
        for arguments in [format!(r#"{{"x":{deep}}}"#), format!("{{{same}}}")] {
            let body = format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"get_forecast","arguments":{arguments}}}}}"#
            );
            let request = world.http().post(world.mcp()).bearer_auth(&token).header("content-type", "application/json");
            assert_eq!(request.body(body).send().await.unwrap().status(), 400);
        }
        assert_eq!(backend.requests().len(), before);
        for (method, params) in [
            ("tools/call", json!({ "name": long("b", 1) })),
            ("tools/call", json!({ "name": "get_forecast" })),
            ("resources/read", json!({ "uri": format!("w://{}b", "x/a/".repeat(45)) })),
        ] {
            let opened = world.ask(&token, method, params).await;
            assert!(opened["result"].is_object(), "the control: {opened}");
        }
    };
    tokio::time::timeout(std::time::Duration::from_mins(5), work).await.expect("it does not end");
}

#[tokio::test]
async fn a_trail_that_rotates_takes_the_room_it_was_given_and_no_more() {
    const FILE: u64 = 1024 * 1024;
    let mut world = WorldBuilder::new(&Backend::plain().await).audit(&format!("rotate: {FILE}, keep: 2")).start().await;
    let token = world.identity.mint("rita", &Value::Null);
    let long = "x".repeat(200);
    let sizes = |world: &World| {
        let files = std::fs::read_dir(world.directory()).unwrap().map(|entry| entry.unwrap());
        let trail = files.filter(|file| file.file_name().to_string_lossy().starts_with("audit.jsonl"));
        trail.map(|file| (file.file_name(), file.metadata().unwrap().len())).collect::<Vec<_>>()
    };
    let mut calls = 0;
    // Until the oldest of three full files has made way twice.
    while std::fs::metadata(world.directory().join("audit.jsonl.2")).is_err() || calls < 6000 {
        let batch = (0..50).map(|number| {
            let params = json!({ "name": format!("{long}-{}", calls + number) });
            let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
            let (world, token) = (&world, &token);
            async move { world.post(token, &message).await.status() }
        });
        futures_util::future::join_all(batch).await;
        calls += 50;
        assert!(calls < 20_000, "nothing is set aside: {:?}", sizes(&world));
    }
    world.gateway.terminate().await;
    let sizes = sizes(&world);
    assert_eq!(sizes.len(), 3, "{sizes:?}");
    assert!(sizes.iter().all(|(_, size)| *size <= FILE), "{sizes:?}");
    // What is left is one trail that begins inside a run.
    let text = ["audit.jsonl.2", "audit.jsonl.1", "audit.jsonl"].map(|name| world.directory().join(name));
    let text = text.map(|path| std::fs::read_to_string(path).unwrap()).concat();
    std::fs::write(world.directory().join("rest.jsonl"), &text).unwrap();
    let verified = world.command(&["audit", "verify", "rest.jsonl"]).await;
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(verified.status.success() && said.contains("\nin order, no signature checked: "), "{said}");
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let number = last["chain"]["number"].as_u64().unwrap();
    assert!(number > 2 * calls, "{number} lines: every decision and every outcome was one");
}
