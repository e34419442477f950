//! What an answer may cost: every step is paid for before it is taken.
//!
//! A condition is asked on the thread that serves other callers too, about arguments of the caller's making. What is
//! walked, compared, searched or copied costs by its size, so that no arguments make a condition take more than some
//! milliseconds.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::{Map, Number, Value};

use super::answer::{Doubt, Found, failed};
use crate::spelling::is_respelled;

/// Steps that an answer may take; each is some nanoseconds.
const STEPS: u32 = 200_000;
/// Bytes that one step compares, searches, or copies: a few searches of the largest body are within the budget.
const COMPARED: usize = 64;
/// Bytes of two names that one step holds against each other, whatever their letters.
const FOLDED: usize = 16;
/// Steps to make room for a value of one's own.
const COPIED: usize = 4;

/// The steps that are left.
#[derive(Debug)]
pub(super) struct Budget(u32);

impl Default for Budget {
    fn default() -> Self {
        Self(STEPS)
    }
}

impl Budget {
    /// The steps so far.
    pub(super) fn spent(&self) -> u32 {
        STEPS - self.0
    }

    /// Pays for steps to come.
    pub(super) fn spend(&mut self, steps: usize) -> Found<()> {
        let left = u32::try_from(steps).ok().and_then(|steps| self.0.checked_sub(steps));
        self.0 = left.unwrap_or(0);
        left.map(|_left| ()).ok_or(Doubt::Exceeded)
    }

    /// Pays for comparing, counting or copying a text.
    pub(super) fn compared(&mut self, text: &str) -> Found<()> {
        self.spend(text.len() / COMPARED)
    }

    /// Pays for looking for a part of a text.
    pub(super) fn searched(&mut self, text: &str, part: &str) -> Found<()> {
        self.spend((text.len() + part.len()) / COMPARED)
    }

    /// A value of one's own.
    pub(super) fn owned(&mut self, value: Cow<'_, Value>) -> Found<Value> {
        if let Cow::Borrowed(value) = value {
            self.copied(value)?;
        }
        Ok(value.into_owned())
    }

    fn copied(&mut self, value: &Value) -> Found<()> {
        self.spend(COPIED)?;
        match value {
            Value::String(text) => self.compared(text),
            Value::Array(items) => items.iter().try_for_each(|item| self.copied(item)),
            Value::Object(members) => members.iter().try_for_each(|(name, value)| {
                self.compared(name)?;
                self.copied(value)
            }),
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
        }
    }

    /// The member of this name. Where another one has a name that a server may take for it, nobody knows which of the two
    /// counts there.
    pub(super) fn member<'v>(&mut self, members: &'v Map<String, Value>, name: &str) -> Found<Option<&'v Value>> {
        let mut found = None;
        for (key, value) in members {
            self.spend(1 + (key.len() + name.len()) / FOLDED)?;
            if key == name {
                found = Some(value);
            } else if is_respelled(key, name) {
                return failed(format!("`{name}` is there in another spelling"));
            }
        }
        Ok(found)
    }

    fn look_up<'v>(&mut self, members: &'v Map<String, Value>, name: &str) -> Found<Option<&'v Value>> {
        // A map compares the name with a few names at each of few levels.
        let names = 4 * usize::try_from(usize::BITS - members.len().leading_zeros()).unwrap_or(usize::MAX / 4);
        self.spend(names.saturating_mul(1 + name.len() / COMPARED))?;
        Ok(members.get(name))
    }

    /// Whether two values are equal; unlike things are not unequal but a mistake, or `args.env != "prod"` would be true
    /// of `["prod"]`, which a tool may take for the same.
    pub(super) fn alike(&mut self, a: &Value, b: &Value) -> Found<bool> {
        self.spend(1)?;
        match (a, b) {
            (Value::Number(a), Value::Number(b)) => Ok(compare_numbers(a, b) == Some(Ordering::Equal)),
            (Value::String(a), Value::String(b)) => {
                self.compared(if a.len() == b.len() { a } else { "" })?;
                Ok(a == b)
            }
            (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
            (Value::Null, Value::Null) => Ok(true),
            (Value::Array(a), Value::Array(b)) => {
                if a.len() == b.len() {
                    self.all_alike(a.iter().zip(b))
                } else {
                    Ok(false)
                }
            }
            (Value::Object(a), Value::Object(b)) => {
                let mut pairs = Vec::new();
                for (name, value) in a.iter().filter(|_| a.len() == b.len()) {
                    match self.look_up(b, name)? {
                        Some(other) => pairs.push((value, other)),
                        None => return Ok(false),
                    }
                }
                if pairs.len() == b.len() { self.all_alike(pairs.into_iter()) } else { Ok(false) }
            }
            _ => failed("two things of different kinds are compared"),
        }
    }

    /// One difference settles it, whatever cannot be compared beside it.
    fn all_alike<'v>(&mut self, pairs: impl Iterator<Item = (&'v Value, &'v Value)>) -> Found<bool> {
        let mut doubt = None;
        for (a, b) in pairs {
            match self.alike(a, b) {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(Doubt::Exceeded) => return Err(Doubt::Exceeded),
                Err(failure) => doubt = Some(failure),
            }
        }
        doubt.map_or(Ok(true), Err)
    }

    /// Which of two numbers or texts comes first.
    pub(super) fn order(&mut self, a: &Value, b: &Value) -> Found<Ordering> {
        let order = match (a, b) {
            (Value::Number(a), Value::Number(b)) => compare_numbers(a, b),
            (Value::String(a), Value::String(b)) => {
                self.compared(if a.len() < b.len() { a } else { b })?;
                Some(a.cmp(b))
            }
            _ => None,
        };
        order.map_or_else(|| failed("only two numbers or two texts have an order"), Ok)
    }
}

/// Steps to copy texts.
pub(super) fn texts_size(texts: &[String]) -> usize {
    texts.iter().map(|text| COPIED + text.len() / COMPARED).sum()
}

fn compare_numbers(a: &Number, b: &Number) -> Option<Ordering> {
    let whole = |number: &Number| number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
    match (whole(a), whole(b)) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}
