//! One tool as its server describes it, and the digests by which a change of it shows.
//!
//! What a model or a policy goes by is kept: title, description, schemas, annotations, tags. A digest is SHA-256 over
//! canonical JSON: members sorted by name, no white space, texts as `serde_json` escapes them.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::Unreadable;
use crate::json;

/// A longer name belongs to nothing that a policy can name.
const MAX_NAME: usize = 512;

/// A part of a definition that is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// What people read.
    Title,
    /// What models read.
    Description,
    /// The arguments.
    InputSchema,
    /// The result.
    OutputSchema,
    /// Hints such as `readOnlyHint`.
    Annotations,
    /// Tags of the server's own: `_meta.fastmcp.tags`, and the older `_meta._fastmcp.tags`.
    Tags,
}

impl Field {
    /// Every field, in the order in which changes are told.
    pub const ALL: [Self; 6] =
        [Self::Title, Self::Description, Self::InputSchema, Self::OutputSchema, Self::Annotations, Self::Tags];

    /// Its name in lock files; that of the protocol, but for the tags.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Title => "title",
            Self::Description => "description",
            Self::InputSchema => "inputSchema",
            Self::OutputSchema => "outputSchema",
            Self::Annotations => "annotations",
            Self::Tags => "tags",
        }
    }

    /// The field of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.as_str() == name)
    }
}

/// SHA-256 over a whole definition.
pub type Fingerprint = [u8; 32];

/// A tool and its definition.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    name: String,
    fields: BTreeMap<Field, Value>,
    meta: Option<Value>,
    fingerprint: Fingerprint,
}

impl Tool {
    /// Reads an item of `tools/list`.
    ///
    /// # Errors
    ///
    /// Returns [`Unreadable::Tool`] when it is not what the protocol says.
    pub fn read(item: &Value) -> Result<Self, Unreadable> {
        let item = item.as_object().ok_or_else(|| Unreadable::Tool("a tool is no object".to_owned()))?;
        let name = item.get("name").and_then(Value::as_str).filter(|name| !name.is_empty() && name.len() <= MAX_NAME);
        let name = name.ok_or_else(|| Unreadable::Tool("a tool has no name that can be used".to_owned()))?;
        let mut fields = BTreeMap::new();
        for field in Field::ALL {
            let value = if field == Field::Tags { tags(item.get("_meta")) } else { item.get(field.as_str()).cloned() };
            let Some(value) = value.filter(|value| !value.is_null()) else { continue };
            if !is_of_shape(field, &value) {
                return Err(Unreadable::Tool(format!("`{}` of the tool {name:?} has another type", field.as_str())));
            }
            fields.insert(field, value);
        }
        Ok(Self::new(name.to_owned(), fields, item.get("_meta").cloned()))
    }

    /// Reads an item of `tools/list` from its text; `None` when it cannot be read in one way only.
    #[must_use]
    pub fn parse(item: &str) -> Option<Self> {
        json::check(item, json::MAX_DEPTH).ok()?;
        Self::read(&serde_json::from_str(item).ok()?).ok()
    }

    /// The tool with this definition.
    #[must_use]
    pub fn new(name: String, fields: BTreeMap<Field, Value>, meta: Option<Value>) -> Self {
        let mut hasher = Sha256::new();
        for (field, value) in &fields {
            hasher.update(field.as_str());
            hasher.update(digest(value));
        }
        Self { name, fields, meta, fingerprint: hasher.finalize().into() }
    }

    /// Its name, on exact code points.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A part of its definition.
    #[must_use]
    pub fn get(&self, field: Field) -> Option<&Value> {
        self.fields.get(&field)
    }

    /// The parts that it has.
    pub fn fields(&self) -> impl Iterator<Item = (Field, &Value)> {
        self.fields.iter().map(|(field, value)| (*field, value))
    }

    /// Its `_meta`, as it came; a tool from a lock file has none.
    #[must_use]
    pub fn meta(&self) -> Option<&Value> {
        self.meta.as_ref()
    }

    /// The same without what is not compared.
    #[must_use]
    pub fn definition(&self) -> Self {
        Self { meta: None, ..self.clone() }
    }

    /// The tags that its server gives it; none when they are not an array of strings.
    #[must_use]
    pub fn tags(&self) -> Vec<&str> {
        let tags = self.get(Field::Tags).and_then(Value::as_array);
        tags.and_then(|tags| tags.iter().map(Value::as_str).collect()).unwrap_or_default()
    }

    /// Over all of its definition: two tools with one fingerprint are described alike.
    #[must_use]
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// The fields in which another definition differs.
    #[must_use]
    pub fn differs(&self, other: &Self) -> Vec<Field> {
        Field::ALL
            .into_iter()
            .filter(|field| canonical_of(self.get(*field)) != canonical_of(other.get(*field)))
            .collect()
    }
}

fn canonical_of(value: Option<&Value>) -> Option<String> {
    value.map(canonical)
}

fn is_of_shape(field: Field, value: &Value) -> bool {
    match field {
        Field::Title | Field::Description => value.is_string(),
        Field::InputSchema | Field::OutputSchema | Field::Annotations => value.is_object(),
        Field::Tags => true,
    }
}

/// Tags are a set: order and repetition say nothing. What is no array of strings is kept, so that a change shows.
///
/// INVARIANT: both places count, for the policy imports from both.
fn tags(meta: Option<&Value>) -> Option<Value> {
    let of = |member: &str| meta?.get(member)?.get("tags");
    let places: Vec<&Value> = ["fastmcp", "_fastmcp"].into_iter().filter_map(of).collect();
    let texts = |found: &Value| found.as_array()?.iter().map(|tag| tag.as_str().map(str::to_owned)).collect();
    let all: Option<Vec<Vec<String>>> = places.iter().map(|found| texts(found)).collect();
    match (all, places.as_slice()) {
        (_, []) => None,
        (Some(all), _) => {
            let set: std::collections::BTreeSet<String> = all.into_iter().flatten().collect();
            Some(Value::from(set.into_iter().collect::<Vec<_>>()))
        }
        (None, [only]) => Some((*only).clone()),
        (None, both) => Some(both.iter().map(|found| (*found).clone()).collect()),
    }
}

/// The digest of a part of a definition.
pub(crate) fn digest(value: &Value) -> Fingerprint {
    Sha256::digest(canonical(value)).into()
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn canonical(value: &Value) -> String {
    let mut out = String::new();
    write_canonical(value, &mut out);
    out
}

/// Recursion is bounded: definitions are checked for depth before they become values.
fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        Value::Object(members) => write_members(members, out),
        scalar => {
            let _ = write!(out, "{scalar}");
        }
    }
}

fn write_members(members: &Map<String, Value>, out: &mut String) {
    let mut sorted: Vec<_> = members.iter().collect();
    sorted.sort_by(|a, b| a.0.cmp(b.0));
    out.push('{');
    for (at, (name, value)) in sorted.into_iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        let _ = write!(out, "{}:", Value::from(name.as_str()));
        write_canonical(value, out);
    }
    out.push('}');
}
