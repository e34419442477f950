//! What stands beside tags, roles and tools: step-up, rates, imported tags, pinned arguments.

use std::time::Duration;

use super::reader::Reader;
use super::{At, keys};
use crate::document::{Node, Value};
use crate::names::BackendName;
use crate::rate::Rate;
use crate::step_up::StepUp;

/// Tags that a backend declares itself.
#[derive(Clone, Debug)]
pub(crate) struct Import {
    pub(crate) backend: At<BackendName>,
    pub(crate) meta: bool,
    pub(crate) annotations: bool,
    pub(crate) trust: Trust,
    pub(crate) unknown: Unknown,
}

/// What imported tags count for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// They only add locks.
    Narrow,
    /// As much as the operator's.
    Full,
}

/// What becomes of a tool that declares a tag outside the vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// It stays shut.
    Shut,
    /// The tag is left out.
    Drop,
}

/// An argument that the caller does not choose.
#[derive(Clone, Debug)]
pub(crate) struct Pin {
    pub(crate) id: At<String>,
    pub(crate) items: PinItems,
    /// Backend and pattern.
    pub(crate) patterns: Vec<(At<BackendName>, String)>,
    /// The names on the way to it.
    pub(crate) argument: Vec<String>,
    pub(crate) to: PinValue,
    pub(crate) how: PinHow,
    pub(crate) except: Vec<(At<BackendName>, String)>,
}

/// What has the argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PinItems {
    Tools,
    Prompts,
    Resources,
}

/// What the argument is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PinValue {
    Kind,
    Tenant,
    Object,
    Client,
    Claim(String),
    Constant(serde_json::Value),
}

/// What becomes of what the caller wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PinHow {
    /// It is overwritten.
    Set,
    /// It must be that already.
    Require,
}

pub(super) fn step_up(reader: &mut Reader, node: &Node) -> Option<StepUp> {
    let fields = reader.fields(node, &keys::STEP_UP)?;
    let acr = fields.get("acr").and_then(|node| reader.text(node));
    let max_age = fields.get("max_age").and_then(|node| reader.seconds(node)).map(Duration::from_secs);
    if fields.get("acr").is_none() && fields.get("max_age").is_none() {
        reader.fault(node.location, "`step_up` wants nothing; write `acr`, `max_age` or both");
        return None;
    }
    Some(StepUp { acr, max_age })
}

pub(super) fn rate(reader: &mut Reader, node: &Node) -> Option<Rate> {
    let fields = reader.fields(node, &keys::RATE)?;
    let calls = reader.required(&fields, "calls").and_then(|node| reader.count(node, 1..=1_000_000));
    let per =
        reader.required(&fields, "per").and_then(|node| reader.one_of(node, "period", &["second", "minute", "hour"]));
    let (calls, per) = (calls?, per?);
    let burst = match fields.get("burst") {
        Some(node) => reader.count(node, 1..=1_000_000)?,
        None => calls,
    };
    let per = Duration::from_secs([1, 60, 3600].get(per).copied().unwrap_or(3600));
    let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    Some(Rate { calls: small(calls), per, burst: small(burst) })
}

pub(super) fn imports(reader: &mut Reader, node: &Node) -> Vec<Import> {
    let mut imports = Vec::new();
    for (key, value) in reader.entries(node, "backends") {
        let Some(backend) = reader.name::<BackendName>(&key.value, key.referenced) else { continue };
        let Some(fields) = reader.fields(value, &keys::IMPORT) else { continue };
        let mut flag = |key| fields.get(key).is_some_and(|node| reader.boolean(node));
        let (meta, annotations) = (flag("meta"), flag("annotations"));
        let trust =
            reader.required(&fields, "trust").and_then(|node| reader.one_of(node, "trust", &["narrow", "full"]));
        let unknown = fields.get("unknown").map(|node| reader.one_of(node, "treatment", &["shut", "drop"]));
        if !meta && !annotations {
            reader.fault(value.location, "nothing is imported; write `meta: true`, `annotations: true` or both");
        }
        let trust = if trust == Some(1) { Trust::Full } else { Trust::Narrow };
        let unknown = if unknown == Some(Some(1)) { Unknown::Drop } else { Unknown::Shut };
        imports.push(Import { backend, meta, annotations, trust, unknown });
    }
    imports
}

pub(super) fn pins(reader: &mut Reader, node: &Node) -> Vec<Pin> {
    reader.items(node, "pins").iter().filter_map(|item| pin(reader, item)).collect()
}

fn pin(reader: &mut Reader, node: &Node) -> Option<Pin> {
    let fields = reader.fields(node, &keys::PIN)?;
    let id = reader.required(&fields, "id").and_then(|node| reader.located_text(node));
    let kinds = [("tools", PinItems::Tools), ("prompts", PinItems::Prompts), ("resources", PinItems::Resources)];
    let mut listed = kinds.into_iter().filter_map(|(key, items)| fields.get(key).map(|node| (items, node)));
    let (Some((items, patterns)), None) = (listed.next(), listed.next()) else {
        reader.fault(node.location, "a pin is for one of `tools`, `prompts` and `resources`; write one of them");
        return None;
    };
    let qualified = |reader: &mut Reader, node: &Node| -> Vec<(At<BackendName>, String)> {
        reader.items(node, "`backend/name`").iter().filter_map(|item| reader.qualified(item)).collect()
    };
    let patterns = qualified(reader, patterns);
    let except = fields.get("except").map(|node| qualified(reader, node)).unwrap_or_default();
    let argument = reader.required(&fields, "argument").and_then(|node| argument(reader, node, items));
    let how = reader.required(&fields, "how").and_then(|node| reader.one_of(node, "way to pin", &["set", "require"]));
    let how = if how? == 0 { PinHow::Set } else { PinHow::Require };
    if items == PinItems::Resources && how == PinHow::Set {
        reader.fault(node.location, "a URI is what the caller asks for and cannot be set; write `how: require`");
    }
    let to = match (fields.get("to"), fields.get("value")) {
        (Some(node), None) => source(reader, node)?,
        (None, Some(node)) if !matches!(node.value, Value::List(_) | Value::Mapping(_)) => {
            PinValue::Constant(node.to_json())
        }
        _ => {
            reader.fault(
                node.location,
                "a pin has either `to: caller.tid` or `value:` with a text, a number or a boolean",
            );
            return None;
        }
    };
    Some(Pin { id: id?, items, patterns, argument: argument?, to, how, except })
}

/// A JSON Pointer (RFC 6901) to a member of objects; for a resource the name of a variable.
fn argument(reader: &mut Reader, node: &Node, items: PinItems) -> Option<Vec<String>> {
    let text = reader.text(node)?;
    if items == PinItems::Resources {
        return Some(vec![text]);
    }
    // Behind a `~` there is a 0 or a 1.
    if text.split('~').skip(1).any(|rest| !rest.starts_with(['0', '1'])) {
        reader.fault(node.location, "in a JSON Pointer `~` is written `~0`, and `/` inside a name `~1`");
        return None;
    }
    let names: Option<Vec<String>> = text
        .strip_prefix('/')
        .map(|rest| rest.split('/').map(|name| name.replace("~1", "/").replace("~0", "~")).collect());
    let names = names.filter(|names| names.iter().all(|name| !name.is_empty()));
    if names.is_none() {
        let shown = text.trim_matches('/').escape_debug().to_string();
        reader.fault(node.location, format!("an argument is named by a JSON Pointer; write `/{shown}`"));
    }
    names
}

fn source(reader: &mut Reader, node: &Node) -> Option<PinValue> {
    let text = reader.text(node)?;
    Some(match text.strip_prefix("caller.") {
        Some("kind") => PinValue::Kind,
        Some("tid") => PinValue::Tenant,
        Some("oid") => PinValue::Object,
        Some("client") => PinValue::Client,
        Some(other) if other.strip_prefix("claims.").is_some_and(|claim| !claim.is_empty()) => {
            PinValue::Claim(other.strip_prefix("claims.").unwrap_or_default().to_owned())
        }
        _ => {
            let known = "`caller.tid`, `caller.oid`, `caller.client`, `caller.kind` and `caller.claims.X`";
            reader.fault(
                node.location,
                format!("`{}` is nothing that can be pinned to; there are {known}", text.escape_debug()),
            );
            return None;
        }
    })
}
