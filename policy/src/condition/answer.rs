//! The answer of a condition: true, false, not known yet, or failed.
//!
//! *Unknown* is for lists: the arguments of a call to come. *Failed* is for what cannot be answered whatever the
//! arguments are, or with these: a claim that the token lacks, a missing argument, a comparison of unlike things.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::{Number, Value};

use super::{Caller, Comparison, Expression, TextTest, Variable};
use crate::subject::{Kind, Subject};

/// Steps that an answer may take; a step is a part of the expression, or sixty-four bytes of a text.
const BUDGET: u32 = 200_000;

/// What a condition answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    True,
    False,
    Unknown,
    Failed(String),
}

/// The arguments of a call, or that they are not known.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Arguments<'a> {
    Unknown,
    /// Neither they nor the caller are known, but for the caller's kind.
    Anybody,
    Known(&'a Value),
}

/// What a condition is asked about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene<'a> {
    pub(crate) arguments: Arguments<'a>,
    pub(crate) tool: &'a str,
    pub(crate) backend: &'a str,
    pub(crate) caller: &'a Subject,
}

enum Doubt {
    Unknown,
    Failed(String),
}

type Found<'a, T> = Result<T, Doubt>;

fn failed<T>(why: impl Into<String>) -> Result<T, Doubt> {
    Err(Doubt::Failed(why.into()))
}

pub(super) fn answer(expression: &Expression, scene: &Scene<'_>) -> Answer {
    let mut asked = Asked { scene, locals: Vec::new(), budget: BUDGET };
    match asked.truth(expression) {
        Ok(true) => Answer::True,
        Ok(false) => Answer::False,
        Err(Doubt::Unknown) => Answer::Unknown,
        Err(Doubt::Failed(why)) => Answer::Failed(why),
    }
}

struct Asked<'a> {
    scene: &'a Scene<'a>,
    locals: Vec<(String, Value)>,
    budget: u32,
}

impl<'a> Asked<'a> {
    fn spend(&mut self, steps: usize) -> Found<'a, ()> {
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        match self.budget.checked_sub(steps) {
            Some(left) => {
                self.budget = left;
                Ok(())
            }
            None => failed("the condition takes too long on these arguments"),
        }
    }

    fn truth(&mut self, expression: &'a Expression) -> Found<'a, bool> {
        self.spend(1)?;
        match expression {
            Expression::Not(inner) => self.truth(inner).map(|truth| !truth),
            Expression::And(a, b) => self.joined(a, b, false),
            Expression::Or(a, b) => self.joined(a, b, true),
            Expression::Either(test, yes, no) => {
                if self.truth(test)? {
                    self.truth(yes)
                } else {
                    self.truth(no)
                }
            }
            Expression::Compare(comparison, a, b) => self.compare(*comparison, a, b),
            Expression::In(item, list) => self.contained(item, list),
            Expression::Has(object, member) => match &*self.value(object)? {
                Value::Object(members) => Ok(members.contains_key(member)),
                _ => failed(format!("what should have `{member}` is no object")),
            },
            Expression::Knows(caller) => match self.caller(caller) {
                Err(Doubt::Unknown) => Err(Doubt::Unknown),
                said => Ok(said.is_ok()),
            },
            Expression::Text(test, text, part) => self.text_test(*test, text, part),
            Expression::Quantified { every, variable, list, test } => self.quantified(*every, variable, list, test),
            other => match &*self.value(other)? {
                Value::Bool(truth) => Ok(*truth),
                _ => failed("a condition is true or false, and this is neither"),
            },
        }
    }

    /// `&&` ends at the first false, `||` at the first true, whatever is wrong with the other side.
    fn joined(&mut self, a: &'a Expression, b: &'a Expression, ends: bool) -> Found<'a, bool> {
        let first = self.truth(a);
        if matches!(&first, Ok(truth) if *truth == ends) {
            return Ok(ends);
        }
        match (first, self.truth(b)) {
            (_, Ok(truth)) if truth == ends => Ok(ends),
            (Err(Doubt::Unknown), _) | (_, Err(Doubt::Unknown)) => Err(Doubt::Unknown),
            (Err(failure), _) | (_, Err(failure)) => Err(failure),
            (Ok(_), Ok(_)) => Ok(!ends),
        }
    }

    fn compare(&mut self, comparison: Comparison, a: &'a Expression, b: &'a Expression) -> Found<'a, bool> {
        let null = Expression::Literal(Value::Null);
        let with_null = *a == null || *b == null;
        let (a, b) = self.values(a, b)?;
        self.spend(weight(&a).min(weight(&b)))?;
        let equal = |a: &Value, b: &Value| if with_null { Ok(a == b) } else { alike(a, b) };
        match comparison {
            Comparison::Equal => equal(&a, &b),
            Comparison::NotEqual => equal(&a, &b).map(|equal| !equal),
            Comparison::Less => order(&a, &b).map(Ordering::is_lt),
            Comparison::LessOrEqual => order(&a, &b).map(Ordering::is_le),
            Comparison::Greater => order(&a, &b).map(Ordering::is_gt),
            Comparison::GreaterOrEqual => order(&a, &b).map(Ordering::is_ge),
        }
    }

    fn contained(&mut self, item: &'a Expression, list: &'a Expression) -> Found<'a, bool> {
        let (item, list) = self.values(item, list)?;
        match (&*list, &*item) {
            (Value::Array(items), item) => {
                self.spend(items.iter().map(weight).sum())?;
                let mut doubt = None;
                for other in items {
                    match alike(other, item) {
                        Ok(true) => return Ok(true),
                        Ok(false) => {}
                        Err(failure) => doubt = Some(failure),
                    }
                }
                doubt.map_or(Ok(false), Err)
            }
            (Value::Object(members), Value::String(name)) => Ok(members.contains_key(name)),
            _ => failed("`in` wants a list, or an object and the name of a member"),
        }
    }

    fn text_test(&mut self, test: TextTest, text: &'a Expression, part: &'a Expression) -> Found<'a, bool> {
        let (text, part) = self.values(text, part)?;
        self.spend(weight(&text))?;
        let (Value::String(text), Value::String(part)) = (&*text, &*part) else {
            return failed("only texts have beginnings, ends and parts");
        };
        Ok(match test {
            TextTest::StartsWith => text.starts_with(part.as_str()),
            TextTest::EndsWith => text.ends_with(part.as_str()),
            TextTest::Contains => text.contains(part.as_str()),
        })
    }

    fn quantified(
        &mut self,
        every: bool,
        variable: &str,
        list: &'a Expression,
        test: &'a Expression,
    ) -> Found<'a, bool> {
        let list = self.value(list)?.into_owned();
        let Value::Array(items) = list else { return failed("`all` and `exists` want a list") };
        let mut doubt = None;
        for item in items {
            self.spend(weight(&item))?;
            self.locals.push((variable.to_owned(), item));
            let truth = self.truth(test);
            self.locals.pop();
            match truth {
                Ok(truth) if truth != every => return Ok(truth),
                Ok(_) => {}
                Err(Doubt::Unknown) => doubt = Some(Doubt::Unknown),
                Err(failure) => doubt = doubt.or(Some(failure)),
            }
        }
        doubt.map_or(Ok(every), Err)
    }

    /// Both, of which neither is worth anything without the other.
    fn values(&mut self, a: &'a Expression, b: &'a Expression) -> Found<'a, (Cow<'a, Value>, Cow<'a, Value>)> {
        let a = self.value(a);
        both(a, self.value(b))
    }

    fn value(&mut self, expression: &'a Expression) -> Found<'a, Cow<'a, Value>> {
        self.spend(1)?;
        match expression {
            Expression::Literal(value) => Ok(Cow::Borrowed(value)),
            Expression::List(items) => {
                let mut list = Ok(Vec::with_capacity(items.len()));
                for item in items {
                    let item = self.value(item).map(Cow::into_owned);
                    list = both(list, item).map(|(mut list, item)| {
                        list.push(item);
                        list
                    });
                }
                list.map(|items| Cow::Owned(Value::Array(items)))
            }
            Expression::Variable(variable) => self.variable(variable),
            Expression::Select(object, member) => {
                let object = self.value(object)?;
                select(object, |value| value.as_object()?.get(member))
                    .map_or_else(|| failed(format!("`{member}` is missing")), Ok)
            }
            Expression::Index(list, index) => self.index(list, index),
            Expression::Negate(number) => self.negated(number),
            Expression::Either(test, yes, no) => {
                if self.truth(test)? {
                    self.value(yes)
                } else {
                    self.value(no)
                }
            }
            Expression::Size(of) => {
                let size = match &*self.value(of)? {
                    Value::String(text) => text.chars().count(),
                    Value::Array(items) => items.len(),
                    Value::Object(members) => members.len(),
                    _ => return failed("only texts, lists and objects have a size"),
                };
                Ok(Cow::Owned(Value::from(size)))
            }
            other => self.truth(other).map(|truth| Cow::Owned(Value::Bool(truth))),
        }
    }

    fn index(&mut self, list: &'a Expression, index: &'a Expression) -> Found<'a, Cow<'a, Value>> {
        let (list, index) = self.values(list, index)?;
        let found = match &*index {
            Value::Number(number) => {
                let place = number.as_u64().and_then(|place| usize::try_from(place).ok());
                select(list, |value| value.as_array()?.get(place?))
            }
            Value::String(name) => select(list, |value| value.as_object()?.get(name)),
            _ => None,
        };
        found.map_or_else(|| failed("there is nothing at this index"), Ok)
    }

    fn negated(&mut self, number: &'a Expression) -> Found<'a, Cow<'a, Value>> {
        let number = self.value(number)?;
        let negated = match &*number {
            Value::Number(number) => match number.as_i64().and_then(i64::checked_neg) {
                Some(negated) => Some(Value::from(negated)),
                None => number.as_f64().and_then(|number| Number::from_f64(-number)).map(Value::Number),
            },
            _ => None,
        };
        negated.map_or_else(|| failed("only numbers can be negated"), |value| Ok(Cow::Owned(value)))
    }

    fn variable(&mut self, variable: &'a Variable) -> Found<'a, Cow<'a, Value>> {
        match variable {
            Variable::Arguments => match self.scene.arguments {
                Arguments::Unknown | Arguments::Anybody => Err(Doubt::Unknown),
                Arguments::Known(value) => Ok(Cow::Borrowed(value)),
            },
            Variable::Tool => Ok(Cow::Owned(Value::from(self.scene.tool))),
            Variable::Backend => Ok(Cow::Owned(Value::from(self.scene.backend))),
            Variable::Caller(caller) => self.caller(caller).map(Cow::Owned),
            Variable::Local(name) => {
                let found = self.locals.iter().rev().find(|(local, _)| local == name);
                found.map_or_else(|| failed("a variable outside its loop"), |(_, value)| Ok(Cow::Owned(value.clone())))
            }
        }
    }

    /// What the token says of the caller; what it does not say is never taken for false or nothing.
    fn caller(&self, asked: &Caller) -> Found<'a, Value> {
        let caller = self.scene.caller;
        if matches!(self.scene.arguments, Arguments::Anybody) && *asked != Caller::Kind {
            return Err(Doubt::Unknown);
        }
        let said = match asked {
            Caller::Kind => Some(Value::from(caller.kind().as_str())),
            // Whoever brought no token has neither.
            Caller::Tenant | Caller::Object if caller.kind() == Kind::Public => None,
            Caller::Tenant => Some(Value::from(caller.tenant())),
            Caller::Object => Some(Value::from(caller.object())),
            Caller::Roles => Some(Value::from(caller.roles().to_vec())),
            Caller::Guest => caller.guest().map(Value::from),
            Caller::Client => caller.client().map(Value::from),
            Caller::Acrs => (!caller.acrs().is_empty()).then(|| Value::from(caller.acrs().to_vec())),
            Caller::AuthTime => caller.auth_time().map(Value::from),
            Caller::Claim(name) => caller.claim(name).cloned(),
        };
        said.map_or_else(|| failed("the token lacks a claim that the condition asks for"), Ok)
    }
}

/// What fails whatever the arguments are has failed, though the other is not known yet, on whichever side it stands.
fn both<A, B>(a: Result<A, Doubt>, b: Result<B, Doubt>) -> Result<(A, B), Doubt> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (Err(Doubt::Failed(why)), _) | (_, Err(Doubt::Failed(why))) => Err(Doubt::Failed(why)),
        (Err(Doubt::Unknown), _) | (_, Err(Doubt::Unknown)) => Err(Doubt::Unknown),
    }
}

fn select(value: Cow<'_, Value>, find: impl FnOnce(&Value) -> Option<&Value>) -> Option<Cow<'_, Value>> {
    match value {
        Cow::Borrowed(value) => find(value).map(Cow::Borrowed),
        Cow::Owned(value) => find(&value).cloned().map(Cow::Owned),
    }
}

/// Steps for the bytes of a value.
fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => 1 + text.len() / 64,
        Value::Array(items) => 1 + items.iter().map(weight).sum::<usize>(),
        Value::Object(members) => 1 + members.values().map(weight).sum::<usize>(),
        _ => 1,
    }
}

/// Whether two values are equal; unlike things are not unequal but a mistake, or `args.env != "prod"` would be true of
/// `["prod"]`, which a tool may take for the same.
fn alike(a: &Value, b: &Value) -> Result<bool, Doubt> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => Ok(compare_numbers(a, b) == Some(Ordering::Equal)),
        (Value::String(a), Value::String(b)) => Ok(a == b),
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        (Value::Null, Value::Null) => Ok(true),
        (Value::Array(a), Value::Array(b)) => all_alike(a.len() == b.len(), a.iter().zip(b)),
        (Value::Object(a), Value::Object(b)) => {
            let same_names = a.len() == b.len() && a.keys().all(|name| b.contains_key(name));
            all_alike(same_names, a.iter().filter_map(|(name, value)| Some((value, b.get(name)?))))
        }
        _ => failed("two things of different kinds are compared"),
    }
}

/// One difference settles it, whatever cannot be compared beside it.
fn all_alike<'v>(same_shape: bool, pairs: impl Iterator<Item = (&'v Value, &'v Value)>) -> Result<bool, Doubt> {
    let mut doubt = None;
    for (a, b) in pairs.filter(|_| same_shape) {
        match alike(a, b) {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(failure) => doubt = Some(failure),
        }
    }
    doubt.map_or(Ok(same_shape), Err)
}

fn order(a: &Value, b: &Value) -> Result<Ordering, Doubt> {
    let order = match (a, b) {
        (Value::Number(a), Value::Number(b)) => compare_numbers(a, b),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => None,
    };
    order.map_or_else(|| failed("only two numbers or two texts have an order"), Ok)
}

fn compare_numbers(a: &Number, b: &Number) -> Option<Ordering> {
    let whole = |number: &Number| number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
    match (whole(a), whole(b)) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}
