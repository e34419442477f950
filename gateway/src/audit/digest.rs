//! What is recorded of the arguments of a tool's call or a prompt: a keyed digest, names, and values only where the
//! operator says so.
//!
//! The names are the caller's text as the values are: of them there are no more than a person reads.
//!
//! The digest is HMAC-SHA-256 over the arguments in canonical form (RFC 8785): two calls with the same arguments have the
//! same digest, and who does not hold the key cannot find small arguments by trying. Done on the writer's thread.
//! Numbers are those of ECMAScript; an integer that no double holds stays as it is, so that two ids are not one, and a
//! fraction of more digits than a double holds may be off by one in the last place.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Map, Number, Value};

use super::event::{Arguments, Event, Kind, Reason};

/// Values longer than this are left out, whatever the configuration says.
const MAX_VALUES: usize = 8 * 1024;
/// Of so many members the names are recorded; tools have fewer.
const MAX_NAMES: usize = 64;
/// A longer name is cut, so that it has no more bytes than this.
const MAX_NAME: usize = 128;
/// What a name that was cut ends in.
const CUT: char = '…';
const REDACTED: &str = "[redacted]";

/// What is recorded of arguments.
#[derive(Debug)]
pub struct Digester {
    key: Option<hmac::Key>,
    /// What carries no tags but these has its values recorded.
    values_of: BTreeSet<String>,
    /// JSON Pointers (RFC 6901) to what is blacked out.
    redact: Vec<String>,
}

impl Digester {
    /// Digests under this key; `values_of` are tags, `redact` JSON Pointers.
    #[must_use]
    pub fn new(key: &[u8], values_of: BTreeSet<String>, redact: Vec<String>) -> Self {
        Self { key: Some(hmac::Key::new(hmac::HMAC_SHA256, key)), values_of, redact }
    }

    /// Records nothing of arguments.
    #[must_use]
    pub fn none() -> Self {
        Self { key: None, values_of: BTreeSet::new(), redact: Vec::new() }
    }

    /// Whether anything is recorded of them.
    pub(super) fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// Turns the arguments of a decision into what is recorded of them.
    pub(super) fn apply(&self, event: &mut Event) {
        let Kind::Decision(decision) = &mut event.kind else { return };
        let (Some(raw), Some(key)) = (decision.params.take(), &self.key) else { return };
        let Ok(mut params) = serde_json::from_slice::<Value>(&raw) else { return };
        // A call without arguments is a call with none.
        let value = params.get_mut("arguments").map_or_else(|| Value::Object(Map::new()), Value::take);
        let Ok(canonical) = canonical(&value) else { return };
        let hmac_sha256 = tagged(key, &canonical);
        let (keys, more_keys) = value.as_object().map(names).unwrap_or_default();
        let opted = self.has_opted(&decision.reason);
        let values = (opted && canonical.len() <= MAX_VALUES).then(|| self.redacted(value));
        decision.arguments = Some(Arguments { hmac_sha256, keys, more_keys, values });
    }

    /// Whether every tag of what was permitted has its values recorded: what is read and personal is not opted for by
    /// what is read.
    fn has_opted(&self, reason: &Reason) -> bool {
        let Reason::Permit(permit) = reason else { return false };
        let mut tags = permit.tags().map(|tag| self.values_of.contains(tag.as_ref())).peekable();
        tags.peek().is_some() && tags.all(|opted| opted)
    }

    fn redacted(&self, mut value: Value) -> Value {
        for pointer in &self.redact {
            if let Some(found) = value.pointer_mut(pointer) {
                *found = Value::String(REDACTED.to_owned());
            }
        }
        value
    }
}

/// The names of an object's members, and how many more there are.
fn names(object: &Map<String, Value>) -> (Vec<String>, usize) {
    let names: Vec<String> = object.keys().take(MAX_NAMES).map(|name| shortened(name)).collect();
    let more = object.len() - names.len();
    (names, more)
}

fn shortened(name: &str) -> String {
    if name.len() <= MAX_NAME {
        return name.to_owned();
    }
    let mut short = String::with_capacity(MAX_NAME);
    for character in name.chars() {
        if short.len() + character.len_utf8() + CUT.len_utf8() > MAX_NAME {
            break;
        }
        short.push(character);
    }
    short.push(CUT);
    short
}

/// The one spelling of a value: members in the order of their names' UTF-16 code units, no white space.
fn canonical(value: &Value) -> serde_json::Result<Vec<u8>> {
    let mut spelt = Vec::with_capacity(256);
    spell(value, &mut spelt)?;
    Ok(spelt)
}

fn spell(value: &Value, out: &mut Vec<u8>) -> serde_json::Result<()> {
    match value {
        Value::Object(members) => {
            let mut sorted: Vec<(&String, &Value)> = members.iter().collect();
            sorted.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            let mut before = b'{';
            for (name, value) in sorted {
                out.push(std::mem::replace(&mut before, b','));
                serde_json::to_writer(&mut *out, name)?;
                out.push(b':');
                spell(value, out)?;
            }
            close(before, *b"{}", out);
        }
        Value::Array(items) => {
            let mut before = b'[';
            for item in items {
                out.push(std::mem::replace(&mut before, b','));
                spell(item, out)?;
            }
            close(before, *b"[]", out);
        }
        Value::Number(number) => out.extend_from_slice(spelt_number(number).as_bytes()),
        other => serde_json::to_writer(out, other)?,
    }
    Ok(())
}

/// A number as ECMAScript writes it (ECMA-262, `Number::toString`): 1.0 and 1 are one.
fn spelt_number(number: &Number) -> String {
    let text = number.to_string();
    let Some(double) = number.as_f64() else { return text };
    // Exactly as many digits as tell the double apart from its neighbours, and the power of ten of the first.
    let shortest = format!("{:e}", double.abs());
    let Some((mantissa, power)) = shortest.split_once('e') else { return text };
    let (digits, Ok(power)) = (mantissa.replace('.', ""), power.parse::<i32>()) else { return text };
    if number.is_i64() || number.is_u64() {
        let is_held = format!("{double:.0}") == text;
        if !is_held {
            return text;
        }
    }
    if double == 0.0 {
        return "0".to_owned();
    }
    let sign = if double < 0.0 { "-" } else { "" };
    let (count, point) = (i32::try_from(digits.len()).unwrap_or(i32::MAX), power + 1);
    let zeros = |number: i32| "0".repeat(usize::try_from(number).unwrap_or(0));
    let cut = |at: i32| digits.split_at_checked(usize::try_from(at).unwrap_or(0)).unwrap_or((&digits, ""));
    match point {
        _ if count <= point && point <= 21 => format!("{sign}{digits}{}", zeros(point - count)),
        1..=21 => {
            let (whole, part) = cut(point);
            format!("{sign}{whole}.{part}")
        }
        -5..=0 => format!("{sign}0.{}{digits}", zeros(-point)),
        _ => {
            let (first, rest) = cut(1);
            let (point, plus) = (if rest.is_empty() { "" } else { "." }, if power < 0 { "" } else { "+" });
            format!("{sign}{first}{point}{rest}e{plus}{power}")
        }
    }
}

fn tagged(key: &hmac::Key, canonical: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(hmac::sign(key, canonical))
}

/// The digest of arguments under a key, as the trail has it, for who holds the arguments and wants to find the call.
///
/// # Errors
///
/// Returns an error when the text is not JSON.
pub fn digest_of(key: &[u8], arguments: &[u8]) -> serde_json::Result<String> {
    let canonical = canonical(&serde_json::from_slice(arguments)?)?;
    Ok(tagged(&hmac::Key::new(hmac::HMAC_SHA256, key), &canonical))
}

/// Ends a list, and begins it where nothing was in it.
fn close(before: u8, [open, end]: [u8; 2], out: &mut Vec<u8>) {
    if before == open {
        out.push(open);
    }
    out.push(end);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_names_of_arguments_no_more_is_recorded_than_a_person_reads() {
        let of = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), Value::Null)).collect();
        let plain: Map<String, Value> = of(&["city", "days"]);
        assert_eq!(names(&plain), (vec!["city".to_owned(), "days".to_owned()], 0), "the control");
        let many: Map<String, Value> = (0..100_000).map(|at| (format!("n{at:06}"), Value::Null)).collect();
        let (some, more) = names(&many);
        assert_eq!((some.len(), more, some[63].as_str()), (64, 100_000 - 64, "n000063"));
        // On the boundary of a character, whatever it takes.
        for character in ["x", "é", "€", "𝄞"] {
            let (short, more) = names(&of(&[&character.repeat(3 << 20)]));
            assert!(more == 0 && short[0].len() <= 128 && short[0].len() > 120, "{short:?}");
            assert!(short[0].starts_with(character) && short[0].ends_with('…'), "{short:?}");
        }
        let longest = "x".repeat(128);
        assert_eq!(names(&of(&[&longest])).0, [longest.as_str()]);
    }

    #[test]
    fn numbers_are_written_as_ecmascript_writes_them() {
        for (written, canonical) in [
            ("0", "0"),
            ("-0.0", "0"),
            ("-1.50", "-1.5"),
            ("1e21", "1e+21"),
            ("1e20", "100000000000000000000"),
            ("333333333.33333329", "333333333.3333333"),
            ("1e-6", "0.000001"),
            ("1e-7", "1e-7"),
            ("1.5e-10", "1.5e-10"),
            ("4.50", "4.5"),
            ("2e-3", "0.002"),
            ("0.000000000000000000000000001", "1e-27"),
            ("1E30", "1e+30"),
            ("1.7976931348623157e308", "1.7976931348623157e+308"),
            ("5e-324", "5e-324"),
            ("9007199254740992", "9007199254740992"),
            ("1152921504606846976", "1152921504606847000"),
            // No double is this one: as it is.
            ("9007199254740993", "9007199254740993"),
            ("18446744073709551615", "18446744073709551615"),
        ] {
            // Not by serde_json, whose reading of long fractions may be off by one in the last place.
            let whole = written.parse::<u64>().map(Number::from);
            let number = whole.unwrap_or_else(|_| Number::from_f64(written.parse().unwrap()).unwrap());
            assert_eq!(spelt_number(&number), canonical, "{written}");
        }
    }

    #[test]
    fn arguments_that_say_the_same_have_one_canonical_form() {
        let of = |text: &str| String::from_utf8(canonical(&serde_json::from_str(text).unwrap()).unwrap()).unwrap();
        assert_eq!(of(r#"{"a":[],"b":{},"c":[{}]}"#), r#"{"a":[],"b":{},"c":[{}]}"#);
        assert_eq!(of(r#"{"b":[1, 2],"a":{"d":null,"c":"x"}}"#), r#"{"a":{"c":"x","d":null},"b":[1,2]}"#);
        assert_eq!(of(r#"{"\u0061":"\u0041\n"}"#), r#"{"a":"A\n"}"#);
        for same in ["1", "1.0", "1e0", "10e-1", "0.1e1"] {
            assert_eq!(of(&format!("[{same}]")), "[1]", "{same}");
        }
        // By UTF-16 code units a surrogate comes before a private-use character.
        assert_eq!(of("{\"\u{e000}\":1,\"\u{10000}\":2}"), "{\"\u{10000}\":2,\"\u{e000}\":1}");
    }
}
