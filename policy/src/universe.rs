//! What the policy is asked about when nobody calls: tools, prompts and resources, by backend.
//!
//! Tools are those of a catalogue: the tests', a lock file's, a live one. Where there is none, the policy's own
//! patterns stand for what they match; so they always do for prompts and resources.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::catalogue::{Catalogue, ToolDefinition};
use crate::document::Document;
use crate::names::BackendName;
use crate::policy::Policy;
use crate::written::{Tagging, Written};

/// A kind of item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A tool, by its name.
    Tool,
    /// A prompt, by its name.
    Prompt,
    /// A resource, by its URI.
    Resource,
}

impl Kind {
    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::Prompt => "prompt",
            Self::Resource => "resource",
        }
    }
}

/// Something that carries tags.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Item {
    /// Whose it is.
    pub backend: BackendName,
    /// What it is.
    pub kind: Kind,
    /// Its name or URI, or a pattern of the policy that stands for all that it matches.
    pub name: String,
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Tool => write!(f, "{}/{}", self.backend, self.name),
            kind => write!(f, "{} {}/{}", kind.as_str(), self.backend, self.name),
        }
    }
}

/// Everything that there is to ask about.
#[derive(Clone, Debug, Default)]
pub struct Universe {
    catalogues: BTreeMap<BackendName, Catalogue>,
    /// Backends whose tools are the policy's patterns.
    guessed: BTreeSet<BackendName>,
    others: BTreeSet<Item>,
}

impl Universe {
    /// What these policies and their tests speak of; of a tool that several define, the last definition counts.
    #[must_use]
    pub fn of(documents: &[&Document]) -> Self {
        let mut universe = Self::default();
        let written: Vec<Written> = documents.iter().map(|document| Written::read(document).0).collect();
        let mut tools: BTreeMap<BackendName, BTreeMap<String, ToolDefinition>> = BTreeMap::new();
        for entry in written.iter().flat_map(|written| &written.tests.catalogue) {
            let known = tools.entry(entry.backend.value.clone()).or_default();
            known.insert(entry.tool.value.clone(), entry.definition.clone());
        }
        for tagging in written.iter().flat_map(|written| &written.tools) {
            let backend = &tagging.backend.value;
            if universe.guessed.contains(backend) || !tools.contains_key(backend) {
                universe.guessed.insert(backend.clone());
                let known = tools.entry(backend.clone()).or_default();
                let named = |name: &String| (name.clone(), ToolDefinition::named(name));
                known.extend(tagging.patterns.iter().map(|pattern| named(&pattern.value)));
            }
        }
        let catalogue = |tools: BTreeMap<String, ToolDefinition>| Catalogue {
            tools: tools.into_values().collect(),
            ..Catalogue::default()
        };
        universe.catalogues = tools.into_iter().map(|(backend, tools)| (backend, catalogue(tools))).collect();
        for written in &written {
            universe.others.extend(items(&written.prompts, Kind::Prompt));
            universe.others.extend(items(&written.resources, Kind::Resource));
        }
        universe
    }

    /// A backend has these tools and no others.
    pub fn know(&mut self, backend: &BackendName, catalogue: Catalogue) {
        self.guessed.remove(backend);
        self.catalogues.insert(backend.clone(), catalogue);
    }

    /// The backends whose tools are not known, so that the policy's patterns stand for them.
    #[must_use]
    pub fn guessed(&self) -> &BTreeSet<BackendName> {
        &self.guessed
    }

    /// Every item, in order.
    #[must_use]
    pub fn items(&self) -> BTreeSet<Item> {
        let tools = self.catalogues.iter().flat_map(|(backend, catalogue)| {
            catalogue.tools.iter().map(|tool| Item {
                backend: backend.clone(),
                kind: Kind::Tool,
                name: tool.name.clone(),
            })
        });
        tools.chain(self.others.iter().cloned()).collect()
    }

    /// The policy with the catalogues that its decisions need.
    #[must_use]
    pub fn applied(&self, policy: &Policy) -> Policy {
        let needed = self.catalogues.iter().filter(|(backend, _)| policy.needs_catalogue(backend));
        needed.fold(policy.clone(), |policy, (backend, catalogue)| policy.with_catalogue(backend, catalogue))
    }
}

fn items(taggings: &[Tagging], kind: Kind) -> impl Iterator<Item = Item> {
    taggings.iter().flat_map(move |tagging| {
        let item = move |name: &String| Item { backend: tagging.backend.value.clone(), kind, name: name.clone() };
        tagging.patterns.iter().map(move |pattern| item(&pattern.value))
    })
}
