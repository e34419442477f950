//! The answer of a condition: true, false, not known yet, or failed.
//!
//! *Unknown* is for lists: the arguments of a call to come. *Failed* is for what cannot be answered whatever the
//! arguments are, or with these: a claim that the token lacks, a missing argument, a comparison of unlike things.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::{Number, Value};

use super::cost::{Budget, texts_size};
use super::{Caller, Comparison, Expression, TextTest, Variable};
use crate::subject::{Kind, Subject};

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

/// Why a part has no value.
#[derive(Debug)]
pub(super) enum Doubt {
    Unknown,
    Failed(String),
    /// The budget is spent. INVARIANT: nothing goes on behind it, and no other side settles it.
    Exceeded,
}

pub(super) type Found<T> = Result<T, Doubt>;

pub(super) fn failed<T>(why: impl Into<String>) -> Found<T> {
    Err(Doubt::Failed(why.into()))
}

/// The answer, and the steps that it took.
pub(super) fn answer(expression: &Expression, scene: &Scene<'_>) -> (Answer, u32) {
    let mut asked = Asked { scene, locals: Vec::new(), budget: Budget::default() };
    let answer = match asked.truth(expression) {
        Ok(true) => Answer::True,
        Ok(false) => Answer::False,
        Err(Doubt::Unknown) => Answer::Unknown,
        Err(Doubt::Failed(why)) => Answer::Failed(why),
        Err(Doubt::Exceeded) => Answer::Failed("the condition takes too long on these arguments".to_owned()),
    };
    (answer, asked.budget.spent())
}

struct Asked<'a> {
    scene: &'a Scene<'a>,
    locals: Vec<(&'a str, Cow<'a, Value>)>,
    budget: Budget,
}

impl<'a> Asked<'a> {
    fn truth(&mut self, expression: &'a Expression) -> Found<bool> {
        self.budget.spend(1)?;
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
                Value::Object(members) => Ok(self.budget.member(members, member)?.is_some()),
                _ => failed(format!("what should have `{member}` is no object")),
            },
            Expression::Knows(caller) => match self.caller(caller) {
                Err(doubt @ (Doubt::Unknown | Doubt::Exceeded)) => Err(doubt),
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
    fn joined(&mut self, a: &'a Expression, b: &'a Expression, ends: bool) -> Found<bool> {
        let first = self.truth(a);
        if matches!(&first, Ok(truth) if *truth == ends) || matches!(&first, Err(Doubt::Exceeded)) {
            return first;
        }
        match (first, self.truth(b)) {
            (_, Err(Doubt::Exceeded)) => Err(Doubt::Exceeded),
            (_, Ok(truth)) if truth == ends => Ok(ends),
            (Err(Doubt::Unknown), _) | (_, Err(Doubt::Unknown)) => Err(Doubt::Unknown),
            (Err(failure), _) | (_, Err(failure)) => Err(failure),
            (Ok(_), Ok(_)) => Ok(!ends),
        }
    }

    fn compare(&mut self, comparison: Comparison, a: &'a Expression, b: &'a Expression) -> Found<bool> {
        let is_null = |side: &Expression| matches!(side, Expression::Literal(Value::Null));
        let with_null = is_null(a) || is_null(b);
        let (a, b) = self.values(a, b)?;
        let budget = &mut self.budget;
        match comparison {
            Comparison::Equal | Comparison::NotEqual => {
                // What is compared with `null` is looked at for no more than that.
                let equal = if with_null { a.is_null() == b.is_null() } else { budget.alike(&a, &b)? };
                Ok(equal == (comparison == Comparison::Equal))
            }
            Comparison::Less => budget.order(&a, &b).map(Ordering::is_lt),
            Comparison::LessOrEqual => budget.order(&a, &b).map(Ordering::is_le),
            Comparison::Greater => budget.order(&a, &b).map(Ordering::is_gt),
            Comparison::GreaterOrEqual => budget.order(&a, &b).map(Ordering::is_ge),
        }
    }

    fn contained(&mut self, item: &'a Expression, list: &'a Expression) -> Found<bool> {
        let (item, list) = self.values(item, list)?;
        match (&*list, &*item) {
            (Value::Array(items), item) => {
                let mut doubt = None;
                for other in items {
                    match self.budget.alike(other, item) {
                        Ok(true) => return Ok(true),
                        Ok(false) => {}
                        Err(Doubt::Exceeded) => return Err(Doubt::Exceeded),
                        Err(failure) => doubt = Some(failure),
                    }
                }
                doubt.map_or(Ok(false), Err)
            }
            (Value::Object(members), Value::String(name)) => Ok(self.budget.member(members, name)?.is_some()),
            _ => failed("`in` wants a list, or an object and the name of a member"),
        }
    }

    fn text_test(&mut self, test: TextTest, text: &'a Expression, part: &'a Expression) -> Found<bool> {
        let (text, part) = self.values(text, part)?;
        let (Value::String(text), Value::String(part)) = (&*text, &*part) else {
            return failed("only texts have beginnings, ends and parts");
        };
        match test {
            TextTest::StartsWith | TextTest::EndsWith => self.budget.compared(part)?,
            TextTest::Contains => self.budget.searched(text, part)?,
        }
        Ok(match test {
            TextTest::StartsWith => text.starts_with(part.as_str()),
            TextTest::EndsWith => text.ends_with(part.as_str()),
            TextTest::Contains => text.contains(part.as_str()),
        })
    }

    fn quantified(
        &mut self,
        every: bool,
        variable: &'a str,
        list: &'a Expression,
        test: &'a Expression,
    ) -> Found<bool> {
        match self.value(list)? {
            Cow::Borrowed(Value::Array(items)) => self.each(every, variable, items.iter().map(Cow::Borrowed), test),
            Cow::Owned(Value::Array(items)) => self.each(every, variable, items.into_iter().map(Cow::Owned), test),
            _ => failed("`all` and `exists` want a list"),
        }
    }

    fn each(
        &mut self,
        every: bool,
        variable: &'a str,
        items: impl Iterator<Item = Cow<'a, Value>>,
        test: &'a Expression,
    ) -> Found<bool> {
        let mut doubt = None;
        for item in items {
            self.locals.push((variable, item));
            let truth = self.truth(test);
            self.locals.pop();
            match truth {
                Ok(truth) if truth != every => return Ok(truth),
                Ok(_) => {}
                Err(Doubt::Exceeded) => return Err(Doubt::Exceeded),
                Err(Doubt::Unknown) => doubt = Some(Doubt::Unknown),
                Err(failure) => doubt = doubt.or(Some(failure)),
            }
        }
        doubt.map_or(Ok(every), Err)
    }

    /// Both, of which neither is worth anything without the other.
    fn values(&mut self, a: &'a Expression, b: &'a Expression) -> Found<(Cow<'a, Value>, Cow<'a, Value>)> {
        let a = self.value(a);
        both(a, self.value(b))
    }

    fn value(&mut self, expression: &'a Expression) -> Found<Cow<'a, Value>> {
        self.budget.spend(1)?;
        match expression {
            Expression::Literal(value) => Ok(Cow::Borrowed(value)),
            Expression::List(items) => {
                let mut list = Ok(Vec::with_capacity(items.len()));
                for item in items {
                    let item = self.value(item).and_then(|item| self.budget.owned(item));
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
                let found = self.select(object, |budget, value| match value {
                    Value::Object(members) => budget.member(members, member),
                    _ => Ok(None),
                });
                found?.map_or_else(|| failed(format!("`{member}` is missing")), Ok)
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
                    Value::String(text) => {
                        self.budget.compared(text)?;
                        text.chars().count()
                    }
                    Value::Array(items) => items.len(),
                    Value::Object(members) => members.len(),
                    _ => return failed("only texts, lists and objects have a size"),
                };
                Ok(Cow::Owned(Value::from(size)))
            }
            other => self.truth(other).map(|truth| Cow::Owned(Value::Bool(truth))),
        }
    }

    fn index(&mut self, list: &'a Expression, index: &'a Expression) -> Found<Cow<'a, Value>> {
        let (list, index) = self.values(list, index)?;
        let found = match &*index {
            Value::Number(number) => {
                let place = number.as_u64().and_then(|place| usize::try_from(place).ok());
                self.select(list, |_, value| Ok(place.and_then(|place| value.as_array()?.get(place))))?
            }
            Value::String(name) => self.select(list, |budget, value| match value {
                Value::Object(members) => budget.member(members, name),
                _ => Ok(None),
            })?,
            _ => None,
        };
        found.map_or_else(|| failed("there is nothing at this index"), Ok)
    }

    /// A part of a value, copied only where the whole is no argument or claim.
    fn select(
        &mut self,
        value: Cow<'a, Value>,
        find: impl for<'v> FnOnce(&mut Budget, &'v Value) -> Found<Option<&'v Value>>,
    ) -> Found<Option<Cow<'a, Value>>> {
        match value {
            Cow::Borrowed(value) => Ok(find(&mut self.budget, value)?.map(Cow::Borrowed)),
            Cow::Owned(value) => match find(&mut self.budget, &value)? {
                Some(part) => self.budget.owned(Cow::Borrowed(part)).map(|part| Some(Cow::Owned(part))),
                None => Ok(None),
            },
        }
    }

    fn negated(&mut self, number: &'a Expression) -> Found<Cow<'a, Value>> {
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

    fn variable(&mut self, variable: &'a Variable) -> Found<Cow<'a, Value>> {
        match variable {
            Variable::Arguments => match self.scene.arguments {
                Arguments::Unknown | Arguments::Anybody => Err(Doubt::Unknown),
                Arguments::Known(value) => Ok(Cow::Borrowed(value)),
            },
            Variable::Tool => self.text(self.scene.tool),
            Variable::Backend => self.text(self.scene.backend),
            Variable::Caller(caller) => self.caller(caller),
            Variable::Local(name) => match self.locals.iter().rev().find(|(local, _)| *local == name.as_str()) {
                Some((_, Cow::Borrowed(value))) => Ok(Cow::Borrowed(*value)),
                Some((_, Cow::Owned(value))) => self.budget.owned(Cow::Borrowed(value)).map(Cow::Owned),
                None => failed("a variable outside its loop"),
            },
        }
    }

    fn text(&mut self, text: &str) -> Found<Cow<'a, Value>> {
        self.budget.compared(text)?;
        Ok(Cow::Owned(Value::from(text)))
    }

    fn texts(&mut self, texts: &[String]) -> Found<Cow<'a, Value>> {
        self.budget.spend(texts_size(texts))?;
        Ok(Cow::Owned(Value::from(texts.to_vec())))
    }

    /// What the token says of the caller; what it does not say is never taken for false or nothing.
    fn caller(&mut self, asked: &Caller) -> Found<Cow<'a, Value>> {
        let caller = self.scene.caller;
        if matches!(self.scene.arguments, Arguments::Anybody) && *asked != Caller::Kind {
            return Err(Doubt::Unknown);
        }
        let lacks = || failed("the token lacks a claim that the condition asks for");
        let value = |value: Value| Ok(Cow::Owned(value));
        match asked {
            Caller::Kind => self.text(caller.kind().as_str()),
            // Whoever brought no token has neither.
            Caller::Tenant | Caller::Object if caller.kind() == Kind::Public => lacks(),
            Caller::Tenant => self.text(caller.tenant()),
            Caller::Object => self.text(caller.object()),
            Caller::Roles => self.texts(caller.roles()),
            Caller::Guest => caller.guest().map_or_else(lacks, |guest| value(guest.into())),
            Caller::Client => caller.client().map_or_else(lacks, |client| self.text(client)),
            Caller::Acrs if caller.acrs().is_empty() => lacks(),
            Caller::Acrs => self.texts(caller.acrs()),
            Caller::AuthTime => caller.auth_time().map_or_else(lacks, |time| value(time.into())),
            Caller::Claim(name) => caller.claim(name).map_or_else(lacks, |claim| Ok(Cow::Borrowed(claim))),
        }
    }
}

/// What fails whatever the arguments are has failed, though the other is not known yet, on whichever side it stands.
fn both<A, B>(a: Result<A, Doubt>, b: Result<B, Doubt>) -> Result<(A, B), Doubt> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (Err(Doubt::Exceeded), _) | (_, Err(Doubt::Exceeded)) => Err(Doubt::Exceeded),
        (Err(Doubt::Failed(why)), _) | (_, Err(Doubt::Failed(why))) => Err(Doubt::Failed(why)),
        (Err(Doubt::Unknown), _) | (_, Err(Doubt::Unknown)) => Err(Doubt::Unknown),
    }
}
