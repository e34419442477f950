//! How often somebody may ask, and that nobody gets around it.

use portcullis_tests::{Backend, Flow, World, WorldBuilder};
use reqwest::Response;
use serde_json::{Value, json};

const LIMITS: &str = "limits: { calls_per_minute: 4, call_burst: 3, register: { per_address: 3, total: 6 }, authorize: { per_address: 4 }, token: { per_address: 3 } }\n";

async fn world(server: &str) -> (World, Backend) {
    let backend = Backend::plain().await;
    let builder = WorldBuilder::new(&backend).more(LIMITS);
    (if server.is_empty() { builder } else { builder.server(server) }.start().await, backend)
}

fn call(id: &Value, name: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": name } })
}

fn retry_after(response: &Response) -> u64 {
    response.headers()["retry-after"].to_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_caller_who_asks_too_often_is_told_when_to_come_back_and_others_are_not() {
    let (world, backend) = world("").await;
    let (rita, otto) = (world.identity.mint("rita", &Value::Null), world.identity.mint("max", &Value::Null));
    // Every call counts: one that is open, one that is not, one that is not there.
    for name in ["get_forecast", "delete_station", "no_such_tool"] {
        assert_eq!(world.post(&rita, &call(&json!(1), name)).await.status(), 200);
    }
    let before = backend.requests().len();
    for name in ["get_forecast", "no_such_tool"] {
        for id in [json!("the id"), json!(7)] {
            let response = world.post(&rita, &call(&id, name)).await;
            assert_eq!(response.status(), 429);
            assert!((1..=60).contains(&retry_after(&response)));
            let body: Value = response.json().await.unwrap();
            assert_eq!((&body["jsonrpc"], &body["id"]), (&json!("2.0"), &id));
            assert!(body["error"]["code"].is_i64() && body["error"]["message"].is_string() && body["result"].is_null());
        }
    }
    let batch = json!([call(&json!(1), "get_forecast"), call(&json!(2), "get_forecast")]);
    let version = [("mcp-protocol-version", "2025-03-26")];
    assert_eq!(world.post_with(&rita, &batch, &version).await.status(), 429);
    // What is no call counts as well: notifications, streams and the ends of sessions.
    let note = json!({ "jsonrpc": "2.0", "method": "notifications/roots/list_changed" });
    assert_eq!(world.post(&rita, &note).await.status(), 429);
    for method in [reqwest::Method::GET, reqwest::Method::DELETE] {
        let request = world.http().request(method, format!("{}/mcp", world.url())).bearer_auth(&rita);
        let request = request.header("accept", "text/event-stream").header("mcp-session-id", "any");
        assert_eq!(request.send().await.unwrap().status(), 429);
    }
    assert_eq!(backend.requests().len(), before, "nothing of it reached the backend");
    // A bad token and a bad message are told first, in that order.
    assert_eq!(world.post("x", &call(&json!(1), "get_forecast")).await.status(), 401);
    assert_eq!(world.post(&rita, &json!({ "jsonrpc": "1.0" })).await.status(), 400);
    assert_eq!(world.post(&otto, &call(&json!(1), "get_forecast")).await.status(), 200, "somebody else");
    let metrics = world.probe("/metrics").await;
    assert!(metrics.contains(r#"portcullis_decisions_total{backend="weather",decision="deny",reason="rate"} 8"#));
    let lines = world.audit(10).await;
    assert!(lines.iter().any(|line| line["reason"].as_str().is_some_and(|why| why.contains("too often"))));
}

#[tokio::test]
async fn a_rate_of_roles_takes_the_place_of_the_limit_and_the_most_generous_counts() {
    const POLICY: &str = "  roles:
    reader: { opens: [read], members: { roles: [Task.Read] }, rate: { calls: 5, per: hour } }
    all: { opens: [read], members: { roles: [Task.All] }, rate: { calls: 6, per: hour, burst: 1 } }
    admin: { opens: [read], members: { roles: [MCPServer.Admin] }, rate: { calls: 2, per: second, burst: 7 } }
    none: { opens: [read], members: { roles: [Task.Delete] } }
    hidden: { opens: [read], members: { roles: [Task.Delete] }, mode: shadow, rate: { calls: 1000, per: second } }
  tools: { weather: { read: [get_forecast] } }
";
    let backend = Backend::plain().await;
    let world = WorldBuilder::new(&backend).policy(POLICY).more(LIMITS).start().await;
    // Rita reads; Alice has `all`; Max has `all` and `admin`; Dora's only rate is in shadow, so that the limit counts.
    for (person, burst) in [("rita", 5), ("alice", 1), ("max", 7), ("dora", 3)] {
        let token = world.identity.mint(person, &Value::Null);
        for _ in 0..burst {
            assert_eq!(world.post(&token, &call(&json!(1), "get_forecast")).await.status(), 200, "{person}");
        }
        // Two a second is the one rate that could let another through by now.
        let refused = futures_util::future::join_all((0..9).map(|_| async {
            let response = world.post(&token, &call(&json!(1), "get_forecast")).await;
            (response.status() == 429).then(|| retry_after(&response))
        }));
        let refused: Vec<u64> = refused.await.into_iter().flatten().collect();
        assert!(refused.len() >= if person == "max" { 5 } else { 9 }, "{person}: {refused:?}");
    }
}

#[tokio::test]
async fn a_new_token_is_the_same_caller() {
    let (world, _backend) = world("").await;
    for _ in 0..3 {
        let token = world.identity.mint("rita", &Value::Null);
        assert_eq!(world.post(&token, &call(&json!(1), "get_forecast")).await.status(), 200);
    }
    let token = world.identity.mint("rita", &Value::Null);
    assert_eq!(world.post(&token, &call(&json!(1), "get_forecast")).await.status(), 429);
}

async fn register(world: &World, headers: &[(&str, &str)]) -> Response {
    let metadata = json!({ "client_name": "x", "redirect_uris": ["http://127.0.0.1/cb"] });
    let mut request = world.http().post(format!("{}/register", world.url())).json(&metadata);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

#[tokio::test]
async fn registrations_are_limited_by_address_whatever_the_headers_say() {
    let (world, _backend) = world("").await;
    for _ in 0..3 {
        assert_eq!(register(&world, &[]).await.status(), 201);
    }
    for n in 0..20 {
        let address = format!("203.0.113.{n}");
        let forwarded = format!("for={address}");
        for (name, value) in [
            ("x-forwarded-for", &address),
            ("forwarded", &forwarded),
            ("x-real-ip", &address),
            ("true-client-ip", &address),
            ("cf-connecting-ip", &address),
        ] {
            let response = register(&world, &[(name, value)]).await;
            assert_eq!((response.status().as_u16(), retry_after(&response) > 0), (429, true), "{name}: {value}");
        }
    }
    let response = register(&world, &[]).await;
    assert_eq!(response.headers()["access-control-allow-origin"], "*");
    assert_eq!(response.json::<Value>().await.unwrap()["error"], "temporarily_unavailable");
    assert!(world.probe("/metrics").await.contains(r#"portcullis_limited_total{endpoint="register"} 101"#));
}

#[tokio::test]
async fn behind_a_trusted_proxy_clients_are_told_apart_from_the_right() {
    let (world, _backend) = world("trusted_proxies: [127.0.0.0/8]").await;
    let from = |address: &'static str| [("x-forwarded-for", address)];
    for _ in 0..3 {
        assert_eq!(register(&world, &from("203.0.113.1")).await.status(), 201);
    }
    // What the client itself wrote stands left, and changes nothing.
    for spoofed in ["1.1.1.1, 203.0.113.1", "127.0.0.1, 203.0.113.1", "x, 203.0.113.1, 127.0.0.1"] {
        assert_eq!(register(&world, &from(spoofed)).await.status(), 429, "{spoofed}");
    }
    assert_eq!(register(&world, &from("2001:db8::1")).await.status(), 201);
    assert_eq!(register(&world, &from("2001:db8::2")).await.status(), 201);
    assert_eq!(register(&world, &from("2001:db8:0:0:ffff::3")).await.status(), 201);
    assert_eq!(register(&world, &from("203.0.113.9")).await.status(), 429, "everybody together has had six");
}

#[tokio::test]
async fn authorization_and_token_requests_are_limited_and_told_in_their_own_ways() {
    let (world, _backend) = world("").await;
    let flow = Flow::register(&world).await;
    for _ in 0..4 {
        assert_eq!(flow.authorize(&flow.parameters("rita")).await.status(), 200);
    }
    let response = flow.authorize(&flow.parameters("rita")).await;
    assert_eq!((response.status().as_u16(), retry_after(&response) > 0), (429, true));
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
    assert!(!response.headers().contains_key("location"));
    let guess = || async { flow.token(&flow.code_form("a-guess")).await };
    for _ in 0..3 {
        assert_eq!(guess().await.status(), 400);
    }
    let response = guess().await;
    assert_eq!((response.status().as_u16(), retry_after(&response) > 0), (429, true));
    assert_eq!(response.headers()["cache-control"], "no-store");
    let metadata = format!("{}/.well-known/oauth-authorization-server", world.url());
    assert_eq!(world.http().get(metadata).send().await.unwrap().status(), 200, "documents are not limited");
}

#[tokio::test]
async fn giving_tokens_back_is_limited_as_getting_them_is_and_from_elsewhere_it_goes_on() {
    let (world, _backend) = world("trusted_proxies: [127.0.0.0/8]").await;
    let tokens = world.sign_in("rita").await;
    let revoke = async |token: &str, address: &str| {
        let form = [("token", token), ("client_id", "somebody")];
        let request = world.http().post(format!("{}/revoke", world.url())).header("x-forwarded-for", address);
        request.form(&form).send().await.unwrap()
    };
    let from = "203.0.113.1";
    for _ in 0..3 {
        assert_ne!(revoke("a-guess", from).await.status(), 429);
    }
    let response = revoke("a-guess", from).await;
    assert_eq!((response.status().as_u16(), retry_after(&response) > 0), (429, true));
    assert_eq!(response.json::<Value>().await.unwrap()["error"], "temporarily_unavailable");
    // It is one limit with the token endpoint, which the same address cannot ask now either.
    let token = world.http().post(format!("{}/token", world.url())).header("x-forwarded-for", from);
    assert_eq!(token.form(&[("grant_type", "refresh_token")]).send().await.unwrap().status(), 429);
    assert_ne!(revoke("a-guess", "203.0.113.2").await.status(), 429, "the control: another address");
    assert_eq!(world.post(&tokens.access, &call(&json!(1), "get_forecast")).await.status(), 200, "nothing was ended");
    let metrics = world.probe("/metrics").await;
    assert!(metrics.contains(r#"portcullis_limited_total{endpoint="token"} 2"#), "{metrics}");
}

#[tokio::test]
async fn each_step_of_a_login_is_limited_for_itself_whoever_began_none() {
    let (world, _backend) = world("").await;
    let consent = async || {
        let request = world.http().post(format!("{}/consent", world.url()));
        request.form(&[("transaction", "none")]).send().await.unwrap()
    };
    let callback = async || world.http().get(format!("{}/auth/callback?state=none&code=x", world.url())).send().await;
    for _ in 0..4 {
        assert_eq!((consent().await.status().as_u16(), callback().await.unwrap().status().as_u16()), (400, 400));
    }
    for response in [consent().await, callback().await.unwrap()] {
        assert_eq!((response.status().as_u16(), retry_after(&response) > 0), (429, true));
        assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
    }
    let flow = Flow::register(&world).await;
    assert_eq!(flow.authorize(&flow.parameters("rita")).await.status(), 200, "the control: another step");
    let metrics = world.probe("/metrics").await;
    for step in ["consent", "callback"] {
        assert!(metrics.contains(&format!(r#"portcullis_limited_total{{endpoint="{step}"}} 1"#)), "{step}: {metrics}");
    }
    let refused = world.audit(8).await;
    assert_eq!(
        refused.iter().filter(|line| line["type"] == "oauth" && line["event"] != "client_registered").count(),
        8
    );
}

#[tokio::test]
async fn a_flood_without_a_token_is_a_few_lines_that_say_how_many_there_were_and_from_where() {
    let backend = Backend::plain().await;
    let mut world = WorldBuilder::new(&backend).start().await;
    let token = world.identity.mint("rita", &Value::Null);
    assert_eq!(world.post(&token, &call(&json!(1), "get_forecast")).await.status(), 200);
    for number in 0..200 {
        let request = world.http().post(format!("{}/mcp", world.url())).json(&call(&json!(number), "get_forecast"));
        assert_eq!(request.send().await.unwrap().status(), 401);
        assert_eq!(world.post("no.token.atall", &call(&json!(number), "get_forecast")).await.status(), 401);
    }
    let metrics = world.probe("/metrics").await;
    world.gateway.terminate().await;
    let lines = world.audit(4).await;
    let of = |kind: &str| lines.iter().filter(|line| line["type"] == kind).collect::<Vec<_>>();
    let (decisions, outcomes, counts) = (of("mcp.decision"), of("mcp.outcome"), of("refusals"));
    assert!(decisions.iter().any(|line| line["decision"] == "allow"), "the control: what was before is there");
    assert!(decisions.len() <= 121, "{}", decisions.len());
    assert_eq!(decisions.len(), outcomes.len(), "what is a count has no outcome of its own");
    assert_eq!(counts.len(), 2, "one for each reason: {counts:?}");
    for line in &counts {
        assert_eq!((&line["of"], &line["source"]), (&json!("mcp.decision"), &json!("127.0.0.1")), "{line}");
        assert!(line["first"].as_f64() <= line["last"].as_f64() && line["reason"].is_string(), "{line}");
    }
    let counted: u64 = counts.iter().map(|line| line["count"].as_u64().unwrap()).sum();
    assert_eq!(counted + decisions.len() as u64, 401, "lines and counts are all there were");
    assert!(metrics.contains(r#"decision="deny",reason="token"} 400"#), "{metrics}");
}
