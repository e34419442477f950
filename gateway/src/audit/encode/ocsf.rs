//! OCSF 1.6: decisions and outcomes are API Activity (6003), what happens to sign-ins and tokens, and counts of refused
//! strangers, Authentication (3002), changes of what is registered, agreed to or configured Entity Management (3004), tools
//! that are others than approved Detection Finding (2004), the trail's own lines Application Lifecycle (6002).
//!
//! Each class requires some members; what a line does not know of them is called unknown rather than left out.

use serde_json::{Map, Value, json};

use super::{Native, object, text};

const VERSION: &str = "1.6.0";
const OTHER: u64 = 99;
const UNKNOWN: &str = "unknown";

const FINDING: u64 = 2004;
const AUTHENTICATION: u64 = 3002;
const ENTITY: u64 = 3004;
const LIFECYCLE: u64 = 6002;
const API: u64 = 6003;

/// A class of events, and the activity.
struct Class {
    uid: u64,
    activity: u64,
}

fn class(event: &Native) -> Class {
    let (uid, activity) = match (event.kind(), event.text("event").unwrap_or_default()) {
        ("mcp.decision" | "mcp.outcome", _) => (API, OTHER),
        ("oauth", "signed_in" | "sign_in_failed" | "authorization_refused") => (AUTHENTICATION, 1),
        ("oauth", "grant_revoked") => (AUTHENTICATION, 2),
        ("oauth", step) if step.starts_with("token") => (AUTHENTICATION, OTHER),
        ("oauth", "client_registered" | "registration_refused") => (ENTITY, 1),
        ("oauth", _) => (ENTITY, OTHER),
        ("refusals", _) => (AUTHENTICATION, OTHER),
        ("catalogue.drift", _) if event.text("change") == Some("settled") => (FINDING, 3),
        ("catalogue.drift", _) => (FINDING, 1),
        ("audit.started", _) => (LIFECYCLE, 3),
        ("audit.stopped", _) => (LIFECYCLE, 4),
        (kind, _) if kind.starts_with("audit.") => (LIFECYCLE, OTHER),
        _ => (ENTITY, 3),
    };
    Class { uid, activity }
}

pub(super) fn encode(event: &Native) -> Map<String, Value> {
    let Class { uid, activity } = class(event);
    let bad = event.is_bad();
    let decided = event.kind() == "mcp.decision";
    let number = |value: u64| Some(Value::from(value));
    let of_decision = |yes: u64, no: u64| decided.then(|| Value::from(if bad { no } else { yes }));
    let of = |class: u64, member: fn(&Native) -> Value| (uid == class).then(|| member(event));
    let status = match (uid, activity) {
        // Of a finding: new, or resolved.
        (FINDING, 1) => 1,
        (FINDING, _) => 4,
        _ if bad => 2,
        _ => 1,
    };
    object([
        ("class_uid", number(uid)),
        ("category_uid", number(uid / 1000)),
        ("activity_id", number(activity)),
        ("activity_name", text(event.text("target.method").or(event.text("event")).or(Some(event.kind())))),
        ("type_uid", number(uid * 100 + activity)),
        ("time", event.milliseconds().map(Value::from)),
        ("severity_id", number(if bad { 2 } else { 1 })),
        ("status_id", number(status)),
        ("status_detail", text(event.text("reason").or(event.text("error")))),
        ("action_id", of_decision(1, 2)),
        ("disposition_id", of_decision(1, 2)),
        ("metadata", Some(Value::Object(metadata(event, uid, decided)))),
        ("actor", matches!(uid, API | AUTHENTICATION | ENTITY).then(|| actor(event))),
        ("user", of(AUTHENTICATION, user)),
        ("service", of(AUTHENTICATION, |_| json!({ "name": "Portcullis", "version": env!("CARGO_PKG_VERSION") }))),
        ("entity", of(ENTITY, entity)),
        ("finding_info", of(FINDING, finding)),
        ("is_alert", (uid == FINDING && activity == 1).then_some(Value::Bool(true))),
        ("app", of(LIFECYCLE, |_| product())),
        ("api", of(API, api)),
        ("src_endpoint", matches!(uid, API | AUTHENTICATION | ENTITY).then(|| source(event))),
        ("trace", event.text("trace_id").filter(|_| uid == API).map(|id| json!({ "uid": id }))),
        ("resources", event.text("target.name").or(event.text("tool")).map(|name| json!([{ "name": name }]))),
        ("policy", event.text("policy_hash").map(|hash| json!({ "uid": hash, "is_applied": true }))),
        ("http_response", event.number("status").map(|code| json!({ "code": code }))),
        ("duration", event.at("milliseconds").cloned()),
        ("unmapped", Some(event.without(&["type", "time", "policy_hash", "status", "milliseconds"]))),
    ])
}

fn product() -> Value {
    json!({ "name": "Portcullis", "vendor_name": "Portcullis", "version": env!("CARGO_PKG_VERSION") })
}

fn metadata(event: &Native, uid: u64, decided: bool) -> Map<String, Value> {
    let place = event.text("chain.instance").zip(event.number("chain.number"));
    let traced = uid == API && event.text("trace_id").is_some();
    let profiles: Vec<&str> = [("security_control", decided), ("trace", traced)]
        .into_iter()
        .filter_map(|(name, is)| is.then_some(name))
        .collect();
    object([
        ("version", text(Some(VERSION))),
        ("product", Some(product())),
        ("uid", place.map(|(instance, number)| Value::from(format!("{instance}-{number}")))),
        ("sequence", event.at("chain.number").cloned()),
        ("correlation_uid", text(event.text("request_id"))),
        ("profiles", (!profiles.is_empty()).then(|| json!(profiles))),
    ])
}

/// Who did it; the outcome of a request has its decision's, under the same request id.
fn actor(event: &Native) -> Value {
    let client = event.text("actor.client").or(event.text("client"));
    let known = event.text("actor.subject").or(event.text("subject")).is_some() || client.is_none();
    let user = known.then(|| user(event));
    Value::Object(object([("user", user), ("app_uid", text(client))]))
}

fn user(event: &Native) -> Value {
    let subject = event.text("actor.subject").or(event.text("subject"));
    let tenant = event.text("actor.tenant").or(event.text("tenant")).filter(|tenant| !tenant.is_empty());
    let kind = match (subject, event.text("actor.kind")) {
        (None, _) => 0,
        (Some(_), Some("app")) => 4,
        (Some(_), Some("public")) => OTHER,
        (Some(_), _) => 1,
    };
    Value::Object(object([
        ("uid", text(subject)),
        ("name", text(Some(UNKNOWN).filter(|_| subject.is_none()))),
        ("org", tenant.map(|tenant| json!({ "uid": tenant }))),
        ("type_id", Some(Value::from(kind))),
    ]))
}

/// What a change is of: a client, or what the gateway runs by.
fn entity(event: &Native) -> Value {
    let policy = event.text("policy_hash").map(|hash| json!({ "uid": hash }));
    let (uid, name, kind) = match event.kind() {
        "oauth" => (event.text("client"), event.text("name"), "OAuth client"),
        "config" => match event.text("certificate") {
            Some(certificate) => (Some(certificate), Some("TLS certificate"), "Certificate"),
            None => (None, Some("configuration"), "Configuration"),
        },
        kind => (None, event.text("name"), kind),
    };
    let nameless = uid.is_none() && name.is_none();
    Value::Object(object([
        ("uid", text(uid)),
        ("name", text(name.or(Some(UNKNOWN).filter(|_| nameless)))),
        ("type", text(Some(kind))),
        ("type_id", Some(Value::from(OTHER))),
        ("policy", policy),
    ]))
}

fn finding(event: &Native) -> Value {
    let word = |path: &str| event.text(path).unwrap_or(UNKNOWN);
    let (backend, tool, change) = (word("backend"), word("tool"), word("change"));
    json!({
        "uid": format!("drift-{backend}-{tool}"),
        "title": format!("The tool {tool} of {backend} is not as approved: {change}"),
    })
}

fn api(event: &Native) -> Value {
    Value::Object(object([
        ("operation", text(event.text("target.method").or(Some("outcome")))),
        ("service", event.text("target.backend").map(|name| json!({ "name": name }))),
        ("request", event.text("request_id").map(|id| json!({ "uid": id }))),
    ]))
}

/// Where it came from.
fn source(event: &Native) -> Value {
    match event.text("source") {
        Some(address) => json!({ "ip": address }),
        None => json!({ "name": UNKNOWN }),
    }
}
