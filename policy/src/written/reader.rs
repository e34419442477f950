//! Reads nodes as texts, lists and mappings, and reports what is not.

use std::collections::HashMap;

use serde_saphyr::{Location, Spanned};

use super::At;
use super::keys::Shape;
use crate::document::{self, Node, Value};
use crate::error::Fault;
use crate::names::{BackendName, NameError};

/// Collects faults while reading.
#[derive(Debug, Default)]
pub(super) struct Reader {
    pub(super) faults: Vec<Fault>,
}

/// The fields of a mapping whose keys are known.
pub(super) struct Fields<'a> {
    at: Location,
    what: &'static str,
    entries: &'a [(Spanned<String>, Node)],
}

impl<'a> Fields<'a> {
    pub(super) fn get(&self, key: &str) -> Option<&'a Node> {
        self.entries.iter().find(|(name, _)| name.value == key).map(|(_, node)| node)
    }

    pub(super) fn at(&self) -> Location {
        self.at
    }
}

impl Reader {
    pub(super) fn fault(&mut self, at: Location, message: impl Into<String>) {
        self.faults.push(document::fault(at, message));
    }

    fn expected(&mut self, node: &Node, what: &str) {
        let found = node.value.kind();
        self.fault(node.location, format!("found {found} where {what} belongs"));
    }

    /// A mapping with known keys.
    pub(super) fn fields<'a>(&mut self, node: &'a Node, shape: &'static Shape) -> Option<Fields<'a>> {
        let what = shape.what;
        let Value::Mapping(entries) = &node.value else {
            self.expected(node, what);
            return None;
        };
        self.once_each(entries);
        for (key, _) in entries {
            if !shape.names().any(|known| known == key.value) {
                let hint = suggestion(&key.value, shape.names());
                let hint = hint.unwrap_or_else(|| format!("known keys are {}", list(shape.names())));
                self.fault(key.referenced, format!("`{}` is not a key of {what}; {hint}", key.value));
            }
        }
        Some(Fields { at: node.location, what, entries })
    }

    /// A field that must be there.
    pub(super) fn required<'a>(&mut self, fields: &Fields<'a>, key: &str) -> Option<&'a Node> {
        let node = fields.get(key);
        if node.is_none() {
            self.fault(fields.at, format!("{} needs `{key}`; add it", fields.what));
        }
        node
    }

    /// The entries of a mapping whose keys are names.
    pub(super) fn entries<'a>(&mut self, node: &'a Node, what: &str) -> &'a [(Spanned<String>, Node)] {
        let Value::Mapping(entries) = &node.value else {
            self.expected(node, &format!("a mapping of {what}"));
            return &[];
        };
        self.once_each(entries);
        entries
    }

    fn once_each(&mut self, entries: &[(Spanned<String>, Node)]) {
        let mut seen = HashMap::new();
        for (key, _) in entries {
            if let Some(line) = seen.insert(key.value.as_str(), key.referenced.line()) {
                self.fault(key.referenced, format!("`{}` is already on line {line}; keep one of the two", key.value));
            }
        }
    }

    pub(super) fn items<'a>(&mut self, node: &'a Node, what: &str) -> &'a [Node] {
        if let Value::List(items) = &node.value {
            return items;
        }
        let found = node.value.kind();
        let remedy = match &node.value {
            Value::Text(text) => format!("`[{text}]`"),
            _ => "`[a, b]`".to_owned(),
        };
        self.fault(node.location, format!("found {found} where a list of {what} belongs; write {remedy}"));
        &[]
    }

    pub(super) fn text(&mut self, node: &Node) -> Option<String> {
        match &node.value {
            Value::Text(text) => Some(text.clone()),
            Value::Number(_) | Value::Bool(_) => {
                self.fault(
                    node.location,
                    format!("found {} where a text belongs; put it in quotes", node.value.kind()),
                );
                None
            }
            _ => {
                self.expected(node, "a text");
                None
            }
        }
    }

    /// The place of a text among the words that there are.
    pub(super) fn one_of(&mut self, node: &Node, what: &str, words: &[&str]) -> Option<usize> {
        let text = self.text(node)?;
        let found = words.iter().position(|word| *word == text);
        if found.is_none() {
            let known = words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or ");
            self.fault(node.location, format!("`{}` is no {what}; write {known}", text.escape_debug()));
        }
        found
    }

    pub(super) fn boolean(&mut self, node: &Node) -> bool {
        if let Value::Bool(value) = node.value {
            return value;
        }
        self.expected(node, "true or false");
        false
    }

    /// A whole number within these bounds.
    pub(super) fn count(&mut self, node: &Node, within: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let number = if let Value::Number(text) = &node.value { text.parse().ok() } else { None };
        let number = number.filter(|number| within.contains(number));
        if number.is_none() {
            let message = format!(
                "this is no number that can be used here; write a whole number from {} to {}",
                within.start(),
                within.end()
            );
            self.fault(node.location, message);
        }
        number
    }

    /// A duration such as `30s`, `10m` or `1h`, in seconds.
    pub(super) fn seconds(&mut self, node: &Node) -> Option<u64> {
        let text = self.text(node)?;
        let (number, unit) = text.split_at(text.len() - usize::from(text.ends_with(['s', 'm', 'h'])));
        let factor = match unit {
            "s" => Some(1),
            "m" => Some(60),
            "h" => Some(3600),
            _ => None,
        };
        let seconds = factor.and_then(|factor| number.parse::<u32>().ok().map(|number| u64::from(number) * factor));
        if seconds.is_none_or(|seconds| seconds == 0) {
            self.fault(
                node.location,
                format!("`{}` is not a duration; write `30s`, `10m` or `1h`", text.escape_debug()),
            );
            return None;
        }
        seconds
    }

    pub(super) fn located_text(&mut self, node: &Node) -> Option<At<String>> {
        self.text(node).map(|value| At { value, at: node.location })
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, node: &Node) -> Vec<At<String>> {
        let items = self.items(node, "texts");
        items.iter().filter_map(|item| self.located_text(item)).collect()
    }

    pub(super) fn name<T>(&mut self, text: &str, at: Location) -> Option<At<T>>
    where
        T: for<'t> TryFrom<&'t str, Error = NameError>,
    {
        match T::try_from(text) {
            Ok(value) => Some(At { value, at }),
            Err(error) => {
                self.fault(at, error.to_string());
                None
            }
        }
    }

    pub(super) fn name_of<T>(&mut self, node: &Node) -> Option<At<T>>
    where
        T: for<'t> TryFrom<&'t str, Error = NameError>,
    {
        let text = self.text(node)?;
        self.name(&text, node.location)
    }

    /// A list of names.
    pub(super) fn names<T>(&mut self, node: &Node) -> Vec<At<T>>
    where
        T: for<'t> TryFrom<&'t str, Error = NameError>,
    {
        let items = self.items(node, "names");
        items.iter().filter_map(|item| self.name_of(item)).collect()
    }

    /// An object ID of the directory, in lower case.
    pub(super) fn guid(&mut self, text: &str, at: Location) -> Option<String> {
        let lengths = [8, 4, 4, 4, 12];
        let mut groups = text.split('-');
        let hex = |group: &str, length| group.len() == length && group.bytes().all(|b| b.is_ascii_hexdigit());
        if lengths.iter().all(|&length| groups.next().is_some_and(|group| hex(group, length)))
            && groups.next().is_none()
        {
            return Some(text.to_ascii_lowercase());
        }
        let shown = text.escape_debug();
        self.fault(at, format!("`{shown}` is not an ID; write it as Entra shows it, names and wildcards do not count"));
        None
    }

    /// A directory: its ID at Entra, in lower case, or the URL of another issuer.
    pub(super) fn directory(&mut self, text: &str, at: Location) -> Option<String> {
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'?');
        if host.is_some_and(|host| !host.is_empty() && host.bytes().all(plain)) {
            return Some(text.to_owned());
        }
        self.guid(text, at)
    }

    /// `backend/name`.
    pub(super) fn qualified(&mut self, node: &Node) -> Option<(At<BackendName>, String)> {
        let text = self.text(node)?;
        let Some((backend, name)) = text.split_once('/') else {
            self.fault(node.location, format!("`{text}` names no backend; write `backend/{text}`"));
            return None;
        };
        let backend = self.name(backend, node.location)?;
        Some((backend, name.to_owned()))
    }
}

/// «did you mean», when one of the known names is close.
#[must_use]
pub fn suggestion<'a>(text: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let close = known.map(|name| (strsim::damerau_levenshtein(text, name), name)).min();
    close.filter(|(distance, name)| *distance <= 1 + name.len() / 4).map(|(_, name)| format!("did you mean `{name}`?"))
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
