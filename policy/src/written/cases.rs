//! The tests that a policy carries: a catalogue to speak of, and cases.

use serde_saphyr::Location;

use super::reader::{Fields, Reader};
use super::{At, keys};
use crate::catalogue::ToolDefinition;
use crate::document::{Node, Value};
use crate::names::{BackendName, Tag};
use crate::subject::{Kind, Scopes, Subject};

/// A tool of the universe that the tests speak of.
#[derive(Clone, Debug)]
pub(crate) struct CatalogueEntry {
    pub(crate) backend: At<BackendName>,
    pub(crate) tool: At<String>,
    pub(crate) definition: ToolDefinition,
}

/// The tests of a policy.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tests {
    pub(crate) catalogue: Vec<CatalogueEntry>,
    pub(crate) cases: Vec<Case>,
    pub(crate) never: Vec<Never>,
}

/// Callers who must reach none of something, over the whole catalogue.
#[derive(Clone, Debug)]
pub(crate) struct Never {
    pub(crate) at: Location,
    pub(crate) subject: Subject,
    pub(crate) reach: Reach,
}

/// What must not be reached: tools that carry one of these tags, and these tools.
#[derive(Clone, Debug)]
pub(crate) struct Reach {
    pub(crate) tags: Vec<At<Tag>>,
    pub(crate) tools: Vec<(At<BackendName>, String)>,
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
    /// The arguments of the call.
    pub(crate) with: Option<serde_json::Value>,
    /// The arguments that are to leave.
    pub(crate) sends: Option<serde_json::Value>,
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

pub(super) fn read(reader: &mut Reader, node: &Node) -> Tests {
    let Some(fields) = reader.fields(node, &keys::TESTS) else { return Tests::default() };
    let catalogue = fields.get("catalogue").map(|node| catalogue(reader, node)).unwrap_or_default();
    let items = |reader: &mut Reader, key| fields.get(key).map(|node| reader.items(node, key)).unwrap_or_default();
    let cases = items(reader, "cases").iter().filter_map(|item| case(reader, item)).collect();
    let never = items(reader, "never").iter().filter_map(|item| never(reader, item)).collect();
    Tests { catalogue, cases, never }
}

fn never(reader: &mut Reader, node: &Node) -> Option<Never> {
    let fields = reader.fields(node, &keys::NEVER)?;
    let subject = caller(reader, &fields)?;
    let reach = reader.required(&fields, "reach")?;
    let wanted = reader.fields(reach, &keys::REACH)?;
    let tags = wanted.get("tags").map(|node| reader.names(node)).unwrap_or_default();
    let tools = wanted.get("tools").map(|node| reader.items(node, "`backend/tool`")).unwrap_or_default();
    let tools: Vec<_> = tools.iter().filter_map(|item| reader.qualified(item)).collect();
    if tags.is_empty() && tools.is_empty() {
        reader.fault(reach.location, "`reach` names nothing; name the tags or the tools");
    }
    Some(Never { at: node.location, subject, reach: Reach { tags, tools } })
}

fn catalogue(reader: &mut Reader, node: &Node) -> Vec<CatalogueEntry> {
    let mut entries = Vec::new();
    for (key, value) in reader.entries(node, "backends") {
        let Some(backend) = reader.name::<BackendName>(&key.value, key.referenced) else { continue };
        for item in reader.items(value, "tools") {
            let tool = tool(reader, item);
            entries.extend(tool.map(|(tool, definition)| CatalogueEntry {
                backend: backend.clone(),
                tool,
                definition,
            }));
        }
    }
    entries
}

/// A name, or a mapping with a `name`.
fn tool(reader: &mut Reader, node: &Node) -> Option<(At<String>, ToolDefinition)> {
    if !matches!(node.value, Value::Mapping(_)) {
        let name = reader.located_text(node)?;
        let definition = ToolDefinition::named(&name.value);
        return Some((name, definition));
    }
    let fields = reader.fields(node, &keys::ENTRY)?;
    let name = reader.required(&fields, "name").and_then(|name| reader.located_text(name))?;
    let json = |key| fields.get(key).map(Node::to_json);
    let (input_schema, meta, annotations) = (json("schema"), json("meta"), json("annotations"));
    let definition = ToolDefinition { name: name.value.clone(), input_schema, meta, annotations };
    Some((name, definition))
}

fn case(reader: &mut Reader, node: &Node) -> Option<Case> {
    let fields = reader.fields(node, &keys::CASE)?;
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
    let asks = ["call", "prompt", "resource", "expect", "with", "sends"].iter().any(|key| fields.get(key).is_some());
    if sees.is_empty() && !asks {
        reader.fault(name.at, "a test case needs `sees`, or `call` and `expect`; add one");
    }
    Some(Case { name, subject, sees, call })
}

fn call(reader: &mut Reader, fields: &Fields<'_>) -> Option<Call> {
    let named: Vec<&str> = ["call", "prompt", "resource"].into_iter().filter(|key| fields.get(key).is_some()).collect();
    let [key] = named.as_slice() else {
        let more = ["expect", "because", "with", "sends"].iter().any(|key| fields.get(key).is_some());
        if !named.is_empty() || more {
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
    let with = fields.get("with").and_then(|node| arguments(reader, node));
    let sends = fields.get("sends").and_then(|node| arguments(reader, node));
    if matches!(target, Target::Resource(_)) && (with.is_some() || sends.is_some()) {
        reader
            .fault(fields.at(), "a resource is asked for by its URI and has no arguments; take `with` and `sends` out");
    }
    if sends.is_some() && expect != Expect::Allow {
        reader.fault(fields.at(), "`sends` says what leaves, and only what is allowed does; write `expect: allow`");
    }
    Some(Call { backend, target, expect, because, with, sends })
}

fn arguments(reader: &mut Reader, node: &Node) -> Option<serde_json::Value> {
    let json = node.to_json();
    if !json.is_object() {
        reader.fault(node.location, "arguments are a mapping; write `{ name: value }`");
        return None;
    }
    Some(json)
}

fn subject(reader: &mut Reader, node: &Node) -> Option<Subject> {
    let fields = reader.fields(node, &keys::CALLER)?;
    caller(reader, &fields)
}

fn caller(reader: &mut Reader, fields: &Fields<'_>) -> Option<Subject> {
    let mut list = |key| -> Option<Vec<String>> {
        fields.get(key).map(|node| reader.texts(node).into_iter().map(|text| text.value).collect())
    };
    let (roles, groups, scopes, acrs) = (list("roles"), list("groups"), list("scopes"), list("acrs"));
    let mut text = |key| fields.get(key).and_then(|node| reader.text(node));
    let (tid, oid, client) = (text("tid"), text("oid"), text("client"));
    let tid = tid.and_then(|tid| reader.directory(&tid, fields.at()));
    let kind = match fields.get("kind").map(|node| reader.one_of(node, "kind of caller", &["user", "app", "public"])) {
        None | Some(Some(0)) => Kind::User,
        Some(Some(1)) => Kind::App,
        Some(Some(_)) => Kind::Public,
        Some(None) => return None,
    };
    let guest = fields.get("guest").map(|node| reader.boolean(node));
    let auth_time = fields.get("auth_time").and_then(|node| reader.count(node, 0..=u64::MAX));
    let claims = fields.get("claims").and_then(|node| arguments(reader, node));
    let claims = claims.as_ref().and_then(|claims| claims.as_object()).into_iter().flatten();
    let claims = claims.map(|(name, value)| (name.clone(), value.clone())).collect();
    let scopes = scopes.map_or(Scopes::Unlimited, |scopes| Scopes::Granted(scopes.into_iter().collect()));
    let subject = Subject::new(kind, tid.unwrap_or_default(), oid.unwrap_or_default())
        .with_roles(roles.unwrap_or_default())
        .with_groups(groups.unwrap_or_default())
        .with_scopes(scopes)
        .with_guest(guest)
        .with_sign_in(acrs.unwrap_or_default(), auth_time)
        .with_claims(claims);
    Some(client.into_iter().fold(subject, Subject::with_client))
}
