//! Conditions: CEL expressions that are read when the policy loads, and cost little when they are asked.
//!
//! The parser is the `cel` crate's; what it gives is taken over into a small tree of our own, because the answer here
//! has four values (see [`Answer`]), the variables are a closed list, and the cost of an answer is bounded.

mod answer;
mod cost;
mod read;

use std::collections::BTreeSet;
use std::sync::Arc;

pub(crate) use answer::{Answer, Arguments, Scene};
use read::Reader;

/// A longer condition is a program; it belongs into the tool.
const MAX_LENGTH: usize = 2048;
/// Nesting that the parser follows, and that an answer recurses into. The parser's own bound counts after it has
/// recursed, so brackets and marks are counted before it sees a text.
const MAX_DEPTH: u16 = 24;
const MAX_MARKS: usize = 256;

/// A condition that was read.
#[derive(Debug)]
pub(crate) struct Condition {
    text: Arc<str>,
    expression: Expression,
    /// Whether its answer can differ from tool to tool.
    pub(crate) reads_tool: bool,
    /// The outermost arguments that it names.
    pub(crate) arguments: BTreeSet<String>,
}

/// What a condition may speak of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vocabulary<'a> {
    /// Whether `caller.roles` may be named: in deny rules only.
    pub(crate) roles: bool,
    /// The claims that `caller.claims` has; any, where it is not known which.
    pub(crate) claims: Option<&'a BTreeSet<String>>,
}

/// The tree of a condition.
#[derive(Clone, Debug, PartialEq)]
enum Expression {
    Literal(serde_json::Value),
    List(Vec<Expression>),
    Variable(Variable),
    /// A member of an object.
    Select(Box<Expression>, String),
    /// Whether an object has a member.
    Has(Box<Expression>, String),
    /// Whether the token says something.
    Knows(Caller),
    Index(Box<Expression>, Box<Expression>),
    Not(Box<Expression>),
    Negate(Box<Expression>),
    And(Box<Expression>, Box<Expression>),
    Or(Box<Expression>, Box<Expression>),
    Either(Box<Expression>, Box<Expression>, Box<Expression>),
    Compare(Comparison, Box<Expression>, Box<Expression>),
    In(Box<Expression>, Box<Expression>),
    Size(Box<Expression>),
    Text(TextTest, Box<Expression>, Box<Expression>),
    /// `list.all(x, …)` and `list.exists(x, …)`.
    Quantified {
        every: bool,
        variable: String,
        list: Box<Expression>,
        test: Box<Expression>,
    },
}

/// A name that stands for something.
#[derive(Clone, Debug, PartialEq)]
enum Variable {
    Arguments,
    Tool,
    Backend,
    Caller(Caller),
    /// The variable of an enclosing `all` or `exists`.
    Local(String),
}

/// What is asked of the caller.
#[derive(Clone, Debug, PartialEq)]
enum Caller {
    Kind,
    Tenant,
    Object,
    Guest,
    Client,
    Acrs,
    AuthTime,
    Roles,
    Claim(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TextTest {
    StartsWith,
    EndsWith,
    Contains,
}

impl Condition {
    /// Reads a condition; the error says what to write instead.
    pub(crate) fn parse(text: &str, vocabulary: Vocabulary<'_>) -> Result<Self, String> {
        if text.len() > MAX_LENGTH {
            return Err(format!("a condition has at most {MAX_LENGTH} characters; let the tool decide the rest"));
        }
        if is_tangled(text) {
            return Err(format!(
                "a condition nests {MAX_DEPTH} deep and has {MAX_MARKS} marks at most; split the rule"
            ));
        }
        let parsed = cel::parser::Parser::new().max_recursion_depth(MAX_DEPTH).parse(text);
        let parsed = parsed.map_err(|errors| {
            let first =
                errors.errors.first().map_or("it cannot be read", |error| error.msg.lines().next().unwrap_or(""));
            format!("this is no CEL expression: {first}; write a comparison such as `args.env == \"dev\"`")
        })?;
        let mut reader = Reader::new(vocabulary);
        let expression = reader.expression(&parsed)?;
        Ok(Self { text: text.into(), expression, reads_tool: reader.reads_tool, arguments: reader.arguments })
    }

    /// The text as written.
    pub(crate) fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// Its answer in a scene.
    pub(crate) fn answer(&self, scene: &Scene<'_>) -> Answer {
        answer::answer(&self.expression, scene).0
    }

    /// The steps that its answer takes.
    #[cfg(test)]
    fn cost(&self, scene: &Scene<'_>) -> u32 {
        answer::answer(&self.expression, scene).1
    }
}

/// Whether a text has more brackets inside each other, or more marks, than a condition needs.
fn is_tangled(text: &str) -> bool {
    let (mut depth, mut deepest, mut marks) = (0_usize, 0, 0);
    for mark in text.bytes().filter(u8::is_ascii_punctuation) {
        marks += usize::from(mark != b'_');
        match mark {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest > usize::from(MAX_DEPTH) || marks > MAX_MARKS
}

#[cfg(test)]
mod tests;
