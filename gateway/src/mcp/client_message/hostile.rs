//! Messages that are built to be read in two ways: by readers that keep the first of two members or the last, that
//! fold case, that see no invisible characters. Whatever passes is, to each of them, what was decided.

use portcullis_policy::{Act, Action};
use proptest::prelude::*;

use super::*;

fn read(body: &[u8]) -> Result<ClientMessage, Refusal> {
    let backend = BackendName::try_from("weather").unwrap();
    read_message(&Bytes::copy_from_slice(body), &RequestMetadata::default(), &backend)
}

fn call(params: &str) -> Result<ClientMessage, Refusal> {
    read(format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#).as_bytes())
}

fn with_id(id: &str) -> Result<ClientMessage, Refusal> {
    read(format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#).as_bytes())
}

#[track_caller]
fn refused(result: Result<ClientMessage, Refusal>, what: &str) {
    let refusal = result.expect_err(what);
    assert_eq!(refusal.status().as_u16(), 400, "{what}");
    assert!([-32700, -32600, -32602].contains(&refusal.code()), "{what}");
}

#[test]
fn every_spelling_of_a_known_member_is_refused_where_it_would_be_read() {
    assert!(call(r#"{"name":"a","title":"x"}"#).is_ok());
    assert!(call(r#"{"name":"a","arguments":{"Name":"b","method":"c","PARAMS":1,"n\u0061me":"d","_META":2}}"#).is_ok());
    let variants = |name: &str| {
        let (head, tail) = name.split_at(2);
        let title = format!("{}{tail}", head.to_ascii_uppercase());
        let mut all =
            vec![name.to_ascii_uppercase(), title, format!(" {name}"), format!("{name} "), format!("{name}\\t")];
        all.extend(
            ["\\u0000", "\u{200b}", "\\u200b", "\u{feff}", "\u{ad}", "\u{2060}", "\u{fe0f}", "\u{e0041}"]
                .map(|i| format!("{head}{i}{tail}")),
        );
        all.extend([name.replace('s', "\u{17f}"), name.replace('k', "\u{212a}"), name.replace('i', "\u{131}")]);
        all.push(
            name.chars()
                .map(|c| if c.is_ascii_lowercase() { char::from_u32(u32::from(c) + 0xfee0).unwrap() } else { c })
                .collect(),
        );
        all.retain(|variant| variant != name && !variant.eq("_META"));
        all
    };
    for name in ["name", "arguments", "uri", "cursor", "_meta", "ref", "task", "requestState", "inputResponses"] {
        for variant in variants(name) {
            refused(call(&format!(r#"{{"name":"a","{variant}":"b"}}"#)), &variant);
        }
    }
    for respelled in ["meta", "_META", "request_state", "input_responses", "protocol_version", "Request-State"] {
        refused(call(&format!(r#"{{"name":"a","{respelled}":{{}}}}"#)), respelled);
    }
    for name in ["jsonrpc", "id", "method", "params", "result", "error"] {
        for variant in variants(if name == "id" { "id" } else { name }) {
            let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","{variant}":"tools/call"}}"#);
            refused(read(body.as_bytes()), &variant);
        }
    }
}

#[test]
fn nothing_is_there_twice_at_any_level() {
    for params in [
        r#"{"name":"a","name":"a"}"#,
        r#"{"name":"a","n\u0061me":"b"}"#,
        r#"{"name":"a","arguments":{},"arguments":{}}"#,
        r#"{"name":"a","arguments":{"x":[{"y":{"z":1,"z":2}}]}}"#,
        r#"{"name":"a","arguments":{"x":1,"\u0078":2}}"#,
        r#"{"name":"a","_meta":{"a":1,"a":2}}"#,
        r#"{"name":"a","x":1,"x":1}"#,
    ] {
        refused(call(params), params);
    }
    for body in [
        r#"{"jsonrpc":"2.0","jsonrpc":"2.0","id":1,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"id":1,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"\u0069d":2,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{},"params":{}}"#,
    ] {
        refused(read(body.as_bytes()), body);
    }
}

#[test]
fn the_text_is_utf8_json_and_ends_with_the_message() {
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    assert!(read(ping.as_bytes()).is_ok());
    assert!(read(format!(" \r\n\t{ping}\n").as_bytes()).is_ok());
    let utf16: Vec<u8> = ping.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let utf32: Vec<u8> = ping.chars().flat_map(|c| u32::from(c).to_be_bytes()).collect();
    let tailed = |tail: &str| format!("{ping}{tail}").into_bytes();
    let text = |bytes: &[u8]| [br#"{"jsonrpc":"2.0","id":""#, bytes, br#"","method":"ping"}"#].concat();
    for body in [
        utf16,
        utf32,
        tailed("\0"),
        tailed("{}"),
        tailed("\n{}"),
        tailed(","),
        tailed("//x"),
        tailed("\u{feff}"),
        tailed("\u{a0}"),
        format!("\u{feff}{ping}").into_bytes(),
        format!("\u{b}{ping}").into_bytes(),
        format!("/**/{ping}").into_bytes(),
        format!(")]}}',\n{ping}").into_bytes(),
        text(b"\xff"),
        text(b"\xc0\xaf"),
        text(b"\xed\xa0\x80"),
        text(b"\xf4\x90\x80\x80"),
        text(b"\xe2\x82"),
        text(br"\ud800"),
        text(br"\udc00\ud800"),
        text(br"\x41"),
        text(b"\n"),
        text(b"\0"),
        ping.replace('"', "'").into_bytes(),
        ping.replace("ping\"", "ping\",").into_bytes(),
        ping.replace(":1,", ":NaN,").into_bytes(),
        ping.replace(":1,", ":01,").into_bytes(),
        ping.replace(":1,", ":+1,").into_bytes(),
        ping.replace(":1,", ":0x1,").into_bytes(),
        b"+AHs-".to_vec(),
        Vec::new(),
        b" ".to_vec(),
        b"null".to_vec(),
        b"\"ping\"".to_vec(),
        b"1".to_vec(),
    ] {
        refused(read(&body), &String::from_utf8_lossy(&body));
    }
}

#[test]
fn batches_are_refused_however_they_begin() {
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    for body in [
        "[]".to_owned(),
        format!("[{ping}]"),
        format!("\n [{ping},{ping}]"),
        format!("[[{ping}]]"),
        "[".repeat(100_000),
    ] {
        assert_eq!(read(body.as_bytes()).unwrap_err().code(), -32600, "{}", body.get(..8).unwrap_or(&body));
    }
}

#[test]
fn an_id_is_a_string_or_an_integer_and_is_echoed_to_the_byte() {
    let long = format!("\"{}\"", "x".repeat(250));
    for id in ["1", "0", "-7", "\"1\"", "\"\"", "9007199254740993", "18446744073709551616", r#""\u0041\/""#, &long] {
        let message = with_id(id).expect(id);
        assert_eq!(message.encode(), format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#));
    }
    let digits = "9".repeat(400);
    let text = format!("\"{}\"", "x".repeat(100_000));
    for id in ["null", "true", "1.0", "1e3", "1E3", "-0", "{}", "[]", "[1]", r#"{"a":1}"#, &digits, &text] {
        refused(with_id(id), id);
    }
    let id = |json| with_id(json).unwrap().id().cloned().unwrap();
    assert_ne!(id("1"), id("\"1\""));
    assert_eq!(id(r#""\u0041""#), id("\"A\""));
    assert_ne!(id(r#""\u0041""#), id("\"a\""));
}

#[test]
fn numbers_reach_the_backend_as_they_were_written() {
    let params = r#"{"name":"a","arguments":{"n":[9007199254740993,18446744073709551616,0.1000,1E+2,-0,1e-999,123456789.123456789012345678]}}"#;
    assert!(std::str::from_utf8(&call(params).unwrap().encode()).unwrap().contains(params));
    refused(call(r#"{"name":"a","arguments":{"n":1e999}}"#), "no number");
}

#[test]
fn nesting_is_bounded_and_many_members_are_not_slow() {
    let nested =
        |depth: usize| format!(r#"{{"name":"a","arguments":{{"x":{}{}}}}}"#, "[".repeat(depth), "]".repeat(depth));
    assert!(call(&nested(50)).is_ok());
    for depth in [65, 5_000, 200_000] {
        refused(call(&nested(depth)), "deep");
    }
    let members: Vec<String> = (0..100_000).map(|i| format!("\"k{i}\":{i}")).collect();
    assert!(call(&format!(r#"{{"name":"a","arguments":{{{}}}}}"#, members.join(","))).is_ok());
    refused(call(&format!(r#"{{"name":"a","arguments":{{{},"k5":0}}}}"#, members.join(","))), "a late duplicate");
}

#[test]
fn a_method_is_its_exact_name_in_its_form() {
    let code = |body: String| read(body.as_bytes()).unwrap_err().code();
    for method in [
        "Tools/call",
        "tools/Call",
        " tools/call",
        "tools/call ",
        "tools/call/",
        "tools%2Fcall",
        "tools\\u0000/call",
        "tools/c\u{430}ll",
        "tools\u{2215}call",
        "",
        "notifications/tools/call",
        "rpc.discover",
        "tasks/list",
        "tasks/result",
        "subscriptions/listen",
        "skills/get",
        "ui/initialize",
        "resources/directory/read",
        "server/discover",
    ] {
        assert_eq!(
            code(format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{"name":"a"}}}}"#)),
            -32601,
            "{method}"
        );
    }
    for method in ["tools/call", "tools/list", "initialize", "resources/read", "ping"] {
        assert_eq!(
            code(format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{{"name":"a","uri":"a"}}}}"#)),
            -32601,
            "{method}"
        );
    }
}

#[test]
fn members_have_their_types() {
    for params in [
        "[]",
        "\"a\"",
        "1",
        "null",
        "{}",
        r#"{"name":null}"#,
        r#"{"name":["a"]}"#,
        r#"{"name":{"a":1}}"#,
        r#"{"name":true}"#,
        r#"{"name":"a","arguments":[]}"#,
        r#"{"name":"a","arguments":"{}"}"#,
        r#"{"name":"a","arguments":1}"#,
        r#"{"name":"a","_meta":[]}"#,
        r#"{"name":"a","_meta":{"io.modelcontextprotocol/protocolVersion":1}}"#,
        r#"{"name":"a","_meta":{"IO.modelcontextprotocol/protocolVersion":"2026-07-28"}}"#,
    ] {
        refused(call(params), params);
    }
    refused(read(br#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":1}}"#), "cursor");
    refused(read(br#"{"jsonrpc":2.0,"id":1,"method":"ping"}"#), "jsonrpc");
    refused(read(br#"{"jsonrpc":"2.0","id":1,"method":["ping"]}"#), "method");
}

#[test]
fn a_tool_name_is_decided_on_its_exact_code_points() {
    for name in
        ["a", " a", "a ", "A", "a\u{200b}", "\u{ff41}", "\u{430}", "e\u{301}", "\u{e9}", "../a", "a%00", "a\u{202e}"]
    {
        let message = call(&serde_json::json!({ "name": name }).to_string()).unwrap();
        assert_eq!(message.action(), Action::CallTool { name });
    }
    assert_eq!(call(r#"{"name":"a\u0000b"}"#).unwrap().action(), Action::CallTool { name: "a\0b" });
    refused(call(&format!(r#"{{"name":"{}"}}"#, "a".repeat(100_000))), "long");
}

/// What one lenient reader takes `name` to be.
fn lenient(object: &str, name: &str, fold: fn(&str) -> String, last: bool) -> Option<String> {
    let members = members(object)?;
    let mut found = members.iter().filter(|(key, _)| fold(key) == fold(name)).map(|(_, value)| value.get().to_owned());
    if last { found.next_back() } else { found.next() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_reader_sees_another_message_than_was_decided(
        outer in proptest::collection::vec((0usize..9, 0usize..6), 0..5),
        inner in proptest::collection::vec((0usize..9, 0usize..6), 0..4),
    ) {
        const OUTER: [&str; 9] = ["jsonrpc", "id", "method", "Method", r"m\u0065thod", "params", "Params", r"method\u0000", "x"];
        const INNER: [&str; 9] = ["name", "Name", r"n\u0061me", "uri", "arguments", "_meta", "na\u{200b}me", "NAME ", "title"];
        const VALUES: [&str; 6] = ["\"tools/call\"", "\"ping\"", "\"a\"", "{\"name\":\"b\"}", "1", "null"];
        let text = |parts: &[(usize, usize)], keys: [&str; 9]| {
            parts.iter().flat_map(|(key, value)| [",\"", keys[*key], "\":", VALUES[*value]]).collect::<String>()
        };
        let params = format!("{{\"name\":\"a\"{}}}", text(&inner, INNER));
        let body = format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{params}{}}}", text(&outer, OUTER));
        if let Ok(message) = read(body.as_bytes()) {
            let encoded = message.encode();
            let sent = std::str::from_utf8(&encoded).unwrap();
            let exact: fn(&str) -> String = str::to_owned;
            for (fold, last) in [(exact, false), (exact, true), (str::to_lowercase as fn(&str) -> String, false), (str::to_lowercase, true)] {
                prop_assert_eq!(lenient(sent, "method", fold, last), Some("\"tools/call\"".to_owned()));
                let params = lenient(sent, "params", fold, last).unwrap();
                prop_assert_eq!(lenient(&params, "name", fold, last), Some("\"a\"".to_owned()));
            }
        }
    }

    #[test]
    fn what_is_encoded_is_read_as_the_same_message(id in any::<i64>(), name in "\\PC{1,12}", argument in ".{0,12}", number in any::<f64>()) {
        prop_assume!(number.is_finite());
        let body = serde_json::json!({
            "params": { "arguments": { &argument: [number, { "x": null }] }, "name": name },
            "method": "tools/call", "id": id, "jsonrpc": "2.0",
        });
        let body = body.to_string();
        let message = read(body.as_bytes()).unwrap();
        prop_assert_eq!(message.action(), Action::CallTool { name: &name });
        let encoded = message.encode();
        let value = |json: &[u8]| serde_json::from_slice::<serde_json::Value>(json).unwrap();
        prop_assert_eq!(value(&encoded), value(body.as_bytes()));
        prop_assert_eq!(read(&encoded).unwrap().encode(), encoded);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(body in proptest::collection::vec(any::<u8>(), 0..64), text in r#"[\[\]{}":,\\a-e0-9 ]{0,40}"#) {
        let _ = read(&body);
        let _ = read(text.as_bytes());
        let _ = crate::mcp::answer::read(text.as_bytes());
        let _ = call(&text);
    }
}
