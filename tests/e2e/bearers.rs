//! What is answered to a token that is not good, and where a token turns up that was put where none belongs: nowhere.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_tests::{Backend, World, WorldBuilder};
use reqwest::Method;
use serde_json::{Value, json};

fn list() -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" })
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// A token with other header members or claims, and the signature that it had.
fn altered(token: &str, which: usize, change: &Value) -> String {
    let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    let mut object: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(&parts[which]).unwrap()).unwrap();
    for (name, value) in change.as_object().unwrap() {
        object[name] = value.clone();
    }
    parts[which] = part(&object);
    parts.join(".")
}

#[tokio::test]
async fn one_answer_is_given_to_every_bad_token_whatever_is_wrong_with_it() {
    let backend = Backend::plain().await;
    let world = WorldBuilder::new(&backend).start().await;
    let own = world.sign_in("rita").await;
    let mint = |claims: &Value| world.identity.mint("rita", claims);
    let good = mint(&Value::Null);
    let signature = good.rsplit('.').next().unwrap();
    let mut bad: Vec<(String, String)> = Vec::new();
    for claims in [
        json!({ "aud": "00000003-0000-0000-c000-000000000000" }),
        json!({ "iss": "https://login.microsoftonline.com/x/v2.0" }),
        json!({ "tid": "99999999-8888-4777-8666-555555555555" }),
        json!({ "exp": 1 }),
        json!({ "exp": "soon" }),
        json!({ "nbf": 99_999_999_999_u64 }),
        json!({ "ver": "1.0" }),
        json!({ "scp": "other" }),
        json!({ "oid": null }),
        json!({ "sub": "" }),
    ] {
        bad.push((claims.to_string(), mint(&claims)));
    }
    for token in [&good, &own.access] {
        for (which, change) in [
            (0, json!({ "kid": "unknown" })),
            (0, json!({ "alg": "none" })),
            (0, json!({ "alg": "HS256" })),
            (0, json!({ "alg": "RS512" })),
            (0, json!({ "crit": ["exp"] })),
            (0, json!({ "jwk": { "kty": "RSA" } })),
            (1, json!({ "roles": ["MCPServer.Admin"] })),
            (1, json!({ "aud": "x" })),
        ] {
            bad.push((format!("{change} of {token:.20}"), altered(token, which, &change)));
        }
        bad.push(("unsigned".to_owned(), format!("{}.", token.rsplit_once('.').unwrap().0)));
        bad.push((
            "another signature".to_owned(),
            format!("{}.{}", token.rsplit_once('.').unwrap().0, "A".repeat(signature.len())),
        ));
        bad.push(("longer".to_owned(), format!("{token}AAAA")));
    }
    bad.push(("a refresh token".to_owned(), own.refresh.clone()));
    for text in ["x", "a.b.c", "..", "eyJhbGciOiJub25lIn0.e30."] {
        bad.push((text.to_owned(), text.to_owned()));
    }
    let answer = async |token: &str| {
        let response = world.post(token, &list()).await;
        let mut headers: Vec<String> = response
            .headers()
            .iter()
            .filter(|(name, _)| !matches!(name.as_str(), "date" | "x-request-id"))
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        headers.sort();
        (response.status().as_u16(), headers, response.text().await.unwrap())
    };
    let first = answer(&bad[0].1).await;
    assert!(first.0 == 401 && first.1.iter().any(|line| line.contains("error=\"invalid_token\"")), "{first:?}");
    for (what, token) in &bad {
        assert_eq!(answer(token).await, first, "{what}");
    }
    assert!(backend.requests().is_empty());
    for token in [&good, &own.access] {
        assert_eq!(answer(token).await.0, 200, "the control");
    }
}

#[tokio::test]
async fn a_good_token_counts_in_its_own_field_alone() {
    let backend = Backend::plain().await;
    let world = WorldBuilder::new(&backend).start().await;
    let token = world.identity.mint("rita", &Value::Null);
    let bearer = format!("Bearer {token}");
    let post = |path: &str| world.http().post(format!("{}{path}", world.url()));
    let mut attempts = Vec::new();
    for name in
        ["proxy-authorization", "x-authorization", "x-forwarded-authorization", "x-forwarded-access-token", "x-api-key"]
    {
        attempts.push((name, post("/mcp").header(name, &bearer).json(&list())));
    }
    for name in ["access_token", "token", "authorization", "Authorization"] {
        attempts.push(("a cookie", post("/mcp").header("cookie", format!("{name}={token}")).json(&list())));
        attempts.push(("a query", post(&format!("/mcp?{name}={token}")).json(&list())));
        attempts.push(("a form", post("/mcp").form(&[(name, token.as_str())])));
        let mut message = list();
        message[name] = json!(token);
        attempts.push(("the message", post("/mcp").json(&message)));
        let mut message = list();
        message["params"] = json!({ name: bearer, "_meta": { name: bearer } });
        attempts.push(("its params", post("/mcp").json(&message)));
    }
    for (place, attempt) in attempts {
        let response = attempt.send().await.unwrap();
        assert_eq!(response.status(), 401, "{place}");
        assert!(
            !response.headers()["www-authenticate"].to_str().unwrap().contains("error="),
            "{place}: none was brought"
        );
    }
    assert!(backend.requests().is_empty());
    assert_eq!(world.post(&token, &list()).await.status(), 200, "the control");
}

/// Every place of a request that is not the one for a token, with this token in it; what came back of all of them. Not the
/// places of names: what somebody calls a tool or a client is said again and recorded, as a name.
async fn everywhere(world: &World, bearer: &str, token: &str) -> String {
    let url = |path: &str| format!("{}{path}", world.url());
    let mut requests = Vec::new();
    let mcp = |method: Method, path: &str| world.http().request(method, url(path)).bearer_auth(bearer);
    for scheme in ["Bearer", "bearer", "Basic", "DPoP", "Token", "Bearer Bearer", "Bearer,"] {
        requests
            .push(world.http().post(url("/mcp")).header("authorization", format!("{scheme} {token}")).json(&list()));
    }
    for name in [
        "cookie",
        "proxy-authorization",
        "x-auth-token",
        "x-api-key",
        "x-access-token",
        "x-forwarded-access-token",
        "mcp-session-id",
        "last-event-id",
        "mcp-protocol-version",
        "mcp-method",
        "mcp-name",
        "traceparent",
        "tracestate",
        "origin",
        "referer",
        "user-agent",
        "x-request-id",
        "x-forwarded-for",
        "forwarded",
        "content-type",
        "if-none-match",
    ] {
        for method in [Method::POST, Method::GET, Method::DELETE] {
            requests.push(mcp(method, "/mcp").header(name, token).json(&list()));
        }
    }
    for path in
        [format!("/mcp?access_token={token}"), format!("/mcp/{token}"), format!("/{token}/mcp"), format!("/{token}")]
    {
        requests.push(mcp(Method::POST, &path).json(&list()));
        requests.push(mcp(Method::GET, &path));
    }
    for message in [
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": { "cursor": token } }),
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": { "access_token": token } }),
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "access_token": token }),
        json!({ "jsonrpc": token, "id": 1, "method": "tools/list" }),
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": { "_meta": { "traceparent": token, "authorization": token, "progressToken": token } } }),
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "get_forecast", "arguments": { "token": token } } }),
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "get_forecast", "requestState": token } }),
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "get_forecast", token: 1, "Name": 1 } }),
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tasks/get", "params": { "taskId": token } }),
        json!(token),
        json!([token]),
    ] {
        requests.push(mcp(Method::POST, "/mcp").json(&message));
    }
    requests.push(mcp(Method::POST, "/mcp").header("content-type", "application/json").body(format!("{{\"{token}")));
    // The authorization server's endpoints.
    for path in ["authorize", "auth/callback", "consent", "device", ".well-known/oauth-authorization-server"] {
        for name in ["access_token", "state", "code", "login_hint", "id_token_hint"] {
            requests.push(world.http().get(url(&format!("/{path}?{name}={token}"))));
        }
    }
    for path in ["/token", "/revoke", "/introspect", "/device_authorization"] {
        for name in ["token", "refresh_token", "code", "client_secret", "assertion", "grant_type", "resource"] {
            let form = [("grant_type", "refresh_token"), ("client_id", "x"), (name, token)];
            requests.push(world.http().post(url(path)).form(&form));
        }
    }
    requests.push(world.http().post(url("/register")).body(token.to_owned()));
    requests.push(
        world.http().post(url("/register")).json(&json!({ "redirect_uris": [token], "software_statement": token })),
    );
    let mut everything = String::new();
    for request in requests {
        let response = request.send().await.unwrap();
        let head = (response.status(), response.headers().clone());
        writeln!(everything, "{head:?}\n{}", response.text().await.unwrap_or_default()).unwrap();
    }
    everything
}

#[tokio::test]
async fn a_token_is_said_again_nowhere_wherever_it_was_put() {
    let backend = Backend::plain().await;
    // Everything that can be said is said.
    let world = WorldBuilder::new(&backend).environment("RUST_LOG", "trace").start().await;
    let own = world.sign_in("rita").await;
    let good = world.identity.mint("rita", &Value::Null);
    let late = world.identity.mint("rita", &json!({ "exp": 1 }));
    let forged = altered(&good, 1, &json!({ "roles": ["MCPServer.Admin"] }));
    let mut found = Vec::new();
    for token in [&own.access, &own.refresh, &good, &late, &forged] {
        let answered = everywhere(&world, &good, token).await;
        assert!(answered.contains("(401, ") && answered.contains("(200, "), "the control");
        let mut places = vec![
            ("an answer", answered),
            ("the log", world.gateway.said()),
            ("the trail", std::fs::read_to_string(world.directory().join("audit.jsonl")).unwrap()),
            ("the metrics", world.probe("/metrics").await),
            ("what operators see", world.probe("/readyz").await),
        ];
        for request in backend.requests() {
            places.push(("the head of a request to the backend", request.head));
        }
        for entry in std::fs::read_dir(world.directory().join("state")).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap_or_default();
            places.push(("the store", String::from_utf8_lossy(&bytes).into_owned()));
        }
        // By both ends of the part that makes it good.
        let secret = token.rsplit('.').next().unwrap();
        let ends = [&secret[..20], &secret[secret.len() - 20..]];
        let around = |text: &str, end: &str| {
            let at = text.find(end)?;
            Some(text[at.saturating_sub(400)..].chars().take(600).collect::<String>())
        };
        for (place, text) in &places {
            found.extend(ends.iter().filter_map(|end| Some((*place, around(text, end)?))));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
    let said = world.gateway.said();
    assert!(said.contains("TRACE") && said.contains("DEBUG"), "the control: the log says all it can");
}
