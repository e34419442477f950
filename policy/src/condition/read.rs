//! From the parser's tree to ours: what is not on the list is refused, with what there is.

use std::collections::BTreeSet;

use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue, SelectExpr, operators};
use serde_json::Value;

use super::{Caller, Comparison, Expression, TextTest, Variable, Vocabulary};

/// More parts than this are no condition any more.
const MAX_PARTS: usize = 256;

pub(super) struct Reader<'v> {
    vocabulary: Vocabulary<'v>,
    locals: Vec<String>,
    parts: usize,
    pub(super) reads_tool: bool,
    pub(super) arguments: BTreeSet<String>,
}

type Read<T> = Result<T, String>;

impl<'v> Reader<'v> {
    pub(super) fn new(vocabulary: Vocabulary<'v>) -> Self {
        let arguments = BTreeSet::new();
        Self { vocabulary, locals: Vec::new(), parts: 0, reads_tool: false, arguments }
    }

    pub(super) fn expression(&mut self, node: &IdedExpr) -> Read<Expression> {
        self.parts += 1;
        if self.parts > MAX_PARTS {
            return Err(format!("a condition has at most {MAX_PARTS} parts; split the rule"));
        }
        match &node.expr {
            Expr::Literal(literal) => Ok(Expression::Literal(value(literal)?)),
            Expr::Ident(name) => self.variable(name).map(Expression::Variable),
            Expr::Select(select) => self.select(select),
            Expr::List(list) => {
                let items = list.elements.iter().map(|item| self.expression(item));
                items.collect::<Read<_>>().map(Expression::List)
            }
            Expr::Call(call) => self.call(call),
            Expr::Comprehension(comprehension) => self.quantified(comprehension),
            Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => {
                Err("maps and messages have no use in a condition; compare members one by one".to_owned())
            }
        }
    }

    fn boxed(&mut self, node: &IdedExpr) -> Read<Box<Expression>> {
        self.expression(node).map(Box::new)
    }

    fn variable(&mut self, name: &str) -> Read<Variable> {
        if self.locals.iter().any(|local| local == name) {
            return Ok(Variable::Local(name.to_owned()));
        }
        match name {
            "args" => Ok(Variable::Arguments),
            "tool" => {
                self.reads_tool = true;
                Ok(Variable::Tool)
            }
            "backend" => Ok(Variable::Backend),
            "caller" => {
                Err("`caller` alone is nothing to compare; write `caller.tid` or another of its fields".to_owned())
            }
            other => Err(format!("`{other}` is no variable; there are `args`, `tool`, `backend` and `caller`")),
        }
    }

    fn select(&mut self, select: &SelectExpr) -> Read<Expression> {
        if let Some(caller) = self.caller(select)? {
            let known =
                if select.test { Expression::Knows(caller) } else { Expression::Variable(Variable::Caller(caller)) };
            return Ok(known);
        }
        let operand = self.boxed(&select.operand)?;
        if *operand == Expression::Variable(Variable::Arguments) {
            self.arguments.insert(select.field.clone());
        }
        let field = select.field.clone();
        Ok(if select.test { Expression::Has(operand, field) } else { Expression::Select(operand, field) })
    }

    /// `caller.X` and `caller.claims.X`.
    fn caller(&mut self, select: &SelectExpr) -> Read<Option<Caller>> {
        let is_caller = |expr: &Expr| matches!(expr, Expr::Ident(name) if name == "caller");
        if let Expr::Select(inner) = &select.operand.expr
            && is_caller(&inner.operand.expr)
            && inner.field == "claims"
        {
            let claim = &select.field;
            if self.vocabulary.claims.is_some_and(|claims| !claims.contains(claim)) {
                return Err(format!("the claim `{claim}` is not carried in tokens; list it under `entra.claims`"));
            }
            return Ok(Some(Caller::Claim(claim.clone())));
        }
        if !is_caller(&select.operand.expr) {
            return Ok(None);
        }
        Ok(Some(match select.field.as_str() {
            "kind" => Caller::Kind,
            "tid" => Caller::Tenant,
            "oid" => Caller::Object,
            "guest" => Caller::Guest,
            "client" => Caller::Client,
            "acrs" => Caller::Acrs,
            "auth_time" => Caller::AuthTime,
            "roles" if self.vocabulary.roles => Caller::Roles,
            "roles" => return Err("`caller.roles` is for deny rules; a key belongs to a role already".to_owned()),
            other => {
                let known = "`kind`, `tid`, `oid`, `guest`, `client`, `acrs`, `auth_time`, `roles` (in deny rules) and `claims`";
                return Err(format!("`caller.{other}` is not known; there are {known}"));
            }
        }))
    }

    fn call(&mut self, call: &CallExpr) -> Read<Expression> {
        let name = call.func_name.as_str();
        match (name, call.target.as_deref(), call.args.as_slice()) {
            (operators::LOGICAL_AND, None, [a, b]) => Ok(Expression::And(self.boxed(a)?, self.boxed(b)?)),
            (operators::LOGICAL_OR, None, [a, b]) => Ok(Expression::Or(self.boxed(a)?, self.boxed(b)?)),
            (operators::LOGICAL_NOT, None, [a]) => Ok(Expression::Not(self.boxed(a)?)),
            (operators::NEGATE, None, [a]) => Ok(Expression::Negate(self.boxed(a)?)),
            (operators::CONDITIONAL, None, [a, b, c]) => {
                Ok(Expression::Either(self.boxed(a)?, self.boxed(b)?, self.boxed(c)?))
            }
            (operators::IN, None, [a, b]) => Ok(Expression::In(self.boxed(a)?, self.boxed(b)?)),
            (operators::INDEX, None, [a, b]) => Ok(Expression::Index(self.boxed(a)?, self.boxed(b)?)),
            ("size", None, [a]) | ("size", Some(a), []) => Ok(Expression::Size(self.boxed(a)?)),
            ("startsWith", Some(a), [b]) => Ok(Expression::Text(TextTest::StartsWith, self.boxed(a)?, self.boxed(b)?)),
            ("endsWith", Some(a), [b]) => Ok(Expression::Text(TextTest::EndsWith, self.boxed(a)?, self.boxed(b)?)),
            ("contains", Some(a), [b]) => Ok(Expression::Text(TextTest::Contains, self.boxed(a)?, self.boxed(b)?)),
            (_, None, [a, b]) if comparison(name).is_some() => {
                let comparison = comparison(name).unwrap_or(Comparison::Equal);
                Ok(Expression::Compare(comparison, self.boxed(a)?, self.boxed(b)?))
            }
            _ => {
                let shown = name.trim_matches('_').trim_start_matches('@');
                let known = "comparisons, `in`, `&&`, `||`, `!`, `?:`, `has`, `size`, `startsWith`, `endsWith`, `contains`, `all` and `exists`";
                Err(format!("`{shown}` cannot be used in a condition; there are {known}"))
            }
        }
    }

    /// The parser writes `all` and `exists` out as loops; anything else that it writes out is refused.
    fn quantified(&mut self, loop_: &ComprehensionExpr) -> Read<Expression> {
        let refused = || "of the macros there are `has`, `all` and `exists`".to_owned();
        let Expr::Literal(LiteralValue::Boolean(start)) = &loop_.accu_init.expr else { return Err(refused()) };
        let every = **start;
        let step = if every { operators::LOGICAL_AND } else { operators::LOGICAL_OR };
        let Expr::Call(call) = &loop_.loop_step.expr else { return Err(refused()) };
        let [accumulated, test] = call.args.as_slice() else { return Err(refused()) };
        let is_accumulator = |node: &IdedExpr| matches!(&node.expr, Expr::Ident(name) if *name == loop_.accu_var);
        if call.func_name != step
            || !is_accumulator(accumulated)
            || !is_accumulator(&loop_.result)
            || loop_.iter_var2.is_some()
        {
            return Err(refused());
        }
        let list = self.boxed(&loop_.iter_range)?;
        self.locals.push(loop_.iter_var.clone());
        let test = self.boxed(test);
        self.locals.pop();
        Ok(Expression::Quantified { every, variable: loop_.iter_var.clone(), list, test: test? })
    }
}

fn comparison(name: &str) -> Option<Comparison> {
    Some(match name {
        operators::EQUALS => Comparison::Equal,
        operators::NOT_EQUALS => Comparison::NotEqual,
        operators::LESS => Comparison::Less,
        operators::LESS_EQUALS => Comparison::LessOrEqual,
        operators::GREATER => Comparison::Greater,
        operators::GREATER_EQUALS => Comparison::GreaterOrEqual,
        _ => return None,
    })
}

fn value(literal: &LiteralValue) -> Read<Value> {
    Ok(match literal {
        LiteralValue::Boolean(value) => Value::Bool(**value),
        LiteralValue::Double(value) => Value::from(**value),
        LiteralValue::Int(value) => Value::from(**value),
        LiteralValue::UInt(value) => Value::from(**value),
        LiteralValue::String(value) => Value::from(value.inner()),
        LiteralValue::Null => Value::Null,
        LiteralValue::Bytes(_) => return Err("arguments are JSON and have no bytes; compare texts".to_owned()),
    })
}
