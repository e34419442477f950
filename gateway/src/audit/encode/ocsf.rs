//! OCSF 1.6: decisions and outcomes are API Activity (6003), steps of a sign-in Authentication (3002), changes of what is
//! registered or configured Entity Management (3004), the trail's own lines Application Lifecycle (6002).

use serde_json::{Map, Value};

use super::{Native, nested, object, text};

const VERSION: &str = "1.6.0";
const OTHER: u64 = 99;

/// A class of events, its category, and the activity.
struct Class {
    uid: u64,
    activity: u64,
}

fn class(event: &Native) -> Class {
    let (uid, activity) = match (event.kind(), event.text("event").unwrap_or_default()) {
        ("mcp.decision" | "mcp.outcome", _) => (6003, OTHER),
        ("oauth", "signed_in" | "sign_in_failed") => (3002, 1),
        ("oauth", "grant_revoked") => (3002, 2),
        ("oauth", "client_registered") => (3004, 1),
        ("oauth", step) if step.starts_with("tokens") => (3002, OTHER),
        ("oauth", _) => (3004, OTHER),
        (kind, _) if kind.starts_with("audit.") => (6002, OTHER),
        _ => (3004, 3),
    };
    Class { uid, activity }
}

pub(super) fn encode(event: &Native) -> Map<String, Value> {
    let Class { uid, activity } = class(event);
    let bad = event.is_bad();
    let decided = event.kind() == "mcp.decision";
    let number = |value: u64| Some(Value::from(value));
    let of_decision = |yes: u64, no: u64| decided.then(|| Value::from(if bad { no } else { yes }));
    object([
        ("class_uid", number(uid)),
        ("category_uid", number(uid / 1000)),
        ("activity_id", number(activity)),
        ("activity_name", text(event.text("target.method").or(event.text("event")).or(Some(event.kind())))),
        ("type_uid", number(uid * 100 + activity)),
        ("time", event.number("time").map(|seconds| Value::from(seconds * 1000))),
        ("severity_id", number(if bad { 2 } else { 1 })),
        ("status_id", number(if bad { 2 } else { 1 })),
        ("status_detail", text(event.text("reason").or(event.text("error")))),
        ("action_id", of_decision(1, 2)),
        ("disposition_id", of_decision(1, 2)),
        ("metadata", Some(Value::Object(metadata(event, decided)))),
        ("actor", actor(event)),
        ("user", (uid == 3002).then(|| user(event)).flatten()),
        ("api", (uid == 6003).then(|| Value::Object(api(event)))),
        ("src_endpoint", (uid == 6003).then(|| source(event))),
        ("resources", event.text("target.name").map(|name| serde_json::json!([{ "name": name }]))),
        ("policy", event.text("policy_hash").map(|hash| serde_json::json!({ "uid": hash, "is_applied": true }))),
        ("http_response", event.number("status").map(|code| serde_json::json!({ "code": code }))),
        ("duration", event.at("milliseconds").cloned()),
        ("unmapped", Some(event.without(&["type", "time", "policy_hash", "status", "milliseconds"]))),
    ])
}

fn metadata(event: &Native, decided: bool) -> Map<String, Value> {
    let product =
        serde_json::json!({ "name": "Portcullis", "vendor_name": "Portcullis", "version": env!("CARGO_PKG_VERSION") });
    let place = event.text("chain.instance").zip(event.number("chain.number"));
    object([
        ("version", text(Some(VERSION))),
        ("product", Some(product)),
        ("uid", place.map(|(instance, number)| Value::from(format!("{instance}-{number}")))),
        ("sequence", event.at("chain.number").cloned()),
        ("correlation_uid", text(event.text("request_id"))),
        ("profiles", decided.then(|| serde_json::json!(["security_control"]))),
    ])
}

fn actor(event: &Native) -> Option<Value> {
    let user = user(event);
    let client = event.text("actor.client").or(event.text("client"));
    nested([("user", user), ("app_uid", text(client))])
}

fn user(event: &Native) -> Option<Value> {
    let subject = event.text("actor.subject").or(event.text("subject"));
    let tenant = event.text("actor.tenant").or(event.text("tenant"));
    nested([
        ("uid", text(subject)),
        ("org", tenant.map(|tenant| serde_json::json!({ "uid": tenant }))),
        ("type_id", subject.map(|_| Value::from(if event.text("actor.kind") == Some("app") { OTHER } else { 1 }))),
    ])
}

fn api(event: &Native) -> Map<String, Value> {
    object([
        ("operation", text(event.text("target.method").or(Some("outcome")))),
        ("service", event.text("target.backend").map(|name| serde_json::json!({ "name": name }))),
        ("request", event.text("request_id").map(|id| serde_json::json!({ "uid": id }))),
    ])
}

/// The class wants one; where the address is not known, that is said.
fn source(event: &Native) -> Value {
    match event.text("address") {
        Some(address) => serde_json::json!({ "ip": address }),
        None => serde_json::json!({ "name": "unknown" }),
    }
}
