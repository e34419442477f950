use serde_json::json;

use super::edit::{get, is_respelled, set};
use super::schema::{has, without};
use super::*;

fn path(pointer: &str) -> Vec<String> {
    pointer.trim_start_matches('/').split('/').map(str::to_owned).collect()
}

#[test]
fn setting_an_argument_leaves_every_other_byte() {
    let arguments = r#"{"a":1.0,"big":123456789012345678901234567890,"f":{"x":1E+2,"owner":"me"},"s":"\u00e9"}"#;
    assert_eq!(
        set(arguments, &path("/f/owner"), "\"o-1\"").unwrap(),
        r#"{"a":1.0,"big":123456789012345678901234567890,"f":{"x":1E+2,"owner":"o-1"},"s":"\u00e9"}"#
    );
    assert_eq!(set("{}", &path("/f/owner"), "1").unwrap(), r#"{"f":{"owner":1}}"#);
    assert_eq!(set(r#"{"f":[1]}"#, &path("/f/owner"), "1"), None);
    assert_eq!(set(r#"{"f":null}"#, &path("/f/owner"), "1"), None);
    assert_eq!(get(arguments, &path("/f/x")), Some("1E+2"));
    assert_eq!(get(arguments, &path("/f/nothing")), None);
}

#[test]
fn an_argument_is_respelled_on_its_own_way_only() {
    let way = path("/filter/owner");
    for respelled in [
        r#"{"filter":{"owner":1,"Owner":2}}"#,
        r#"{"filter":{"OWNER":2}}"#,
        r#"{"filter":{},"Filter":{"owner":1}}"#,
        r#"{"fil_ter":1}"#,
        r#"{"filter":{"\u006fwner":1,"\u004fwner":2}}"#,
    ] {
        assert!(is_respelled(respelled, &way), "{respelled}");
    }
    for plain in [r#"{"filter":{"owner":1,"x":{"Owner":2}},"Owner":3}"#, r#"{"filter":[{"Owner":1}]}"#, "{}", "1"] {
        assert!(!is_respelled(plain, &way), "{plain}");
    }
}

#[test]
fn a_schema_has_only_what_it_plainly_says() {
    let schema = json!({
        "type": "object",
        "properties": { "tenant_id": { "type": "string" }, "filter": { "properties": { "owner": {} } }, "r": { "$ref": "#/$defs/r" } },
        "required": ["tenant_id", "filter"],
        "oneOf": [{ "properties": { "hidden": {} } }],
        "$defs": { "r": { "properties": { "x": {} } } },
    });
    assert!(has(&schema, &path("/tenant_id")) && has(&schema, &path("/filter/owner")));
    for missing in ["/hidden", "/r/x", "/filter/other", "/type"] {
        assert!(!has(&schema, &path(missing)), "{missing}");
    }
    let shown: Value = serde_json::from_str(&without(&schema.to_string(), &path("/tenant_id")).unwrap()).unwrap();
    assert_eq!(shown["properties"].get("tenant_id"), None);
    assert_eq!(shown["required"], json!(["filter"]));
    let shown: Value = serde_json::from_str(&without(&schema.to_string(), &path("/filter/owner")).unwrap()).unwrap();
    assert_eq!(shown["properties"]["filter"]["properties"], json!({}));
    assert_eq!(shown["required"], json!(["tenant_id", "filter"]));
}

#[test]
fn a_variable_is_what_stands_in_its_place() {
    let template = Template::parse("crm://{tenant}/customers/{id}").unwrap();
    assert_eq!(template.variable("crm://t-1/customers/7", "tenant").as_deref(), Some("t-1"));
    assert_eq!(template.variable("crm://t-1/customers/7", "id").as_deref(), Some("7"));
    for other in ["crm://t-1/x/customers/7", "crm://t-1/customers/", "crm:///customers/7", "crm://t-1/customers/7/8"] {
        assert_eq!(template.variable(other, "tenant"), None, "{other}");
    }
    for bad in ["crm://{tenant", "crm://{a}{b}", "crm://{+a}", "crm://{}"] {
        assert!(Template::parse(bad).is_err(), "{bad}");
    }
}
