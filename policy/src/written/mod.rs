//! The policy with its shape checked: what each key holds, and every fault of shape with its place.
//!
//! Names are parsed, keys are known or reported with a suggestion; whether names are declared is the compiler's
//! question (`compile`).

mod cases;
mod extras;
mod keys;
mod reader;

use std::collections::BTreeSet;

use serde_saphyr::Location;

pub(crate) use cases::{Call, Case, CatalogueEntry, Expect, Never, Target, Tests};
pub(crate) use extras::{Import, Pin, PinHow, PinItems, PinValue, Trust, Unknown};
pub(crate) use keys::{Form, Key, POLICY, Shape};
pub use reader::suggestion;
use reader::{Fields, Reader};

use crate::document::{Document, Node, Value};
use crate::error::Fault;
use crate::names::{BackendName, Role, Tag};
use crate::rate::Rate;
use crate::step_up::StepUp;

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) at: Location,
}

/// The whole policy.
#[derive(Clone, Debug, Default)]
pub(crate) struct Written {
    pub(crate) explain: bool,
    /// Whether the whole policy only records what it would refuse, and where it says so.
    pub(crate) shadow: Option<Location>,
    pub(crate) tags: Option<Vec<TagDecl>>,
    pub(crate) tenants: Option<Vec<Tenant>>,
    pub(crate) roles: Vec<RoleDecl>,
    pub(crate) tools: Vec<Tagging>,
    pub(crate) prompts: Vec<Tagging>,
    pub(crate) resources: Vec<Tagging>,
    pub(crate) denies: Vec<Deny>,
    pub(crate) imports: Vec<Import>,
    pub(crate) pins: Vec<Pin>,
    pub(crate) tests: Tests,
}

/// A tag of the vocabulary.
#[derive(Clone, Debug)]
pub(crate) struct TagDecl {
    pub(crate) name: At<Tag>,
    pub(crate) title: Option<String>,
    pub(crate) step_up: Option<StepUp>,
    pub(crate) shadow: bool,
}

/// A tenant that may reach something, and the roles that cap it.
#[derive(Clone, Debug)]
pub(crate) struct Tenant {
    pub(crate) at: Location,
    pub(crate) id: String,
    pub(crate) roles: Option<Vec<At<Role>>>,
}

/// A role.
#[derive(Clone, Debug)]
pub(crate) struct RoleDecl {
    pub(crate) name: At<Role>,
    pub(crate) inherits: Vec<At<Role>>,
    pub(crate) members: Option<Members>,
    pub(crate) on: Option<Vec<At<String>>>,
    pub(crate) opens: Vec<Open>,
    pub(crate) tools: Vec<Grant>,
    pub(crate) rate: Option<Rate>,
    pub(crate) shadow: bool,
}

/// Who holds a role.
#[derive(Clone, Debug, Default)]
pub(crate) struct Members {
    pub(crate) roles: Vec<String>,
    pub(crate) apps: Vec<String>,
    pub(crate) groups: Vec<String>,
    pub(crate) public: bool,
}

impl Members {
    /// Whether nobody is.
    pub(crate) fn is_empty(&self) -> bool {
        self.roles.is_empty() && self.apps.is_empty() && self.groups.is_empty() && !self.public
    }
}

/// A key: a tag, and where it opens.
#[derive(Clone, Debug)]
pub(crate) struct Open {
    pub(crate) tag: At<Tag>,
    pub(crate) on: Option<Vec<At<String>>>,
    pub(crate) when: Option<At<String>>,
}

/// A tool that a role reaches although some of its tags stay shut.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) backend: At<BackendName>,
    pub(crate) tool: String,
    pub(crate) ignoring: Vec<At<Tag>>,
}

/// The items of a backend that carry a tag.
#[derive(Clone, Debug)]
pub(crate) struct Tagging {
    pub(crate) backend: At<BackendName>,
    pub(crate) tag: At<Tag>,
    pub(crate) patterns: Vec<At<String>>,
}

/// A rule that beats every key.
#[derive(Clone, Debug)]
pub(crate) struct Deny {
    pub(crate) id: At<String>,
    pub(crate) tags: Vec<At<Tag>>,
    pub(crate) on: Option<Vec<At<String>>>,
    pub(crate) unless: Vec<At<Role>>,
    pub(crate) reason: Option<String>,
    pub(crate) when: Option<At<String>>,
    pub(crate) shadow: bool,
}

/// Without these a file says nothing; an empty one is more likely half written than meant.
const ITEMS: [&str; 3] = ["tools", "prompts", "resources"];

impl Written {
    /// Reads a document; what is wrong is reported and left out.
    pub(crate) fn read(document: &Document) -> (Self, Vec<Fault>) {
        let mut reader = Reader::default();
        let mut written = Self::default();
        if let Some(fields) = reader.fields(&document.0, &keys::POLICY) {
            written.fill(&mut reader, &fields);
        }
        (written, reader.faults)
    }

    /// The tags that some tool, prompt or resource carries.
    pub(crate) fn carried(&self) -> BTreeSet<&Tag> {
        let taggings = [&self.tools, &self.prompts, &self.resources].into_iter().flatten();
        taggings.filter(|tagging| !tagging.patterns.is_empty()).map(|tagging| &tagging.tag.value).collect()
    }

    /// The backends that any part of the policy names.
    pub(crate) fn backends(&self) -> Vec<BackendName> {
        let tagged =
            [&self.tools, &self.prompts, &self.resources].into_iter().flatten().map(|t| t.backend.value.clone());
        let limits = self.roles.iter().flat_map(|role| role.on.iter().flatten()).map(|on| on.value.as_str());
        let mut names: Vec<BackendName> =
            tagged.chain(limits.filter_map(|on| BackendName::try_from(on).ok())).collect();
        names.extend(self.tests.catalogue.iter().map(|entry| entry.backend.value.clone()));
        names.extend(self.imports.iter().map(|import| import.backend.value.clone()));
        names.sort();
        names.dedup();
        names
    }

    fn fill(&mut self, reader: &mut Reader, fields: &Fields<'_>) {
        if let Some(version) = fields.get("version")
            && !matches!(&version.value, Value::Number(number) if number == "1")
        {
            reader.fault(version.location, "the version of the policy language is 1; write `version: 1`");
        }
        if let Some(denials) = fields.get("denials") {
            self.explain = reader.one_of(denials, "way to deny", &["conceal", "explain"]) == Some(1);
        }
        self.shadow = fields.get("mode").filter(|node| mode(reader, Some(node))).map(|node| node.location);
        reader.required(fields, "roles");
        if ITEMS.iter().all(|key| fields.get(key).is_none()) {
            reader.fault(fields.at(), "a policy needs `tools`, `prompts` or `resources`; add what carries the tags");
        }
        self.tags = fields.get("tags").map(|node| tags(reader, node));
        self.tenants = fields.get("tenants").map(|node| tenants(reader, node));
        self.roles = fields.get("roles").map(|node| roles(reader, node)).unwrap_or_default();
        self.tools = fields.get("tools").map(|node| taggings(reader, node)).unwrap_or_default();
        self.prompts = fields.get("prompts").map(|node| taggings(reader, node)).unwrap_or_default();
        self.resources = fields.get("resources").map(|node| taggings(reader, node)).unwrap_or_default();
        self.denies = fields.get("deny").map(|node| denies(reader, node)).unwrap_or_default();
        self.imports = fields.get("imports").map(|node| extras::imports(reader, node)).unwrap_or_default();
        self.pins = fields.get("pins").map(|node| extras::pins(reader, node)).unwrap_or_default();
        self.tests = fields.get("tests").map(|node| cases::read(reader, node)).unwrap_or_default();
    }
}

fn tags(reader: &mut Reader, node: &Node) -> Vec<TagDecl> {
    let mut tags = Vec::new();
    for (key, value) in reader.entries(node, "tags") {
        let Some(name) = reader.name(&key.value, key.referenced) else { continue };
        let Some(fields) = reader.fields(value, &keys::TAG) else { continue };
        tags.push(TagDecl {
            name,
            title: fields.get("title").and_then(|node| reader.text(node)),
            step_up: fields.get("step_up").and_then(|node| extras::step_up(reader, node)),
            shadow: mode(reader, fields.get("mode")),
        });
    }
    tags
}

fn tenants(reader: &mut Reader, node: &Node) -> Vec<Tenant> {
    let mut tenants = Vec::new();
    for (key, value) in reader.entries(node, "tenants") {
        let fields = reader.fields(value, &keys::TENANT);
        let roles = fields.and_then(|fields| fields.get("roles").map(|node| reader.names(node)));
        let Some(id) = reader.directory(&key.value, key.referenced) else { continue };
        if tenants.iter().any(|known: &Tenant| known.id == id) {
            reader.fault(key.referenced, format!("the tenant `{id}` is there twice; keep one of the two"));
        }
        tenants.push(Tenant { at: key.referenced, id, roles });
    }
    if matches!(&node.value, Value::Mapping(entries) if entries.is_empty()) {
        reader.fault(node.location, "`tenants` lists none, so that nobody reaches anything; list one or leave it out");
    }
    tenants
}

fn roles(reader: &mut Reader, node: &Node) -> Vec<RoleDecl> {
    let mut roles = Vec::new();
    for (key, value) in reader.entries(node, "roles") {
        let Some(name) = reader.name(&key.value, key.referenced) else { continue };
        let Some(fields) = reader.fields(value, &keys::ROLE) else { continue };
        roles.push(RoleDecl {
            name,
            inherits: fields.get("inherits").map(|node| reader.names(node)).unwrap_or_default(),
            members: fields.get("members").and_then(|node| members(reader, node)),
            on: fields.get("on").map(|node| on(reader, node)),
            opens: fields.get("opens").map(|node| opens(reader, node)).unwrap_or_default(),
            tools: fields.get("tools").map(|node| grants(reader, node)).unwrap_or_default(),
            rate: fields.get("rate").and_then(|node| extras::rate(reader, node)),
            shadow: mode(reader, fields.get("mode")),
        });
    }
    roles
}

fn members(reader: &mut Reader, node: &Node) -> Option<Members> {
    let fields = reader.fields(node, &keys::MEMBERS)?;
    let mut values = |key| -> Vec<String> {
        let values: Vec<At<Role>> = fields.get(key).map(|node| reader.names(node)).unwrap_or_default();
        values.into_iter().map(|value| value.value.to_string()).collect()
    };
    let (roles, apps) = (values("roles"), values("apps"));
    let groups = fields.get("groups").map(|node| reader.texts(node)).unwrap_or_default();
    let groups = groups.into_iter().filter_map(|group| reader.guid(&group.value, group.at)).collect();
    let public = fields.get("public").is_some_and(|node| reader.boolean(node));
    Some(Members { roles, apps, groups, public })
}

/// Whether `mode` says that something only records.
fn mode(reader: &mut Reader, node: Option<&Node>) -> bool {
    node.is_some_and(|node| reader.one_of(node, "mode", &["enforce", "shadow"]) == Some(1))
}

/// Where a role, a key or a rule counts.
fn on(reader: &mut Reader, node: &Node) -> Vec<At<String>> {
    let on = reader.texts(node);
    if on.is_empty() {
        reader.fault(node.location, "`on` names no backend; name one, or write `[\"*\"]` for every backend");
    } else if on.len() > 1 && on.iter().any(|name| name.value == "*") {
        reader.fault(node.location, "`*` is every backend already; write `[\"*\"]` alone, or name the backends");
    }
    on
}

fn opens(reader: &mut Reader, node: &Node) -> Vec<Open> {
    let mut opens = Vec::new();
    for item in reader.items(node, "tags") {
        if matches!(item.value, Value::Mapping(_)) {
            let Some(fields) = reader.fields(item, &keys::OPEN) else { continue };
            let on = fields.get("on").map(|node| on(reader, node));
            let when = fields.get("when").and_then(|node| reader.located_text(node));
            let tag = reader.required(&fields, "tag").and_then(|node| reader.name_of(node));
            opens.extend(tag.map(|tag| Open { tag, on, when }));
        } else {
            opens.extend(reader.name_of(item).map(|tag| Open { tag, on: None, when: None }));
        }
    }
    opens
}

fn grants(reader: &mut Reader, node: &Node) -> Vec<Grant> {
    let mut grants = Vec::new();
    for item in reader.items(node, "tools") {
        let Some(fields) = reader.fields(item, &keys::GRANT) else { continue };
        let ignoring = fields.get("ignoring").map(|node| reader.names(node)).unwrap_or_default();
        let Some(name) = reader.required(&fields, "name") else { continue };
        let Some(target) = reader.qualified(name) else { continue };
        if target.1.contains('*') {
            reader.fault(name.location, format!("`{}` is a pattern; a grant names one tool", target.1));
            continue;
        }
        grants.push(Grant { backend: target.0, tool: target.1, ignoring });
    }
    grants
}

fn taggings(reader: &mut Reader, node: &Node) -> Vec<Tagging> {
    let mut taggings = Vec::new();
    for (key, value) in reader.entries(node, "backends") {
        let backend = reader.name::<BackendName>(&key.value, key.referenced);
        for (tag, patterns) in reader.entries(value, "tags") {
            let tag = reader.name::<Tag>(&tag.value, tag.referenced);
            let patterns = reader.texts(patterns);
            if let (Some(backend), Some(tag)) = (backend.clone(), tag) {
                taggings.push(Tagging { backend, tag, patterns });
            }
        }
    }
    taggings
}

fn denies(reader: &mut Reader, node: &Node) -> Vec<Deny> {
    let mut denies = Vec::new();
    for item in reader.items(node, "rules") {
        let Some(fields) = reader.fields(item, &keys::DENY) else { continue };
        let id = reader.required(&fields, "id").and_then(|node| reader.located_text(node));
        let tags = reader.required(&fields, "tags").map(|node| reader.names(node));
        if tags.as_ref().is_some_and(Vec::is_empty) {
            reader.fault(fields.at(), "a deny rule without tags denies nothing; name the tags it shuts");
        }
        let tags = tags.unwrap_or_default();
        let on = fields.get("on").map(|node| on(reader, node));
        let unless = fields.get("unless").map(|node| reader.names(node)).unwrap_or_default();
        let reason = fields.get("reason").and_then(|node| reader.text(node));
        // A rule without an id is refused, and looked at all the same: every fault at once.
        let id = id.unwrap_or_else(|| At { value: format!("{}", denies.len()), at: item.location });
        let when = fields.get("when").and_then(|node| reader.located_text(node));
        let shadow = mode(reader, fields.get("mode"));
        denies.push(Deny { id, tags, on, unless, reason, when, shadow });
    }
    denies
}
