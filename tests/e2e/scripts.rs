//! The endpoints for scripts and for people without an MCP client, and `portcullis login`.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::sync::Arc;

use portcullis_tests::backend::{Request, json_answer, mcp};
use portcullis_tests::flow::Consent;
use portcullis_tests::process::binary;
use portcullis_tests::{Backend, World, WorldBuilder};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;
use url::Url;

/// A server with two tools, on one page.
async fn server() -> Backend {
    let tool = |name: &str| json!({ "name": name, "inputSchema": { "type": "object" } });
    let tools = [tool("get_forecast"), tool("list_stations"), tool("delete_station"), tool("untagged")];
    Backend::start(Arc::new(move |request: &Request| {
        let mut answer = mcp(&request.json());
        if request.json()["method"] == "tools/list" {
            answer["result"] = json!({ "tools": tools });
        }
        json_answer(&answer)
    }))
    .await
}

async fn world(backend: &Backend) -> World {
    WorldBuilder::new(backend).server("auth_endpoints: true").start().await
}

fn link(world: &World, more: &[(&str, &str)]) -> Url {
    Url::parse_with_params(&format!("{}/auth/login", world.url()), more).unwrap()
}

async fn post(world: &World, path: &str, body: Value) -> (u16, Value) {
    let response = world.http().post(format!("{}{path}", world.url())).json(&body).send().await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default())
}

/// The tokens of somebody who signed in by a link.
async fn tokens(world: &World, person: &str, more: &[(&str, &str)]) -> Value {
    let more = [&[("login_hint", person)], more].concat();
    let code = world.code_by_link(link(world, &more)).await;
    let (status, tokens) = post(world, "/auth/exchange", json!({ "auth_code": code })).await;
    assert_eq!(status, 200, "{tokens}");
    tokens
}

async fn get(world: &World, path: &str, token: &str) -> (u16, Value) {
    let mut request = world.http().get(format!("{}{path}", world.url()));
    if !token.is_empty() {
        request = request.bearer_auth(token);
    }
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default())
}

fn names(list: &Value) -> Vec<&str> {
    list["result"]["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_script_gets_a_token_by_a_link_and_calls_renews_and_ends_it() {
    let backend = server().await;
    let world = world(&backend).await;
    let tokens = tokens(&world, "rita", &[]).await;
    let token = tokens["access_token"].as_str().unwrap();
    let list = world.ask(token, "tools/list", json!({})).await;
    assert!(!names(&list).is_empty(), "{list}");
    let refresh = json!({ "refresh_token": tokens["refresh_token"] });
    let (status, renewed) = post(&world, "/auth/refresh", refresh).await;
    assert_eq!(status, 200, "{renewed}");
    let token = renewed["access_token"].as_str().unwrap();
    assert_eq!(get(&world, "/auth/me", token).await.0, 200, "the control");
    let (status, _) = post(&world, "/auth/logout", json!({ "token": renewed["refresh_token"] })).await;
    assert_eq!(status, 204);
    for path in ["/auth/me", "/mcp"] {
        for tries in 0.. {
            if get(&world, path, token).await.0 == 401 {
                break;
            }
            assert!(tries < 100, "{path}: the token goes on");
            tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        }
    }
}

#[tokio::test]
async fn who_asks_is_told_who_they_are_and_what_lists_show_them() {
    let backend = server().await;
    let world = world(&backend).await;
    for (person, role) in [("rita", "Task.Read"), ("dora", "Task.Delete")] {
        let tokens = tokens(&world, person, &[]).await;
        let token = tokens["access_token"].as_str().unwrap();
        let (status, me) = get(&world, "/auth/me", token).await;
        assert_eq!(status, 200, "{me}");
        assert_eq!(
            (&me["kind"], &me["roles"], &me["client_id"]),
            (&json!("user"), &json!([role]), &json!("portcullis-login"))
        );
        let mut listed = world.ask(token, "tools/list", json!({})).await;
        let mut listed: Vec<String> = names(&listed.take()).iter().map(ToString::to_string).collect();
        listed.sort();
        assert_eq!(me["backends"]["weather"], json!({ "resource": world.mcp(), "takes_token": true, "tools": listed }));
    }
    for bad in ["", "x", "a.b.c"] {
        assert_eq!(get(&world, "/auth/me", bad).await.0, 401, "{bad}");
    }
    // Nothing of who asked came to the backend: the gateway read the list for itself.
    let asked = backend.requests();
    assert!(asked.iter().all(|request| request.header("authorization").is_none()));
}

#[tokio::test]
async fn a_token_for_one_backend_tells_nothing_of_the_others_but_to_who_signed_in_here() {
    let (weather, crm) = (server().await, server().await);
    let policy = "
  roles: { Task.Read: { on: ['*'], opens: [read] } }
  tools: { weather: { read: ['get_*'] }, crm: { read: ['list_*'] } }
";
    let world = WorldBuilder::new(&weather)
        .backend("crm", &crm.url())
        .policy(policy)
        .server("auth_endpoints: true, default_backend: crm")
        .start()
        .await;
    let (_, info) = get(&world, "/auth/info", "").await;
    assert_eq!(info["default_resource"], format!("{}/crm/mcp", world.url()));
    let tokens = tokens(&world, "rita", &[]).await;
    let (_, me) = get(&world, "/auth/me", tokens["access_token"].as_str().unwrap()).await;
    let takes = |name: &str| me["backends"][name]["takes_token"].as_bool();
    assert_eq!((takes("crm"), takes("weather")), (Some(true), Some(false)), "{me}");
    assert!(me["backends"]["weather"]["tools"].as_array().is_some_and(|tools| !tools.is_empty()), "{me}");
    crm.stop().await;
    let entras = world.identity.mint("rita", &Value::Null);
    let (status, me) = get(&world, "/auth/me", &entras).await;
    assert_eq!((status, me["client_id"] == "portcullis-login"), (200, false), "{me}");
    let flow = portcullis_tests::Flow::register(&world).await;
    let mut parameters = flow.parameters("rita");
    parameters.insert("resource".to_owned(), format!("{}/weather/mcp", world.url()));
    let shown = flow.authorize(&parameters).await;
    let back = portcullis_tests::flow::location(&world.approve(&Consent::read(shown).await).await);
    let code = portcullis_tests::flow::parameter(&back, "code").unwrap();
    let (_, me) = get(&world, "/auth/me", &flow.tokens(&code).await.access).await;
    assert_eq!(me["backends"].as_object().unwrap().keys().collect::<Vec<_>>(), ["weather"], "{me}");
}

#[tokio::test]
async fn a_backend_that_does_not_answer_is_said_not_to() {
    let backend = server().await;
    let world = world(&backend).await;
    let token = tokens(&world, "rita", &[]).await["access_token"].as_str().unwrap().to_owned();
    backend.stop().await;
    let (status, me) = get(&world, "/auth/me", &token).await;
    assert_eq!((status, &me["backends"]["weather"]["tools"]), (200, &Value::Null), "{me}");
}

#[tokio::test]
async fn health_is_a_word_and_these_endpoints_are_off_unless_turned_on() {
    let backend = server().await;
    let world = world(&backend).await;
    assert_eq!(get(&world, "/health", "").await, (200, json!({ "status": "ok" })));
    assert_eq!(get(&world, "/", "").await.1["info"], format!("{}/auth/info", world.url()));
    for path in ["/health", "/auth/me"] {
        let posted = world.http().post(format!("{}{path}", world.url())).send().await.unwrap();
        assert_eq!(posted.status(), 405, "{path}");
    }
    let looked = world.http().head(format!("{}/health", world.url())).send().await.unwrap();
    assert_eq!((looked.status().as_u16(), &looked.headers()["content-length"]), (200, &"15".parse().unwrap()));
    assert!(looked.bytes().await.unwrap().is_empty());
    let off = WorldBuilder::new(&backend).start().await;
    for path in ["/", "/health", "/auth/me", "/auth/info", "/auth/login", "/auth/authorize"] {
        assert_eq!(get(&off, path, "").await.0, 404, "{path}");
    }
}

/// Runs `portcullis login`; what it prints. `person` signs in by the link that it shows, if it shows one.
async fn cli(world: &World, arguments: &[&str], person: Option<&str>) -> (bool, String, String) {
    let mut command = Command::new(binary("portcullis"));
    command.arg("login").arg(world.url()).args(arguments).kill_on_drop(true);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (input, errors) = (child.stdin.take().unwrap(), child.stderr.take().unwrap());
    let mut input = Some(input).filter(|_| person.is_some());
    let (mut lines, mut said) = (BufReader::new(errors).lines(), String::new());
    while let Some(line) = lines.next_line().await.unwrap() {
        if let (Some(shown), Some(person)) = (line.trim().strip_prefix("http"), person) {
            let mut link = Url::parse(&format!("http{shown}")).unwrap();
            let challenge = link.query_pairs().find(|(name, _)| name == "code_challenge").map(|(_, value)| value.len());
            assert_eq!(challenge, Some(43), "the code is bound to who asks for it: {link}");
            link.query_pairs_mut().append_pair("login_hint", person);
            let code = world.code_by_link(link).await;
            input.as_mut().unwrap().write_all(format!("{code}\n").as_bytes()).await.unwrap();
            break;
        }
        said.push_str(&line);
    }
    drop(input);
    while let Some(line) = lines.next_line().await.unwrap() {
        said.push_str(&line);
    }
    let output = child.wait_with_output().await.unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap().trim().to_owned(), said)
}

#[tokio::test]
async fn the_command_signs_in_keeps_the_tokens_and_needs_nobody_the_next_time() {
    let backend = server().await;
    let world = world(&backend).await;
    let file = world.directory().join("token.json");
    let save = ["--save", file.to_str().unwrap()];
    let (good, token, said) = cli(&world, &save, Some("rita")).await;
    assert!(good, "{said}");
    let list = world.ask(&token, "tools/list", json!({})).await;
    assert!(!names(&list).is_empty(), "{list}");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!std::fs::read_to_string(&file).unwrap().contains(&token), "what is kept is what renews");
    let (good, again, said) = cli(&world, &save, None).await;
    assert!(good && said.is_empty(), "{said}");
    assert!(again != token && world.ask(&again, "tools/list", json!({})).await["result"].is_object());
    // The code is bound to the process that asked: what a neighbour saw is of no use to them.
    let (good, _, said) = cli(&world, &["--scope", "read"], None).await;
    assert!(!good && said.contains("auth_code is missing"), "{said}");
}

#[tokio::test]
async fn the_command_says_what_to_do_where_the_endpoints_are_off() {
    let world = WorldBuilder::new(&server().await).start().await;
    let (good, token, said) = cli(&world, &[], None).await;
    assert!(!good && token.is_empty() && said.contains("server.auth_endpoints"), "{said}");
}

/// A client that asks for a device, and what it was told.
async fn device(world: &World) -> (String, Value) {
    const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
    let metadata = json!({ "client_name": "A television", "grant_types": [GRANT, "refresh_token"] });
    let (status, registered) = post(world, "/register", metadata).await;
    assert_eq!(status, 201, "{registered}");
    let client_id = registered["client_id"].as_str().unwrap().to_owned();
    let form = [("client_id", client_id.as_str())];
    let asked = world.http().post(format!("{}/device_authorization", world.url())).form(&form).send().await.unwrap();
    assert_eq!(asked.status(), 200);
    (client_id, asked.json().await.unwrap())
}

async fn poll(world: &World, client_id: &str, asked: &Value) -> Value {
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
        ("client_id", client_id),
        ("device_code", asked["device_code"].as_str().unwrap()),
    ];
    let answer = world.http().post(format!("{}/token", world.url())).form(&form).send().await.unwrap();
    answer.json().await.unwrap()
}

#[tokio::test]
async fn a_device_is_let_in_by_a_person_with_a_browser_elsewhere() {
    let backend = server().await;
    let oauth = "oauth: { device_authorization: true }\n";
    let world = WorldBuilder::new(&backend).server("trusted_proxies: [127.0.0.1]").more(oauth).start().await;
    let (client_id, asked) = device(&world).await;
    assert_eq!(poll(&world, &client_id, &asked).await["error"], "authorization_pending");
    let entered = world
        .http()
        .post(asked["verification_uri"].as_str().unwrap())
        .header("x-forwarded-for", "203.0.113.7")
        .form(&[("user_code", asked["user_code"].as_str().unwrap())])
        .send()
        .await
        .unwrap();
    let consent = Consent::read(entered).await;
    assert!(
        consent.page.contains("A television") && consent.page.contains("not where you are now"),
        "{}",
        consent.page
    );
    let approved = world.decide(&consent, "approve").await;
    // The stand-in asks who it is; here the browser is already signed in as somebody.
    let mut there = portcullis_tests::flow::location(&approved);
    there.query_pairs_mut().append_pair("login_hint", "rita");
    let cookie = portcullis_tests::flow::cookie(&approved);
    let signed_in = world.http().get(there).send().await.unwrap();
    let back = portcullis_tests::flow::location(&signed_in);
    let done = world.http().get(back).header("cookie", cookie).send().await.unwrap().text().await.unwrap();
    assert!(done.contains("Your device goes on by itself"), "{done}");
    let tokens = poll(&world, &client_id, &asked).await;
    let token = tokens["access_token"].as_str().unwrap_or_else(|| panic!("{tokens}"));
    assert!(!names(&world.ask(token, "tools/list", json!({})).await).is_empty());
    assert_eq!(poll(&world, &client_id, &asked).await["error"], "invalid_grant");
}

#[tokio::test]
async fn codes_of_devices_cannot_be_tried_out() {
    let limits = "oauth: { device_authorization: true }\nlimits: { device: { per_address: 5, total: 0 } }\n";
    let world = WorldBuilder::new(&server().await).more(limits).start().await;
    let mut statuses = Vec::new();
    for code in ["BCDF-GHJK", "BCDF-GHJL", "BCDF-GHJM", "BCDF-GHJN", "BCDF-GHJP", "BCDF-GHJQ", "BCDF-GHJR"] {
        let form = [("user_code", code)];
        let answer = world.http().post(format!("{}/device", world.url())).form(&form).send().await.unwrap();
        statuses.push(answer.status().as_u16());
    }
    assert_eq!(statuses, [400, 400, 400, 400, 400, 429, 429]);
}
