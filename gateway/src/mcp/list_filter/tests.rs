use proptest::prelude::*;

use super::*;

fn id() -> RequestId {
    RequestId::from_json("7").unwrap()
}

fn tools(body: &str, era: Era, shown: &[&str]) -> Result<String, Unreadable> {
    let body = Bytes::copy_from_slice(body.as_bytes());
    filter(&body, ListKind::Tools, &id(), era, &mut |name| shown.contains(&name))
        .map(|filtered| String::from_utf8(filtered.body.to_vec()).unwrap())
}

#[test]
fn hidden_items_go_and_everything_else_stays_as_it_was() {
    let body = r#"{ "jsonrpc":"2.0", "id":7, "x":1, "result": {"nextCursor":"c", "tools": [ {"name":"a"} , {"title":"B","name":"b","x":[1, 2]},{"name":"c"} ] ,"_meta":{"k":1.0}}}"#;
    let kept = tools(body, Era::Legacy, &["b"]).unwrap();
    assert_eq!(
        kept,
        r#"{ "jsonrpc":"2.0", "id":7, "x":1, "result": {"nextCursor":"c", "tools": [ {"title":"B","name":"b","x":[1, 2]} ] ,"_meta":{"k":1.0}}}"#
    );
    assert_eq!(tools(body, Era::Legacy, &["a", "b", "c"]).unwrap(), body);
    assert!(tools(body, Era::Legacy, &[]).unwrap().contains(r#""tools": [  ]"#));
}

#[test]
fn from_2026_on_a_list_is_private_whatever_the_backend_said() {
    for (body, want) in [
        (
            r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[{"name":"a"},{"name":"b"}],"cacheScope":"public","ttlMs":5}}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[{"name":"a"}],"cacheScope":"private","ttlMs":5}}"#,
        ),
        (
            r#"{"jsonrpc":"2.0","id":7,"result":{"cacheScope": 3,"tools":[{"name":"a"}]}}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":{"cacheScope": "private","tools":[{"name":"a"}]}}"#,
        ),
        (
            r#"{"jsonrpc":"2.0","id":7,"result":{"ttlMs":99999999,"tools":[{"name":"b"}],"cacheScope":"public"}}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":{"ttlMs":300000,"tools":[],"cacheScope":"private"}}"#,
        ),
        (
            r#"{"result":{"ttlMs": -1 ,"tools":[]},"jsonrpc":"2.0","id":7}"#,
            r#"{"result":{"cacheScope":"private","ttlMs": 0 ,"tools":[]},"jsonrpc":"2.0","id":7}"#,
        ),
        (
            r#"{"jsonrpc":"2.0","id":7,"result":{ "tools":[]}}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":{ "cacheScope":"private","tools":[]}}"#,
        ),
    ] {
        assert_eq!(tools(body, Era::Modern, &["a"]).unwrap(), want);
    }
    let kept = r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[],"cacheScope":"public","ttlMs":99999999}}"#;
    assert_eq!(tools(kept, Era::Legacy, &["a"]).unwrap(), kept);
}

#[test]
fn a_name_is_read_as_the_client_will_read_it() {
    let body = r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[{"n\u0061me":"\u0061"},{"name":"b"}]}}"#;
    assert!(tools(body, Era::Legacy, &["a"]).unwrap().contains(r"\u0061"));
    assert!(!tools(body, Era::Legacy, &["b"]).unwrap().contains(r"\u0061"));
}

#[test]
fn lists_that_could_be_read_in_two_ways_are_unreadable() {
    let control = r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[{"name":"a"}]}}"#;
    assert!(tools(control, Era::Legacy, &["a"]).is_ok());
    for bad in [
        r#"{"jsonrpc":"2.0","id":8,"result":{"tools":[]}}"#,
        r#"{"jsonrpc":"2.0","id":"7","result":{"tools":[]}}"#,
        r#"{"jsonrpc":"2.0","id":null,"result":{"tools":[]}}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[]},"result":{"tools":[{"name":"b"}]}}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[]},"Result":{"tools":[{"name":"b"}]}}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[],"tools":[{"name":"b"}]}}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[],"Tools":[{"name":"b"}]}}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[],"t\u006fols":[{"name":"b"}]}}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[{"name":"a","name":"b"}]}}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[{"name":"a","Name":"b"}]}}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[{"title":"b"}]}}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[{"name":7}]}}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{"tools":["a"]}}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{"tools":{"0":{"name":"b"}}}}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":[{"name":"b"}]}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":7}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[]},"error":{}}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[]}}{"tools":[{"name":"b"}]}"#,
        r#"[{"jsonrpc":"2.0","id":7,"result":{"tools":[]}}]"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[],"prompts":[{"name":"b"}]}}"#,
        r#"{"jsonrpc":"2.0","id":7,"i\u0064":8,"result":{"tools":[]}}"#,
        r#"{"jsonrpc":"2.0","id":7,"ID":8,"result":{"tools":[]}}"#,
        r#"{"jsonrpc":"2.0","id":7.0,"result":{"tools":[]}}"#,
        r#"{"jsonrpc":"2.0","id":7,"method":"x","result":{"tools":[]}}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[{"n\u0061me":"b","name":"a"}]}}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[{"name":"a","name\u200b":"b"}]}}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[{"name":"a\ud800"}]}}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[{"name":null}]}}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[["name","a"]]}}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{"tools":null}}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[{"name":"a"},]}}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{"structuredContent":{"tools":[{"name":"b"}]}}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"tools":[{"name":"b"}]}}"#,
        r#"{"jsonrpc":"2.0","id":7,"error":{"code":1,"message":"x"},"error":{"data":[{"name":"b"}]}}"#,
        "\u{feff}{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"tools\":[]}}",
        "",
    ] {
        assert_eq!(tools(bad, Era::Legacy, &["a"]), Err(Unreadable), "{bad}");
    }
}

#[test]
fn from_2026_on_a_list_asks_nothing_back() {
    let with = |member: &str| format!(r#"{{"jsonrpc":"2.0","id":7,"result":{{{member}"tools":[{{"name":"a"}}]}}}}"#);
    let url = r#"{"a":{"method":"elicitation/create","params":{"mode":"url","url":"https://x"}}}"#;
    for bad in [
        r#""resultType":"input_required","#.to_owned(),
        r#""resultType":"task","taskId":"1","#.to_owned(),
        r#""resultType":"novel","#.to_owned(),
        r#""resultType":null,"#.to_owned(),
        r#""resultType":["complete"],"#.to_owned(),
        r#""ResultType":"input_required","#.to_owned(),
        r#""requestState":"x","#.to_owned(),
        format!(r#""inputRequests":{url},"#),
        format!(r#""InputRequests":{url},"#),
        r#""resultType":"complete","inputRequests":{},"#.to_owned(),
    ] {
        assert_eq!(tools(&with(&bad), Era::Modern, &["a"]), Err(Unreadable), "{bad}");
        let discovered = Bytes::from(with(&bad));
        let discovered = filter(&discovered, ListKind::Nothing, &id(), Era::Modern, &mut |_| true);
        assert_eq!(discovered.map(|filtered| filtered.body), Err(Unreadable), "{bad}");
        assert!(tools(&with(&bad), Era::Legacy, &["a"]).is_ok(), "{bad}: it means nothing there");
    }
    for good in ["", r#""resultType":"complete","#, r#""resultType":"comp\u006cete","#, r#""resultKind":"x","#] {
        assert!(tools(&with(good), Era::Modern, &["a"]).is_ok(), "{good}");
    }
}

#[test]
fn an_error_answer_passes_as_it_is() {
    let body = r#"{"jsonrpc":"2.0","id":7,"error":{"code":-1,"message":"x"}}"#;
    assert_eq!(tools(body, Era::Modern, &[]).unwrap(), body);
    let unread = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-1,"message":"x"}}"#;
    assert_eq!(tools(unread, Era::Modern, &[]).unwrap(), body);
}

#[test]
fn an_id_is_the_same_however_it_is_escaped() {
    let body = Bytes::from_static(r#"{"id":"\u00e4\/","result":{"tools":[]}}"#.as_bytes());
    let asked = |json| RequestId::from_json(json).unwrap();
    let filtered = |id| filter(&body, ListKind::Tools, &id, Era::Legacy, &mut |_| true).map(|filtered| filtered.body);
    assert_eq!(filtered(asked("\"ä/\"")), Ok(body.clone()));
    assert_eq!(filtered(asked("\"ä\"")), Err(Unreadable));
}

proptest! {
    #[test]
    fn exactly_the_kept_items_stay_and_all_else_is_untouched(
        names in proptest::collection::vec("[a-c\"ä]{1,2}", 0..12),
        keep in "[a-c\"ä]{1,2}",
        cursor in proptest::option::of(".{0,4}"),
        modern in any::<bool>(),
        scope in proptest::option::of("public|private"),
    ) {
        let items: Vec<_> = names.iter().enumerate().map(|(i, name)| serde_json::json!({ "i": i, "name": name, "x": [1.50] })).collect();
        let mut answer = serde_json::json!({ "jsonrpc": "2.0", "id": 7, "result": { "tools": items, "nextCursor": cursor, "ttlMs": 5 } });
        if let Some(scope) = scope {
            answer["result"]["cacheScope"] = scope.into();
        }
        let era = if modern { Era::Modern } else { Era::Legacy };
        let kept = |name: &str| name == keep || name.starts_with('a');
        let body = Bytes::from(answer.to_string());
        let filtered = filter(&body, ListKind::Tools, &id(), era, &mut |name| kept(name)).unwrap();
        answer["result"]["tools"].as_array_mut().unwrap().retain(|item| kept(item["name"].as_str().unwrap()));
        if modern {
            answer["result"]["cacheScope"] = "private".into();
        }
        prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(&filtered.body).unwrap(), answer);
        prop_assert_eq!(filtered.shown + filtered.hidden, names.len());
        prop_assert_eq!(filtered.shown, names.iter().filter(|name| kept(name)).count());
        let again = filter(&filtered.body, ListKind::Tools, &id(), era, &mut |name| kept(name)).unwrap();
        prop_assert_eq!(again.body, filtered.body);
    }
}
