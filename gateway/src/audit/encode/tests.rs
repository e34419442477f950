use serde_json::{Value, json};

use super::*;

fn encoded(format: Format, event: &Value) -> Value {
    serde_json::from_str(&format.encode(&event.to_string())).unwrap()
}

fn decision_line(verdict: &str) -> Value {
    json!({
        "time": 1_800_000_000.123, "request_id": "r-1", "trace_id": "t-1", "source": "203.0.113.7", "type": "mcp.decision", "decision": verdict, "reason": "tag `x` is not open",
        "actor": { "kind": "user", "tenant": "t", "subject": "s", "roles": ["Task.Read"], "client": "c" },
        "target": { "backend": "weather", "method": "tools/call", "name": "get_forecast" }, "policy_hash": "h",
        "chain": { "instance": "i", "number": 7, "hash": "x" },
    })
}

#[test]
fn a_native_line_is_left_as_it_is() {
    let line = decision_line("allow").to_string();
    assert_eq!(Format::Native.encode(&line), line);
}

#[test]
fn a_decision_is_an_api_activity_with_what_its_class_requires() {
    let denied = encoded(Format::Ocsf, &decision_line("deny"));
    assert_eq!(
        (&denied["class_uid"], &denied["category_uid"], &denied["type_uid"]),
        (&json!(6003), &json!(6), &json!(600_399))
    );
    assert_eq!(
        (&denied["status_id"], &denied["action_id"], &denied["disposition_id"]),
        (&json!(2), &json!(2), &json!(2))
    );
    assert_eq!(denied["actor"]["user"], json!({ "uid": "s", "org": { "uid": "t" }, "type_id": 1 }));
    assert_eq!(denied["api"]["operation"], "tools/call");
    assert_eq!(denied["time"], 1_800_000_000_123_u64);
    assert_eq!(denied["src_endpoint"], json!({ "ip": "203.0.113.7" }));
    assert_eq!((&denied["trace"]["uid"], &denied["metadata"]["profiles"][1]), (&json!("t-1"), &json!("trace")));
    assert_eq!(denied["metadata"]["uid"], "i-7");
    assert_eq!(denied["unmapped"]["actor"]["roles"], json!(["Task.Read"]));
    let allowed = encoded(Format::Ocsf, &decision_line("allow"));
    assert_eq!((&allowed["status_id"], &allowed["action_id"]), (&json!(1), &json!(1)));
}

#[test]
fn steps_of_a_sign_in_are_authentication_and_changes_entity_management() {
    let step = |event: &str| {
        let line = json!({ "time": 1, "type": "oauth", "event": event, "client": "c", "tenant": "t", "subject": "s" });
        encoded(Format::Ocsf, &line)
    };
    assert_eq!(step("signed_in")["type_uid"], 300_201);
    assert_eq!(step("signed_in")["user"]["uid"], "s");
    assert_eq!(step("sign_in_failed")["status_id"], 2);
    assert_eq!(step("grant_revoked")["type_uid"], 300_202);
    assert_eq!(step("client_registered")["type_uid"], 300_401);
    assert_eq!(step("consent_refused")["status_id"], 2);
    let config = |event: &str| {
        let line = json!({ "time": 1, "type": "config", "event": event, "certificate": "AB:CD", "reason": "of 2020" });
        [Format::Ocsf, Format::Ecs].map(|format| encoded(format, &line))
    };
    let [ocsf, ecs] = config("certificate_refused");
    assert_eq!((&ocsf["type_uid"], &ocsf["status_id"]), (&json!(300_403), &json!(2)));
    assert_eq!((&ocsf["entity"]["uid"], &ocsf["status_detail"]), (&json!("AB:CD"), &json!("of 2020")));
    let of_ecs = &ecs["event"];
    assert_eq!((&of_ecs["category"][0], &of_ecs["outcome"]), (&json!("configuration"), &json!("failure")));
    assert_eq!((&of_ecs["action"], &of_ecs["reason"]), (&json!("certificate_refused"), &json!("of 2020")));
    assert_eq!(config("certificate_reloaded")[0]["status_id"], 1, "the control");
    let later = encoded(Format::Ocsf, &json!({ "time": 1, "type": "something.new", "what": "x" }));
    assert_eq!((&later["class_uid"], &later["unmapped"]["what"]), (&json!(3004), &json!("x")));
    let refusals = json!({ "time": 1, "type": "refusals", "of": "mcp.decision", "source": "203.0.113.7", "count": 7 });
    let ocsf = encoded(Format::Ocsf, &refusals);
    assert_eq!(
        (&ocsf["type_uid"], &ocsf["status_id"], &ocsf["unmapped"]["count"]),
        (&json!(300_299), &json!(2), &json!(7))
    );
    assert_eq!(ocsf["src_endpoint"]["ip"], "203.0.113.7");
    let ecs = encoded(Format::Ecs, &refusals);
    assert_eq!((&ecs["event"]["outcome"], &ecs["source"]["ip"]), (&json!("failure"), &json!("203.0.113.7")));
    let drift = json!({ "time": 1, "type": "catalogue.drift", "backend": "b", "tool": "t", "change": "changed" });
    let drift = encoded(Format::Ocsf, &drift);
    assert_eq!((&drift["class_uid"], &drift["is_alert"]), (&json!(2004), &json!(true)));
}

#[test]
fn ecs_has_its_own_names_for_who_what_and_how_it_ended() {
    let denied = encoded(Format::Ecs, &decision_line("deny"));
    assert_eq!(denied["@timestamp"], "2027-01-15T08:00:00.123Z");
    assert_eq!(denied["event"]["type"], json!(["access", "denied"]));
    assert_eq!((&denied["event"]["action"], &denied["event"]["outcome"]), (&json!("tools/call"), &json!("failure")));
    assert_eq!((&denied["user"]["id"], &denied["organization"]["id"]), (&json!("s"), &json!("t")));
    assert_eq!(denied["portcullis"]["target"]["name"], "get_forecast");
    assert_eq!((&denied["source"]["ip"], &denied["client"]["ip"]), (&json!("203.0.113.7"), &json!("203.0.113.7")));
    let outcome =
        json!({ "time": 1, "type": "mcp.outcome", "status": 200, "forwarded": true, "bytes": 12, "milliseconds": 3 });
    let outcome = encoded(Format::Ecs, &outcome);
    assert_eq!(outcome["event"]["duration"], 3_000_000);
    assert_eq!(outcome["http"]["response"], json!({ "status_code": 200, "body": { "bytes": 12 } }));
}

const STEPS: [crate::audit::Step; 11] = {
    use crate::audit::Step;
    [
        Step::ClientRegistered,
        Step::ConsentGiven,
        Step::ConsentRefused,
        Step::SignedIn,
        Step::SignInFailed,
        Step::TokensIssued,
        Step::TokensRefreshed,
        Step::GrantRevoked,
        Step::RegistrationRefused,
        Step::AuthorizationRefused,
        Step::TokenRefused,
    ]
};

/// A request without a token, decided.
fn bare(decision: crate::audit::Verdict) -> crate::audit::Kind {
    use crate::audit::{Decision, Kind, Reason, Target};
    let target = Target { backend: "weather".to_owned(), method: "POST".to_owned(), name: None };
    let (reason, actor, source, policy_hash) = (Reason::Text("no token".to_owned()), None, None, None);
    let (params, arguments) = (None, None);
    Kind::Decision(Box::new(Decision { decision, reason, actor, source, target, policy_hash, params, arguments }))
}

/// One event of every kind and step, as the writer has it: with as little as it can hold, and with more.
fn every_event() -> Vec<Value> {
    use crate::audit::{
        Authorization, CertificateReload, Checkpoint, Event, Gap, Kind, Outcome, Refusals, Reload, Started, Step,
        ToolDrift, Verdict,
    };
    let step = |step: Step, client: &str| Kind::OAuth(Box::new(Authorization::new(step, client)));
    let outcome = Outcome { status: 502, forwarded: true, error: Some("connect"), bytes: 0, milliseconds: 3 };
    let drift = |change| {
        let (backend, tool) = ("weather".to_owned(), "get_forecast".to_owned());
        Kind::Drift(Box::new(ToolDrift { backend, tool, change, fields: Vec::new(), action: "quarantine" }))
    };
    let reload = |event| Kind::Reload(Box::new(Reload::new(event, "h".to_owned())));
    let certificate = |event| {
        let (certificate, before, reason) = ("AB:CD".to_owned(), None, None);
        Kind::Certificate(Box::new(CertificateReload { event, certificate, before, ends: 1_900_000_000, reason }))
    };
    let refusals = |event, source: Option<&str>| {
        let first = crate::clock::Timestamp::from_secs(1_800_000_000).into();
        let (source, reason) = (source.and_then(|source| source.parse().ok()), "no bearer token".to_owned());
        Kind::Refusals(Box::new(Refusals { of: "oauth", event, source, reason, count: 7, first, last: first }))
    };
    let mut kinds = vec![
        refusals(None, None),
        refusals(Some(Step::SignInFailed), Some("203.0.113.7")),
        bare(Verdict::Allow),
        bare(Verdict::Deny),
        bare(Verdict::Challenge),
        Kind::Outcome(outcome),
        drift("changed"),
        drift("settled"),
        Kind::Started(Started { version: "0.1.0", after: std::collections::BTreeMap::new() }),
        Kind::Stopped,
        Kind::Checkpoint(Checkpoint { signature: "e".to_owned() }),
        Kind::Gap(Gap { sink: "queue", lost: 1, queue: 0, behind: String::new() }),
    ];
    kinds.extend(["config_reloaded", "config_refused", "keys_replaced", "lock_reloaded", "lock_refused"].map(reload));
    kinds.extend(["certificate_reloaded", "certificate_refused"].map(certificate));
    kinds.extend(STEPS.iter().flat_map(|of| ["", "c"].map(|client| step(*of, client))));
    let event = |kind| {
        let time = crate::clock::Timestamp::from_secs(1_800_000_000).into();
        let mut line = serde_json::to_value(Event { time, request_id: None, trace_id: None, kind }).unwrap();
        line["chain"] = json!({ "instance": "i", "number": 7, "hash": "x" });
        line
    };
    kinds.into_iter().map(event).chain([decision_line("allow"), decision_line("deny")]).collect()
}

#[test]
fn every_event_has_what_its_ocsf_class_requires() {
    const BASE: [&str; 7] = ["activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time", "type_uid"];
    // What the schema of 1.6.0 requires of each class, beside what it requires of all.
    let required = |class: u64| -> &[&str] {
        match class {
            2004 => &["finding_info"],
            3002 => &["user", "service"],
            3004 => &["entity"],
            6002 => &["app"],
            6003 => &["actor", "api", "src_endpoint"],
            other => panic!("{other}"),
        }
    };
    // And of each object one of these.
    let one_of = [
        ("/metadata/product", &["name", "uid"][..]),
        ("/metadata", &["version"]),
        ("/finding_info", &["uid"]),
        ("/user", &["account", "name", "uid"]),
        ("/service", &["name", "uid"]),
        ("/entity", &["name", "uid", "device", "group", "org", "policy", "user"]),
        ("/app", &["name", "uid"]),
        ("/actor", &["process", "user", "invoked_by", "session", "app_name", "app_uid"]),
        ("/actor/user", &["account", "name", "uid"]),
        ("/api", &["operation"]),
        ("/api/service", &["name", "uid"]),
        ("/api/request", &["uid"]),
        ("/src_endpoint", &["ip", "uid", "name", "hostname"]),
        ("/trace", &["uid"]),
        ("/policy", &["name", "type", "uid"]),
        ("/http_response", &["code"]),
    ];
    let mut classes = std::collections::BTreeSet::new();
    for event in every_event() {
        let line = encoded(Format::Ocsf, &event);
        let class = line["class_uid"].as_u64().unwrap();
        classes.insert(class);
        for member in BASE.iter().chain(required(class)) {
            assert!(line.get(member).is_some(), "{class} has no {member}: {line}");
        }
        for (object, members) in one_of {
            let found = line.pointer(object);
            let holds = found.is_none_or(|found| members.iter().any(|member| found.get(member).is_some()));
            assert!(holds, "{class}: {object} has none of {members:?}: {line}");
        }
        assert_eq!(line["category_uid"], class / 1000);
        assert_eq!(line["type_uid"], class * 100 + line["activity_id"].as_u64().unwrap());
    }
    assert_eq!(Vec::from_iter(classes), [2004, 3002, 3004, 6002, 6003]);
}

#[test]
fn every_event_has_a_category_of_ecs_and_a_type_that_goes_with_it() {
    // The expected types of each category, in ECS 8.17.
    let allowed = |category: &str| -> &[&str] {
        match category {
            "api" => &[
                "access", "admin", "allowed", "change", "creation", "deletion", "denied", "end", "info", "start",
                "user",
            ],
            "authentication" => &["start", "end", "info"],
            "configuration" => &["access", "change", "creation", "deletion", "info"],
            "iam" => &["admin", "change", "creation", "deletion", "group", "info", "user"],
            "intrusion_detection" => &["allowed", "denied", "info"],
            "process" => &["access", "change", "end", "info", "start"],
            other => panic!("{other}"),
        }
    };
    for event in every_event() {
        let line = encoded(Format::Ecs, &event);
        let category = line["event"]["category"][0].as_str().unwrap();
        for kind in line["event"]["type"].as_array().unwrap() {
            assert!(allowed(category).contains(&kind.as_str().unwrap()), "{line}");
        }
        for member in ["kind", "category", "type", "action", "outcome"] {
            assert!(line["event"].get(member).is_some(), "{member}: {line}");
        }
        assert!(line.get("@timestamp").is_some() && line["ecs"]["version"] == "8.17.0");
    }
    let step =
        |event: &str| encoded(Format::Ecs, &json!({ "time": 1, "type": "oauth", "event": event, "client": "c" }));
    let of = |line: &Value| {
        (line["event"]["category"].clone(), line["event"]["type"].clone(), line["event"]["outcome"].clone())
    };
    assert_eq!(of(&step("signed_in")), (json!(["authentication"]), json!(["start"]), json!("success")));
    assert_eq!(of(&step("sign_in_failed")), (json!(["authentication"]), json!(["start"]), json!("failure")));
}
