//! Everything about a file's shape that is not as it should be, where the strict reader of [`super::document`] stops at the
//! first: keys that are none, and values of another kind, held against the schema. It only tells; what is read at all is the
//! strict reader's to say. Texts of the file are not quoted but for its keys, for it may hold secrets.

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_saphyr::Spanned;

use super::{Fault, document, json_schema};

/// The faults of a text's shape, in the order of the file; none when it is no YAML that can be walked.
pub(super) fn faults(text: &str) -> Vec<Fault> {
    let Ok(tree) = document::read_as::<Spanned<Tree>>(text) else { return Vec::new() };
    let schema = json_schema();
    let mut walk = Walk { definitions: schema.get("definitions").unwrap_or(&Value::Null), faults: Vec::new() };
    walk.value(&tree, &schema, "");
    walk.faults
}

/// A value with the places of everything in it.
enum Tree {
    Mapping(Vec<(Spanned<String>, Spanned<Tree>)>),
    List(Vec<Spanned<Tree>>),
    Text,
    Boolean,
    Natural,
    Number,
    Nothing,
}

impl Tree {
    /// The names of its kind in a schema, the narrowest first; none for what may stand for anything.
    fn kinds(&self) -> &'static [&'static str] {
        match self {
            Self::Mapping(_) => &["object"],
            Self::List(_) => &["array"],
            Self::Text => &["string"],
            Self::Boolean => &["boolean"],
            Self::Natural => &["integer", "number"],
            Self::Number => &["number"],
            Self::Nothing => &[],
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Tree;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut all = Vec::new();
        while let Some(member) = map.next_entry()? {
            all.push(member);
        }
        Ok(Tree::Mapping(all))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element()? {
            all.push(item);
        }
        Ok(Tree::List(all))
    }

    fn visit_str<E: Error>(self, _text: &str) -> Result<Tree, E> {
        Ok(Tree::Text)
    }

    fn visit_bool<E: Error>(self, _truth: bool) -> Result<Tree, E> {
        Ok(Tree::Boolean)
    }

    fn visit_u64<E: Error>(self, _number: u64) -> Result<Tree, E> {
        Ok(Tree::Natural)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Tree, E> {
        Ok(if number < 0 { Tree::Number } else { Tree::Natural })
    }

    fn visit_f64<E: Error>(self, _number: f64) -> Result<Tree, E> {
        Ok(Tree::Number)
    }

    fn visit_unit<E: Error>(self) -> Result<Tree, E> {
        Ok(Tree::Nothing)
    }
}

struct Walk<'s> {
    definitions: &'s Value,
    faults: Vec<Fault>,
}

impl<'s> Walk<'s> {
    fn value(&mut self, at: &Spanned<Tree>, schema: &'s Value, path: &str) {
        let schema = self.meant(schema);
        let takes = kinds(schema);
        let is = at.value.kinds();
        if !takes.is_empty() && !is.is_empty() && !is.iter().any(|kind| takes.contains(kind)) {
            let wanted = takes.iter().map(|kind| word(kind)).collect::<Vec<_>>().join(" or ");
            let found = is.first().map_or("nothing", |kind| word(kind));
            self.faults.push(Fault::at(at.referenced, format!("`{path}` is {found}; write {wanted}")));
            return;
        }
        match &at.value {
            Tree::Mapping(members) => {
                for (key, value) in members {
                    self.member(key, value, schema, path);
                }
            }
            Tree::List(items) => {
                if let Some(each) = schema.get("items") {
                    for (number, item) in items.iter().enumerate() {
                        self.value(item, each, &format!("{path}[{number}]"));
                    }
                }
            }
            _ => {}
        }
    }

    fn member(&mut self, key: &Spanned<String>, value: &Spanned<Tree>, schema: &'s Value, path: &str) {
        let (name, known) = (key.value.as_str(), schema.get("properties").and_then(Value::as_object));
        let full = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        match (known.and_then(|known| known.get(name)), schema.get("additionalProperties")) {
            (Some(of), _) => self.value(value, of, &full),
            (None, Some(Value::Bool(false))) => {
                let names = known.into_iter().flat_map(|known| known.keys()).map(String::as_str);
                let remedy = portcullis_policy::suggestion(name, names)
                    .unwrap_or_else(|| "see gateway.yaml for the keys that there are".to_owned());
                self.faults.push(Fault::at(key.referenced, format!("`{full}` is no key; {remedy}")));
            }
            (None, Some(each)) => self.value(value, each, &full),
            (None, None) => {}
        }
    }

    /// The schema that a reference leads to.
    fn meant(&self, schema: &'s Value) -> &'s Value {
        let inner = schema.get("allOf").and_then(|all| all.get(0)).unwrap_or(schema);
        let name = inner.get("$ref").and_then(Value::as_str).and_then(|name| name.strip_prefix("#/definitions/"));
        name.and_then(|name| self.definitions.get(name)).unwrap_or(inner)
    }
}

/// The kinds of values that a schema takes; none where it does not say.
fn kinds(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn word(kind: &str) -> &'static str {
    match kind {
        "object" => "a mapping",
        "array" => "a list",
        "string" => "a text",
        "boolean" => "`true` or `false`",
        "integer" => "a whole number",
        _ => "a number",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_of_the_shape_is_told_with_its_place() {
        let text = "
server: { public_url: 'https://a.example', thread: 2, auth_endpoints: 'yes' }
oauth:
  device_authorisation: true
  redirect_hosts: any
state: { path: s, redis: { uri: 'redis://:hunter2@r' } }
limits: { connections: many, token: { per_adress: 3 } }
backends:
  weather: { url: 'http://127.0.0.1:9/mcp', timeuot: 3s, urls: [] }
policy: { roles: {}, tools: {}, whatever: the policy says so itself }
surprise: 1
";
        let said: Vec<String> =
            faults(text).iter().map(|fault| format!("{}: {}", fault.line.unwrap(), fault.message)).collect();
        assert_eq!(
            said,
            [
                "2: `server.thread` is no key; did you mean `threads`?",
                "2: `server.auth_endpoints` is a text; write `true` or `false`",
                "4: `oauth.device_authorisation` is no key; did you mean `device_authorization`?",
                "5: `oauth.redirect_hosts` is a text; write a list",
                "6: `state.redis.uri` is no key; did you mean `url`?",
                "7: `limits.connections` is a text; write a whole number",
                "7: `limits.token.per_adress` is no key; did you mean `per_address`?",
                "9: `backends.weather.timeuot` is no key; did you mean `timeout`?",
                "11: `surprise` is no key; see gateway.yaml for the keys that there are",
            ]
        );
        assert!(!said.concat().contains("hunter2"));
    }

    #[test]
    fn what_is_right_and_what_cannot_be_walked_has_none() {
        let written = concat!(env!("CARGO_MANIFEST_DIR"), "/../gateway.yaml");
        assert_eq!(faults(&std::fs::read_to_string(written).unwrap()), []);
        assert_eq!(faults("backends: ["), []);
        assert_eq!(faults(""), []);
    }
}
