//! Pins: what they are for, and that no two are for one argument.

use std::collections::BTreeSet;

use super::scope::Names;
use crate::glob::{NameGlob, overlap};
use crate::pin::{Pattern, Pin, Template};
use crate::policy::Setting;
use crate::uri;
use crate::written::{self, PinItems, PinValue};

pub(super) fn compile(names: &mut Names<'_>, pins: &[written::Pin], setting: &Setting) -> Vec<Pin> {
    let mut compiled: Vec<Pin> = Vec::with_capacity(pins.len());
    for (place, pin) in pins.iter().enumerate() {
        let earlier = pins.get(..place).unwrap_or_default();
        if earlier.iter().any(|other| other.id.value == pin.id.value) {
            names.fault(pin.id.at, format!("the pin `{}` is there twice; give each its own id", pin.id.value));
        }
        if let Some(other) = earlier.iter().find(|other| collide(other, pin)) {
            let message = format!(
                "the pins `{}` and `{}` are for one argument; keep one of the two",
                other.id.value, pin.id.value
            );
            names.fault(pin.id.at, message);
        }
        if let PinValue::Claim(claim) = &pin.to
            && setting.claims.as_ref().is_some_and(|claims| !claims.contains(claim))
        {
            let message = format!("the claim `{claim}` is not carried in tokens; list it under `entra.claims`");
            names.fault(pin.id.at, message);
        }
        if pin.patterns.is_empty() {
            names.fault(pin.id.at, format!("the pin `{}` is for nothing; name what has the argument", pin.id.value));
        }
        let patterns = pin.patterns.iter().filter_map(|(backend, name)| {
            let index = names.named_backend(backend)?;
            Some((index, pattern(names, pin, name)?))
        });
        let patterns = patterns.collect();
        let except: BTreeSet<(usize, String)> = pin
            .except
            .iter()
            .filter_map(|(backend, name)| Some((names.named_backend(backend)?, excepted(pin, name))))
            .collect();
        compiled.push(Pin {
            id: pin.id.value.clone(),
            items: pin.items,
            patterns,
            except,
            argument: pin.argument.clone(),
            to: pin.to.clone(),
            how: pin.how,
        });
    }
    compiled
}

/// A name, or a resource's URI in the form in which URIs are compared.
fn excepted(pin: &written::Pin, name: &str) -> String {
    let uri = (pin.items == PinItems::Resources).then(|| uri::canonical(name).ok()).flatten();
    uri.unwrap_or_else(|| name.to_owned())
}

fn pattern(names: &mut Names<'_>, pin: &written::Pin, text: &str) -> Option<Pattern> {
    if pin.items != PinItems::Resources {
        return Some(Pattern::Name(NameGlob::new(text)));
    }
    match Template::parse(text) {
        Ok(template) if pin.argument.iter().all(|name| template.names(name)) => Some(Pattern::Uri(template)),
        Ok(_) => {
            let variable = pin.argument.first().map_or("", String::as_str);
            names.fault(
                pin.id.at,
                format!("`{text}` has no variable `{variable}`; write `{{{variable}}}` where it stands"),
            );
            None
        }
        Err(fault) => {
            names.fault(pin.id.at, format!("`{text}` is no URI template: {fault}"));
            None
        }
    }
}

/// Whether two pins could be for one argument of one tool, or for one inside the other.
fn collide(one: &written::Pin, other: &written::Pin) -> bool {
    let inside = one.argument.starts_with(&other.argument) || other.argument.starts_with(&one.argument);
    let meet = one.patterns.iter().any(|(backend, name)| {
        other
            .patterns
            .iter()
            .any(|(on, pattern)| on.value == backend.value && overlap(name.as_bytes(), pattern.as_bytes()))
    });
    one.items == other.items && inside && meet
}
