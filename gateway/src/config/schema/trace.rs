//! A deserializer without a file: it answers whatever a type asks for, and writes down what it was asked.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::{StrDeserializer, U32Deserializer};
use serde::de::{self, Deserialize, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use crate::config::document::Document;

/// What a type reads.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Traced {
    /// Not asked, or any of several.
    #[default]
    Anything,
    Boolean,
    Natural,
    Number,
    Text,
    List(Box<Traced>),
    Mapping(Box<Traced>),
    Struct(String),
}

/// A field of a struct.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) form: Traced,
    pub(super) needed: bool,
}

/// Every struct that is read, with its fields in order.
#[derive(Debug, Default)]
pub(super) struct Structs {
    pub(super) structs: BTreeMap<String, Vec<Field>>,
    /// A field that is left out, to see whether it is missed.
    without: Option<(String, &'static str)>,
}

/// What the configuration file is made of.
pub(super) fn document() -> Structs {
    let mut whole = Structs::default();
    let mut form = Traced::Anything;
    let _ = Document::deserialize(Asked { form: &mut form, structs: &mut whole });
    let names: Vec<(String, &'static str)> =
        whole.structs.iter().flat_map(|(name, fields)| fields.iter().map(|field| (name.clone(), field.name))).collect();
    for (name, field) in names {
        let mut again = Structs { without: Some((name.clone(), field)), ..Structs::default() };
        let read = Document::deserialize(Asked { form: &mut form, structs: &mut again });
        let needed = read.is_err_and(|error| error.missing == Some(field));
        let fields = whole.structs.get_mut(&name).into_iter().flatten();
        fields.filter(|known| known.name == field).for_each(|known| known.needed = needed);
    }
    whole
}

/// Why a type could not be made of nothing.
#[derive(Debug)]
pub(super) struct Refused {
    missing: Option<&'static str>,
    why: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for Refused {}

impl de::Error for Refused {
    fn custom<T: fmt::Display>(why: T) -> Self {
        Self { missing: None, why: why.to_string() }
    }

    fn missing_field(field: &'static str) -> Self {
        Self { missing: Some(field), why: format!("`{field}` is missing") }
    }
}

struct Asked<'a> {
    form: &'a mut Traced,
    structs: &'a mut Structs,
}

impl<'de> de::Deserializer<'de> for Asked<'_> {
    type Error = Refused;

    /// Whatever it is: a policy in the file is one, and has a schema of its own.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_str("")
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        *self.form = Traced::Boolean;
        visitor.visit_bool(false)
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.natural(visitor)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.natural(visitor)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.natural(visitor)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.natural(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        *self.form = Traced::Number;
        visitor.visit_f64(0.0)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        *self.form = Traced::Text;
        visitor.visit_str("")
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_some(self)
    }

    /// A value with its place comes as a newtype of serde-saphyr's own, which reads a map that a mark begins.
    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_newtype_struct(Placed { asked: self })
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        let mut items = Traced::Anything;
        let read = visitor.visit_seq(One { asked: Some(Asked { form: &mut items, structs: self.structs }) });
        *self.form = Traced::List(Box::new(items));
        read
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        let mut values = Traced::Anything;
        let read = visitor.visit_map(One { asked: Some(Asked { form: &mut values, structs: self.structs }) });
        *self.form = Traced::Mapping(Box::new(values));
        read
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        *self.form = Traced::Struct(name.to_owned());
        let without = self.structs.without.as_ref().filter(|(of, _)| of == name).map(|(_, field)| *field);
        let fields: Vec<&'static str> = fields.iter().copied().filter(|field| Some(*field) != without).collect();
        let mut found = Vec::new();
        let read = visitor.visit_map(Every {
            fields: fields.into_iter(),
            now: None,
            found: &mut found,
            structs: self.structs,
        });
        self.structs.structs.entry(name.to_owned()).or_insert(found);
        read
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u128 f32 char bytes byte_buf unit unit_struct tuple tuple_struct enum identifier ignored_any
    }
}

impl Asked<'_> {
    fn natural<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        *self.form = Traced::Natural;
        visitor.visit_u64(1)
    }
}

/// One item of a list, or one entry of a mapping.
struct One<'a> {
    asked: Option<Asked<'a>>,
}

impl<'de> SeqAccess<'de> for One<'_> {
    type Error = Refused;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Refused> {
        self.asked.take().map(|asked| seed.deserialize(asked)).transpose()
    }
}

impl<'de> MapAccess<'de> for One<'_> {
    type Error = Refused;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Refused> {
        let key: StrDeserializer<'_, Refused> = "name".into_deserializer();
        self.asked.is_some().then(|| seed.deserialize(key)).transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Refused> {
        let asked = self.asked.take().ok_or_else(|| de::Error::custom("one entry is all there is"))?;
        seed.deserialize(asked)
    }
}

/// Every field of a struct.
struct Every<'a> {
    fields: std::vec::IntoIter<&'static str>,
    now: Option<&'static str>,
    found: &'a mut Vec<Field>,
    structs: &'a mut Structs,
}

impl<'de> MapAccess<'de> for Every<'_> {
    type Error = Refused;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Refused> {
        self.now = self.fields.next();
        let key = |name: &'static str| -> StrDeserializer<'static, Refused> { name.into_deserializer() };
        self.now.map(|name| seed.deserialize(key(name))).transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Refused> {
        let mut form = Traced::Anything;
        let read = seed.deserialize(Asked { form: &mut form, structs: self.structs });
        self.found.extend(self.now.take().map(|name| Field { name, form, needed: false }));
        read
    }
}

/// What begins the map of a value with its place (`serde_saphyr::Spanned`). Should it ever be another, no key has a
/// type any more, which a test of `schema` would say.
const MARK: &str = "__serde_saphyr_private_spanned";

/// A value with its place.
struct Placed<'a> {
    asked: Asked<'a>,
}

impl<'de> de::Deserializer<'de> for Placed<'_> {
    type Error = Refused;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        let keys = vec![MARK, "value", "referenced", "defined"].into_iter();
        visitor.visit_map(Parts { keys, now: "", asked: Some(self.asked) })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// The mark, the value, and places that are nowhere.
struct Parts<'a> {
    keys: std::vec::IntoIter<&'static str>,
    now: &'static str,
    asked: Option<Asked<'a>>,
}

impl<'de> MapAccess<'de> for Parts<'_> {
    type Error = Refused;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Refused> {
        let Some(key) = self.keys.next() else { return Ok(None) };
        self.now = key;
        let key: StrDeserializer<'static, Refused> = key.into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Refused> {
        match (self.now, self.asked.take()) {
            ("value", Some(asked)) => seed.deserialize(asked),
            (_, asked) => {
                self.asked = asked;
                seed.deserialize(Nowhere)
            }
        }
    }
}

/// A place that is nowhere: all its numbers are 0.
struct Nowhere;

impl<'de> de::Deserializer<'de> for Nowhere {
    type Error = Refused;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        let zero: U32Deserializer<Refused> = 0_u32.into_deserializer();
        de::Deserializer::deserialize_any(zero, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        // The other parts of a place are not needed.
        let needed = fields.iter().filter(|field| matches!(**field, "line" | "column"));
        visitor.visit_map(Zeros(needed.copied().collect::<Vec<_>>().into_iter()))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct Zeros(std::vec::IntoIter<&'static str>);

impl<'de> MapAccess<'de> for Zeros {
    type Error = Refused;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Refused> {
        let key = |name: &'static str| -> StrDeserializer<'static, Refused> { name.into_deserializer() };
        self.0.next().map(|name| seed.deserialize(key(name))).transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Refused> {
        seed.deserialize(Nowhere)
    }
}
