//! The policy as written: a tree of texts, lists and mappings that knows where each came from.
//!
//! Shape and meaning are checked afterwards, all at once (see `written`), which is why nothing is typed here.

use std::collections::HashSet;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Location, MergeKeyPolicy, Spanned};

use crate::error::{Fault, Faults, Severity};
use crate::names::BackendName;
use crate::written::Written;

/// A policy file, or the policy inside a bigger file.
#[derive(Clone, Debug)]
pub struct Document(pub(crate) Node);

impl Document {
    /// Reads the syntax of a policy file.
    ///
    /// # Errors
    ///
    /// Returns the first error of syntax: what is not YAML, aliases that blow up, merge keys, foreign tags.
    pub fn from_yaml(text: &str) -> Result<Self, Faults> {
        if text.len() > MAX_BYTES {
            let message =
                format!("the file is larger than {MAX_BYTES} bytes; a policy for thousands of tools is smaller");
            return Err(Faults::new(vec![fault(Location::UNKNOWN, message)]));
        }
        if text.starts_with('\u{feff}') {
            let message = "the file starts with a byte order mark; save it as UTF-8 without one";
            return Err(Faults::new(vec![fault(Location::UNKNOWN, message)]));
        }
        let read = |duplicates| serde_saphyr::from_str_with_options(text, options(duplicates));
        let failed = |error: &serde_saphyr::Error| Faults::new(vec![syntax_fault(error)]);
        read(DuplicateKeyPolicy::Error).map(Self).or_else(|first| match first.without_snippet() {
            // The parser stops at the first duplicate key. Reading once more with duplicates let through finds the
            // others, and every other fault with them.
            serde_saphyr::Error::DuplicateMappingKey { .. } => {
                let root: Node = read(DuplicateKeyPolicy::LastWins).map_err(|error| failed(&error))?;
                // INVARIANT: a file with a duplicate key never loads, even where the second reading lost it.
                if root.value.has_duplicates() { Ok(Self(root)) } else { Err(failed(&first)) }
            }
            _ => Err(failed(&first)),
        })
    }

    /// The backends that the policy speaks of.
    #[must_use]
    pub fn backends(&self) -> Vec<BackendName> {
        Written::read(self).0.backends()
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Node { location: Location::UNKNOWN, value: Value::deserialize(deserializer)? }))
    }
}

/// A policy for thousands of tools fits in a fraction of this.
const MAX_BYTES: usize = 2 << 20;
/// The language nests eight levels deep.
const MAX_DEPTH: usize = 32;
/// Bounds what aliases unfold to, too.
const MAX_NODES: usize = 200_000;

fn options(duplicate_keys: DuplicateKeyPolicy) -> serde_saphyr::Options {
    serde_saphyr::options! {
        duplicate_keys: duplicate_keys,
        merge_keys: MergeKeyPolicy::Error,
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: MAX_NODES * 3,
            max_documents: 1,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_NODES },
    }
}

fn syntax_fault(error: &serde_saphyr::Error) -> Fault {
    let text = error.without_snippet().to_string();
    let text = text.lines().next().unwrap_or("this is not YAML");
    let text = text.rsplit_once(" at line ").map_or(text, |(text, _)| text);
    let of_alias = ["anchor", "alias"].iter().any(|word| text.to_lowercase().contains(word));
    let remedy = if of_alias { "; a glob that starts with `*` needs quotes, as in `[\"*\"]`" } else { "" };
    fault(error.location().unwrap_or(Location::UNKNOWN), format!("{text}{remedy}"))
}

pub(crate) fn fault(location: Location, message: impl Into<String>) -> Fault {
    Fault { line: location.line(), column: location.column(), severity: Severity::Error, message: message.into() }
}

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) location: Location,
    pub(crate) value: Value,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Node>),
    Mapping(Vec<(Spanned<String>, Node)>),
}

impl Node {
    /// The same as JSON; a number that JSON has not stays a text.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => serde_json::Value::Bool(*value),
            Value::Number(text) => {
                serde_json::from_str(text).unwrap_or_else(|_error| serde_json::Value::from(text.as_str()))
            }
            Value::Text(text) => serde_json::Value::from(text.as_str()),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Mapping(entries) => entries.iter().map(|(key, node)| (key.value.clone(), node.to_json())).collect(),
        }
    }
}

impl Value {
    fn has_duplicates(&self) -> bool {
        match self {
            Self::List(items) => items.iter().any(|item| item.value.has_duplicates()),
            Self::Mapping(entries) => {
                let mut seen = HashSet::new();
                entries.iter().any(|(key, node)| !seen.insert(key.value.as_str()) || node.value.has_duplicates())
            }
            _ => false,
        }
    }

    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true or false",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Mapping(_) => "a mapping",
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self { location: spanned.referenced, value: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a policy")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element()? {
            nodes.push(node);
        }
        Ok(Value::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            entries.push((key, map.next_value()?));
        }
        Ok(Value::Mapping(entries))
    }
}
