//! Pins: arguments that the caller does not choose.
//!
//! `set` overwrites an argument and takes it out of the schema that callers see; `require` refuses any other value. A
//! claim that the token lacks refuses, and so does the argument in another spelling, which a server may take for it; a
//! tool whose schema does not plainly have the argument stays shut.

mod edit;
mod schema;
mod template;

use std::collections::BTreeSet;

use serde_json::Value;

use crate::catalogue::ToolDefinition;
use crate::decision::Reason;
use crate::glob::NameGlob;
use crate::subject::{Kind, Subject};
use crate::uri;
use crate::written::{PinHow, PinItems, PinValue};
pub(crate) use template::Template;

/// A pin, compiled.
#[derive(Clone, Debug)]
pub(crate) struct Pin {
    pub(crate) id: String,
    pub(crate) items: PinItems,
    /// Backend and pattern.
    pub(crate) patterns: Vec<(usize, Pattern)>,
    pub(crate) except: BTreeSet<(usize, String)>,
    pub(crate) argument: Vec<String>,
    pub(crate) to: PinValue,
    pub(crate) how: PinHow,
}

/// What a pin is for.
#[derive(Clone, Debug)]
pub(crate) enum Pattern {
    Name(NameGlob),
    Uri(Template),
}

/// The pins of one tool, against its schema.
#[derive(Clone, Debug, Default)]
pub(crate) struct ToolPins {
    /// Places in the policy's list.
    pub(crate) places: Vec<usize>,
    /// Why the tool stays shut.
    pub(crate) shut: Option<Reason>,
    /// Arguments that headers mirror (`x-mcp-header` in the schema): the header's name, and the way to the argument.
    mirrors: Vec<(String, Vec<String>)>,
}

impl ToolPins {
    /// What headers say of the arguments that leave; `None` where nothing is pinned.
    pub(crate) fn mirrored(&self, arguments: &str) -> Option<Vec<(String, String)>> {
        let said = |(header, path): &(String, Vec<String>)| {
            let value: Value = serde_json::from_str(edit::get(arguments, path)?).ok()?;
            let text = match value {
                Value::String(text) => text,
                Value::Bool(truth) => truth.to_string(),
                Value::Number(_) => edit::get(arguments, path)?.to_owned(),
                Value::Null | Value::Array(_) | Value::Object(_) => return None,
            };
            Some((header.clone(), text))
        };
        (!self.places.is_empty()).then(|| self.mirrors.iter().filter_map(said).collect())
    }
}

/// Why a pin refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Whatever the arguments are.
    Always(Reason),
    /// With these.
    Now(Reason),
}

impl Pin {
    pub(crate) fn is_for_tools_of(&self, backend: usize) -> bool {
        self.items == PinItems::Tools && self.patterns.iter().any(|(on, _)| *on == backend)
    }

    /// Whether it is for a tool or a prompt of this name.
    pub(crate) fn is_for(&self, items: PinItems, backend: usize, name: &str) -> bool {
        let matches = |(on, pattern): &(usize, Pattern)| {
            *on == backend && matches!(pattern, Pattern::Name(glob) if glob.matches(name))
        };
        self.items == items && self.patterns.iter().any(matches) && !self.except.contains(&(backend, name.to_owned()))
    }

    /// Whether it is for the resource that a URI names.
    pub(crate) fn is_for_uri(&self, backend: usize, uri: &str) -> bool {
        !self.variables(backend, uri).is_empty()
    }

    /// Whether something that a template stands for may be a resource that it is for.
    fn is_for_template(&self, backend: usize, template: &str) -> bool {
        let meets = |(on, pattern): &(usize, Pattern)| {
            *on == backend && matches!(pattern, Pattern::Uri(pinned) if pinned.meets(template))
        };
        self.items == PinItems::Resources && self.patterns.iter().any(meets)
    }

    /// What stands for its variable in a canonical URI, and in what a server may take for the same.
    fn variables(&self, backend: usize, uri: &str) -> Vec<String> {
        let variable = self.argument.first().map_or("", String::as_str);
        let of = |uri: &str| -> Vec<String> {
            let excepted = self.except.contains(&(backend, uri.to_owned()));
            let here = self.patterns.iter().filter(|(on, _)| *on == backend && !excepted);
            let found = here.filter_map(|(_, pattern)| match pattern {
                Pattern::Uri(template) => template.variable(uri, variable),
                Pattern::Name(_) => None,
            });
            found.collect()
        };
        if self.items != PinItems::Resources {
            return Vec::new();
        }
        let readings = uri::readings(uri);
        std::iter::once(uri).chain(readings.iter().map(AsRef::as_ref)).flat_map(of).collect()
    }

    /// What it pins to; a claim that the token lacks refuses whatever is asked.
    pub(crate) fn value(&self, caller: &Subject) -> Result<Value, Refused> {
        let value = match &self.to {
            PinValue::Kind => Some(Value::from(caller.kind().as_str())),
            // Whoever brought no token has neither.
            PinValue::Tenant | PinValue::Object if caller.kind() == Kind::Public => None,
            PinValue::Tenant => Some(caller.tenant()).filter(|tenant| !tenant.is_empty()).map(Value::from),
            PinValue::Object => Some(caller.object()).filter(|object| !object.is_empty()).map(Value::from),
            PinValue::Client => caller.client().map(Value::from),
            PinValue::Claim(name) => caller.claim(name).cloned(),
            PinValue::Constant(value) => Some(value.clone()),
        };
        value.ok_or_else(|| Refused::Always(Reason::PinClaim(self.id.clone())))
    }

    fn refuses(&self) -> Refused {
        Refused::Now(Reason::Pin(self.id.clone()))
    }

    /// The arguments after the pin; `None` where they stay as they are.
    fn apply(&self, caller: &Subject, arguments: &str) -> Result<Option<String>, Refused> {
        let value = self.value(caller)?;
        if edit::is_respelled(arguments, &self.argument) {
            return Err(Refused::Now(Reason::PinSpelling(self.id.clone())));
        }
        match self.how {
            PinHow::Set => {
                let set = edit::set(arguments, &self.argument, &value.to_string());
                set.map(Some).ok_or_else(|| self.refuses())
            }
            PinHow::Require => {
                let found = edit::get(arguments, &self.argument);
                let found = found.and_then(|found| serde_json::from_str::<Value>(found).ok());
                if found.as_ref() == Some(&value) { Ok(None) } else { Err(self.refuses()) }
            }
        }
    }
}

/// The pins of a tool, and whether its schema has what they pin.
pub(crate) fn of_tool(pins: &[Pin], backend: usize, tool: &ToolDefinition) -> ToolPins {
    let mut found = ToolPins::default();
    if let Some(schema) = &tool.input_schema {
        schema::mirrors(schema, &mut Vec::new(), &mut found.mirrors);
    }
    for (place, pin) in pins.iter().enumerate().filter(|(_, pin)| pin.is_for(PinItems::Tools, backend, &tool.name)) {
        found.places.push(place);
        if let Some(schema) = &tool.input_schema
            && !schema::has(schema, &pin.argument)
        {
            found.shut = Some(Reason::PinSchema(pin.id.clone()));
        }
    }
    found
}

/// The arguments of a tool's call after its pins; `None` where they stay as they are.
pub(crate) fn arguments(
    pins: &[Pin],
    of: &ToolPins,
    caller: &Subject,
    arguments: &str,
) -> Result<Option<String>, Refused> {
    apply(of.places.iter().filter_map(|place| pins.get(*place)), caller, arguments)
}

/// The places of the pins that are for a prompt.
pub(crate) fn of_prompt(pins: &[Pin], backend: usize, prompt: &str) -> impl Iterator<Item = usize> {
    let is_for = move |(_, pin): &(usize, &Pin)| pin.is_for(PinItems::Prompts, backend, prompt);
    pins.iter().enumerate().filter(is_for).map(|(place, _)| place)
}

/// The arguments of a prompt after its pins.
pub(crate) fn prompt_arguments(
    pins: &[Pin],
    backend: usize,
    prompt: &str,
    caller: &Subject,
    arguments: &str,
) -> Result<Option<String>, Refused> {
    apply(pins.iter().filter(|pin| pin.is_for(PinItems::Prompts, backend, prompt)), caller, arguments)
}

fn apply<'p>(
    pins: impl Iterator<Item = &'p Pin>,
    caller: &Subject,
    arguments: &str,
) -> Result<Option<String>, Refused> {
    let mut changed: Option<String> = None;
    for pin in pins {
        let now = changed.as_deref().unwrap_or(arguments);
        if let Some(after) = pin.apply(caller, now)? {
            changed = Some(after);
        }
    }
    Ok(changed)
}

/// Whether a resource's URI has in it what pins want. A URI is all that there is to ask for: what does not fit is refused
/// whatever else is asked, and does not exist for this caller.
pub(crate) fn check_uri(pins: &[Pin], backend: usize, uri: &str, caller: &Subject) -> Result<(), Refused> {
    for pin in pins {
        for variable in pin.variables(backend, uri) {
            let value = pin.value(caller)?;
            let wanted = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            if variable != wanted {
                return Err(Refused::Always(Reason::Pin(pin.id.clone())));
            }
        }
    }
    Ok(())
}

/// Whether a prompt's arguments may be completed. What a server proposes is of everybody's values: where one argument is
/// not the caller's to choose, nobody knows what it goes by for the others.
pub(crate) fn check_prompt_completion(pins: &[Pin], backend: usize, prompt: &str) -> Result<(), Refused> {
    uncompleted(pins.iter().find(|pin| pin.is_for(PinItems::Prompts, backend, prompt)))
}

/// Whether a template's variables may be completed, as for prompts.
pub(crate) fn check_template_completion(pins: &[Pin], backend: usize, template: &str) -> Result<(), Refused> {
    uncompleted(pins.iter().find(|pin| pin.is_for_template(backend, template)))
}

fn uncompleted(pin: Option<&Pin>) -> Result<(), Refused> {
    pin.map_or(Ok(()), |pin| Err(Refused::Always(Reason::PinCompletion(pin.id.clone()))))
}

/// The schema that callers see: without what is set for them. `None` where it stays as it is.
///
/// The error is that the schema does not have what is pinned: such a tool is not shown.
pub(crate) fn shown_schema(pins: &[Pin], of: &ToolPins, schema: &str) -> Result<Option<String>, ()> {
    let mut changed: Option<String> = None;
    for pin in of.places.iter().filter_map(|place| pins.get(*place)) {
        let now = changed.as_deref().unwrap_or(schema);
        let parsed: Value = serde_json::from_str(now).map_err(|_error| ())?;
        if !schema::has(&parsed, &pin.argument) {
            return Err(());
        }
        if pin.how == PinHow::Set {
            changed = Some(schema::without(now, &pin.argument).ok_or(())?);
        }
    }
    Ok(changed)
}

/// The names of the prompt's arguments that callers do not see.
pub(crate) fn hidden_prompt_arguments(pins: &[Pin], backend: usize, prompt: &str) -> BTreeSet<String> {
    let of_prompt = pins.iter().filter(|pin| pin.how == PinHow::Set && pin.is_for(PinItems::Prompts, backend, prompt));
    of_prompt.filter_map(|pin| pin.argument.first().cloned()).collect()
}

#[cfg(test)]
mod tests;
