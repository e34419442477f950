//! A policy, a caller and what is asked, as plain values, and the policy as a document. Longer than other files here because
//! it has a value for every key of the language.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_policy::{
    BackendName, Catalogue, Document, Kind, Policy, Scopes, Setting, Subject, Tag, ToolDefinition,
};
use serde_json::{Map, Value, json};

use crate::condition::Expr;

pub(crate) const BACKENDS: [&str; 2] = ["one", "two"];
/// In the order of their names. The first two are those that annotations give.
pub(crate) const TAGS: [&str; 4] = ["destructive", "extra", "read", "write"];
pub(crate) const ROLES: [&str; 4] = ["r0", "r1", "r2", "r3"];
pub(crate) const GROUPS: [&str; 2] = ["6f0c0000-0000-4000-8000-000000000001", "6f0c0000-0000-4000-8000-000000000002"];
pub(crate) const TENANTS: [&str; 3] = [
    "11111111-1111-4111-8111-111111111111",
    "22222222-2222-4222-8222-222222222222",
    "33333333-3333-4333-8333-333333333333",
];
pub(crate) const TOOLS: [&str; 4] = ["get_a", "get_b", "odd", "put_a"];
pub(crate) const PROMPTS: [&str; 3] = ["brief", "greet", "greet\u{200b}"];
pub(crate) const URIS: [&str; 10] = [
    "r://t1/x",
    "r://t2/x",
    "r://t1/y/z",
    "r://t1/../x",
    "r://t2/x?q",
    "r://t1/x/",
    "r://u@t1/x",
    "r://t2:8/x",
    "r://t1:/x",
    "r://@t2/x",
];

pub(crate) type Set = BTreeSet<usize>;

/// What carries tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Items {
    Tools,
    Prompts,
    Resources,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct TagDecl {
    pub(crate) acr: Option<&'static str>,
    pub(crate) max_age: Option<u64>,
    pub(crate) shadow: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Members {
    pub(crate) roles: Vec<&'static str>,
    pub(crate) apps: Vec<&'static str>,
    pub(crate) groups: Set,
    pub(crate) public: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Open {
    pub(crate) tag: usize,
    pub(crate) on: Option<Set>,
    pub(crate) when: Option<Expr>,
}

#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) backend: usize,
    pub(crate) tool: &'static str,
    pub(crate) ignoring: Set,
}

#[derive(Clone, Debug)]
pub(crate) struct Role {
    pub(crate) members: Option<Members>,
    /// Roles declared earlier, so that there is no circle.
    pub(crate) inherits: Set,
    pub(crate) on: Set,
    pub(crate) opens: Vec<Open>,
    pub(crate) grants: Vec<Grant>,
    /// Calls, the word for the period and its seconds, and how many at once.
    pub(crate) rate: Option<(u32, (&'static str, u64), Option<u32>)>,
    pub(crate) shadow: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Import {
    pub(crate) meta: bool,
    pub(crate) annotations: bool,
    pub(crate) full: bool,
    pub(crate) drop: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Deny {
    pub(crate) tags: Set,
    pub(crate) on: Option<Set>,
    pub(crate) when: Option<Expr>,
    pub(crate) unless: Set,
    pub(crate) reason: Option<String>,
    pub(crate) shadow: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum To {
    Caller(&'static str),
    Value(Value),
}

#[derive(Clone, Debug)]
pub(crate) struct Pin {
    pub(crate) items: Items,
    /// Backend and pattern, or URI template.
    pub(crate) patterns: Vec<(usize, &'static str)>,
    pub(crate) except: Vec<(usize, &'static str)>,
    /// The names on the way to the argument; for a resource the variable's.
    pub(crate) argument: &'static [&'static str],
    pub(crate) to: To,
    pub(crate) set: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    pub(crate) schema: Option<Value>,
    pub(crate) meta: Option<Value>,
    pub(crate) annotations: Option<Value>,
}

/// What is known of a backend's tools.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) tools: Vec<Tool>,
    pub(crate) kept: BTreeMap<&'static str, Set>,
    pub(crate) held_back: BTreeSet<&'static str>,
}

#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) explain: bool,
    pub(crate) shadow: bool,
    pub(crate) tags: Vec<TagDecl>,
    pub(crate) tenants: Option<BTreeMap<usize, Option<Set>>>,
    pub(crate) roles: Vec<Role>,
    /// What, on which backend, by which pattern, carries which tag.
    pub(crate) tagged: BTreeSet<(Items, usize, &'static str, usize)>,
    pub(crate) imports: BTreeMap<usize, Import>,
    pub(crate) denies: Vec<Deny>,
    pub(crate) pins: Vec<Pin>,
    pub(crate) known: BTreeMap<usize, Known>,
}

#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) kind: Kind,
    pub(crate) tenant: usize,
    pub(crate) oid: &'static str,
    pub(crate) client: Option<&'static str>,
    pub(crate) roles: Vec<&'static str>,
    pub(crate) groups: Set,
    pub(crate) scopes: Option<Set>,
    pub(crate) guest: Option<bool>,
    pub(crate) acrs: Vec<&'static str>,
    pub(crate) auth_time: Option<u64>,
    pub(crate) area: Option<Value>,
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) items: Items,
    pub(crate) backend: usize,
    pub(crate) name: &'static str,
    pub(crate) args: Value,
}

fn names(of: &Set, from: &[&str]) -> Value {
    of.iter().map(|at| from[*at]).collect()
}

impl Model {
    /// The policy as a document. JSON is YAML.
    pub(crate) fn written(&self) -> Value {
        let mut policy = json!({
            "version": 1,
            "denials": if self.explain { "explain" } else { "conceal" },
            "mode": if self.shadow { "shadow" } else { "enforce" },
            "tags": self.tags.iter().zip(TAGS).map(|(tag, name)| (name.to_owned(), tag.written())).collect::<Map<_, _>>(),
            "roles": self.roles.iter().zip(ROLES).map(|(role, name)| (name.to_owned(), role.written())).collect::<Map<_, _>>(),
            "deny": self.denies.iter().enumerate().map(|(at, deny)| deny.written(at)).collect::<Vec<_>>(),
            "pins": self.pins.iter().enumerate().map(|(at, pin)| pin.written(at)).collect::<Vec<_>>(),
        });
        for (key, items) in [("tools", Items::Tools), ("prompts", Items::Prompts), ("resources", Items::Resources)] {
            let mut section = json!({});
            for (of, backend, pattern, tag) in self.tagged.iter().filter(|(of, ..)| *of == items) {
                let _ = of;
                let patterns = &mut section[BACKENDS[*backend]][TAGS[*tag]];
                match patterns.as_array_mut() {
                    Some(patterns) => patterns.push(json!(pattern)),
                    None => *patterns = json!([pattern]),
                }
            }
            policy[key] = section;
        }
        for (backend, import) in &self.imports {
            policy["imports"][BACKENDS[*backend]] = json!({
                "meta": import.meta, "annotations": import.annotations,
                "trust": if import.full { "full" } else { "narrow" }, "unknown": if import.drop { "drop" } else { "shut" },
            });
        }
        for (tenant, roles) in self.tenants.iter().flatten() {
            policy["tenants"][TENANTS[*tenant]] =
                roles.as_ref().map_or(json!({}), |roles| json!({ "roles": names(roles, &ROLES) }));
        }
        policy
    }

    /// As it is compiled, with what is known of the backends.
    pub(crate) fn compiled(&self) -> Policy {
        let text = self.written().to_string();
        let document = Document::from_yaml(&text).unwrap_or_else(|faults| panic!("{faults}\n{text}"));
        let policy = compile(&document);
        self.known
            .iter()
            .fold(policy, |policy, (backend, known)| policy.with_catalogue(&backend_name(*backend), &known.catalogue()))
    }
}

pub(crate) fn compile(document: &Document) -> Policy {
    let setting = Setting { claims: Some(BTreeSet::from(["area".to_owned()])), refuse_shadow: false };
    Policy::compile_for(document, &[0, 1].map(backend_name), &setting)
        .unwrap_or_else(|faults| panic!("{faults}\n{document:?}"))
}

pub(crate) fn backend_name(backend: usize) -> BackendName {
    BackendName::try_from(BACKENDS[backend]).unwrap()
}

impl TagDecl {
    fn written(&self) -> Value {
        let mut tag = json!({ "mode": if self.shadow { "shadow" } else { "enforce" } });
        if let Some(acr) = self.acr {
            tag["step_up"]["acr"] = json!(acr);
        }
        if let Some(age) = self.max_age {
            tag["step_up"]["max_age"] = json!(format!("{age}s"));
        }
        tag
    }
}

impl Role {
    fn written(&self) -> Value {
        let opens = self.opens.iter().map(|open| {
            let mut written = json!({ "tag": TAGS[open.tag] });
            if let Some(on) = &open.on {
                written["on"] = names(on, &BACKENDS);
            }
            if let Some(when) = &open.when {
                written["when"] = json!(when.text());
            }
            written
        });
        let grants = self.grants.iter().map(|grant| {
            let name = format!("{}/{}", BACKENDS[grant.backend], grant.tool);
            json!({ "name": name, "ignoring": names(&grant.ignoring, &TAGS) })
        });
        let mut role = json!({
            "inherits": names(&self.inherits, &ROLES), "on": names(&self.on, &BACKENDS), "opens": opens.collect::<Vec<_>>(),
            "tools": grants.collect::<Vec<_>>(), "mode": if self.shadow { "shadow" } else { "enforce" },
        });
        if let Some(members) = &self.members {
            let groups = names(&members.groups, &GROUPS);
            role["members"] =
                json!({ "roles": members.roles, "apps": members.apps, "groups": groups, "public": members.public });
        }
        if let Some((calls, (per, _), burst)) = self.rate {
            role["rate"] = json!({ "calls": calls, "per": per });
            if let Some(burst) = burst {
                role["rate"]["burst"] = json!(burst);
            }
        }
        role
    }
}

impl Deny {
    fn written(&self, at: usize) -> Value {
        let mut deny = json!({
            "id": format!("d{at}"), "tags": names(&self.tags, &TAGS), "unless": names(&self.unless, &ROLES),
            "mode": if self.shadow { "shadow" } else { "enforce" },
        });
        if let Some(on) = &self.on {
            deny["on"] = names(on, &BACKENDS);
        }
        if let Some(when) = &self.when {
            deny["when"] = json!(when.text());
        }
        if let Some(reason) = &self.reason {
            deny["reason"] = json!(reason);
        }
        deny
    }
}

impl Pin {
    fn written(&self, at: usize) -> Value {
        let qualified = |of: &[(usize, &str)]| -> Vec<String> {
            of.iter().map(|(backend, name)| format!("{}/{name}", BACKENDS[*backend])).collect()
        };
        let (key, argument) = match self.items {
            Items::Tools => ("tools", self.pointer()),
            Items::Prompts => ("prompts", self.pointer()),
            Items::Resources => ("resources", self.argument[0].to_owned()),
        };
        let mut pin = json!({
            "id": format!("p{at}"), key: qualified(&self.patterns), "argument": argument,
            "how": if self.set { "set" } else { "require" },
        });
        if !self.except.is_empty() {
            pin["except"] = json!(qualified(&self.except));
        }
        match &self.to {
            To::Caller(field) => pin["to"] = json!(format!("caller.{field}")),
            To::Value(value) => pin["value"] = value.clone(),
        }
        pin
    }

    /// RFC 6901.
    fn pointer(&self) -> String {
        let names = self.argument.iter().map(|name| name.replace('~', "~0").replace('/', "~1"));
        names.fold(String::new(), |pointer, name| pointer + "/" + &name)
    }
}

impl Known {
    fn catalogue(&self) -> Catalogue {
        let tags = |tags: &Set| tags.iter().map(|tag| Tag::try_from(TAGS[*tag]).unwrap()).collect();
        Catalogue {
            tools: self.tools.iter().map(Tool::definition).collect(),
            kept: self.kept.iter().map(|(tool, of)| ((*tool).to_owned(), tags(of))).collect(),
            held_back: self.held_back.iter().map(|tool| (*tool).to_owned()).collect(),
        }
    }
}

impl Tool {
    fn definition(&self) -> ToolDefinition {
        let (meta, annotations) = (self.meta.clone(), self.annotations.clone());
        ToolDefinition { name: self.name.to_owned(), input_schema: self.schema.clone(), meta, annotations }
    }

    /// As the tests' catalogue has it.
    pub(crate) fn entry(&self) -> Value {
        let mut entry = json!({ "name": self.name });
        for (key, value) in [("schema", &self.schema), ("meta", &self.meta), ("annotations", &self.annotations)] {
            if let Some(value) = value {
                entry[key] = value.clone();
            }
        }
        if entry.as_object().unwrap().len() == 1 { json!(self.name) } else { entry }
    }
}

impl Caller {
    pub(crate) fn subject(&self) -> Subject {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let groups = self.groups.iter().map(|group| GROUPS[*group].to_uppercase()).collect();
        let scopes = self.scopes.as_ref().map(|scopes| scopes.iter().map(|tag| TAGS[*tag].to_owned()).collect());
        let claims = self.area.iter().map(|area| ("area".to_owned(), area.clone())).collect();
        let subject = Subject::new(self.kind, TENANTS[self.tenant], self.oid)
            .with_roles(owned(&self.roles))
            .with_groups(groups)
            .with_scopes(scopes.map_or(Scopes::Unlimited, Scopes::Granted))
            .with_guest(self.guest)
            .with_sign_in(owned(&self.acrs), self.auth_time)
            .with_claims(claims);
        self.client.into_iter().fold(subject, Subject::with_client)
    }

    pub(crate) fn word(&self) -> &'static str {
        match self.kind {
            Kind::User => "user",
            Kind::App => "app",
            Kind::Public => "public",
        }
    }

    /// What `caller.X` is; nothing where the token does not say.
    pub(crate) fn field(&self, field: &str) -> Option<Value> {
        match field {
            "kind" => Some(json!(self.word())),
            // Who brings no token is of no tenant, and no object in one, whatever is said of them.
            "tid" | "oid" if self.kind == Kind::Public => None,
            "tid" => Some(json!(TENANTS[self.tenant])),
            "oid" => Some(json!(self.oid)),
            "client" => self.client.map(Value::from),
            "guest" => self.guest.map(Value::from),
            "acrs" => (!self.acrs.is_empty()).then(|| json!(self.acrs)),
            "auth_time" => self.auth_time.map(Value::from),
            "roles" => Some(json!(self.roles)),
            "claims.area" => self.area.clone().filter(|area| !area.is_null()),
            other => panic!("`{other}` is nothing of a caller"),
        }
    }

    /// As a test of the policy has it.
    pub(crate) fn written(&self) -> Value {
        let mut written = json!({
            "kind": self.word(), "tid": TENANTS[self.tenant], "oid": self.oid, "roles": self.roles,
            "groups": names(&self.groups, &GROUPS),
        });
        let optional = [
            ("client", self.client.map(Value::from)),
            ("scopes", self.scopes.as_ref().map(|scopes| names(scopes, &TAGS))),
            ("guest", self.guest.map(Value::from)),
            ("acrs", self.field("acrs")),
            ("auth_time", self.auth_time.map(Value::from)),
            ("claims", self.area.as_ref().map(|area| json!({ "area": area }))),
        ];
        for (key, value) in optional {
            if let Some(value) = value {
                written[key] = value;
            }
        }
        written
    }
}
