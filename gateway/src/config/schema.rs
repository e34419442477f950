//! The configuration file as a JSON Schema (draft 7), made by asking the types of [`super::document`] what they read.
//!
//! A deserializer that has no file but answers every question of `Deserialize` learns the keys, the types and which of
//! them must be there; what each says is its doc comment. The policy inside is the policy's own schema.

mod trace;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::document;
use trace::Traced;

/// Words for keys that read a text and take few.
const WORDS: [(&str, &str, &[&str]); 5] = [
    ("Backend", "access", &["token", "public"]),
    ("Drift", "mode", &["quarantine", "report", "pass"]),
    ("Audit", "format", &["native", "ocsf", "ecs"]),
    ("Audit", "durability", &["queue", "fsync"]),
    ("Audit", "on_failure", &["deny", "continue"]),
];

/// The JSON Schema of a configuration file.
#[must_use]
pub fn json_schema() -> Value {
    let traced = trace::document();
    let sources = [
        include_str!("document.rs"),
        include_str!("document/assertions.rs"),
        include_str!("document/audit.rs"),
        include_str!("document/care.rs"),
        include_str!("document/state.rs"),
        include_str!("document/traces.rs"),
    ];
    let about = comments(&sources.concat());
    let policy = portcullis_policy::Document::json_schema();
    let mut definitions = policy.get("definitions").and_then(Value::as_object).cloned().unwrap_or_default();
    for (name, fields) in &traced.structs {
        definitions.insert(name.clone(), definition(name, fields, &about));
    }
    let of_policy = json!({
        "description": "The policy itself, or the name of a file that holds it.",
        "anyOf": [{ "type": "string" }, { "$ref": policy.get("$ref") }],
    });
    let inside = definitions.get_mut("Document").and_then(|document| document.pointer_mut("/properties/policy"));
    if let Some(inside) = inside {
        *inside = of_policy;
    }
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "The configuration of Portcullis",
        "$ref": "#/definitions/Document",
        "definitions": definitions,
    })
}

fn definition(name: &str, fields: &[trace::Field], about: &BTreeMap<(String, String), String>) -> Value {
    let mut properties = Map::new();
    for field in fields {
        let words = WORDS.iter().find(|(of, key, _)| *of == name && *key == field.name);
        let mut property = match (words, &field.form) {
            // A variable of the environment may stand for any word.
            (Some((_, _, words)), _) => {
                json!({ "anyOf": [{ "enum": words }, { "type": "string", "pattern": r"\$\{" }] })
            }
            (None, form) => schema(form),
        };
        if let (Some(members), Some(text)) =
            (property.as_object_mut(), about.get(&(name.to_owned(), field.name.to_owned())))
        {
            members.insert("description".to_owned(), Value::from(text.as_str()));
        }
        properties.insert(field.name.to_owned(), property);
    }
    let needed: Vec<&str> = fields.iter().filter(|field| field.needed).map(|field| field.name).collect();
    let mut definition = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if let Some(members) = definition.as_object_mut().filter(|_| !needed.is_empty()) {
        members.insert("required".to_owned(), json!(needed));
    }
    definition
}

fn schema(form: &Traced) -> Value {
    match form {
        Traced::Anything => json!({}),
        Traced::Boolean => json!({ "type": "boolean" }),
        Traced::Natural => json!({ "type": "integer", "minimum": 0 }),
        Traced::Number => json!({ "type": "number" }),
        // A number or a truth value is taken for the text that it is.
        Traced::Text => json!({ "type": ["string", "number", "boolean"] }),
        Traced::List(items) => json!({ "type": "array", "items": schema(items) }),
        Traced::Mapping(values) => json!({ "type": "object", "additionalProperties": schema(values) }),
        // Beside a reference, draft 7 looks at nothing else.
        Traced::Struct(name) => json!({ "allOf": [{ "$ref": format!("#/definitions/{name}") }] }),
    }
}

/// The doc comments of fields, by type and name.
fn comments(source: &str) -> BTreeMap<(String, String), String> {
    let (mut all, mut of, mut text) = (BTreeMap::new(), String::new(), String::new());
    for line in source.lines().map(str::trim) {
        if let Some(comment) = line.strip_prefix("///") {
            let more = format!("{text} {}", comment.trim());
            more.trim().clone_into(&mut text);
            continue;
        }
        if line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix("pub struct ").and_then(|rest| rest.split([' ', '<']).next()) {
            name.clone_into(&mut of);
        } else if let Some((name, _)) = line.strip_prefix("pub ").and_then(|rest| rest.split_once(':')) {
            all.insert((of.clone(), name.to_owned()), text.replace('`', ""));
        }
        text.clear();
    }
    // Types of this module only; a type that is read and has no comments shows in a test.
    let _: fn(document::Document) = drop;
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_a_type_and_says_what_it_is() {
        let schema = json_schema();
        let traced = trace::document();
        assert!(traced.structs.len() > 10, "{:?}", traced.structs.keys());
        for (name, fields) in &traced.structs {
            for field in fields {
                let property = &schema["definitions"][name]["properties"][field.name];
                assert!(property["description"].as_str().is_some_and(|text| text.len() > 5), "{name}.{}", field.name);
                let typed = field.form != Traced::Anything || (name == "Document" && field.name == "policy");
                assert!(typed, "{name}.{} could be anything", field.name);
            }
        }
    }

    #[test]
    fn what_must_be_there_is_required() {
        let schema = json_schema();
        let required = |name: &str| schema["definitions"][name]["required"].clone();
        assert_eq!(required("Document"), json!(["backends", "policy"]));
        assert_eq!(required("Drift"), json!(["lock"]));
        assert_eq!(required("Server"), Value::Null);
    }

    #[test]
    fn every_word_belongs_to_a_key() {
        let traced = trace::document();
        for (name, key, _) in WORDS {
            let fields = traced.structs.get(name).unwrap();
            assert!(fields.iter().any(|field| field.name == key), "{name}.{key}");
        }
    }
}
