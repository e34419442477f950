use std::collections::BTreeSet;
use std::sync::Arc;

use portcullis_tests::backend::{Request, json_answer, mcp};
use portcullis_tests::process::file;
use portcullis_tests::{Backend, World, WorldBuilder};
use serde_json::{Value, json};

/// As the usual one, with tools that are spelt out.
const POLICY: &str = "
  roles: { Task.Read: { opens: [read] }, Task.All: { opens: [read, write] } }
  tools: { weather: { read: [get_forecast, 'list_*'], write: [add_station] } }
";

fn lines(metrics: &str) -> Vec<&str> {
    metrics.lines().filter(|line| !line.starts_with('#')).collect()
}

async fn call(world: &World, token: &str, tool: &str) -> Value {
    world.ask(token, "tools/call", json!({ "name": tool, "arguments": {} })).await
}

/// A backend whose tool `add_station` always fails, and `list_stations` does not exist.
async fn moody() -> Backend {
    Backend::start(Arc::new(|request: &Request| {
        let message = request.json();
        let mut answer = mcp(&message);
        match message["params"]["name"].as_str() {
            Some("add_station") => answer["result"]["isError"] = json!(true),
            Some("list_stations") => {
                answer = json!({ "jsonrpc": "2.0", "id": message["id"], "error": { "code": -32602, "message": "no" } });
            }
            _ => {}
        }
        json_answer(&answer)
    }))
    .await
}

#[tokio::test]
async fn names_that_callers_invent_make_no_series_and_nothing_of_theirs_is_in_one() {
    let world = WorldBuilder::new(&Backend::plain().await).policy(POLICY).start().await;
    let token = world.identity.mint("walt", &Value::Null);
    let post = async |message: Value| {
        let _ = world.post(&token, &message).await.bytes().await;
    };
    let flood = async |from: usize, to: usize| {
        for number in from..to {
            // Refused, matched by a pattern, and no method at all.
            call(&world, &token, &format!("invented-{number}")).await;
            call(&world, &token, &format!("list_invented_{number}")).await;
            post(json!({ "jsonrpc": "2.0", "id": 1, "method": format!("invented/{number}") })).await;
            post(json!({ "jsonrpc": "2.0", "id": 1, "method": "prompts/get", "params": { "name": format!("invented-{number}") } })).await;
            post(json!({ "jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": { "uri": format!("invented://{number}") } })).await;
            let path = format!("{}/invented/{number}", world.url());
            let _ = world.http().get(path).send().await.unwrap();
        }
    };
    call(&world, &token, "get_forecast").await;
    flood(0, 1).await;
    let before = world.probe("/metrics").await;
    flood(1, 400).await;
    let after = world.probe("/metrics").await;
    let names = |metrics: &str| -> BTreeSet<String> {
        lines(metrics).iter().filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect()
    };
    assert_eq!(names(&before), names(&after));
    for secret in [&token, "invented", "walt", "0a5c0000", "11111111-2222", "aaaaaaaa-0000"] {
        assert!(!after.contains(secret), "`{secret}` is in the metrics");
    }
    let known = r#"mcp_server_operation_duration_seconds_count{backend="weather",error_type="",gen_ai_prompt_name="",gen_ai_tool_name="get_forecast",mcp_method_name="tools/call"} 1"#;
    assert!(after.lines().any(|line| line == known), "{after}");
}

#[tokio::test]
async fn what_came_of_an_operation_is_told_apart() {
    let backend = moody().await;
    let world = WorldBuilder::new(&backend).policy(POLICY).start().await;
    let (reader, writer) = (world.identity.mint("rita", &Value::Null), world.identity.mint("alice", &Value::Null));
    call(&world, &writer, "get_forecast").await;
    call(&world, &writer, "add_station").await;
    call(&world, &writer, "list_stations").await;
    call(&world, &reader, "add_station").await;
    world.ask(&reader, "tools/list", json!({})).await;
    let _ = world.post("no-token", &json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" })).await;
    backend.stop().await;
    call(&world, &writer, "get_forecast").await;
    let metrics = world.probe("/metrics").await;
    for (side, error, tool, method) in [
        ("server", "", "get_forecast", "tools/call"),
        ("client", "", "get_forecast", "tools/call"),
        ("server", "tool_error", "add_station", "tools/call"),
        ("client", "tool_error", "add_station", "tools/call"),
        // The caller asked for what is not there; the backend is not to blame for that.
        ("server", "", "other", "tools/call"),
        ("client", "-32602", "other", "tools/call"),
        ("server", "policy", "add_station", "tools/call"),
        ("server", "", "", "tools/list"),
        ("client", "", "", "tools/list"),
        ("server", "connect", "get_forecast", "tools/call"),
        ("client", "connect", "get_forecast", "tools/call"),
    ] {
        let line = format!(
            "mcp_{side}_operation_duration_seconds_count{{backend=\"weather\",error_type=\"{error}\",gen_ai_prompt_name=\"\",gen_ai_tool_name=\"{tool}\",mcp_method_name=\"{method}\"}} 1"
        );
        assert!(metrics.lines().any(|found| found == line), "`{line}` is not in\n{metrics}");
    }
    for line in [
        "portcullis_authentications_total{backend=\"weather\",outcome=\"verified\"} 6",
        "portcullis_authentications_total{backend=\"weather\",outcome=\"form\"} 1",
        "portcullis_decisions_total{backend=\"weather\",decision=\"deny\",reason=\"policy\"} 1",
        "portcullis_decisions_total{backend=\"weather\",decision=\"allow\",reason=\"none\"} 5",
        "portcullis_backend_errors_total{backend=\"weather\",error=\"connect\"} 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "`{line}` is not in\n{metrics}");
    }
}

#[tokio::test]
async fn an_answer_in_a_stream_is_told_apart_as_well_and_so_is_each_message_of_a_batch() {
    let backend = Backend::start(Arc::new(|request: &Request| {
        let message = request.json();
        let mut answer = mcp(&message);
        answer["result"]["isError"] = json!(message["params"]["name"] == "add_station");
        let news = json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": { "progressToken": 1, "progress": 1 } });
        let body = format!("data: {news}\n\ndata: {answer}\n\n");
        portcullis_tests::backend::answer("200 OK", "text/event-stream", &body)
    }))
    .await;
    let world = WorldBuilder::new(&backend).policy(POLICY).start().await;
    let token = world.identity.mint("alice", &Value::Null);
    call(&world, &token, "get_forecast").await;
    call(&world, &token, "add_station").await;
    let one =
        |id: u64, tool: &str| json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": tool } });
    let batch = json!([one(1, "add_station"), one(2, "get_forecast"), one(3, "invented")]);
    let answer = world.post_with(&token, &batch, &[("mcp-protocol-version", "2025-03-26")]).await;
    assert_eq!(answer.json::<Value>().await.unwrap().as_array().unwrap().len(), 3);
    let metrics = world.probe("/metrics").await;
    for (side, error, tool, count) in [
        ("server", "", "get_forecast", 2),
        ("client", "", "get_forecast", 2),
        ("server", "tool_error", "add_station", 2),
        ("client", "tool_error", "add_station", 2),
        ("server", "policy", "other", 1),
    ] {
        let line = format!(
            "mcp_{side}_operation_duration_seconds_count{{backend=\"weather\",error_type=\"{error}\",gen_ai_prompt_name=\"\",gen_ai_tool_name=\"{tool}\",mcp_method_name=\"tools/call\"}} {count}"
        );
        assert!(metrics.lines().any(|found| found == line), "`{line}` is not in\n{metrics}");
    }
    let outcomes: Vec<Value> = world.audit(8).await.into_iter().filter(|line| line["type"] == "mcp.outcome").collect();
    let errors: Vec<Option<&str>> = outcomes.iter().map(|line| line["error"].as_str()).collect();
    assert_eq!(errors, [None, Some("tool_error"), Some("tool_error")], "the first of a batch counts");
}

#[tokio::test]
async fn what_is_exported_is_documented_and_a_login_is_counted() {
    let world = WorldBuilder::new(&Backend::plain().await).start().await;
    world.sign_in("rita").await;
    let metrics = world.probe("/metrics").await;
    let documented = std::fs::read_to_string(file("../docs/metrics.md")).unwrap();
    let mut found = 0;
    for name in metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()) {
        let is_there = documented.contains(&format!("| `{name}` |")) || documented.contains(&format!("`{name}`"));
        assert!(is_there, "`{name}` is not in docs/metrics.md");
        found += 1;
    }
    assert!(found > 30, "{metrics}");
    for line in [
        "portcullis_oauth_steps_total{step=\"client_registered\"} 1",
        "portcullis_oauth_steps_total{step=\"consent_given\"} 1",
        "portcullis_oauth_steps_total{step=\"signed_in\"} 1",
        "portcullis_oauth_steps_total{step=\"tokens_issued\"} 1",
        "portcullis_oauth_requests_total{endpoint=\"token\",status=\"2xx\"} 1",
        "portcullis_entra_request_duration_seconds_count{grant=\"authorization_code\",result=\"ok\"} 1",
        "portcullis_jwks_refreshes_total{issuer=\"entra\",result=\"fetched\"} 1",
        "portcullis_store_operation_duration_seconds_count{operation=\"redeem_code\"} 1",
        "portcullis_store_errors_total{operation=\"redeem_code\"} 0",
        "portcullis_audit_events_total{outcome=\"lost\",sink=\"file\"} 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "`{line}` is not in\n{metrics}");
    }
    assert!(metrics.contains("portcullis_policy_info{hash=\"") && metrics.contains("portcullis_audit_queue "));
}

#[tokio::test]
async fn the_room_on_its_disks_is_told() {
    let world = WorldBuilder::new(&Backend::plain().await).start().await;
    let metrics = world.probe("/metrics").await;
    let value = |name: &str, place: &str| -> f64 {
        let series = format!("portcullis_disk_{name}_bytes{{place=\"{place}\"}} ");
        let found = metrics.lines().find_map(|line| line.strip_prefix(&series));
        found.unwrap_or_else(|| panic!("`{series}` is not in\n{metrics}")).parse().unwrap()
    };
    let said = std::process::Command::new("df").args(["--output=size", "-B1"]).arg(world.directory()).output().unwrap();
    let size: f64 = String::from_utf8(said.stdout).unwrap().lines().nth(1).unwrap().trim().parse().unwrap();
    for place in ["state", "file"] {
        let (free, all) = (value("free", place), value("size", place));
        assert!(free > 0.0 && free < all && (all - size).abs() < 1.0, "{place}: {free} of {all}, and {size}");
    }
    assert!(!metrics.contains("place=\"sqlite\""), "nothing goes there");
}

/// A series that begins with the first event has no increase at it, and an alert on that stays silent.
#[tokio::test]
async fn what_alerts_ask_for_is_there_before_anything_happened() {
    let world = WorldBuilder::new(&Backend::plain().await).start().await;
    let metrics = world.probe("/metrics").await;
    for line in [
        "portcullis_audit_events_total{outcome=\"lost\",sink=\"queue\"} 0",
        "portcullis_audit_events_total{outcome=\"failed\",sink=\"file\"} 0",
        "portcullis_audit_refused_total{backend=\"\"} 0",
        "portcullis_audit_refused_total{backend=\"weather\"} 0",
        "portcullis_authentications_total{backend=\"weather\",outcome=\"revoked\"} 0",
        "portcullis_backend_errors_total{backend=\"weather\",error=\"connect\"} 0",
        "portcullis_budget_refused_total{budget=\"streams\"} 0",
        "portcullis_decisions_total{backend=\"weather\",decision=\"deny\",reason=\"policy\"} 0",
        "portcullis_limited_total{endpoint=\"device_page\"} 0",
        "portcullis_limited_total{endpoint=\"callback\"} 0",
        "portcullis_log_lines_lost_total 0",
        "portcullis_oauth_steps_total{step=\"sign_in_failed\"} 0",
        "portcullis_store_errors_total{operation=\"rotate_refresh_token\"} 0",
        "portcullis_trace_spans_total{outcome=\"dropped\"} 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "`{line}` is not in\n{metrics}");
    }
}
