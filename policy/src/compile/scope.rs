//! Which names are declared, and what to say of one that is not.

use std::collections::BTreeSet;

use serde_saphyr::Location;

use crate::document;
use crate::error::Fault;
use crate::names::{BackendName, Role, Tag};
use crate::written::{At, Target, Written, suggestion};

/// The declared names, and the faults found while looking them up.
pub(super) struct Names<'a> {
    backends: &'a [BackendName],
    roles: Vec<Role>,
    vocabulary: Option<Vec<Tag>>,
    pub(super) faults: Vec<Fault>,
}

impl<'a> Names<'a> {
    pub(super) fn new(written: &Written, backends: &'a [BackendName], faults: Vec<Fault>) -> Self {
        let roles = written.roles.iter().map(|role| role.name.value.clone()).collect();
        let vocabulary = written.tags.as_ref().map(|tags| tags.iter().map(|tag| tag.name.value.clone()).collect());
        Self { backends, roles, vocabulary, faults }
    }

    pub(super) fn fault(&mut self, at: Location, message: impl Into<String>) {
        self.faults.push(document::fault(at, message));
    }

    /// Every use of a tag and a backend against what is declared.
    pub(super) fn check_vocabulary(&mut self, written: &Written) {
        for tagging in [&written.tools, &written.prompts, &written.resources].into_iter().flatten() {
            self.backend(&tagging.backend);
            self.tag(&tagging.tag);
        }
        let carried = written.carried();
        for role in &written.roles {
            role.opens.iter().for_each(|open| self.tag(&open.tag));
            for grant in &role.tools {
                self.backend(&grant.backend);
                for tag in &grant.ignoring {
                    self.carried_tag(tag, &carried);
                }
            }
        }
        for tag in written.denies.iter().flat_map(|deny| &deny.tags) {
            self.carried_tag(tag, &carried);
        }
        for never in &written.tests.never {
            never.reach.tags.iter().for_each(|tag| self.carried_tag(tag, &carried));
            never.reach.tools.iter().for_each(|(backend, _)| self.backend(backend));
        }
        self.check_imports(written);
    }

    /// Imported tags have to be of the vocabulary, so there has to be one.
    fn check_imports(&mut self, written: &Written) {
        for import in &written.imports {
            self.backend(&import.backend);
            let Some(vocabulary) = &self.vocabulary else {
                self.fault(
                    import.backend.at,
                    "an import needs the vocabulary of tags that it may bring; declare them under `tags`",
                );
                continue;
            };
            let lacks: Vec<&str> = ["read", "destructive"]
                .into_iter()
                .filter(|tag| import.annotations && !vocabulary.iter().any(|known| known.as_ref() == *tag))
                .collect();
            for tag in lacks {
                self.fault(
                    import.backend.at,
                    format!("annotations are imported as `read` and `destructive`; declare `{tag}` under `tags`"),
                );
            }
        }
    }

    /// What the tests speak of: configured backends, and tools of the catalogue.
    pub(super) fn check_cases(&mut self, written: &Written) {
        let tests = &written.tests;
        for entry in &tests.catalogue {
            self.backend(&entry.backend);
        }
        let tool = |backend: &BackendName, tool: &str| format!("{backend}/{tool}");
        let known: BTreeSet<String> =
            tests.catalogue.iter().map(|entry| tool(&entry.backend.value, &entry.tool.value)).collect();
        let lists = tests.cases.iter().flat_map(|case| &case.sees);
        let seen =
            lists.flat_map(|(backend, tools)| tools.iter().map(|name| (tool(&backend.value, &name.value), name.at)));
        let called = tests.cases.iter().filter_map(|case| {
            let call = case.call.as_ref()?;
            let Target::Tool(name) = &call.target else { return None };
            Some((tool(&call.backend.value, name), call.backend.at))
        });
        for (name, at) in seen.chain(called).filter(|(name, _)| !known.contains(name)).collect::<Vec<_>>() {
            let hint = suggestion(&name, known.iter().map(String::as_str));
            let hint = hint.unwrap_or_else(|| "add it".to_owned());
            self.fault(at, format!("`{name}` is not in the tests' catalogue; {hint}"));
        }
        for case in &tests.cases {
            case.sees.iter().for_each(|(backend, _)| self.backend(backend));
            case.call.iter().for_each(|call| self.backend(&call.backend));
        }
    }

    pub(super) fn several_backends(&self) -> bool {
        self.backends.len() > 1
    }

    pub(super) fn all_backends(&self) -> Vec<usize> {
        (0..self.backends.len()).collect()
    }

    /// The indexes of an `on` list; `*` is every backend.
    pub(super) fn backends(&mut self, on: &[At<String>]) -> Vec<usize> {
        if on.iter().any(|name| name.value == "*") {
            return self.all_backends();
        }
        let mut found = Vec::with_capacity(on.len());
        for name in on {
            match self.backends.iter().position(|known| known.as_ref() == name.value) {
                Some(index) => found.push(index),
                None => self.unknown_backend(&name.value, name.at),
            }
        }
        found
    }

    /// The index of a backend; one that is not configured is a fault.
    pub(super) fn named_backend(&mut self, name: &At<BackendName>) -> Option<usize> {
        let found = self.known_backend(name);
        if found.is_none() {
            self.unknown_backend(name.value.as_ref(), name.at);
        }
        found
    }

    pub(super) fn known_backend(&self, name: &At<BackendName>) -> Option<usize> {
        self.backends.iter().position(|known| *known == name.value)
    }

    fn backend(&mut self, name: &At<BackendName>) {
        self.named_backend(name);
    }

    pub(super) fn roles(&mut self, names: &[At<Role>]) -> Vec<usize> {
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            if let Some(index) = self.roles.iter().position(|known| *known == name.value) {
                found.push(index);
            } else {
                let hint = suggestion(name.value.as_ref(), self.roles.iter().map(AsRef::as_ref));
                let hint = hint.unwrap_or_else(|| "declare it under `roles`".to_owned());
                self.fault(name.at, format!("the role `{}` is not declared; {hint}", name.value));
            }
        }
        found
    }

    fn tag(&mut self, tag: &At<Tag>) {
        let Some(vocabulary) = &self.vocabulary else { return };
        if !vocabulary.contains(&tag.value) {
            let hint = suggestion(tag.value.as_ref(), vocabulary.iter().map(AsRef::as_ref));
            let hint = hint.unwrap_or_else(|| "declare it under `tags`".to_owned());
            self.fault(tag.at, format!("the tag `{}` is not declared; {hint}", tag.value));
        }
    }

    /// Without a vocabulary, a tag that nothing carries is a slip, and a rule about it protects nothing.
    fn carried_tag(&mut self, tag: &At<Tag>, carried: &BTreeSet<&Tag>) {
        if self.vocabulary.is_some() || carried.contains(&tag.value) {
            return self.tag(tag);
        }
        let hint = suggestion(tag.value.as_ref(), carried.iter().copied().map(AsRef::as_ref));
        let hint = hint.unwrap_or_else(|| "tag something with it, or take it out".to_owned());
        self.fault(tag.at, format!("nothing carries the tag `{}`; {hint}", tag.value));
    }

    fn unknown_backend(&mut self, name: &str, at: Location) {
        let hint = suggestion(name, self.backends.iter().map(AsRef::as_ref));
        let hint = hint.unwrap_or_else(|| "name one of the configured backends".to_owned());
        self.fault(at, format!("the backend `{name}` is not configured; {hint}"));
    }
}
