use serde_json::{Value, json};

use super::*;

fn encoded(format: Format, event: &Value) -> Value {
    serde_json::from_str(&format.encode(&event.to_string())).unwrap()
}

fn decision(verdict: &str) -> Value {
    json!({
        "time": 1_800_000_000, "request_id": "r-1", "type": "mcp.decision", "decision": verdict, "reason": "tag `x` is not open",
        "actor": { "kind": "user", "tenant": "t", "subject": "s", "roles": ["Task.Read"], "client": "c" },
        "target": { "backend": "weather", "method": "tools/call", "name": "get_forecast" }, "policy_hash": "h",
        "chain": { "instance": "i", "number": 7, "hash": "x" },
    })
}

#[test]
fn a_native_line_is_left_as_it_is() {
    let line = decision("allow").to_string();
    assert_eq!(Format::Native.encode(&line), line);
}

#[test]
fn a_decision_is_an_api_activity_with_what_its_class_requires() {
    let denied = encoded(Format::Ocsf, &decision("deny"));
    for required in [
        "activity_id",
        "actor",
        "api",
        "category_uid",
        "class_uid",
        "metadata",
        "severity_id",
        "src_endpoint",
        "time",
        "type_uid",
    ] {
        assert!(denied.get(required).is_some(), "{required}");
    }
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
    assert_eq!(denied["time"], 1_800_000_000_000_u64);
    assert_eq!(denied["metadata"]["uid"], "i-7");
    assert_eq!(denied["unmapped"]["actor"]["roles"], json!(["Task.Read"]));
    let allowed = encoded(Format::Ocsf, &decision("allow"));
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
    let later = encoded(Format::Ocsf, &json!({ "time": 1, "type": "something.new", "what": "x" }));
    assert_eq!((&later["class_uid"], &later["unmapped"]["what"]), (&json!(3004), &json!("x")));
}

#[test]
fn ecs_has_its_own_names_for_who_what_and_how_it_ended() {
    let denied = encoded(Format::Ecs, &decision("deny"));
    assert_eq!(denied["@timestamp"], "2027-01-15T08:00:00Z");
    assert_eq!(denied["event"]["type"], json!(["access", "denied"]));
    assert_eq!((&denied["event"]["action"], &denied["event"]["outcome"]), (&json!("tools/call"), &json!("failure")));
    assert_eq!((&denied["user"]["id"], &denied["organization"]["id"]), (&json!("s"), &json!("t")));
    assert_eq!(denied["portcullis"]["target"]["name"], "get_forecast");
    let outcome =
        json!({ "time": 1, "type": "mcp.outcome", "status": 200, "forwarded": true, "bytes": 12, "milliseconds": 3 });
    let outcome = encoded(Format::Ecs, &outcome);
    assert_eq!(outcome["event"]["duration"], 3_000_000);
    assert_eq!(outcome["http"]["response"], json!({ "status_code": 200, "body": { "bytes": 12 } }));
}
