//! What one caller sees of one backend: the lists.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::compiled::{Backend, Bits, Ring};
use crate::condition::{Arguments, Scene};
use crate::judge::Judge;
use crate::pin;
use crate::policy::Compiled;
use crate::subject::Subject;
use crate::uri;

/// What one caller sees of one backend.
#[derive(Debug)]
pub struct View<'p> {
    pub(crate) policy: &'p Compiled,
    pub(crate) found: Option<(usize, &'p Backend)>,
    pub(crate) ring: Arc<Ring>,
    /// Where conditions ask about the caller for each tool, or pins for each resource.
    caller: Option<Box<Subject>>,
}

impl<'p> View<'p> {
    pub(crate) fn new(
        policy: &'p Compiled,
        found: Option<(usize, &'p Backend)>,
        ring: Arc<Ring>,
        subject: &Subject,
    ) -> Self {
        let asks = found.is_some_and(|(index, _)| {
            ring.backends.get(index).is_some_and(|held| held.asks_by_tool) || policy.pins_resources_of(index)
        });
        Self { policy, found, ring, caller: asks.then(|| Box::new(subject.clone())) }
    }

    /// Whether a tool is shown.
    #[must_use]
    pub fn tool(&self, name: &str) -> bool {
        let Some((index, table)) = self.found else { return false };
        if let Some(catalogue) = &table.catalogue {
            let open = catalogue.tool(name).filter(|entry| entry.shut.is_none());
            let lacks = |places: &[usize]| self.policy.lacking(&self.ring, places.iter().copied()).is_some();
            if open.is_none_or(|entry| lacks(&entry.pins.places)) {
                return false;
            }
        } else if self.policy.needs_catalogue(index) {
            return false;
        }
        self.sees(|table| (table.tool_locks(name), Some(name)))
    }

    /// Whether a prompt is shown.
    #[must_use]
    pub fn prompt(&self, name: &str) -> bool {
        let lacks = |(index, _): (usize, &Backend)| {
            self.policy.lacking(&self.ring, pin::of_prompt(&self.policy.pins, index, name)).is_some()
        };
        self.sees(|table| (table.prompts.of(name), None)) && !self.found.is_some_and(lacks)
    }

    /// Whether a resource is shown.
    #[must_use]
    pub fn resource(&self, uri: &str) -> bool {
        let fits = |(index, caller): (usize, &Subject)| {
            uri::canonical(uri).is_ok_and(|uri| pin::check_uri(&self.policy.pins, index, &uri, caller).is_ok())
        };
        let pinned = self.found.map(|(index, _)| index).zip(self.caller.as_deref());
        self.sees(|table| (table.resources.of(uri), None)) && pinned.is_none_or(fits)
    }

    /// Whether a resource template is shown: when every expansion of it would open.
    #[must_use]
    pub fn resource_template(&self, template: &str) -> bool {
        self.sees(|table| (table.resources.of_template(template), None))
    }

    /// Whether tools of this backend have pinned arguments.
    #[must_use]
    pub fn has_pins(&self) -> bool {
        self.found.is_some_and(|(index, _)| {
            self.policy.pins.iter().any(|pin| pin.patterns.iter().any(|(on, _)| *on == index))
        })
    }

    /// The schema of a tool's arguments as callers see it, without what is set for them: `None` where it stays.
    ///
    /// # Errors
    ///
    /// Returns an error when the schema does not have what is pinned; such a tool must not be shown.
    #[expect(clippy::result_unit_err, reason = "there is nothing to say but that the tool is not shown")]
    pub fn tool_schema(&self, name: &str, schema: &str) -> Result<Option<String>, ()> {
        let entry = self.found.and_then(|(_, table)| table.catalogue.as_ref()?.tool(name));
        let Some(entry) = entry.filter(|entry| !entry.pins.places.is_empty()) else { return Ok(None) };
        pin::shown_schema(&self.policy.pins, &entry.pins, schema)
    }

    /// The arguments of a prompt that are set for callers, and not shown.
    #[must_use]
    pub fn hidden_prompt_arguments(&self, name: &str) -> BTreeSet<String> {
        let Some((index, _)) = self.found else { return BTreeSet::new() };
        pin::hidden_prompt_arguments(&self.policy.pins, index, name)
    }

    fn sees<'n>(&self, locks: impl FnOnce(&Backend) -> (Bits, Option<&'n str>)) -> bool {
        let Some((index, table)) = self.found else { return false };
        let Some(held) = self.ring.backends.get(index) else { return false };
        let (locks, tool) = locks(table);
        if !self.ring.tenant_listed {
            return false;
        }
        let nobody = Subject::new(crate::subject::Kind::User, "", "");
        // INVARIANT: where no condition is asked by tool, what is asked of the caller is in the ring already.
        let caller = self.caller.as_deref().unwrap_or(&nobody);
        let name = tool.unwrap_or_default();
        let scene = Scene { arguments: Arguments::Unknown, tool: name, backend: table.name.as_ref(), caller };
        Judge { policy: self.policy, index, table, held, locks, tool, scene }.opens().is_some()
    }
}
