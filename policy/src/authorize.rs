//! The only door: an act becomes a [`Permitted`] here and nowhere else.

use std::sync::Arc;

use crate::action::{Act, Action};
use crate::compiled::{Backend, BackendRing, Bits, Ring};
use crate::decision::{Denial, DenialKind, How, Permit, Permitted, Reason};
use crate::names::BackendName;
use crate::policy::Policy;
use crate::subject::Subject;

impl Policy {
    /// Decides an act, and gives it back as proof when it is permitted.
    ///
    /// # Errors
    ///
    /// Returns the [`Denial`] with its reasons when it is not.
    pub fn authorize<T: Act>(&self, subject: &Subject, act: T) -> Result<Permitted<T>, Denial> {
        let permit = self.decide(subject, act.backend(), &act.action())?;
        Ok(Permitted::new(act, permit))
    }

    /// What the caller sees in the lists of a backend. One compiled decision with [`Policy::authorize`]; scopes do
    /// not count, for what is one sign-in away is shown.
    #[must_use]
    pub fn view(&self, subject: &Subject, backend: &BackendName) -> View<'_> {
        let ring = self.ring(subject);
        View { found: self.backend(backend), ring }
    }

    fn ring(&self, subject: &Subject) -> Arc<Ring> {
        subject.ring(self.0.id, || self.0.ring_of(subject))
    }

    pub(crate) fn decide(
        &self,
        subject: &Subject,
        backend: &BackendName,
        action: &Action<'_>,
    ) -> Result<Permit, Denial> {
        let ring = self.ring(subject);
        let found = self.backend(backend);
        let verdict = match (&found, ring.tenant_listed) {
            (_, false) => Err((DenialKind::NotOpen, vec![Reason::TenantNotListed])),
            (None, _) => Err((DenialKind::NotOpen, vec![Reason::UnknownBackend])),
            (Some((index, table)), true) => {
                let held = ring.backends.get(*index);
                held.map_or(Err((DenialKind::NotOpen, vec![Reason::UnknownBackend])), |held| {
                    self.decide_on(subject, *index, table, held, action)
                })
            }
        };
        match verdict {
            Ok(how) => {
                Ok(Permit { policy: Arc::clone(&self.0), ring, backend: found.map_or(0, |(index, _)| index), how })
            }
            Err((kind, reasons)) => Err(Denial { kind, reasons, policy_hash: Arc::clone(&self.0.hash) }),
        }
    }

    fn decide_on(
        &self,
        subject: &Subject,
        index: usize,
        table: &Backend,
        held: &BackendRing,
        action: &Action<'_>,
    ) -> Result<How, (DenialKind, Vec<Reason>)> {
        let Some(locks) = locks(table, action) else { return Ok(How::Protocol) };
        let Some(how) = open(held, locks, tool_of(action)) else {
            return Err((DenialKind::NotOpen, self.closed(subject, index, table, held, locks)));
        };
        if locks.within(held.scopes) {
            return Ok(how);
        }
        let tags = |bits: Bits| bits.iter().filter_map(|bit| table.tags.get(bit)).cloned();
        let reasons = tags(locks.without(held.scopes)).map(Reason::ScopeMissing).collect();
        Err((DenialKind::ScopeMissing { scopes: tags(locks).collect() }, reasons))
    }

    /// Why it is not open: deny rules first, then the tags without a key.
    fn closed(&self, subject: &Subject, index: usize, table: &Backend, held: &BackendRing, locks: Bits) -> Vec<Reason> {
        if locks.is_empty() {
            return vec![Reason::Untagged];
        }
        let exempt = self.0.exempt(&self.0.roles_of(subject), subject.tenant());
        let firing = self
            .0
            .denies
            .iter()
            .filter(|rule| !rule.exempts(&exempt) && rule.tags.get(index).is_some_and(|tags| tags.meets(locks)));
        let mut reasons: Vec<Reason> =
            firing.map(|rule| Reason::Denied(rule.id.clone(), rule.reason.clone())).collect();
        let shut = locks.without(held.keys).iter().filter_map(|bit| table.tags.get(bit));
        reasons.extend(shut.map(|tag| Reason::TagClosed(tag.clone())));
        reasons
    }
}

/// The locks on what an action reaches; `None` for what the protocol itself needs.
fn locks(table: &Backend, action: &Action<'_>) -> Option<Bits> {
    match action {
        Action::Protocol
        | Action::ListTools
        | Action::ListPrompts
        | Action::ListResources
        | Action::ListResourceTemplates => None,
        Action::CallTool { name } => Some(table.tools.of(name)),
        Action::GetPrompt { name } => Some(table.prompts.of(name)),
        Action::ReadResource { uri } => Some(table.resources.of(uri)),
        Action::UseTemplate { template } => Some(table.resources.of_template(template)),
    }
}

fn tool_of<'a>(action: &Action<'a>) -> Option<&'a str> {
    match action {
        Action::CallTool { name } => Some(name),
        _ => None,
    }
}

/// What opens it: a key for every lock, or a grant for this tool. A deny rule beats both.
fn open(held: &BackendRing, locks: Bits, tool: Option<&str>) -> Option<How> {
    if locks.is_empty() || locks.meets(held.denied) {
        return None;
    }
    if locks.within(held.keys) {
        return Some(How::Keys(locks));
    }
    let grants = tool.and_then(|tool| held.grants.get(tool)).map(Vec::as_slice).unwrap_or_default();
    grants.iter().find(|(required, _)| required.within(held.keys)).map(|(_, role)| How::Grant(role.clone()))
}

/// What one caller sees of one backend.
#[derive(Debug)]
pub struct View<'p> {
    pub(crate) found: Option<(usize, &'p Backend)>,
    pub(crate) ring: Arc<Ring>,
}

impl View<'_> {
    /// Whether a tool is shown.
    #[must_use]
    pub fn tool(&self, name: &str) -> bool {
        self.sees(|table| (table.tools.of(name), Some(name)))
    }

    /// Whether a prompt is shown.
    #[must_use]
    pub fn prompt(&self, name: &str) -> bool {
        self.sees(|table| (table.prompts.of(name), None))
    }

    /// Whether a resource is shown.
    #[must_use]
    pub fn resource(&self, uri: &str) -> bool {
        self.sees(|table| (table.resources.of(uri), None))
    }

    /// Whether a resource template is shown: when every expansion of it would open.
    #[must_use]
    pub fn resource_template(&self, template: &str) -> bool {
        self.sees(|table| (table.resources.of_template(template), None))
    }

    fn sees<'n>(&self, locks: impl FnOnce(&Backend) -> (Bits, Option<&'n str>)) -> bool {
        let Some((index, table)) = self.found else { return false };
        let Some(held) = self.ring.backends.get(index) else { return false };
        let (locks, tool) = locks(table);
        self.ring.tenant_listed && open(held, locks, tool).is_some()
    }
}
