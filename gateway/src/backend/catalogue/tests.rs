use serde_json::{Value, json};

use super::pages::{MAX_TOOLS, Pages};
use super::*;

fn page(result: &Value) -> Result<Option<String>, Unreadable> {
    Pages::new(1 << 20).add(result, 10)
}

fn catalogue(tools: &[Value]) -> Catalogue {
    Catalogue::new(tools.iter().map(|tool| Tool::read(tool).unwrap()).collect()).unwrap()
}

fn forecast() -> Value {
    json!({ "name": "get_forecast", "description": "Tells the weather", "inputSchema": { "type": "object", "properties": { "b": {}, "a": {} } },
        "annotations": { "readOnlyHint": true }, "_meta": { "fastmcp": { "tags": ["b", "a"] } } })
}

#[test]
fn pages_are_put_together_in_any_number() {
    let mut pages = Pages::new(1 << 20);
    let first = json!({ "tools": [forecast()], "nextCursor": "", "ttlMs": 60_000 });
    assert_eq!(pages.add(&first, 10).unwrap().as_deref(), Some(""), "an empty cursor is a cursor");
    let last = json!({ "tools": [{ "name": "a" }], "ttlMs": 1 });
    assert_eq!(pages.add(&last, 10).unwrap(), None);
    let (catalogue, ttl) = pages.finish().unwrap();
    let names: Vec<_> = catalogue.tools().iter().map(Tool::name).collect();
    assert_eq!(names, ["a", "get_forecast"]);
    assert_eq!(ttl, Some(std::time::Duration::from_secs(5)), "no backend is read all the time");
    assert!(catalogue.get("get_forecast").is_some() && catalogue.get("get_").is_none());
}

#[test]
fn hostile_pages_are_no_catalogue() {
    let many: Vec<Value> = (0..100_000).map(|at| json!({ "name": format!("t{at}") })).collect();
    let table = [
        json!({}),
        json!({ "tools": {} }),
        json!({ "tools": ["a"] }),
        json!({ "tools": [{}] }),
        json!({ "tools": [{ "name": "" }] }),
        json!({ "tools": [{ "name": 1 }] }),
        json!({ "tools": [{ "name": "a".repeat(513) }] }),
        json!({ "tools": [{ "name": "a", "description": {} }] }),
        json!({ "tools": [{ "name": "a", "inputSchema": "object" }] }),
        json!({ "tools": [{ "name": "a", "inputSchema": [] }] }),
        json!({ "tools": [{ "name": "a", "annotations": true }] }),
        json!({ "tools": [], "nextCursor": 7 }),
        json!({ "tools": [], "nextCursor": "c".repeat(10_000) }),
        json!({ "tools": many }),
    ];
    for result in table {
        let text = result.to_string();
        let error = page(&result).unwrap_err();
        assert!(!error.to_string().is_empty(), "{}", text.get(..60).unwrap_or(&text));
    }
    assert_eq!(page(&json!({ "tools": [forecast()] })), Ok(None), "the control is read");
}

#[test]
fn a_name_that_is_there_twice_and_pages_without_end_are_no_catalogue() {
    let mut pages = Pages::new(1 << 20);
    pages.add(&json!({ "tools": [{ "name": "a" }], "nextCursor": "1" }), 10).unwrap();
    pages.add(&json!({ "tools": [{ "name": "a", "description": "another" }] }), 10).unwrap();
    assert_eq!(pages.finish().unwrap_err(), Unreadable::Twice("a".to_owned()));

    let mut pages = Pages::new(1 << 20);
    let circle = ["1", "2", "1"].map(|cursor| pages.add(&json!({ "tools": [], "nextCursor": cursor }), 10));
    assert_eq!(circle.last(), Some(&Err(Unreadable::Circle)));

    let mut pages = Pages::new(usize::MAX);
    let mut endless = (0..).map(|at: u32| pages.add(&json!({ "tools": [], "nextCursor": at.to_string() }), 10));
    assert!(matches!(endless.find(Result::is_err), Some(Err(Unreadable::TooMuch(_)))));

    let mut pages = Pages::new(100);
    assert_eq!(pages.add(&json!({ "tools": [], "nextCursor": "1" }), 60).unwrap().as_deref(), Some("1"));
    assert!(matches!(pages.add(&json!({ "tools": [] }), 60), Err(Unreadable::TooMuch(_))));
}

#[test]
fn as_many_tools_as_are_read_are_read() {
    let tools: Vec<Value> = (0..MAX_TOOLS).map(|at| json!({ "name": format!("t{at}") })).collect();
    let mut pages = Pages::new(1 << 30);
    pages.add(&json!({ "tools": tools }), 10).unwrap();
    assert_eq!(pages.finish().unwrap().0.tools().len(), MAX_TOOLS);
}

#[test]
fn a_fingerprint_hangs_on_what_is_said_and_not_on_how() {
    let original = Tool::read(&forecast()).unwrap();
    let reordered = r#"{"annotations":{"readOnlyHint":true},"_meta":{"other":1,"_fastmcp":{"tags":["a","b","a"]}},
        "inputSchema":{"properties":{"a":{},"b":{}},"type":"object"},"description":"Tells the weather","name":"get_forecast","icons":[]}"#;
    let reordered = Tool::parse(reordered).unwrap();
    assert_eq!(original.fingerprint(), reordered.fingerprint());
    assert!(original.differs(&reordered).is_empty());
    assert_eq!(original.tags(), ["a", "b"]);
    let changes = [
        ("/description", json!("Tells the weather."), Field::Description),
        ("/inputSchema/properties/a", json!({ "type": "string" }), Field::InputSchema),
        ("/annotations/readOnlyHint", json!(false), Field::Annotations),
        ("/_meta/fastmcp/tags/0", json!("c"), Field::Tags),
        ("/_meta/fastmcp/tags/0", json!(7), Field::Tags),
    ];
    for (place, value, field) in changes {
        let mut changed = forecast();
        *changed.pointer_mut(place).unwrap() = value;
        let changed = Tool::read(&changed).unwrap();
        assert_ne!(changed.fingerprint(), original.fingerprint(), "{place}");
        assert_eq!(original.differs(&changed), [field], "{place}");
    }
}

#[test]
fn a_tag_in_either_place_is_a_tag_of_the_definition() {
    let with = |meta: Value| Tool::read(&json!({ "name": "a", "_meta": meta })).unwrap();
    let approved = with(json!({ "fastmcp": { "tags": ["pii"] } }));
    for (meta, tags) in [
        (json!({ "fastmcp": { "tags": ["pii"] }, "_fastmcp": { "tags": ["read"] } }), &["pii", "read"][..]),
        (json!({ "fastmcp": { "tags": [] }, "_fastmcp": { "tags": ["read"] } }), &["read"]),
        (json!({ "fastmcp": { "tags": ["pii"] }, "_fastmcp": { "tags": "read" } }), &[]),
        (json!({ "fastmcp": { "tags": null }, "_fastmcp": { "tags": ["pii"] } }), &[]),
        (json!({ "fastmcp": { "tags": ["pii", 1] } }), &[]),
    ] {
        let other = with(meta.clone());
        assert_eq!((other.tags(), approved.differs(&other)), (tags.to_vec(), vec![Field::Tags]), "{meta}");
    }
    let twice = with(json!({ "fastmcp": { "tags": ["pii"] }, "_fastmcp": { "tags": ["pii"] } }));
    assert!(approved.differs(&twice).is_empty(), "the control");
}

#[test]
fn a_catalogue_has_another_hash_when_a_tool_is_another() {
    let hash = |tools: &[Value]| catalogue(tools).hash().to_string();
    let mut described = forecast();
    described["title"] = json!("Forecast");
    let (one, other) = (forecast(), json!({ "name": "a" }));
    assert_eq!(hash(&[one.clone(), other.clone()]), hash(&[other.clone(), one.clone()]));
    assert_ne!(hash(&[one.clone(), other.clone()]), hash(&[described, other.clone()]));
    assert_ne!(hash(&[one]), hash(&[other]));
}

#[test]
fn an_item_that_can_be_read_in_two_ways_is_no_tool() {
    for item in [
        r#"{"name":"a","name":"b"}"#.to_owned(),
        r#"{"name":"a","inputSchema":{"a":1,"a":2}}"#.to_owned(),
        format!(r#"{{"name":"a","inputSchema":{{"x":{}1{}}}}}"#, "[".repeat(100), "]".repeat(100)),
        r#"{"name":"a"}x"#.to_owned(),
    ] {
        assert!(Tool::parse(&item).is_none(), "{item}");
    }
    assert!(Tool::parse(r#"{"name":"a"}"#).is_some());
}
