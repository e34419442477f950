//! The only door: an act becomes a [`Permitted`] here and nowhere else.

use std::sync::Arc;

use serde_json::Value;

use crate::action::{Act, Action};
use crate::compiled::{Backend, BackendRing, Bits, Ring};
use crate::condition::{Arguments, Scene};
use crate::decision::{Denial, DenialKind, How, Permit, Permitted, Reason};
use crate::judge::Judge;
use crate::names::BackendName;
use crate::pin::{self, Refused};
use crate::policy::Policy;
use crate::subject::Subject;
use crate::uri;
use crate::view::View;

/// Later than any sign-in: nothing that has to be fresh is.
const NEVER_FRESH: u64 = u64::MAX;

/// What a caller is told of a refusal with these arguments, where no rule gives a reason.
const NOT_WITH_THESE: &str = "Not allowed with these arguments";

/// What is decided: the act, and when.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) action: Action<'a>,
    /// An object as JSON; asked for only where something hangs on it.
    pub(crate) arguments: &'a dyn Fn() -> Option<&'a str>,
    /// Seconds since the Unix epoch.
    pub(crate) now: u64,
}

impl<'a> Asked<'a> {
    pub(crate) fn of(action: Action<'a>) -> Self {
        Self { action, arguments: &|| None, now: NEVER_FRESH }
    }

    /// The arguments as the caller wrote them; none where the action has none.
    fn arguments(&self) -> &'a str {
        let written = if self.action.has_arguments() { (self.arguments)() } else { None };
        written.unwrap_or("{}")
    }
}

/// How something opened, and what goes with it.
struct Opened {
    how: How,
    locks: Bits,
    arguments: Option<String>,
    mirrored: Option<Vec<(String, String)>>,
    shadow: Vec<Reason>,
}

/// How something was refused.
struct Shut {
    kind: DenialKind,
    reasons: Vec<Reason>,
    explained: Option<String>,
    shadow: Vec<Reason>,
}

impl Shut {
    fn new(kind: DenialKind, reasons: Vec<Reason>) -> Self {
        Self { kind, reasons, explained: None, shadow: Vec::new() }
    }
}

impl Policy {
    /// Decides an act, and gives it back as proof when it is permitted. No sign-in is fresh here: a tag that wants one
    /// does not open; see [`Policy::authorize_at`].
    ///
    /// # Errors
    ///
    /// Returns the [`Denial`] with its reasons when it is not.
    pub fn authorize<T: Act>(&self, subject: &Subject, act: T) -> Result<Permitted<T>, Denial> {
        self.authorize_at(subject, act, NEVER_FRESH)
    }

    /// Decides an act at `now`, in seconds since the Unix epoch, and gives it back as proof when it is permitted.
    ///
    /// # Errors
    ///
    /// Returns the [`Denial`] with its reasons when it is not.
    pub fn authorize_at<T: Act>(&self, subject: &Subject, act: T, now: u64) -> Result<Permitted<T>, Denial> {
        let arguments = || act.arguments();
        let asked = Asked { action: act.action(), arguments: &arguments, now };
        let permit = self.decide(subject, act.backend(), &asked)?;
        Ok(Permitted::new(act, permit))
    }

    /// What the caller sees in the lists of a backend. One compiled decision with [`Policy::authorize`]; scopes and
    /// step-up do not count, for what is one sign-in away is shown.
    #[must_use]
    pub fn view(&self, subject: &Subject, backend: &BackendName) -> View<'_> {
        View::new(&self.0, self.backend(backend), self.ring(subject), subject)
    }

    fn ring(&self, subject: &Subject) -> Arc<Ring> {
        subject.ring(self.0.id, || self.0.ring_of(subject))
    }

    pub(crate) fn decide(&self, subject: &Subject, backend: &BackendName, asked: &Asked<'_>) -> Result<Permit, Denial> {
        let ring = self.ring(subject);
        let found = self.backend(backend);
        let not_open = |reason| Err(Shut::new(DenialKind::NotOpen, vec![reason]));
        let verdict = match (&found, ring.tenant_listed) {
            (_, false) => not_open(Reason::TenantNotListed),
            (None, _) => not_open(Reason::UnknownBackend),
            (Some((index, table)), true) => match ring.backends.get(*index) {
                None => not_open(Reason::UnknownBackend),
                Some(held) => self.decide_on(subject, (*index, table), (&ring, held), asked),
            },
        };
        match verdict {
            Ok(Opened { how, locks, arguments, mirrored, shadow }) => {
                let backend = found.map_or(0, |(index, _)| index);
                Ok(Permit { policy: Arc::clone(&self.0), ring, backend, how, locks, arguments, mirrored, shadow })
            }
            Err(Shut { kind, reasons, explained, shadow }) => {
                Err(Denial { kind, reasons, policy_hash: Arc::clone(&self.0.hash), explained, shadow })
            }
        }
    }

    fn decide_on(
        &self,
        subject: &Subject,
        (index, table): (usize, &Backend),
        (ring, held): (&Ring, &BackendRing),
        asked: &Asked<'_>,
    ) -> Result<Opened, Shut> {
        let Some(locks) = self.locks(index, table, held, &asked.action)? else {
            let (how, locks) = (How::Protocol, Bits::default());
            return Ok(Opened { how, locks, arguments: None, mirrored: None, shadow: Vec::new() });
        };
        let tool = tool_of(&asked.action);
        let name = tool.unwrap_or_default();
        let scene = Scene { arguments: Arguments::Unknown, tool: name, backend: table.name.as_ref(), caller: subject };
        let judge = Judge { policy: &self.0, index, table, held, locks, tool, scene };
        let exempt = || self.0.exempt(&self.0.roles_of(subject), subject);
        let Some(listed) = judge.opens() else {
            let mut shut = Shut::new(DenialKind::NotOpen, judge.closed(&exempt()));
            shut.shadow = judge.shadow_roles();
            shut.explained = self.explained(&judge, &shut.reasons);
            return Err(shut);
        };
        let pinned = self.pinned(subject, (index, table), ring, asked);
        if let Err(Refused::Always(reason)) = pinned {
            return Err(Shut::new(DenialKind::NotOpen, vec![reason]));
        }
        covered(subject, table, held, locks, asked.now)?;
        if let Action::FollowTask { .. } = asked.action {
            return Ok(Opened { how: listed, locks, arguments: None, mirrored: None, shadow: Vec::new() });
        }
        let arguments = pinned.map_err(|refused| {
            let (Refused::Always(reason) | Refused::Now(reason)) = refused;
            Shut::new(DenialKind::Refused { told: NOT_WITH_THESE.to_owned() }, vec![reason])
        })?;
        let known;
        let judge = if held.conditional.is_empty() && held.denies.is_empty() {
            judge
        } else {
            let text = arguments.as_deref().unwrap_or_else(|| asked.arguments());
            // What is no JSON that can be held, such as a number beyond all bounds, is nothing to compare.
            known = serde_json::from_str(text).unwrap_or(Value::Null);
            Judge { scene: Scene { arguments: Arguments::Known(&known), ..scene }, ..judge }
        };
        let Some(how) = judge.opens() else {
            let reasons = judge.closed(&exempt());
            let told = judge.given(&reasons).unwrap_or_else(|| NOT_WITH_THESE.to_owned());
            let shut = Shut::new(DenialKind::Refused { told }, reasons);
            return Err(Shut { shadow: judge.shadow_roles(), ..shut });
        };
        let records = matches!(how, How::Shadow) || locks.meets(table.shadow) || !held.denies.is_empty();
        let shadow = if records { judge.in_shadow(&how, &exempt()) } else { Vec::new() };
        let entry = tool.and_then(|tool| table.catalogue.as_ref()?.tool(tool));
        let left = || arguments.as_deref().unwrap_or_else(|| asked.arguments());
        let mirrored =
            entry.filter(|entry| !entry.pins.places.is_empty()).and_then(|entry| entry.pins.mirrored(left()));
        Ok(Opened { how, locks, arguments, mirrored, shadow })
    }

    /// The locks on what an action reaches; `None` for what the protocol itself needs.
    fn locks(
        &self,
        index: usize,
        table: &Backend,
        held: &BackendRing,
        action: &Action<'_>,
    ) -> Result<Option<Bits>, Shut> {
        Ok(Some(match action {
            Action::Protocol
            | Action::ListTools
            | Action::ListPrompts
            | Action::ListResources
            | Action::ListResourceTemplates => return Ok(None),
            Action::CallTool { name } | Action::FollowTask { tool: name } => {
                let Some(catalogue) = &table.catalogue else {
                    if !self.0.needs_catalogue(index) {
                        return Ok(Some(table.tools.of(name)));
                    }
                    let nothing = held.keys.is_empty() && held.conditional.is_empty() && held.grants.is_empty();
                    let kind = if nothing { DenialKind::NotOpen } else { DenialKind::NotKnownYet };
                    return Err(Shut::new(kind, vec![Reason::NotKnownYet]));
                };
                let Some(entry) = catalogue.tool(name) else {
                    return Err(Shut::new(DenialKind::NotOpen, vec![Reason::UnknownTool]));
                };
                if let Some(reason) = &entry.shut {
                    return Err(Shut::new(DenialKind::NotOpen, vec![reason.clone()]));
                }
                entry.locks
            }
            Action::GetPrompt { name } | Action::CompletePrompt { name } => table.prompts.of(name),
            Action::ReadResource { uri } => table.resources.of(uri),
            Action::UseTemplate { template } => table.resources.of_template(template),
        }))
    }

    /// The arguments after pins; `None` where they stay.
    fn pinned(
        &self,
        subject: &Subject,
        (index, table): (usize, &Backend),
        ring: &Ring,
        asked: &Asked<'_>,
    ) -> Result<Option<String>, Refused> {
        if self.0.pins.is_empty() {
            return Ok(None);
        }
        match asked.action {
            Action::CallTool { name } => {
                let entry = table.catalogue.as_ref().and_then(|catalogue| catalogue.tool(name));
                let Some(pins) = entry.map(|entry| &entry.pins) else { return Ok(None) };
                if let Some(pin) = self.0.lacking(ring, pins.places.iter().copied()) {
                    return Err(Refused::Always(Reason::PinClaim(pin.id.clone())));
                }
                if pins.places.is_empty() {
                    Ok(None)
                } else {
                    pin::arguments(&self.0.pins, pins, subject, asked.arguments())
                }
            }
            Action::GetPrompt { name } => {
                if let Some(pin) = self.0.lacking(ring, pin::of_prompt(&self.0.pins, index, name)) {
                    return Err(Refused::Always(Reason::PinClaim(pin.id.clone())));
                }
                pin::prompt_arguments(&self.0.pins, index, name, subject, asked.arguments())
            }
            Action::CompletePrompt { name } => pin::check_prompt_completion(&self.0.pins, index, name).map(|()| None),
            Action::UseTemplate { template } => {
                pin::check_template_completion(&self.0.pins, index, template).map(|()| None)
            }
            Action::ReadResource { uri } => {
                // INVARIANT: what has no one spelling carries no tag and was refused before.
                let uri = uri::canonical(uri).unwrap_or_default();
                pin::check_uri(&self.0.pins, index, &uri, subject).map(|()| None)
            }
            _ => Ok(None),
        }
    }

    /// What an explaining policy tells of a tool that its backend has.
    fn explained(&self, judge: &Judge<'_>, reasons: &[Reason]) -> Option<String> {
        let name = judge.tool.filter(|_| self.0.explain)?;
        judge.table.catalogue.as_ref()?.tool(name)?;
        let closed: Vec<String> = reasons
            .iter()
            .filter_map(|reason| match reason {
                Reason::TagClosed(tag) | Reason::ConditionFalse(tag, ..) => Some(format!("tag {tag}")),
                _ => None,
            })
            .collect();
        let needs = if closed.is_empty() { String::new() } else { format!(" (needs {})", closed.join(", ")) };
        Some(judge.given(reasons).unwrap_or_else(|| format!("Not open: {name}{needs}")))
    }
}

/// Whether the token's scopes cover the locks, and its sign-in what they want.
fn covered(subject: &Subject, table: &Backend, held: &BackendRing, locks: Bits, now: u64) -> Result<(), Shut> {
    let tags = |bits: Bits| bits.iter().filter_map(|bit| table.tags.get(bit)).cloned();
    let mut reasons: Vec<Reason> = tags(locks.without(held.scopes)).map(Reason::ScopeMissing).collect();
    let wanted = table.step_up.iter().filter(|(bit, _)| locks.contains(*bit));
    let unmet = wanted.filter(|(_, step_up)| !step_up.is_met(subject, now));
    reasons.extend(unmet.filter_map(|(bit, _)| table.tags.get(*bit)).cloned().map(Reason::StepUpMissing));
    if reasons.is_empty() {
        return Ok(());
    }
    Err(Shut::new(DenialKind::ScopeMissing { scopes: tags(locks).collect() }, reasons))
}

fn tool_of<'a>(action: &Action<'a>) -> Option<&'a str> {
    match action {
        Action::CallTool { name } | Action::FollowTask { tool: name } => Some(name),
        _ => None,
    }
}
