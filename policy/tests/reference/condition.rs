//! Conditions as a tree that is written out for the policy and asked by itself: neither the parser nor the evaluator of the
//! crate has a part in it.

use serde_json::Value;

use crate::model::Caller;

/// A condition, or a part of one.
#[derive(Clone, Debug)]
pub(crate) enum Expr {
    Literal(Value),
    List(Vec<Expr>),
    Args(&'static [&'static str]),
    Caller(&'static str),
    Tool,
    Backend,
    /// The variable of the enclosing `all` or `exists`.
    Item,
    Compare(&'static str, Box<Expr>, Box<Expr>),
    In(Box<Expr>, Box<Expr>),
    Has(Box<Expr>),
    Not(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    If(Box<Expr>, Box<Expr>, Box<Expr>),
    Text(&'static str, Box<Expr>, Box<Expr>),
    Size(Box<Expr>),
    Each(&'static str, Box<Expr>, Box<Expr>),
}

/// What keeps a part from having a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// The arguments are not known yet.
    Unknown,
    /// It has none, whatever the arguments will be, or with these.
    Failed,
}

type Found = Result<Value, Doubt>;

/// What a condition is asked about.
#[derive(Clone, Debug)]
pub(crate) struct Scene<'a> {
    /// After pins; nothing for lists.
    pub(crate) args: Option<&'a Value>,
    pub(crate) tool: &'a str,
    pub(crate) backend: &'a str,
    pub(crate) caller: &'a Caller,
}

impl Expr {
    /// As CEL has it.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Literal(value) => value.to_string(),
            Self::List(items) => format!("[{}]", items.iter().map(Self::text).collect::<Vec<_>>().join(", ")),
            Self::Args(path) => path.iter().fold("args".to_owned(), |text, name| {
                if name.contains('/') { format!("{text}[\"{name}\"]") } else { format!("{text}.{name}") }
            }),
            Self::Caller(field) => format!("caller.{field}"),
            Self::Tool => "tool".to_owned(),
            Self::Backend => "backend".to_owned(),
            Self::Item => "x".to_owned(),
            Self::Compare(operator, a, b) => format!("({} {operator} {})", a.text(), b.text()),
            Self::In(a, b) => format!("({} in {})", a.text(), b.text()),
            Self::Has(of) => format!("has({})", of.text()),
            Self::Not(of) => format!("!({})", of.text()),
            Self::And(a, b) => format!("({} && {})", a.text(), b.text()),
            Self::Or(a, b) => format!("({} || {})", a.text(), b.text()),
            Self::If(test, yes, no) => format!("({} ? {} : {})", test.text(), yes.text(), no.text()),
            Self::Text(function, a, b) => format!("{}.{function}({})", a.text(), b.text()),
            Self::Size(of) => format!("size({})", of.text()),
            Self::Each(function, list, test) => format!("{}.{function}(x, {})", list.text(), test.text()),
        }
    }

    /// Whether it is so.
    pub(crate) fn truth(&self, scene: &Scene<'_>) -> Result<bool, Doubt> {
        self.value(scene, None)?.as_bool().ok_or(Doubt::Failed)
    }

    fn value(&self, scene: &Scene<'_>, item: Option<&Value>) -> Found {
        let truth = |of: &Self| of.value(scene, item)?.as_bool().ok_or(Doubt::Failed);
        let said = |truth: bool| Ok(Value::Bool(truth));
        match self {
            Self::Literal(value) => Ok(value.clone()),
            Self::List(items) => all(items.iter().map(|of| of.value(scene, item)).collect()).map(Value::Array),
            Self::Args(path) => {
                let args = scene.args.ok_or(Doubt::Unknown)?.clone();
                path.iter().try_fold(args, |value, name| member(&value, name)?.cloned().ok_or(Doubt::Failed))
            }
            Self::Caller(field) => scene.caller.field(field).ok_or(Doubt::Failed),
            Self::Tool => Ok(Value::from(scene.tool)),
            Self::Backend => Ok(Value::from(scene.backend)),
            Self::Item => item.cloned().ok_or(Doubt::Failed),
            Self::Compare(operator, a, b) => {
                said(compare(operator, (a, b), &all(vec![a.value(scene, item), b.value(scene, item)])?)?)
            }
            Self::In(a, list) => {
                let sides = all(vec![a.value(scene, item), list.value(scene, item)])?;
                match sides.as_slice() {
                    [a, Value::Array(items)] => {
                        settle(&items.iter().map(|other| same(other, a)).collect::<Vec<_>>(), true)
                    }
                    [Value::String(name), object @ Value::Object(_)] => said(member(object, name)?.is_some()),
                    _ => Err(Doubt::Failed),
                }
            }
            Self::Has(of) => match &**of {
                Self::Caller(field) => said(scene.caller.field(field).is_some()),
                Self::Args([above @ .., name]) => {
                    let object = Self::Args(above).value(scene, item)?;
                    said(object.as_object().ok_or(Doubt::Failed).and(member(&object, name))?.is_some())
                }
                _ => Err(Doubt::Failed),
            },
            Self::Not(of) => said(!truth(of)?),
            Self::And(a, b) => settle(&[truth(a), truth(b)], false),
            Self::Or(a, b) => settle(&[truth(a), truth(b)], true),
            Self::If(test, yes, no) => if truth(test)? { yes } else { no }.value(scene, item),
            Self::Text(function, a, b) => {
                let sides = all(vec![a.value(scene, item), b.value(scene, item)])?;
                let [Value::String(a), Value::String(b)] = sides.as_slice() else { return Err(Doubt::Failed) };
                said(match *function {
                    "startsWith" => a.starts_with(b.as_str()),
                    "endsWith" => a.ends_with(b.as_str()),
                    _ => a.contains(b.as_str()),
                })
            }
            Self::Size(of) => match of.value(scene, item)? {
                Value::String(text) => Ok(Value::from(text.chars().count())),
                Value::Array(items) => Ok(Value::from(items.len())),
                Value::Object(members) => Ok(Value::from(members.len())),
                _ => Err(Doubt::Failed),
            },
            Self::Each(function, list, test) => {
                let list = list.value(scene, item)?;
                let items = list.as_array().ok_or(Doubt::Failed)?;
                let of = |item: &Value| test.value(scene, Some(item))?.as_bool().ok_or(Doubt::Failed);
                settle(&items.iter().map(of).collect::<Vec<_>>(), *function == "exists")
            }
        }
    }
}

/// A member of an object. Where another has a name that a server may take for it, nobody knows which one counts.
fn member<'v>(object: &'v Value, name: &str) -> Result<Option<&'v Value>, Doubt> {
    if is_respelled(object, name) { Err(Doubt::Failed) } else { Ok(object.get(name)) }
}

/// Whether an object has a name in another case, or with other joints.
pub(crate) fn is_respelled(object: &Value, name: &str) -> bool {
    let flat = |name: &str| name.replace(['_', '-', '\u{200b}'], "").to_lowercase();
    let names = object.as_object().into_iter().flat_map(serde_json::Map::keys);
    names.into_iter().any(|other| other != name && flat(other) == flat(name))
}

/// Every value, or why there is none: what fails for certain fails, whatever else is not known yet.
fn all(found: Vec<Found>) -> Result<Vec<Value>, Doubt> {
    if found.contains(&Err(Doubt::Failed)) {
        return Err(Doubt::Failed);
    }
    found.into_iter().collect()
}

/// `&&`, `||`, `in`, `all` and `exists`: one answer settles it; else what is not known, else what failed, else the other.
fn settle(answers: &[Result<bool, Doubt>], by: bool) -> Found {
    if answers.contains(&Ok(by)) {
        return Ok(Value::Bool(by));
    }
    for doubt in [Doubt::Unknown, Doubt::Failed] {
        if answers.contains(&Err(doubt)) {
            return Err(doubt);
        }
    }
    Ok(Value::Bool(!by))
}

fn compare(operator: &str, written: (&Expr, &Expr), values: &[Value]) -> Result<bool, Doubt> {
    let [a, b] = values else { return Err(Doubt::Failed) };
    let null = |side: &Expr| matches!(side, Expr::Literal(Value::Null));
    let same = |a, b| if null(written.0) || null(written.1) { Ok(a == b) } else { same(a, b) };
    Ok(match operator {
        "==" => same(a, b)?,
        "!=" => !same(a, b)?,
        "<" => order(a, b)?.is_lt(),
        "<=" => order(a, b)?.is_le(),
        ">" => order(a, b)?.is_gt(),
        _ => order(a, b)?.is_ge(),
    })
}

/// Unlike things are not unequal: they cannot be compared.
fn same(a: &Value, b: &Value) -> Result<bool, Doubt> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => Ok(a.as_f64() == b.as_f64()),
        (Value::Array(a), Value::Array(b)) => {
            let items: Vec<_> = a.iter().zip(b).map(|(a, b)| same(a, b)).collect();
            Ok(a.len() == b.len() && settle(&items, false)? == true)
        }
        _ if std::mem::discriminant(a) == std::mem::discriminant(b) => Ok(a == b),
        _ => Err(Doubt::Failed),
    }
}

fn order(a: &Value, b: &Value) -> Result<std::cmp::Ordering, Doubt> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()).ok_or(Doubt::Failed),
        (Value::String(a), Value::String(b)) => Ok(a.cmp(b)),
        _ => Err(Doubt::Failed),
    }
}
