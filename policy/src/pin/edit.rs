//! Changes one member deep inside a JSON object and leaves every other byte of it as it is: a number keeps its spelling.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::spelling;

/// The members of an object, in their order.
struct Members<'j>(Vec<(String, &'j RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyMembers;
        impl<'de> Visitor<'de> for AnyMembers {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(AnyMembers)
    }
}

/// The members of an object; `None` when it is none.
pub(super) fn members(json: &str) -> Option<Vec<(String, &str)>> {
    let members: Members<'_> = serde_json::from_str(json).ok()?;
    Some(members.0.into_iter().map(|(name, value)| (name, value.get())).collect())
}

/// Writes an object.
pub(super) fn object<'m>(members: impl IntoIterator<Item = (&'m str, &'m str)>) -> String {
    let mut out = String::from("{");
    for (name, value) in members {
        if out.len() > 1 {
            out.push(',');
        }
        out.push_str(&serde_json::Value::from(name).to_string());
        out.push(':');
        out.push_str(value);
    }
    out.push('}');
    out
}

/// The value at a path of names.
pub(super) fn get<'j>(json: &'j str, path: &[String]) -> Option<&'j str> {
    let Some((name, rest)) = path.split_first() else { return Some(json) };
    let found = members(json)?.into_iter().find(|(member, _)| member == name)?.1;
    get(found, rest)
}

/// Whether an object on the way has a member that a server may take for the one on the path.
pub(super) fn is_respelled(json: &str, path: &[String]) -> bool {
    let Some((name, rest)) = path.split_first() else { return false };
    let members = members(json).unwrap_or_default();
    members.iter().any(|(member, _)| spelling::is_respelled(member, name))
        || members.iter().any(|(member, value)| member == name && is_respelled(value, rest))
}

/// The object with `value` at the path; objects on the way are made. `None` when something on the way is no object.
pub(super) fn set(json: &str, path: &[String], value: &str) -> Option<String> {
    let Some((name, rest)) = path.split_first() else { return Some(value.to_owned()) };
    let mut members = members(json)?;
    let place = members.iter().position(|(member, _)| member == name);
    let before = place.and_then(|place| members.get(place)).map_or("{}", |(_, value)| value);
    let after = set(before, rest, value)?;
    match place.and_then(|place| members.get_mut(place)) {
        Some(member) => member.1 = &after,
        None => members.push((name.clone(), &after)),
    }
    Some(object(members.iter().map(|(name, value)| (name.as_str(), *value))))
}
