use portcullis_policy::{Act, Action};

use super::*;

fn backend() -> BackendName {
    BackendName::try_from("weather").unwrap()
}

fn read(body: &str) -> Result<ClientMessage, Refusal> {
    read_message(&Bytes::copy_from_slice(body.as_bytes()), &RequestMetadata::default(), &backend())
}

fn read_with(body: &str, version: &str, method: Option<&str>, name: Option<&str>) -> Result<ClientMessage, Refusal> {
    let headers = RequestMetadata { protocol_version: Some(version), method, name };
    read_message(&Bytes::copy_from_slice(body.as_bytes()), &headers, &backend())
}

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_forecast","arguments":{"Name":"x","n":0.10}}}"#;
const MODERN: &str = r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"x","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;

#[test]
fn a_call_is_read_and_encoded_from_what_was_decided() {
    let message = read(CALL).unwrap();
    assert_eq!(message.action(), Action::CallTool { name: "get_forecast" });
    assert_eq!((message.kind(), message.era()), (Kind::Request, Era::Legacy));
    assert_eq!(message.encode(), CALL);
    let shuffled = r#" { "params" : {"name":"a\u0062"} , "method":"tools\/call", "id" : "x" ,"jsonrpc":"2.0" } "#;
    let message = read(shuffled).unwrap();
    assert_eq!(message.action(), Action::CallTool { name: "ab" });
    assert_eq!(message.encode(), r#"{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{"name":"a\u0062"}}"#);
}

#[test]
fn messages_that_could_be_read_in_two_ways_are_refused() {
    assert!(read(CALL).is_ok());
    for bad in [
        "",
        "{}",
        "null",
        "[]",
        "\u{feff}{}",
        r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping"}{}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping"} x"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/list"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","m\u0065thod":"tools/list"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","extra":1}"#,
        r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
        r#"{"id":1,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1e3,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":true,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":[1],"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":7}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":["get_forecast"]}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":null}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":7}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":""}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","name":"b"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","Name":"b"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","argument\u017f":{}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"x":1,"x":2}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":"x"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"x":"\ud800"}}}"#,
        r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"a"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"notifications/initialized"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#,
        r#"{"jsonrpc":"2.0","result":{}}"#,
    ] {
        assert!(read(bad).is_err(), "{bad}");
    }
    let deep = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"x":{}{}}}}}"#,
        "[".repeat(5000),
        "]".repeat(5000)
    );
    assert!(read(&deep).is_err());
    assert!(read_message(&Bytes::from_static(b"{\"a\":\"\xff\"}"), &RequestMetadata::default(), &backend()).is_err());
}

#[test]
fn a_refusal_carries_the_id_where_it_could_be_read() {
    let refusal = read(r#"{"jsonrpc":"2.0","id":"abc","method":"nope"}"#).unwrap_err();
    assert_eq!((refusal.status().as_u16(), refusal.code()), (200, -32601));
    assert!(std::str::from_utf8(&refusal.body()).unwrap().contains(r#""id":"abc""#));
    let refusal = read("{").unwrap_err();
    assert_eq!((refusal.status().as_u16(), refusal.code()), (400, -32700));
    assert!(std::str::from_utf8(&refusal.body()).unwrap().contains(r#""id":null"#));
}

#[test]
fn the_modern_era_wants_its_headers_and_its_meta() {
    let read = |method, name| read_with(MODERN, "2026-07-28", method, name);
    let message = read(Some("tools/call"), Some("x")).unwrap();
    assert_eq!(message.era(), Era::Modern);
    assert!(read(Some(" tools/call\t"), Some("=?base64?eA==?=")).is_ok());
    for (method, name) in [
        (None, Some("x")),
        (Some("tools/call"), None),
        (Some("tools/list"), Some("x")),
        (Some("Tools/call"), Some("x")),
        (Some("tools/call"), Some("y")),
        (Some("tools/call"), Some("=?base64?eQ==?=")),
        (Some("tools/call"), Some("=?base64?!?=")),
        (Some("tools/call"), Some("=?BASE64?eA==?=")),
    ] {
        assert_eq!(read(method, name).unwrap_err().code(), -32020, "{method:?} {name:?}");
    }
}

#[test]
fn versions_that_are_unknown_or_contradict_are_refused() {
    let code = |result: Result<ClientMessage, Refusal>| result.unwrap_err().code();
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    assert!(read_with(ping, "2025-11-25", None, None).is_ok());
    assert_eq!(code(read_with(ping, "2199-01-01", None, None)), -32022);
    assert_eq!(code(read_with(ping, "2026-07-28", None, None)), -32602);
    assert_eq!(code(read_with(MODERN, "2025-11-25", Some("tools/call"), Some("x"))), -32020);
    assert_eq!(code(self::read(MODERN)), -32020);
    let future = MODERN.replace("2026-07-28", "2199-01-01");
    assert_eq!(code(read_with(&future, "2026-07-28", Some("tools/call"), Some("x"))), -32020);
    let listed = |refusal: Refusal| {
        let body: serde_json::Value = serde_json::from_slice(&refusal.body()).unwrap();
        body["error"]["data"]["supported"].as_array().unwrap().len()
    };
    let alike = read_with(&future, "2199-01-01", Some("tools/call"), Some("x")).unwrap_err();
    assert_eq!((alike.code(), listed(alike)), (-32022, 1), "only 2026-07-28 names itself in a message");
    assert_eq!(listed(read_with(ping, "2199-01-01", None, None).unwrap_err()), 4);
    let bare = MODERN.replace(r#","io.modelcontextprotocol/clientCapabilities":{}"#, "");
    assert_eq!(code(read_with(&bare, "2026-07-28", Some("tools/call"), Some("x"))), -32602);
    let removed = MODERN.replace("tools/call", "ping");
    let refusal = read_with(&removed, "2026-07-28", Some("ping"), None).unwrap_err();
    assert_eq!((refusal.status().as_u16(), refusal.code()), (404, -32601));
}

#[test]
fn a_lying_header_is_refused_in_every_era() {
    assert!(read_with(CALL, "2025-11-25", Some("tools/call"), Some("get_forecast")).is_ok());
    assert_eq!(read_with(CALL, "2025-11-25", Some("ping"), None).unwrap_err().code(), -32020);
    assert_eq!(read_with(CALL, "2025-11-25", None, Some("delete_station")).unwrap_err().code(), -32020);
}

#[test]
fn completion_is_decided_by_what_it_speaks_of() {
    let complete = |reference: &str| {
        read(&format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{{"ref":{reference},"argument":{{"name":"n","value":"v"}}}}}}"#
        ))
    };
    let prompt = complete(r#"{"type":"ref/prompt","name":"plan"}"#).unwrap();
    assert_eq!(prompt.action(), Action::CompletePrompt { name: "plan" });
    let resource = complete(r#"{"type":"ref/resource","uri":"a://{b}"}"#).unwrap();
    assert_eq!(resource.action(), Action::UseTemplate { template: "a://{b}" });
    for bad in [
        r#"{"type":"ref/tool","name":"x"}"#,
        r#"{"name":"x"}"#,
        r#""x""#,
        r#"{"type":"ref/prompt","Name":"x"}"#,
        r#"{"type":"ref/prompt","name":"x","uri":"a://b"}"#,
        r#"{"type":"ref/resource","name":"x","uri":"a://b"}"#,
    ] {
        assert!(complete(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_legacy_client_answers_and_a_modern_one_does_not() {
    let answer = r#"{"jsonrpc":"2.0","id":"s1","result":{"action":"accept"}}"#;
    let message = read(answer).unwrap();
    assert_eq!(message.kind(), Kind::Response);
    assert_eq!(message.encode(), answer);
    assert!(read_with(answer, "2026-07-28", None, None).is_err());
}

#[test]
fn a_clients_answer_names_no_task_that_it_was_not_given() {
    let answer = |meta: &str| format!(r#"{{"jsonrpc":"2.0","id":"s1","result":{{"action":"accept"{meta}}}}}"#);
    let related = r#""io.modelcontextprotocol/related-task":{"taskId":"raw"}"#;
    let told = |meta: &str| read(&answer(meta)).unwrap().encode();
    assert_eq!(told(&format!(r#","_meta":{{"x":1,{related}}}"#)), answer(r#","_meta":{"x":1}"#));
    assert_eq!(told(&format!(r#","_meta":{{{}}}"#, related.replace("task\"", "Task\""))), answer(r#","_meta":{}"#));
    for name in ["_Meta", "meta", "META", "me\u{200b}ta"] {
        assert_eq!(told(&format!(r#","{name}":{{{related}}}"#)), answer(""), "{name}");
    }
    assert_eq!(told(r#","_meta":{"x":1.0}"#), answer(r#","_meta":{"x":1.0}"#), "the control");
    // In the modern era answers come with the next round.
    let round = |meta: &str| {
        let answers = format!(r#""inputResponses":{{"a":{{"action":"accept"{meta}}}}},"_meta""#);
        MODERN.replace("\"_meta\"", &answers)
    };
    let told = |meta: &str| read_with(&round(meta), "2026-07-28", Some("tools/call"), Some("x")).unwrap().encode();
    assert_eq!(told(&format!(r#","_meta":{{{related}}}"#)), round(r#","_meta":{}"#));
    assert_eq!(told(&format!(r#","meta":{{{related}}}"#)), round(""));
    assert_eq!(told(r#","content":{"n":1.0}"#), round(r#","content":{"n":1.0}"#), "the control");
}
