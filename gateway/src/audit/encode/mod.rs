//! What a line looks like outside: as the gateway writes it, or as a collector of security events wants it.
//!
//! The chain of hashes runs over the native lines. The other forms carry its place, so that a record can be found in
//! the native trail, but cannot be verified by themselves.

mod ecs;
mod ocsf;

use std::borrow::Cow;

use serde_json::{Map, Value};

/// The form of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// As written: what `portcullis audit verify` reads.
    #[default]
    Native,
    /// The Open Cybersecurity Schema Framework, version 1.6.
    Ocsf,
    /// The Elastic Common Schema, version 8.17.
    Ecs,
}

impl Format {
    /// The line in this form.
    pub(super) fn encode(self, line: &str) -> Cow<'_, str> {
        let form = match self {
            Self::Native => return Cow::Borrowed(line),
            Self::Ocsf => ocsf::encode,
            Self::Ecs => ecs::encode,
        };
        // INVARIANT: lines are objects that were written here; if one were not, it is passed on rather than lost.
        match serde_json::from_str::<Map<String, Value>>(line) {
            Ok(event) => Cow::Owned(Value::Object(form(&Native(event))).to_string()),
            Err(_) => Cow::Borrowed(line),
        }
    }
}

/// A native line, taken apart.
struct Native(Map<String, Value>);

impl Native {
    fn text(&self, pointer: &str) -> Option<&str> {
        self.at(pointer)?.as_str()
    }

    fn number(&self, pointer: &str) -> Option<u64> {
        self.at(pointer)?.as_u64()
    }

    /// Its time, in milliseconds since the Unix epoch.
    fn milliseconds(&self) -> Option<u64> {
        let time = std::time::Duration::try_from_secs_f64(self.at("time")?.as_f64()?).ok()?;
        // A double holds a time to far less than half a millisecond.
        u64::try_from((time.as_micros() + 500) / 1000).ok()
    }

    /// What stands at a path of member names, separated by dots.
    fn at(&self, path: &str) -> Option<&Value> {
        let mut names = path.split('.');
        let first = self.0.get(names.next()?)?;
        names.try_fold(first, |value, name| value.get(name))
    }

    fn kind(&self) -> &str {
        self.text("type").unwrap_or_default()
    }

    /// Whether it says that something was refused, failed or ended by force.
    fn is_bad(&self) -> bool {
        let refused = self.text("decision").is_some_and(|decision| decision != "allow");
        let failed = self.number("status").is_some_and(|status| status >= 500) || self.0.contains_key("error");
        let step = self.text("event").is_some_and(|event| event.ends_with("_failed") || event.ends_with("_refused"));
        refused || failed || step || self.kind() == "refusals"
    }

    /// Its members but these.
    fn without(&self, names: &[&str]) -> Value {
        let rest = self.0.iter().filter(|(name, _)| !names.contains(&name.as_str()));
        Value::Object(rest.map(|(name, value)| (name.clone(), value.clone())).collect())
    }
}

/// An object without the members that are not there.
fn object<'n>(members: impl IntoIterator<Item = (&'n str, Option<Value>)>) -> Map<String, Value> {
    members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// The same, as a value; absent when nothing is in it.
fn nested<'n>(members: impl IntoIterator<Item = (&'n str, Option<Value>)>) -> Option<Value> {
    let members = object(members);
    (!members.is_empty()).then_some(Value::Object(members))
}

fn text(text: Option<&str>) -> Option<Value> {
    text.map(Value::from)
}

#[cfg(test)]
mod tests;
