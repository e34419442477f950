//! The claims of one token by name and type (RFC 7519 section 4), read strictly: no member twice, no look-alike of
//! a type, no length without a bound.

use std::collections::{BTreeMap, BTreeSet};

use super::ClaimsError;
use crate::clock::Timestamp;
use crate::jose::jwt::{self, JwtError, Payload};
use crate::json;
use crate::subject::is_guid;
use serde_json::{Map, Value};

/// Longer than any honest identifier.
pub(super) const MAX_TEXT: usize = 256;
/// Entra stops listing groups at 200; no principal holds more roles than that on one API.
pub(super) const MAX_LIST: usize = 200;
/// The year 5138; a later time is not a time in seconds.
const MAX_DATE: u64 = 100_000_000_000;

/// The claims of a token.
pub(super) struct ClaimSet(Map<String, Value>);

/// What a list that ought to hold texts turned out to be.
pub(super) enum Texts {
    /// Not there.
    Absent,
    /// A list of texts.
    Listed(Vec<String>),
    /// Anything else.
    Mistyped,
}

impl ClaimSet {
    pub(super) fn parse(payload: Payload<'_>) -> Result<Self, ClaimsError> {
        jwt::object(payload.bytes()).map(Self).map_err(|_error: JwtError| ClaimsError::Unreadable)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Whether a lenient reader could take another claim for this one.
    pub(super) fn has_look_alike(&self, name: &str) -> bool {
        self.0.keys().any(|key| json::resembles(key, &[name]))
    }

    /// The members of a claim that is an object.
    pub(super) fn members(&self, name: &str) -> Option<&Map<String, Value>> {
        self.0.get(name).and_then(Value::as_object)
    }

    pub(super) fn is_true(&self, name: &str) -> bool {
        matches!(self.0.get(name), Some(Value::Bool(true)))
    }

    /// The claims of these names, as far as they are short scalars or lists of them.
    pub(super) fn listed_values(&self, names: &BTreeSet<String>) -> BTreeMap<String, Value> {
        let is_scalar = |value: &Value| match value {
            Value::String(text) => text.len() <= MAX_TEXT,
            Value::Bool(_) | Value::Number(_) => true,
            Value::Null | Value::Array(_) | Value::Object(_) => false,
        };
        let is_usable = |value: &Value| match value {
            Value::Array(items) => items.len() <= MAX_LIST && items.iter().all(is_scalar),
            other => is_scalar(other),
        };
        let named = names.iter().filter_map(|name| Some((name.clone(), self.0.get(name)?.clone())));
        named.filter(|(_, value)| is_usable(value)).collect()
    }

    pub(super) fn text(&self, name: &'static str) -> Result<&str, ClaimsError> {
        self.optional_text(name)?.ok_or(ClaimsError::Missing(name))
    }

    /// A text of 1 to 256 bytes without control characters.
    pub(super) fn optional_text(&self, name: &'static str) -> Result<Option<&str>, ClaimsError> {
        self.optional_text_to(name, MAX_TEXT)
    }

    /// A text of as many bytes at most, without control characters.
    pub(super) fn optional_text_to(&self, name: &'static str, longest: usize) -> Result<Option<&str>, ClaimsError> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::String(text)) if super::is_text(text, longest) => Ok(Some(text)),
            Some(_) => Err(ClaimsError::Mistyped(name)),
        }
    }

    /// A text, or a list of texts, each of as many bytes at most; at least one.
    pub(super) fn one_or_many(&self, name: &'static str, longest: usize) -> Result<Vec<&str>, ClaimsError> {
        let texts: Option<Vec<&str>> = match self.0.get(name) {
            None => return Err(ClaimsError::Missing(name)),
            Some(Value::String(text)) => Some(vec![text]),
            Some(Value::Array(items)) if items.len() <= MAX_LIST => items.iter().map(Value::as_str).collect(),
            Some(_) => None,
        };
        let sound = |texts: &Vec<&str>| !texts.is_empty() && texts.iter().all(|text| super::is_text(text, longest));
        texts.filter(sound).ok_or(ClaimsError::Mistyped(name))
    }

    /// A claim that an operator named, as texts: one, or a list of them. Anything else, and its absence, is none.
    pub(super) fn texts_of(&self, name: &str) -> Vec<String> {
        match self.0.get(name) {
            Some(Value::String(text)) => vec![text.clone()],
            Some(Value::Array(items)) => {
                let texts: Option<Vec<String>> = items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
                texts.unwrap_or_default()
            }
            _ => Vec::new(),
        }
    }

    /// A GUID in its usual form, in lower case.
    pub(super) fn guid(&self, name: &'static str) -> Result<String, ClaimsError> {
        let text = self.text(name)?;
        if is_guid(text) { Ok(text.to_ascii_lowercase()) } else { Err(ClaimsError::Mistyped(name)) }
    }

    pub(super) fn date(&self, name: &'static str) -> Result<Timestamp, ClaimsError> {
        self.optional_date(name)?.ok_or(ClaimsError::Missing(name))
    }

    /// A `NumericDate` (RFC 7519 section 2): a number that is not negative; fractions are cut off.
    pub(super) fn optional_date(&self, name: &'static str) -> Result<Option<Timestamp>, ClaimsError> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        let whole = value.as_u64().or_else(|| value.as_f64().and_then(floor));
        let date = whole.filter(|date| *date <= MAX_DATE).ok_or(ClaimsError::Mistyped(name))?;
        Ok(Some(Timestamp::from_secs(date)))
    }

    /// A whole number that is not negative, as a number or in digits.
    pub(super) fn number(&self, name: &'static str) -> Result<Option<u64>, ClaimsError> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        let number = value.as_u64().or_else(|| value.as_str().and_then(|digits| digits.parse().ok()));
        number.map(Some).ok_or(ClaimsError::Mistyped(name))
    }

    /// A list of texts; how lenient to be with anything else differs by claim.
    pub(super) fn texts(&self, name: &'static str) -> Result<Texts, ClaimsError> {
        let Some(value) = self.0.get(name) else { return Ok(Texts::Absent) };
        let Some(items) = value.as_array() else { return Ok(Texts::Mistyped) };
        if items.len() > MAX_LIST {
            return Err(ClaimsError::Mistyped(name));
        }
        let texts: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
        match texts {
            Some(texts) if texts.iter().any(|text| text.len() > MAX_TEXT) => Err(ClaimsError::Mistyped(name)),
            Some(texts) => Ok(Texts::Listed(texts.into_iter().map(str::to_owned).collect())),
            None => Ok(Texts::Mistyped),
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded below and above just before")]
fn floor(number: f64) -> Option<u64> {
    // Compared as a number of 12 digits, which a double holds exactly.
    (0.0..1e12).contains(&number).then_some(number as u64)
}
