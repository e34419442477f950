//! ECS 8.17: what has a field there is in it, everything else under `portcullis`.

use serde_json::{Map, Value};

use super::{Native, nested, object, text};

const VERSION: &str = "8.17.0";

pub(super) fn encode(event: &Native) -> Map<String, Value> {
    let roles = event.at("actor.roles").or(event.at("roles")).cloned();
    let user = [("id", text(event.text("actor.subject").or(event.text("subject")))), ("roles", roles)];
    let tenant = event.text("actor.tenant").or(event.text("tenant"));
    object([
        ("@timestamp", event.number("time").map(timestamp)),
        ("ecs", nested([("version", text(Some(VERSION)))])),
        ("event", Some(Value::Object(of_event(event)))),
        ("message", text(event.text("reason").or(event.text("error")))),
        (
            "service",
            nested([
                ("type", text(Some("portcullis"))),
                ("node", nested([("name", text(event.text("chain.instance")))])),
            ]),
        ),
        ("user", nested(user)),
        ("organization", nested([("id", text(tenant))])),
        ("client", nested([("ip", text(event.text("address")))])),
        ("rule", nested([("ruleset", text(event.text("policy_hash")))])),
        ("http", http(event)),
        ("trace", nested([("id", text(event.text("trace_id")))])),
        ("portcullis", Some(event.without(&["time", "request_id", "trace_id", "reason", "policy_hash"]))),
    ])
}

fn of_event(event: &Native) -> Map<String, Value> {
    let (category, kinds) = match (event.kind(), event.text("decision")) {
        ("mcp.decision", Some("allow")) => ("api", vec!["access", "allowed"]),
        ("mcp.decision", _) => ("api", vec!["access", "denied"]),
        ("mcp.outcome", _) => ("api", vec!["end"]),
        ("oauth", _) => ("iam", vec!["info"]),
        _ => ("configuration", vec!["info"]),
    };
    let duration = event.number("milliseconds").map(|milliseconds| Value::from(milliseconds * 1_000_000));
    object([
        ("kind", text(Some("event"))),
        ("module", text(Some("portcullis"))),
        ("category", Some(serde_json::json!([category]))),
        ("type", Some(serde_json::json!(kinds))),
        ("action", text(event.text("target.method").or(event.text("event")).or(Some(event.kind())))),
        ("outcome", text(Some(if event.is_bad() { "failure" } else { "success" }))),
        ("sequence", event.at("chain.number").cloned()),
        ("id", text(event.text("chain.hash"))),
        ("duration", duration),
    ])
}

fn http(event: &Native) -> Option<Value> {
    let body = nested([("bytes", event.at("bytes").cloned())]);
    let response = nested([("status_code", event.at("status").cloned()), ("body", body)]);
    nested([("request", nested([("id", text(event.text("request_id")))])), ("response", response)])
}

/// RFC 3339 in UTC.
fn timestamp(seconds: u64) -> Value {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    Value::from(humantime::format_rfc3339_seconds(time).to_string())
}
