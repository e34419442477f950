//! From the policy as written to the compiled form: names are resolved, inheritance is closed, every fault found.

mod conditions;
mod pins;
mod roles;
mod scope;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::compiled::{Backend, Bits, DenyRule, Locks, MAX_TAGS, UriLocks};
use crate::document::{Document, Node, Value};
use crate::error::Faults;
use crate::glob::MAX_NAME;
use crate::names::{BackendName, Tag};
use crate::policy::{Compiled, Setting};
use crate::uri::Pattern;
use crate::written::{Deny, Tagging, Written};
use scope::Names;

/// From values in tokens to the policy roles they give.
#[derive(Debug, Default)]
pub(crate) struct Members {
    pub(crate) users: HashMap<String, Vec<usize>>,
    pub(crate) apps: HashMap<String, Vec<usize>>,
    pub(crate) groups: HashMap<String, Vec<usize>>,
    /// The roles of callers without a token.
    pub(crate) public: Vec<usize>,
}

/// A listed tenant; its callers hold no more than these roles would, if any are named.
#[derive(Debug)]
pub(crate) struct TenantCap {
    pub(crate) id: String,
    pub(crate) roles: Option<Vec<usize>>,
}

pub(crate) fn compile(
    document: &Document,
    backends: &[BackendName],
    setting: &Setting,
    id: u64,
) -> Result<Compiled, Faults> {
    let (written, faults) = Written::read(document);
    let mut names = Names::new(&written, backends, faults);
    names.check_vocabulary(&written);
    names.check_cases(&written);
    if let Some(at) = written.shadow.filter(|_| setting.refuse_shadow) {
        names.fault(
            at,
            "a policy that only records refuses nothing; say `server.allow_shadow_policy: true`, or take `mode` out",
        );
    }
    let tables: Vec<Backend> = backends.iter().map(|name| backend(&mut names, &written, name)).collect();
    let (roles, members) = roles::compile(&mut names, &written, &tables, setting);
    let tenants = written.tenants.as_ref().map(|tenants| {
        let cap = |tenant: &crate::written::Tenant| TenantCap {
            id: tenant.id.clone(),
            roles: tenant.roles.as_ref().map(|roles| names.roles(roles)),
        };
        tenants.iter().map(cap).collect()
    });
    let denies = denies(&mut names, &written.denies, &tables, setting);
    let pins = pins::compile(&mut names, &written.pins, setting);
    if !names.faults.is_empty() {
        return Err(Faults::new(names.faults));
    }
    let titles = written.tags.iter().flatten();
    let titles = titles.filter_map(|tag| Some((tag.name.value.as_ref().to_owned(), tag.title.clone()?))).collect();
    Ok(Compiled {
        id,
        hash: hash(&document.0).into(),
        explain: written.explain,
        shadow: written.shadow.is_some(),
        backends: tables,
        roles: Arc::new(roles),
        members: Arc::new(members),
        tenants: Arc::new(tenants),
        denies: Arc::new(denies),
        pins: Arc::new(pins),
        titles: Arc::new(titles),
    })
}

/// The tags of one backend get their bits, and its items their locks.
fn backend(names: &mut Names<'_>, written: &Written, name: &BackendName) -> Backend {
    let of = |taggings: &[Tagging]| -> Vec<Tagging> {
        taggings.iter().filter(|tagging| tagging.backend.value == *name).cloned().collect()
    };
    let (tools, prompts, resources) = (of(&written.tools), of(&written.prompts), of(&written.resources));
    let all = [&tools, &prompts, &resources];
    let import = written.imports.iter().find(|import| import.backend.value == *name).cloned();
    let mut tags: BTreeSet<Tag> = all.into_iter().flatten().map(|tagging| tagging.tag.value.clone()).collect();
    let vocabulary = || written.tags.iter().flatten();
    if import.is_some() {
        // What will be imported is not known yet; it is of the vocabulary.
        tags.extend(vocabulary().map(|tag| tag.name.value.clone()));
    }
    let tags: Vec<Tag> = tags.into_iter().collect();
    let declared = |tag: &Tag| vocabulary().find(|declared| declared.name.value == *tag);
    let mut shadow = Bits::default();
    let mut step_up = Vec::new();
    for (bit, declared) in tags.iter().enumerate().filter_map(|(bit, tag)| Some((bit, declared(tag)?))) {
        if declared.shadow {
            shadow.insert(bit);
        }
        step_up.extend(declared.step_up.clone().map(|step_up| (bit, step_up)));
    }
    if tags.len() > MAX_TAGS
        && let Some(first) = all.into_iter().flatten().next()
    {
        names.fault(first.tag.at, format!("`{name}` has more than {MAX_TAGS} tags; merge some"));
    }
    check_patterns(names, &all);
    let bit = |tagging: &Tagging| tags.iter().position(|tag| *tag == tagging.tag.value).unwrap_or(usize::MAX);
    let patterns = |taggings: &[Tagging]| -> Vec<(String, usize)> {
        let one = |tagging: &Tagging| {
            let bit = bit(tagging);
            tagging.patterns.iter().map(move |pattern| (pattern.value.clone(), bit)).collect::<Vec<_>>()
        };
        taggings.iter().flat_map(one).collect()
    };
    let borrowed = |patterns: &[(String, usize)]| Locks::new(patterns.iter().map(|(p, bit)| (p.as_str(), *bit)));
    let uris = patterns(&resources);
    Backend {
        name: name.clone(),
        tools: borrowed(&patterns(&tools)),
        prompts: borrowed(&patterns(&prompts)),
        resources: UriLocks::new(uris.into_iter().filter_map(|(p, bit)| Some((Pattern::parse(&p).ok()?, bit)))),
        tags,
        shadow,
        step_up,
        import,
        catalogue: None,
    }
}

/// A pattern that could never match is a slip; with a tag as a lock, it is a lock that does not hold.
fn check_patterns(names: &mut Names<'_>, [tools, prompts, resources]: &[&Vec<Tagging>; 3]) {
    let patterns =
        |taggings: &[Tagging]| taggings.iter().flat_map(|tagging| tagging.patterns.clone()).collect::<Vec<_>>();
    for pattern in patterns(tools).into_iter().chain(patterns(prompts)) {
        let text = &pattern.value;
        if text.trim() != text || text.is_empty() || text.chars().any(char::is_control) {
            names.fault(pattern.at, "a pattern is empty or has spaces around it; names match exactly, remove them");
        } else if text.len() > MAX_NAME {
            names.fault(pattern.at, format!("a name has at most {MAX_NAME} characters; shorten the pattern"));
        }
    }
    for pattern in patterns(resources) {
        if let Err(error) = Pattern::parse(&pattern.value) {
            names.fault(pattern.at, format!("`{}` matches no resource; {error}", pattern.value.escape_debug()));
        }
    }
}

fn denies(names: &mut Names<'_>, written: &[Deny], tables: &[Backend], setting: &Setting) -> Vec<DenyRule> {
    let mut seen = BTreeSet::new();
    let mut rules = Vec::new();
    for deny in written {
        if !seen.insert(deny.id.value.as_str()) {
            names.fault(deny.id.at, format!("the deny rule `{}` is there twice; give each its own id", deny.id.value));
        }
        let on: Vec<usize> = match &deny.on {
            None => (0..tables.len()).collect(),
            Some(on) => names.backends(on),
        };
        let tags = tables.iter().enumerate().map(|(index, table)| {
            let mut bits = Bits::default();
            for (bit, tag) in table.tags.iter().enumerate() {
                if on.contains(&index) && deny.tags.iter().any(|denied| denied.value == *tag) {
                    bits.insert(bit);
                }
            }
            bits
        });
        let tags = tags.collect();
        let unless = names.roles(&deny.unless);
        let when = deny.when.as_ref().and_then(|when| conditions::read(names, when, true, setting));
        let (id, reason, shadow) = (deny.id.value.clone(), deny.reason.clone(), deny.shadow);
        rules.push(DenyRule { id, reason, tags, unless, when, shadow });
    }
    rules
}

/// A short hash over keys and values in their order.
fn hash(node: &Node) -> String {
    let mut hasher = Sha256::new();
    feed(&mut hasher, node);
    hasher.finalize().iter().take(6).fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn feed(hasher: &mut Sha256, node: &Node) {
    let mut text = |kind: &[u8], text: &str| {
        hasher.update(kind);
        hasher.update((text.len() as u64).to_be_bytes());
        hasher.update(text.as_bytes());
    };
    match &node.value {
        Value::Null => text(b"0", ""),
        Value::Bool(value) => text(b"b", if *value { "1" } else { "0" }),
        Value::Number(value) => text(b"n", value),
        Value::Text(value) => text(b"t", value),
        Value::List(items) => {
            text(b"l", &items.len().to_string());
            for item in items {
                feed(hasher, item);
            }
        }
        Value::Mapping(entries) => {
            text(b"m", &entries.len().to_string());
            for (key, value) in entries {
                hasher.update((key.value.len() as u64).to_be_bytes());
                hasher.update(key.value.as_bytes());
                feed(hasher, value);
            }
        }
    }
}
