//! Finds the parts of an answer that the filter looks at, as slices of its text.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::super::caching::{SCOPE, TTL};
use super::ListKind;
use crate::json::{Key, Seen, resembles};

/// What a list does not have: to ask back is for other methods (2026-07-28, basic/patterns/mrtr).
const OF_ROUNDS: [&str; 2] = ["inputRequests", "requestState"];

/// A range of bytes of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Span {
    /// Where `part`, a slice of `text`, lies in it.
    pub(super) fn of(text: &str, part: &str) -> Option<Self> {
        let start = (part.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
        let end = start.checked_add(part.len())?;
        (end <= text.len()).then_some(Self { start, end })
    }

    /// From the first of `parts` to the last.
    pub(super) fn around(text: &str, parts: &[&str]) -> Option<Self> {
        let (first, last) = (Self::of(text, parts.first()?)?, Self::of(text, parts.last()?)?);
        Some(Self { start: first.start, end: last.end })
    }
}

/// The parts of an answer.
#[derive(Default)]
pub(super) struct Found<'a> {
    /// The id, as JSON.
    pub(super) id: Option<&'a str>,
    pub(super) is_error: bool,
    /// The items of the list, each as JSON; `None` when the result has no such member.
    pub(super) items: Option<Vec<&'a str>>,
    /// Whether the result has a list of another kind too.
    pub(super) has_other_list: bool,
    /// Whether the result is, or may be taken for, something else than the whole of what was asked for: it asks back,
    /// or its `resultType` is not `complete`.
    pub(super) is_incomplete: bool,
    /// The value of the result's `cacheScope`, as JSON.
    pub(super) cache_scope: Option<&'a str>,
    /// The value of the result's `ttlMs`, as JSON.
    pub(super) ttl: Option<&'a str>,
    /// The name of the result's first member, without its quotation marks.
    pub(super) first_member: Option<&'a str>,
}

/// Reads an answer whose result has its list in `member`; `None` when it can be read in more than one way.
pub(super) fn find<'a>(text: &'a str, member: &str) -> Option<Found<'a>> {
    let mut found = Found::default();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    (&mut deserializer).deserialize_map(Envelope { found: &mut found, member }).ok()?;
    deserializer.end().ok()?;
    Some(found)
}

/// The name of an item; `None` when it has none, or could have two.
pub(super) fn name<'a>(item: &'a str, key: &'static str) -> Option<Cow<'a, str>> {
    let mut deserializer = serde_json::Deserializer::from_str(item);
    deserializer.deserialize_map(Item { key }).ok()
}

struct Envelope<'f, 'a, 'm> {
    found: &'f mut Found<'a>,
    member: &'m str,
}

impl<'de> Visitor<'de> for Envelope<'_, 'de, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON-RPC answer")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = Seen::default();
        let mut has_result = false;
        while let Some(Key(key)) = map.next_key()? {
            match key.as_ref() {
                "id" => self.found.id = Some(map.next_value::<&RawValue>()?.get()),
                "result" => {
                    has_result = true;
                    map.next_value_seed(ResultSeed { found: self.found, member: self.member })?;
                }
                name => {
                    if resembles(name, &["jsonrpc", "id", "result", "error"]) || name == "method" {
                        return Err(de::Error::custom("not an answer"));
                    }
                    self.found.is_error |= name == "error";
                    map.next_value::<IgnoredAny>()?;
                }
            }
            seen.insert(key)?;
        }
        if has_result == self.found.is_error {
            return Err(de::Error::custom("a result or an error, and not both"));
        }
        Ok(())
    }
}

struct ResultSeed<'f, 'a, 'm> {
    found: &'f mut Found<'a>,
    member: &'m str,
}

impl<'de> DeserializeSeed<'de> for ResultSeed<'_, 'de, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ResultSeed<'_, 'de, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a result")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = Seen::default();
        while let Some(Key(key)) = map.next_key()? {
            let Cow::Borrowed(name) = key else {
                return Err(de::Error::custom("a member of the result is written with escapes"));
            };
            self.found.first_member.get_or_insert(name);
            if name == self.member {
                self.found.items = Some(map.next_value_seed(Items)?);
            } else if name == SCOPE {
                self.found.cache_scope = Some(map.next_value::<&RawValue>()?.get());
            } else if name == TTL {
                self.found.ttl = Some(map.next_value::<&RawValue>()?.get());
            } else if name == "resultType" {
                let kind = map.next_value::<&RawValue>()?.get();
                self.found.is_incomplete |=
                    serde_json::from_str::<Cow<'_, str>>(kind).ok().as_deref() != Some("complete");
            } else if resembles(name, &[self.member, SCOPE, TTL]) {
                return Err(de::Error::custom("a member of the result resembles a known one"));
            } else {
                self.found.is_incomplete |=
                    OF_ROUNDS.contains(&name) || resembles(name, &OF_ROUNDS) || resembles(name, &["resultType"]);
                self.found.has_other_list |= ListKind::WITH_ITEMS.iter().any(|kind| kind.member() == name);
                map.next_value::<IgnoredAny>()?;
            }
            seen.insert(key)?;
        }
        Ok(())
    }
}

struct Items;

impl<'de> DeserializeSeed<'de> for Items {
    type Value = Vec<&'de str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Items {
    type Value = Vec<&'de str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::with_capacity(64);
        while let Some(item) = list.next_element::<&RawValue>()? {
            items.push(item.get());
        }
        Ok(items)
    }
}

struct Item {
    key: &'static str,
}

impl<'de> Visitor<'de> for Item {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an item")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut name = None;
        while let Some(Key(key)) = map.next_key()? {
            if key == self.key {
                let Key(value) = map.next_value()?;
                if name.replace(value).is_some() {
                    return Err(de::Error::custom("an item has two names"));
                }
            } else if resembles(&key, &[self.key]) {
                return Err(de::Error::custom("a member of an item resembles its name"));
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        name.ok_or_else(|| de::Error::missing_field(self.key))
    }
}
