//! What requests are decided by at one moment: the policy, and of every backend that needs it the tools that exist.
//! One immutable snapshot, swapped whole, so that what is listed and what can be called come out of the same one.
//!
//! INVARIANT: what the policy opens is reached through [`Standing::authorize`] and [`Standing::view`] only: a tool that is
//! quarantined, or that its backend does not list, is as unknown to a call as to a list.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use portcullis_policy::{Act, Action, BackendName, Denial, Mask, Permitted, Policy, Rate, Subject, View};

use crate::backend::catalogue::{Field, Keeper, Tool};
use crate::backend::pinning::{Place, Surface};
use crate::mcp;
use crate::mcp::Target;
use crate::mcp::list_filter::Fate;

/// The standing that counts now.
pub type Current = Arc<ArcSwap<Standing>>;

/// The tools of one backend that the gateway keeps a catalogue of.
#[derive(Debug)]
pub struct Kept {
    /// Reads them.
    pub keeper: Arc<Keeper>,
    /// Those that exist; none until the catalogue has been read.
    pub surface: Option<Surface>,
}

/// What requests are decided by.
#[derive(Debug)]
pub struct Standing {
    policy: Arc<Policy>,
    kept: BTreeMap<BackendName, Kept>,
}

/// Why an act is refused.
#[derive(Debug)]
pub(super) enum Refused {
    /// The policy says no.
    Denied(Denial),
    /// The tools of the backend are not known yet, and the caller might reach some.
    NotKnown,
    /// They are not, and the caller reaches none.
    NothingThere,
    /// The backend lists no such tool.
    NotListed,
    /// The tool is quarantined; how it differs from what was approved.
    Drift(String),
}

/// What a caller sees of a backend.
#[derive(Debug)]
pub(super) struct Seen<'s> {
    view: View<'s>,
    kept: Option<&'s Kept>,
}

impl Standing {
    /// This policy, and these backends' tools; other backends need no catalogue.
    #[must_use]
    pub fn new(policy: Arc<Policy>, kept: BTreeMap<BackendName, Kept>) -> Self {
        Self { policy, kept }
    }

    /// Whether the tools of a backend, of which a catalogue is kept, are known to those that it decides.
    #[must_use]
    pub fn knows_tools_of(&self, backend: &BackendName) -> bool {
        self.kept.get(backend).is_some_and(|kept| kept.surface.is_some())
    }

    /// Decides an act at `now`, in seconds since the Unix epoch.
    pub(super) fn authorize<T: Act>(&self, subject: &Subject, act: T, now: u64) -> Result<Permitted<T>, Refused> {
        self.exists(subject, act.backend(), &act.action())?;
        self.policy.authorize_at(subject, act, now).map_err(Refused::Denied)
    }

    fn exists(&self, subject: &Subject, backend: &BackendName, action: &Action<'_>) -> Result<(), Refused> {
        let Some(kept) = self.kept.get(backend) else { return Ok(()) };
        let seen = || self.view(subject, backend);
        let action = if let Action::FollowTask { tool } = action { &Action::CallTool { name: tool } } else { action };
        match (action, &kept.surface) {
            (Action::CallTool { .. } | Action::ListTools, None) if seen().reaches_anything() => Err(Refused::NotKnown),
            (Action::CallTool { .. }, None) => Err(Refused::NothingThere),
            (Action::CallTool { name }, Some(surface)) => match surface.place(name) {
                Place::Exists => Ok(()),
                Place::Quarantined(change) => {
                    Err(Refused::Drift(format!("drift: the tool {change}, and is not approved")))
                }
                Place::Unknown => {
                    // It may be there since the catalogue was read.
                    if seen().view.tool(name) {
                        kept.keeper.nudge();
                    }
                    Err(Refused::NotListed)
                }
            },
            _ => Ok(()),
        }
    }

    /// What a caller sees of a backend.
    pub(super) fn view(&self, subject: &Subject, backend: &BackendName) -> Seen<'_> {
        Seen { view: self.policy.view(subject, backend), kept: self.kept.get(backend) }
    }

    /// How often the caller's roles let them ask a backend; `None` where they say nothing of it.
    pub(super) fn rate(&self, subject: &Subject, backend: &BackendName) -> Option<Rate> {
        self.policy.rate(subject, backend)
    }

    /// Whether a tool is one that the policy spells out or the backend lists, and not just a name that somebody sent.
    pub(super) fn knows_tool(&self, backend: &BackendName, name: &str) -> bool {
        let surface = self.kept.get(backend).and_then(|kept| kept.surface.as_ref());
        let listed = surface.is_some_and(|surface| !matches!(surface.place(name), Place::Unknown));
        listed || self.policy.names_tool(backend, name)
    }

    /// Whether a prompt is one that the policy spells out; of prompts there is no catalogue.
    pub(super) fn knows_prompt(&self, backend: &BackendName, name: &str) -> bool {
        self.policy.names_prompt(backend, name)
    }

    /// The backend says that its tools have changed.
    pub(super) fn changed(&self, backend: &BackendName) {
        if let Some(kept) = self.kept.get(backend) {
            kept.keeper.nudge();
        }
    }
}

impl Seen<'_> {
    /// Whether an item of a list of tools is shown.
    pub(super) fn tool(&self, name: &str, item: &str) -> Fate {
        if !self.view.tool(name) {
            return Fate::Hidden;
        }
        if let Some(kept) = self.kept {
            let Some(surface) = &kept.surface else { return Fate::Hidden };
            let (shown, as_known) = surface.shows(name, item);
            if !as_known {
                kept.keeper.nudge();
            }
            if !shown {
                return Fate::Hidden;
            }
        }
        if !self.view.has_pins() {
            return Fate::Shown;
        }
        let changed = mcp::with_member(item, "inputSchema", &mut |schema| self.view.tool_schema(name, schema));
        match changed {
            Ok(None) => Fate::Shown,
            Ok(Some(item)) => Fate::Changed(item),
            // Its schema does not have what is pinned any more: what would be sent is not what it takes.
            Err(()) => Fate::Hidden,
        }
    }

    /// Who keeps the catalogue that calls are decided by, where there is one.
    pub(super) fn keeper(&self) -> Option<&Arc<Keeper>> {
        self.kept.map(|kept| &kept.keeper)
    }

    /// Whether lists show a tool that is as its catalogue has it.
    pub(super) fn lists(&self, tool: &Tool) -> bool {
        let fits = || {
            let schema = tool.get(Field::InputSchema).unwrap_or(&serde_json::Value::Null);
            self.view.tool_schema(tool.name(), &schema.to_string()).is_ok()
        };
        self.opens_tool(tool.name()) && (!self.view.has_pins() || fits())
    }

    /// An item of a list of prompts: without the arguments that are set for callers.
    pub(super) fn prompt_item(&self, name: &str, item: &str) -> Fate {
        if !self.view.prompt(name) {
            return Fate::Hidden;
        }
        let hidden = if self.view.has_pins() { self.view.hidden_prompt_arguments(name) } else { BTreeSet::new() };
        if hidden.is_empty() {
            return Fate::Shown;
        }
        let changed = mcp::with_member(item, "arguments", &mut |arguments| {
            let listed: Vec<serde_json::Value> = serde_json::from_str(arguments).map_err(|_error| ())?;
            let is_hidden = |item: &serde_json::Value| item["name"].as_str().is_some_and(|name| hidden.contains(name));
            let kept: Vec<&serde_json::Value> = listed.iter().filter(|item| !is_hidden(item)).collect();
            serde_json::to_string(&kept).map(Some).map_err(|_error| ())
        });
        match changed {
            Ok(None) => Fate::Shown,
            Ok(Some(item)) => Fate::Changed(item),
            Err(()) => Fate::Hidden,
        }
    }

    /// Whether a resource is shown.
    pub(super) fn resource(&self, uri: &str) -> bool {
        self.view.resource(uri)
    }

    /// Whether a resource template is shown.
    pub(super) fn resource_template(&self, template: &str) -> bool {
        self.view.resource_template(template)
    }

    /// Whether what a request reached for could open, whatever its arguments.
    pub(super) fn opens(&self, target: &Target) -> bool {
        match target {
            Target::Tool(name) => self.opens_tool(name),
            Target::Task(task) => self.opens_tool(&task.tool),
            Target::Prompt(name) | Target::PromptReference(name) => self.view.prompt(name),
            Target::Resource(uri) => self.view.resource(uri),
            Target::TemplateReference(template) => self.view.resource_template(template),
        }
    }

    fn opens_tool(&self, name: &str) -> bool {
        let exists = |kept: &Kept| kept.surface.as_ref().is_some_and(|surface| surface.place(name) == Place::Exists);
        self.view.tool(name) && self.kept.is_none_or(exists)
    }

    /// Whether any tool could open.
    pub(super) fn reaches_tools(&self) -> bool {
        self.view.reaches_tools()
    }

    /// Whether any prompt could open.
    pub(super) fn reaches_prompts(&self) -> bool {
        self.view.reaches_prompts()
    }

    /// Whether any resource could open.
    pub(super) fn reaches_resources(&self) -> bool {
        self.view.reaches_resources()
    }

    fn reaches_anything(&self) -> bool {
        self.reaches_tools() || self.reaches_prompts() || self.reaches_resources()
    }

    /// Whether a text with this word in it would tell of something that does not exist for the caller.
    pub(super) fn hides(&self, name: &str) -> bool {
        let surface = self.kept.and_then(|kept| kept.surface.as_ref());
        let is_closed = surface.is_some_and(|surface| match surface.place(name) {
            Place::Quarantined(_) => true,
            Place::Exists => !self.view.tool(name),
            Place::Unknown => false,
        });
        // What is an open tool is not meant as the prompt that a pattern takes it for.
        let is_closed_prompt = || !self.view.tool(name) && self.view.hides_prompt(name);
        is_closed || self.view.hides_tool(name) || is_closed_prompt() || self.view.hides_resource(name)
    }

    /// What the answers of [`Seen::tool`] and the others depend on, beside the item; `None` where that is more.
    pub(super) fn terms(&self) -> Option<(Mask, u64)> {
        let serial = self.kept.map_or(0, |kept| kept.surface.as_ref().map_or(0, Surface::serial));
        Some((self.view.mask()?, serial))
    }
}
