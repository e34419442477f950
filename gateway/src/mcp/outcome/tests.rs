use std::collections::HashMap;
use std::sync::Mutex;

use super::super::terms::Seals;
use super::super::{Features, RequestMetadata, read_message_on};
use super::*;

/// Seals by remembering.
#[derive(Default)]
struct Notes(Mutex<HashMap<String, (String, String)>>);

impl Seals for Notes {
    fn seal(&self, place: Place<'_>, raw: &str) -> Option<String> {
        let mut notes = self.0.lock().unwrap();
        let handle = format!("sealed-{}", notes.len());
        notes.insert(handle.clone(), (format!("{place:?}"), raw.to_owned()));
        Some(handle)
    }

    fn open(&self, place: Place<'_>, sealed: &str) -> Option<String> {
        let notes = self.0.lock().unwrap();
        notes.get(sealed).filter(|(known, _)| *known == format!("{place:?}")).map(|(_, raw)| raw.clone())
    }
}

fn all() -> Features {
    Features::WORDS.iter().try_fold(Features::none(), |features, word| features.with(word)).unwrap()
}

fn terms(notes: &Notes, features: Features) -> Terms<'_> {
    Terms { features, seals: notes, resource: &|uri| uri == "file:///open", hides: &|name| name == "delete_y" }
}

fn settled(result: &str, method: Method, era: Era, target: &Target, terms: &Terms<'_>) -> Result<String, Unreadable> {
    let body = format!(r#"{{"jsonrpc":"2.0","id":7,"result":{result}}}"#);
    let question = Question { method, era, target: Some(target) };
    let answer = settle_answer(&body.into(), &question, terms)?;
    let text = String::from_utf8(answer.to_vec()).unwrap();
    Ok(text.strip_prefix(r#"{"jsonrpc":"2.0","id":7,"result":"#).unwrap().strip_suffix('}').unwrap().to_owned())
}

fn read(body: &str, headers: &RequestMetadata<'_>, terms: &Terms<'_>) -> Result<String, i64> {
    let backend = portcullis_policy::BackendName::try_from("weather").unwrap();
    let body = Bytes::copy_from_slice(body.as_bytes());
    let message = read_message_on(&body, headers, &backend, terms).map_err(|refusal| refusal.code())?;
    Ok(String::from_utf8(message.encode().to_vec()).unwrap())
}

fn modern(method: &str, name: &str, params: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{name}{params}"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#
    )
}

fn headers<'a>(method: &'a str, name: Option<&'a str>) -> RequestMetadata<'a> {
    RequestMetadata { protocol_version: Some("2026-07-28"), method: Some(method), name }
}

#[test]
fn a_state_comes_back_from_whom_and_for_what_it_was_given() {
    let (notes, tool) = (Notes::default(), Target::Tool("deploy".to_owned()));
    let terms = terms(&notes, Features::default());
    let result = r#"{"resultType":"input_required","requestState":"r\n1"}"#;
    let given = settled(result, Method::ToolsCall, Era::Modern, &tool, &terms).unwrap();
    assert_eq!(given, r#"{"resultType":"input_required","requestState":"sealed-0"}"#);

    let retry = |name: &str, state: &str| {
        let name_member = format!(r#""name":"{name}","#);
        let body = modern("tools/call", &name_member, &format!(r#""requestState":"{state}","#));
        read(&body, &headers("tools/call", Some(name)), &terms)
    };
    assert!(retry("deploy", "sealed-0").unwrap().contains(r#""requestState":"r\n1""#));
    assert_eq!(retry("delete", "sealed-0"), Err(-32602));
    assert_eq!(retry("deploy", "r\\n1"), Err(-32602));
    let prompt = modern("prompts/get", r#""name":"deploy","#, r#""requestState":"sealed-0","#);
    assert_eq!(read(&prompt, &headers("prompts/get", Some("deploy")), &terms), Err(-32602));
}

#[test]
fn a_round_asks_what_the_features_cover() {
    let (notes, tool) = (Notes::default(), Target::Tool("t".to_owned()));
    let ask = |request: &str, features| {
        let result = format!(r#"{{"resultType":"input_required","inputRequests":{{"a":{request}}}}}"#);
        settled(&result, Method::ToolsCall, Era::Modern, &tool, &terms(&notes, features)).is_ok()
    };
    let form = r#"{"method":"elicitation/create","params":{"message":"m","requestedSchema":{}}}"#;
    let url = r#"{"method":"elicitation/create","params":{"mode":"url","url":"https://x"}}"#;
    assert!(ask(form, Features::default()));
    assert!(!ask(url, Features::default()));
    assert!(ask(url, all()));
    assert!(!ask(form, Features::none()));
    for bad in [r#"{"method":"tools/call","params":{}}"#, r#"{"Method":"roots/list"}"#, "1", r#"{"method":"ping"}"#] {
        assert!(!ask(bad, all()), "{bad}");
    }
    let in_other_case = [
        format!(r#"{{"content":[],"InputRequests":{{"a":{url}}}}}"#),
        format!(r#"{{"ResultType":"input_required","inputrequests":{{"a":{url}}}}}"#),
        r#"{"content":[],"REQUESTSTATE":"raw"}"#.to_owned(),
        "{\"content\":[],\"input\u{200b}Requests\":{}}".to_owned(),
        "{\"content\":[],\"inputReque\u{17f}ts\":{}}".to_owned(),
        r#"{"resultType":"complete","TASK":{"TASKID":"raw"}}"#.to_owned(),
    ];
    for bad in in_other_case {
        for features in [Features::default(), all()] {
            let settled = settled(&bad, Method::ToolsCall, Era::Modern, &tool, &terms(&notes, features));
            let of_tasks = bad.contains("TASK") && !features.tasks;
            assert!(of_tasks || settled == Err(Unreadable), "{bad}");
        }
    }
    let tasks = r#"{"TASK":{"TASKID":"raw"}}"#;
    assert_eq!(settled(tasks, Method::ToolsCall, Era::Legacy, &tool, &terms(&notes, all())), Err(Unreadable));
}

#[test]
fn what_a_client_may_keep_is_its_callers_and_not_for_long() {
    let (notes, resource) = (Notes::default(), Target::Resource("file:///open".to_owned()));
    let terms = terms(&notes, all());
    let read = |result: &str, method, era| settled(result, method, era, &resource, &terms).unwrap();
    let public = r#"{"contents":[{"text":"\"cacheScope\":\"public\""}],"cacheScope":"public","ttlMs":99999999}"#;
    let (kept, wants) =
        (Method::ResourcesRead, public.replace(r#""public","ttlMs":99999999"#, r#""private","ttlMs":300000"#));
    assert_eq!(read(public, kept, Era::Modern), wants);
    assert_eq!(read(&wants, kept, Era::Modern), wants);
    assert_eq!(read(public, kept, Era::Legacy), public);
    assert_eq!(read(r#"{"contents":[]}"#, kept, Era::Modern), r#"{"cacheScope":"private","contents":[]}"#);
    let asks = r#"{"resultType":"input_required","inputRequests":{}}"#;
    assert_eq!(read(asks, kept, Era::Modern), asks.replacen('{', r#"{"cacheScope":"private","#, 1));
    for method in [Method::PromptsGet, Method::ToolsCall, Method::Complete] {
        let want = public.replace(r#""public","ttl"#, r#""private","ttl"#);
        assert_eq!(read(public, method, Era::Modern), want, "{method:?}");
        let plain = r#"{"resultType":"complete","content":[]}"#;
        assert_eq!(read(plain, method, Era::Modern), plain, "{method:?}");
    }
    for bad in [r#"{"contents":[],"CacheScope":"public"}"#, r#"{"contents":[],"ttlMS":99999999}"#] {
        assert_eq!(settled(bad, kept, Era::Modern, &resource, &terms), Err(Unreadable), "{bad}");
    }
}

#[test]
fn what_a_method_does_not_have_is_refused() {
    let (notes, tool) = (Notes::default(), Target::Tool("t".to_owned()));
    let refused = |result: &str, method, features| {
        settled(result, method, Era::Modern, &tool, &terms(&notes, features)) == Err(Unreadable)
    };
    assert!(!refused(r#"{"resultType":"complete","content":[]}"#, Method::ToolsCall, Features::default()));
    assert!(refused(r#"{"resultType":"input_required","requestState":"x"}"#, Method::Complete, all()));
    assert!(refused(r#"{"resultType":"task","taskId":"1"}"#, Method::ToolsCall, Features::default()));
    assert!(refused(r#"{"resultType":"novel"}"#, Method::ToolsCall, all()));
    assert!(refused(r#"{"resultType":"complete","resultType":"task","taskId":"1"}"#, Method::ToolsCall, all()));
    assert!(refused(r#"{"r\u0065questState":"x","ResultType":"task"}"#, Method::ToolsCall, all()));
}

#[test]
fn a_task_is_its_callers_and_is_decided_like_its_tool() {
    let (notes, tool) = (Notes::default(), Target::Tool("deploy".to_owned()));
    let terms = terms(&notes, all());
    let legacy =
        settled(r#"{"task":{"taskId":"t1","status":"working"}}"#, Method::ToolsCall, Era::Legacy, &tool, &terms);
    assert_eq!(legacy.unwrap(), r#"{"task":{"taskId":"sealed-0","status":"working"}}"#);
    let result = r#"{"resultType":"task","taskId":"t2","status":"working"}"#;
    let issued = settled(result, Method::ToolsCall, Era::Modern, &tool, &terms).unwrap();
    assert_eq!(issued, r#"{"resultType":"task","taskId":"sealed-1","status":"working"}"#);

    let get = |id: &str| {
        read(&modern("tasks/get", &format!(r#""taskId":"{id}","#), ""), &headers("tasks/get", Some(id)), &terms)
    };
    assert!(get("sealed-1").unwrap().contains(r#""taskId":"t2""#));
    assert_eq!(get("t2"), Err(-32602));
    let other = Notes::default();
    let elsewhere = Terms { seals: &other, ..terms };
    let body = modern("tasks/get", r#""taskId":"sealed-1","#, "");
    assert_eq!(read(&body, &headers("tasks/get", Some("sealed-1")), &elsewhere), Err(-32602));

    let task = Target::Task(Task::open(&notes, "sealed-1").unwrap());
    assert_eq!(task.as_str(), "deploy");
    let answered = settled(r#"{"resultType":"complete","taskId":"t2"}"#, Method::TasksGet, Era::Modern, &task, &terms);
    assert_eq!(answered.unwrap(), r#"{"resultType":"complete","taskId":"sealed-1"}"#);
    let foreign = settled(r#"{"resultType":"complete","taskId":"t1"}"#, Method::TasksGet, Era::Modern, &task, &terms);
    assert_eq!(foreign, Err(Unreadable));
}

#[test]
fn without_tasks_there_are_none() {
    let notes = Notes::default();
    let terms = terms(&notes, Features::default());
    for method in ["tasks/get", "tasks/cancel", "tasks/update"] {
        let body = modern(method, r#""taskId":"x","#, "");
        assert_eq!(read(&body, &headers(method, Some("x")), &terms), Err(-32601), "{method}");
    }
    let call =
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","task":{"ttl":1},"arguments":{}}}"#;
    let sent = read(call, &RequestMetadata::default(), &terms).unwrap();
    assert_eq!(sent, r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":{}}}"#);
}

#[test]
fn a_subscription_is_narrowed_to_what_is_open() {
    let notes = Notes::default();
    let listen = |notifications: &str| {
        let body = modern("subscriptions/listen", "", &format!(r#""notifications":{notifications},"#));
        read(&body, &headers("subscriptions/listen", None), &terms(&notes, Features::default()))
    };
    let asked = r#"{"toolsListChanged":true,"resourceSubscriptions":["file:///shut","file:///open"],"taskIds":["1"],"novel":1}"#;
    let sent = listen(asked).unwrap();
    let want = r#""notifications":{"toolsListChanged":true,"resourceSubscriptions":["file:///open"]}"#;
    assert!(sent.contains(want), "{sent}");
    for bad in ["[]", r#"{"resourceSubscriptions":"file:///open"}"#, r#"{"resourceSubscriptions":[1]}"#] {
        assert_eq!(listen(bad), Err(-32602), "{bad}");
    }
}

#[test]
fn a_client_declares_what_the_backend_may_ask() {
    let notes = Notes::default();
    let initialize = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{"form":{},"url":{}},"sampling":{}},"clientInfo":{"name":"c","version":"1"}}}"#;
    let sent = read(initialize, &RequestMetadata::default(), &terms(&notes, Features::default())).unwrap();
    assert!(sent.contains(r#""capabilities":{"elicitation":{"form":{}},"sampling":{}}"#), "{sent}");
    let sent = read(initialize, &RequestMetadata::default(), &terms(&notes, Features::none())).unwrap();
    assert!(sent.contains(r#""capabilities":{}"#), "{sent}");
    let level = r#"{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"level":"info"}}"#;
    assert_eq!(read(level, &RequestMetadata::default(), &terms(&notes, Features::none())), Err(-32601));
    assert!(read(level, &RequestMetadata::default(), &terms(&notes, Features::default())).is_ok());
}
