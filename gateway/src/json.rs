//! Checks that JSON can be read in one way only: no member twice, no deep nesting, no unpaired surrogates, nothing
//! behind the end.
//!
//! A parser that keeps the first of two members and one that keeps the last would see two messages in one.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use memchr::memmem;
use portcullis_policy::is_literal;
pub(crate) use portcullis_policy::resembles;
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// Deeper nesting than any honest message has.
pub(crate) const MAX_DEPTH: u8 = 64;
/// Up to here members are compared one by one.
const FEW: usize = 16;

/// Checks a whole JSON text.
pub(crate) fn check(json: &str, depth: u8) -> Result<(), serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    Checked { depth }.deserialize(&mut deserializer)?;
    deserializer.end()
}

struct Checked {
    depth: u8,
}

impl<'de> DeserializeSeed<'de> for Checked {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.depth == 0 {
            return Err(de::Error::custom("nested too deeply"));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Checked {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Self { depth: self.depth - 1 })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut seen = Seen::default();
        while let Some(key) = members.next_key::<Key<'de>>()? {
            seen.insert(key.0)?;
            members.next_value_seed(Self { depth: self.depth - 1 })?;
        }
        Ok(())
    }
}

/// A member's name, borrowed from the text unless it is written with escapes.
pub(crate) struct Key<'de>(pub(super) Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrowing;
        impl<'de> Visitor<'de> for Borrowing {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member's name")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Borrowing)
    }
}

/// The names of one object's members so far.
#[derive(Default)]
pub(crate) struct Seen<'de> {
    few: Vec<Cow<'de, str>>,
    many: HashSet<Cow<'de, str>>,
}

impl<'de> Seen<'de> {
    pub(crate) fn insert<E: de::Error>(&mut self, key: Cow<'de, str>) -> Result<(), E> {
        let new = if self.many.is_empty() && self.few.len() < FEW {
            let new = !self.few.contains(&key);
            self.few.push(key);
            new
        } else {
            if self.many.is_empty() {
                self.many.extend(self.few.drain(..));
            }
            self.many.insert(key)
        };
        if new { Ok(()) } else { Err(E::custom("a member is there twice")) }
    }
}

/// Whether a member of this JSON could be taken for one of `names`, which are letters and hyphens of ASCII without
/// capitals. A name that is written with escapes, or with letters that fold into those of ASCII, could be any.
pub(crate) fn could_have(json: &[u8], names: &[&str]) -> bool {
    if !std::str::from_utf8(json).is_ok_and(is_literal) || memmem::find(json, b"\\u").is_some() {
        return true;
    }
    let small = json.to_ascii_lowercase();
    names.iter().any(|name| memmem::find(&small, name.as_bytes()).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_resembles_a_name_is_never_overlooked() {
        for json in
            [r#"{"tools":1}"#, r#"{"TOOLS":1}"#, r#"{"t\u006fols":1}"#, "{\"\u{ff54}ools\":1}", "{\"tool\u{17f}\":1}"]
        {
            assert!(could_have(json.as_bytes(), &["absent", "tools"]), "{json}");
        }
        for json in [r#"{"tool":"s"}"#, "{\"t\u{f6}ols\":\"\u{5929}\u{6c17}\"}"] {
            assert!(!could_have(json.as_bytes(), &["absent", "tools"]), "the control: {json}");
        }
    }

    fn ok(json: &str) -> bool {
        check(json, MAX_DEPTH).is_ok()
    }

    #[test]
    fn plain_json_passes_and_what_two_readers_could_read_apart_does_not() {
        assert!(ok(r#"{"a":{"b":[1,-0,1E+2,0.1000,"x",null,true]},"A":2}"#));
        for bad in [
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"[{"x":{"a":1,"a":1}}]"#,
            r#"{"a":1}x"#,
            r#"{"a":1}{"#,
            r#"{"a":"\ud800"}"#,
            r#"{"a":1,}"#,
            r"{'a':1}",
            r#"{"a":NaN}"#,
            "{\"a\":\"\u{1}\"}",
            r#"{"a":1e999}"#,
        ] {
            assert!(!ok(bad), "{bad}");
        }
    }

    #[test]
    fn many_members_are_checked_too() {
        let many = |last: &str| {
            let body: Vec<String> = (0..1000).map(|i| format!("\"k{i}\":0")).collect();
            format!("{{{},\"{last}\":0}}", body.join(","))
        };
        assert!(ok(&many("new")));
        assert!(!ok(&many("k7")));
        assert!(!ok(&many("k999")));
    }

    #[test]
    fn depth_is_bounded() {
        assert!(ok(&("[".repeat(60) + &"]".repeat(60))));
        assert!(!ok(&("[".repeat(65) + &"]".repeat(65))));
        assert!(!ok(&("[".repeat(100_000) + &"]".repeat(100_000))));
    }
}
