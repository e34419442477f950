//! The tests that a policy carries: a catalogue to speak of, and cases.

use super::At;
use super::reader::{Fields, Reader};
use crate::document::Node;
use crate::names::BackendName;
use crate::subject::{Kind, Scopes, Subject};

/// A tool of the universe that the tests speak of.
#[derive(Clone, Debug)]
pub(crate) struct CatalogueEntry {
    pub(crate) backend: At<BackendName>,
    pub(crate) tool: At<String>,
}

/// One test.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: At<String>,
    pub(crate) subject: Subject,
    /// Exactly the tools that the caller sees, per backend.
    pub(crate) sees: Vec<(At<BackendName>, Vec<At<String>>)>,
    pub(crate) call: Option<Call>,
}

/// One act and what is expected of it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) backend: At<BackendName>,
    pub(crate) target: Target,
    pub(crate) expect: Expect,
    pub(crate) because: Option<String>,
}

/// What is reached for.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    Tool(String),
    Prompt(String),
    Resource(String),
}

/// What a case expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    Allow,
    Deny,
    Challenge,
}

const KEYS: [&str; 8] = ["name", "as", "sees", "call", "prompt", "resource", "expect", "because"];

pub(super) fn read(reader: &mut Reader, node: &Node) -> (Vec<CatalogueEntry>, Vec<Case>) {
    let Some(fields) = reader.fields(node, "tests", &["catalogue", "cases"], &["never"]) else {
        return (Vec::new(), Vec::new());
    };
    let catalogue = fields.get("catalogue").map(|node| catalogue(reader, node)).unwrap_or_default();
    let mut cases = Vec::new();
    if let Some(list) = fields.get("cases") {
        for item in reader.items(list, "`cases`") {
            cases.extend(case(reader, item));
        }
    }
    (catalogue, cases)
}

fn catalogue(reader: &mut Reader, node: &Node) -> Vec<CatalogueEntry> {
    let mut entries = Vec::new();
    for (key, value) in reader.entries(node, "backends") {
        let Some(backend) = reader.name::<BackendName>(&key.value, key.referenced) else { continue };
        for tool in reader.texts(value) {
            entries.push(CatalogueEntry { backend: backend.clone(), tool });
        }
    }
    entries
}

fn case(reader: &mut Reader, node: &Node) -> Option<Case> {
    let fields = reader.fields(node, "a test case", &KEYS, &["with", "sends"])?;
    let name = reader.required(&fields, "name").and_then(|node| reader.located_text(node))?;
    let subject = reader.required(&fields, "as").and_then(|node| subject(reader, node))?;
    let mut sees = Vec::new();
    if let Some(node) = fields.get("sees") {
        for (key, value) in reader.entries(node, "backends") {
            let Some(backend) = reader.name(&key.value, key.referenced) else { continue };
            sees.push((backend, reader.texts(value)));
        }
    }
    let call = call(reader, &fields);
    if sees.is_empty() && call.is_none() {
        reader.fault(name.at, "a test case needs `sees`, or `call` and `expect`; add one");
    }
    Some(Case { name, subject, sees, call })
}

fn call(reader: &mut Reader, fields: &Fields<'_>) -> Option<Call> {
    let named: Vec<&str> = ["call", "prompt", "resource"].into_iter().filter(|key| fields.get(key).is_some()).collect();
    let [key] = named.as_slice() else {
        if !named.is_empty() || fields.get("expect").is_some() || fields.get("because").is_some() {
            reader.fault(fields.at(), "`expect` is about one of `call`, `prompt` and `resource`; write one of them");
        }
        return None;
    };
    let (backend, name) = reader.qualified(fields.get(key)?)?;
    let target = match *key {
        "call" => Target::Tool(name),
        "prompt" => Target::Prompt(name),
        _ => Target::Resource(name),
    };
    let expect = match reader.required(fields, "expect").and_then(|node| reader.text(node))?.as_str() {
        "allow" => Expect::Allow,
        "deny" => Expect::Deny,
        "challenge" => Expect::Challenge,
        other => {
            reader.fault(fields.at(), format!("`{other}` cannot be expected; write `allow`, `deny` or `challenge`"));
            return None;
        }
    };
    let because = fields.get("because").and_then(|node| reader.text(node));
    Some(Call { backend, target, expect, because })
}

fn subject(reader: &mut Reader, node: &Node) -> Option<Subject> {
    let known = ["roles", "groups", "kind", "tid", "oid", "client", "scopes"];
    let fields = reader.fields(node, "`as`", &known, &["guest", "acrs", "auth_time", "claims"])?;
    let mut list = |key| -> Option<Vec<String>> {
        fields.get(key).map(|node| reader.texts(node).into_iter().map(|text| text.value).collect())
    };
    let (roles, groups, scopes) = (list("roles"), list("groups"), list("scopes"));
    let mut text = |key| fields.get(key).and_then(|node| reader.text(node));
    let (kind, tid, oid, client) = (text("kind"), text("tid"), text("oid"), text("client"));
    let tid = tid.and_then(|tid| reader.guid(&tid, fields.at()));
    let kind = match kind.as_deref() {
        None | Some("user") => Kind::User,
        Some("app") => Kind::App,
        Some(other) => {
            reader.fault(fields.at(), format!("`{other}` is no kind of caller; write `user` or `app`"));
            return None;
        }
    };
    let scopes = scopes.map_or(Scopes::Unlimited, |scopes| Scopes::Granted(scopes.into_iter().collect()));
    let subject = Subject::new(kind, tid.unwrap_or_default(), oid.unwrap_or_default())
        .with_roles(roles.unwrap_or_default())
        .with_groups(groups.unwrap_or_default())
        .with_scopes(scopes);
    Some(client.into_iter().fold(subject, Subject::with_client))
}
