//! The policy language as a JSON Schema (draft 7, which every editor's YAML plug-in reads), made of the reader's own
//! table of keys.
//!
//! It sees shapes: keys, types, words. Whether names are declared and tests pass is for `portcullis check`.

use serde_json::{Map, Value, json};

use crate::document::Document;
use crate::written::{Form, Key, POLICY, Shape};

const ISSUER: &str = "^https?://[!-\"$->@-~]+$";
const GUID: &str = "^[0-9A-Fa-f]{8}-([0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}$";
const TAG: &str = r"^(?!(openid|profile|email|offline_access)$)[\x21\x23-\x5b\x5d-\x7e]{1,128}$";
const BACKEND: &str = "^[a-z0-9_-]{1,64}$";
const ROLE: &str = r"^[^\s*]([^*]*[^\s*])?$";
const DURATION: &str = "^0*[1-9][0-9]*[smh]$";

impl Document {
    /// The JSON Schema of a policy file: `definitions`, and a reference to the one of them that is the file.
    #[must_use]
    pub fn json_schema() -> Value {
        let mut definitions = Map::new();
        let root = fields(&POLICY, &mut definitions);
        json!({
            "$schema": "http://json-schema.org/draft-07/schema#",
            "title": "A policy of Portcullis",
            "$ref": root.get("$ref"),
            "definitions": definitions,
        })
    }
}

/// A reference to the definition of a mapping.
fn fields(shape: &Shape, definitions: &mut Map<String, Value>) -> Value {
    let name = name(shape);
    let reference = json!({ "$ref": format!("#/definitions/{name}") });
    if !definitions.contains_key(&name) {
        definitions.insert(name.clone(), Value::Null);
        let definition = definition(shape, definitions);
        definitions.insert(name, definition);
    }
    reference
}

fn name(shape: &Shape) -> String {
    let words = shape.what.trim_start_matches("a ").trim_start_matches("an ");
    words.replace('`', "").replace(' ', "_")
}

fn definition(shape: &Shape, definitions: &mut Map<String, Value>) -> Value {
    let mut properties = Map::new();
    for Key { name, form: of, about, .. } in shape.keys {
        let mut property = form(of, definitions);
        // Beside a reference, draft 7 looks at nothing else.
        if property.get("$ref").is_some() {
            property = json!({ "allOf": [property] });
        }
        if let Some(members) = property.as_object_mut() {
            members.insert("description".to_owned(), Value::from(*about));
        }
        properties.insert((*name).to_owned(), property);
    }
    let needed: Vec<&str> = shape.keys.iter().filter(|key| key.needed).map(|key| key.name).collect();
    let mut definition = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    let require = |key: &&str| json!({ "required": [key] });
    let groups = shape.some_of.iter().map(|group| ("anyOf", group));
    let groups = groups.chain(shape.one_of.iter().map(|group| ("oneOf", group)));
    let groups: Vec<Value> =
        groups.map(|(word, group)| json!({ word: group.iter().map(require).collect::<Vec<_>>() })).collect();
    if let Some(members) = definition.as_object_mut() {
        if !needed.is_empty() {
            members.insert("required".to_owned(), json!(needed));
        }
        if !groups.is_empty() {
            members.insert("allOf".to_owned(), Value::from(groups));
        }
    }
    definition
}

fn form(of: &Form, definitions: &mut Map<String, Value>) -> Value {
    let pattern = |pattern: &str| json!({ "type": "string", "pattern": pattern });
    match of {
        Form::Version => json!({ "enum": [1] }),
        Form::Text => json!({ "type": "string" }),
        Form::Scalar => json!({ "type": ["string", "number", "boolean", "null"] }),
        Form::Boolean => json!({ "type": "boolean" }),
        Form::Count(least, u64::MAX) => json!({ "type": "integer", "minimum": least }),
        Form::Count(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Form::Duration => pattern(DURATION),
        Form::Words(words) => json!({ "enum": words }),
        Form::Role => pattern(ROLE),
        Form::Tag => pattern(TAG),
        Form::Backend => pattern(BACKEND),
        Form::Place => json!({ "type": "string", "anyOf": [{ "const": "*" }, { "pattern": BACKEND }] }),
        Form::Guid => pattern(GUID),
        Form::Directory => json!({ "type": "string", "anyOf": [{ "pattern": GUID }, { "pattern": ISSUER }] }),
        Form::Qualified => pattern("^[a-z0-9_-]{1,64}/"),
        Form::Condition => json!({ "type": "string", "minLength": 1, "maxLength": 2048 }),
        Form::Object => json!({ "type": "object" }),
        Form::List(items) => json!({ "type": "array", "items": form(items, definitions) }),
        Form::Map(keys, values) => {
            let names = form(keys, definitions);
            json!({ "type": "object", "propertyNames": names, "additionalProperties": form(values, definitions) })
        }
        Form::Fields(shape) => fields(shape, definitions),
        Form::Either(one, other) => json!({ "anyOf": [form(one, definitions), form(other, definitions)] }),
    }
}
