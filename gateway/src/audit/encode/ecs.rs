//! ECS 8.17: what has a field there is in it, everything else under `portcullis`.

use serde_json::{Map, Value, json};

use super::{Native, nested, object, text};

const VERSION: &str = "8.17.0";

pub(super) fn encode(event: &Native) -> Map<String, Value> {
    let roles = event.at("actor.roles").or(event.at("roles")).cloned();
    let subject = event.text("actor.subject").or(event.text("subject"));
    let tenant = event.text("actor.tenant").or(event.text("tenant"));
    let source = event.text("source");
    let related = [("ip", source.map(|ip| json!([ip]))), ("user", subject.map(|user| json!([user])))];
    object([
        ("@timestamp", event.milliseconds().map(timestamp)),
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
        ("user", nested([("id", text(subject)), ("roles", roles)])),
        ("organization", nested([("id", text(tenant))])),
        ("source", nested([("ip", text(source)), ("address", text(source))])),
        ("client", nested([("ip", text(source))])),
        ("related", nested(related)),
        ("rule", nested([("ruleset", text(event.text("policy_hash")))])),
        ("http", http(event)),
        ("trace", nested([("id", text(event.text("trace_id")))])),
        ("portcullis", Some(event.without(&["time", "request_id", "trace_id", "reason", "policy_hash", "source"]))),
    ])
}

/// What rules for sign-ins and changes look for: the category, and its types.
fn categories(event: &Native) -> (&'static str, Vec<&'static str>) {
    match (event.kind(), event.text("event").unwrap_or_default()) {
        ("mcp.decision", _) if event.text("decision") == Some("allow") => ("api", vec!["access", "allowed"]),
        ("mcp.decision", _) => ("api", vec!["access", "denied"]),
        ("mcp.outcome", _) => ("api", vec!["end"]),
        ("oauth", "signed_in" | "sign_in_failed") => ("authentication", vec!["start"]),
        ("oauth", "grant_revoked") => ("authentication", vec!["end"]),
        ("oauth", "client_registered" | "registration_refused") => ("iam", vec!["creation"]),
        ("oauth", "consent_given" | "consent_refused") => ("iam", vec!["change"]),
        ("oauth" | "refusals", _) => ("authentication", vec!["info"]),
        ("catalogue.drift", _) => ("intrusion_detection", vec!["info"]),
        ("audit.started", _) => ("process", vec!["start"]),
        ("audit.stopped", _) => ("process", vec!["end"]),
        (kind, _) if kind.starts_with("audit.") => ("process", vec!["info"]),
        _ => ("configuration", vec!["change"]),
    }
}

fn of_event(event: &Native) -> Map<String, Value> {
    let (category, types) = categories(event);
    let alerts = event.kind() == "catalogue.drift" && event.text("change") != Some("settled");
    let duration = event.number("milliseconds").map(|milliseconds| Value::from(milliseconds * 1_000_000));
    object([
        ("kind", text(Some(if alerts { "alert" } else { "event" }))),
        ("module", text(Some("portcullis"))),
        ("category", Some(json!([category]))),
        ("type", Some(json!(types))),
        ("action", text(event.text("target.method").or(event.text("event")).or(Some(event.kind())))),
        ("outcome", text(Some(if event.is_bad() { "failure" } else { "success" }))),
        ("reason", text(event.text("reason"))),
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
fn timestamp(milliseconds: u64) -> Value {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_millis(milliseconds);
    Value::from(humantime::format_rfc3339_millis(time).to_string())
}
