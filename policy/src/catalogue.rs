//! What a backend says of its own tools, and what the policy makes of it.
//!
//! A backend whose tags are imported or whose arguments are pinned is decided against its catalogue: a name that is not
//! in it is unknown, whatever patterns match. Which backends have one is [`Policy::needs_catalogue`]'s to say; keeping
//! it is the gateway's.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use crate::compiled::{Bits, Ring};
use crate::decision::Reason;
use crate::names::{BackendName, Tag};
use crate::pin::{self, Pin, ToolPins};
use crate::policy::{Compiled, Policy};
use crate::written::{Import, PinItems, Trust, Unknown};

/// What is known of one tool.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolDefinition {
    /// Its name.
    pub name: String,
    /// The JSON Schema of its arguments (`inputSchema`); a tool without one is taken to have every pinned argument.
    pub input_schema: Option<Value>,
    /// Its `_meta`.
    pub meta: Option<Value>,
    /// Its `annotations`.
    pub annotations: Option<Value>,
}

impl ToolDefinition {
    /// A tool of which nothing but its name is known.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), input_schema: None, meta: None, annotations: None }
    }
}

/// The tools of a backend.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    /// As the backend lists them.
    pub tools: Vec<ToolDefinition>,
    /// Tags that were imported for a tool before: they stay on it, whatever the backend says now.
    pub kept: BTreeMap<String, BTreeSet<Tag>>,
    /// Tools that are held back: they do not exist for anybody.
    pub held_back: BTreeSet<String>,
}

/// A catalogue as it is decided by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Catalogued {
    tools: HashMap<String, Entry>,
    imported: BTreeMap<String, BTreeSet<Tag>>,
    findings: Vec<String>,
}

/// One tool.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The operator's tags and the imported ones.
    pub(crate) locks: Bits,
    /// Why it stays shut, whoever asks.
    pub(crate) shut: Option<Reason>,
    pub(crate) pins: ToolPins,
}

impl Catalogued {
    pub(crate) fn tool(&self, name: &str) -> Option<&Entry> {
        self.tools.get(name)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.tools.keys().map(String::as_str)
    }
}

impl Policy {
    /// Whether decisions on a backend need its catalogue: its tags are imported, or arguments of its tools pinned.
    #[must_use]
    pub fn needs_catalogue(&self, backend: &BackendName) -> bool {
        self.backend(backend).is_some_and(|(index, _)| self.0.needs_catalogue(index))
    }

    /// Whether tags of a backend's own count, and stay on its tools once they were declared.
    #[must_use]
    pub fn imports(&self, backend: &BackendName) -> bool {
        self.backend(backend).is_some_and(|(_, table)| table.import.is_some())
    }

    /// The same policy with what a backend says of its tools; catalogues of other backends stay.
    #[must_use]
    pub fn with_catalogue(&self, backend: &BackendName, catalogue: &Catalogue) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1 << 32);
        let Some((index, _)) = self.backend(backend) else { return self.clone() };
        let mut compiled = (*self.0).clone();
        let catalogued = Catalogued::new(&self.0, index, catalogue);
        if let Some(backend) = compiled.backends.get_mut(index) {
            backend.catalogue = Some(Arc::new(catalogued));
        }
        // INVARIANT: what was remembered under another catalogue (rings, filtered lists) is never taken for this one.
        compiled.id = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(Arc::new(compiled))
    }

    /// The tags that each tool of a backend has been given by imports: what is to be kept.
    #[must_use]
    pub fn imported(&self, backend: &BackendName) -> BTreeMap<String, BTreeSet<Tag>> {
        self.catalogued(backend).map(|catalogued| catalogued.imported.clone()).unwrap_or_default()
    }

    /// What is wrong with a backend's catalogue: tools that stay shut, and why.
    #[must_use]
    pub fn catalogue_findings(&self, backend: &BackendName) -> Vec<String> {
        self.catalogued(backend).map(|catalogued| catalogued.findings.clone()).unwrap_or_default()
    }

    /// The tags that a tool carries, imported ones included.
    pub(crate) fn tags_of(&self, backend: &BackendName, tool: &str) -> Vec<Tag> {
        let Some((_, table)) = self.backend(backend) else { return Vec::new() };
        let locks = table.tool_locks(tool);
        locks.iter().filter_map(|bit| table.tags.get(bit)).cloned().collect()
    }

    fn catalogued(&self, backend: &BackendName) -> Option<&Catalogued> {
        self.backend(backend).and_then(|(_, table)| table.catalogue.as_deref())
    }
}

impl Compiled {
    pub(crate) fn needs_catalogue(&self, backend: usize) -> bool {
        let imports = self.backends.get(backend).is_some_and(|table| table.import.is_some());
        imports || self.pins.iter().any(|pin| pin.is_for_tools_of(backend))
    }

    /// Whether what a caller may read on a backend depends on the values that pins want in a URI.
    pub(crate) fn pins_resources_of(&self, backend: usize) -> bool {
        let on = |pin: &&Pin| pin.patterns.iter().any(|(on, _)| *on == backend);
        self.pins.iter().filter(on).any(|pin| pin.items == PinItems::Resources)
    }

    /// The first of these pins whose claim the caller's token lacks: what it is for does not open.
    pub(crate) fn lacking(&self, ring: &Ring, mut places: impl Iterator<Item = usize>) -> Option<&Pin> {
        places.find(|place| ring.unpinnable.contains(place)).and_then(|place| self.pins.get(place))
    }
}

impl Catalogued {
    fn new(policy: &Compiled, backend: usize, catalogue: &Catalogue) -> Self {
        let mut catalogued = Self::default();
        let Some(table) = policy.backends.get(backend) else { return catalogued };
        let bit = |tag: &str| table.tags.iter().position(|known| known.as_ref() == tag);
        for tool in &catalogue.tools {
            if catalogue.held_back.contains(&tool.name) {
                continue;
            }
            let own = table.tools.of(&tool.name);
            let import = table.import.as_ref();
            let declared = import.map_or_else(Declared::default, |import| declared(tool, import));
            let mut shut = declared.fault.map(|fault| Reason::Import(fault.to_owned()));
            let mut added = Bits::default();
            let mut kept: BTreeSet<Tag> = catalogue.kept.get(&tool.name).cloned().unwrap_or_default();
            for tag in declared.tags {
                match bit(&tag).and_then(|bit| table.tags.get(bit)) {
                    Some(tag) => {
                        kept.insert(tag.clone());
                    }
                    None if import.is_some_and(|import| import.unknown == Unknown::Drop) => {}
                    None => shut = Some(Reason::Import(format!("it declares the tag `{tag}`, which is not in `tags`"))),
                }
            }
            kept.iter().filter_map(|tag| bit(tag.as_ref())).for_each(|bit| added.insert(bit));
            // Without trust, imported tags are further locks; a first lock only the operator gives.
            let counts = import.is_some_and(|import| import.trust == Trust::Full) || !own.is_empty();
            let locks = if counts { own.or(added) } else { own };
            let pins = pin::of_tool(&policy.pins, backend, tool);
            if shut.is_none() {
                shut.clone_from(&pins.shut);
            }
            if let Some(reason) = &shut {
                catalogued.findings.push(format!("the tool `{}` of `{}` stays shut: {reason}", tool.name, table.name));
            }
            if !kept.is_empty() {
                catalogued.imported.insert(tool.name.clone(), kept);
            }
            catalogued.tools.insert(tool.name.clone(), Entry { locks, shut, pins });
        }
        catalogued
    }
}

/// What a tool says of itself.
#[derive(Default)]
struct Declared {
    tags: Vec<String>,
    fault: Option<&'static str>,
}

fn declared(tool: &ToolDefinition, import: &Import) -> Declared {
    let mut found = Declared::default();
    if import.meta {
        for place in ["fastmcp", "_fastmcp"] {
            let Some(tags) = tool.meta.as_ref().and_then(|meta| meta.get(place)?.get("tags")) else { continue };
            let texts = tags.as_array().map(|tags| tags.iter().map(|tag| tag.as_str().map(str::to_owned)));
            match texts.and_then(std::iter::Iterator::collect::<Option<Vec<_>>>) {
                Some(texts) => found.tags.extend(texts),
                None => found.fault = Some("its `_meta` has tags that are no list of texts"),
            }
        }
    }
    if import.annotations {
        // The protocol's defaults: not read-only, and destructive.
        let hint = |name: &str, default: bool| match tool.annotations.as_ref().and_then(|hints| hints.get(name)) {
            None => Some(default),
            Some(value) => value.as_bool(),
        };
        match (hint("readOnlyHint", false), hint("destructiveHint", true)) {
            (Some(true), Some(_)) => found.tags.push("read".to_owned()),
            (Some(false), Some(true)) => found.tags.push("destructive".to_owned()),
            (Some(false), Some(false)) => {}
            _ => found.fault = Some("its annotations are not true or false"),
        }
    }
    found
}
