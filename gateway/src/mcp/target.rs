//! What a request reaches for: the tool, prompt, resource, reference or task that it is decided by.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::jsonrpc::{RequestId, members};
use super::method::{Governance, Method};
use super::refusal::Refusal;
use super::terms::{Task, Terms};
use crate::json::resembles;

/// Longer than any honest name or URI.
const MAX_TARGET: usize = 4096;
/// Longer than any sealed handle.
const MAX_HANDLE: usize = 8192;

/// What a request reaches for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// A tool.
    Tool(String),
    /// A prompt.
    Prompt(String),
    /// A resource's URI.
    Resource(String),
    /// The prompt whose arguments are completed.
    PromptReference(String),
    /// The resource template whose variables are completed.
    TemplateReference(String),
    /// A task, decided like the tool that works on it.
    Task(Task),
}

impl Target {
    /// Its name or URI; of a task, the tool's name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Tool(name) | Self::Prompt(name) | Self::PromptReference(name) => name,
            Self::Resource(uri) | Self::TemplateReference(uri) => uri,
            Self::Task(task) => &task.tool,
        }
    }

    /// What a client's `Mcp-Name` has to say.
    pub(super) fn mirrored(&self) -> Option<&str> {
        match self {
            Self::Tool(name) | Self::Prompt(name) | Self::Resource(name) => Some(name),
            Self::Task(task) => Some(&task.handle),
            Self::PromptReference(_) | Self::TemplateReference(_) => None,
        }
    }

    /// What `Mcp-Name` says to a backend.
    pub(super) fn mirrored_to_backend(&self) -> Option<&str> {
        match self {
            Self::Tool(name) | Self::Prompt(name) | Self::Resource(name) => Some(name),
            Self::Task(task) => Some(&task.raw),
            Self::PromptReference(_) | Self::TemplateReference(_) => None,
        }
    }
}

/// The member of this name.
pub(super) fn get<'a>(members: &[(String, &'a RawValue)], name: &str) -> Option<&'a RawValue> {
    members.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
}

/// The text of a JSON string.
pub(super) fn text(value: &RawValue) -> Option<String> {
    serde_json::from_str::<String>(value.get()).ok()
}

/// What a request of this method reaches for; nothing where the method has no target.
pub(super) fn target(
    method: Method,
    params: &[(String, &RawValue)],
    id: Option<&RequestId>,
    terms: &Terms<'_>,
) -> Result<Option<Target>, Refusal> {
    let bounded = |members: &[(String, &RawValue)], name: &'static str, limit: usize, message: &'static str| {
        let value = get(members, name).and_then(text).filter(|text| !text.is_empty() && text.len() <= limit);
        value.ok_or_else(|| Refusal::params(message, id.cloned()))
    };
    let text_of = |members: &[(String, &RawValue)], name, message| bounded(members, name, MAX_TARGET, message);
    let refuse = |message| Err(Refusal::params(message, id.cloned()));
    if get(params, "arguments")
        .is_some_and(|arguments| !matches!(arguments.get(), "null") && !arguments.get().starts_with('{'))
    {
        return refuse("`arguments` must be an object");
    }
    Ok(match method.governance() {
        Governance::Protocol | Governance::Logging => None,
        Governance::Subscription if get(params, "notifications").is_some_and(|value| value.get().starts_with('{')) => {
            None
        }
        Governance::Subscription => return refuse("`notifications` must be an object"),
        Governance::Task => {
            let handle = bounded(params, "taskId", MAX_HANDLE, "`taskId` must be a string")?;
            let task = Task::open(terms.seals, &handle);
            Some(Target::Task(task.ok_or_else(|| Refusal::unknown("Task not found", id.cloned()))?))
        }
        Governance::Filter => {
            if get(params, "cursor").is_some_and(|cursor| text(cursor).is_none()) {
                return refuse("`cursor` must be a string");
            }
            None
        }
        Governance::Tool => Some(Target::Tool(text_of(params, "name", "`name` must be a string")?)),
        Governance::Prompt => Some(Target::Prompt(text_of(params, "name", "`name` must be a string")?)),
        Governance::Resource => Some(Target::Resource(text_of(params, "uri", "`uri` must be a string")?)),
        Governance::Reference => {
            let Some(reference) = get(params, "ref").and_then(|value| members(value.get())) else {
                return refuse("`ref` must be an object");
            };
            if reference.iter().any(|(name, _)| resembles(name, &["type", "name", "uri"])) {
                return refuse("A member of `ref` resembles a known one");
            }
            if get(&reference, "name").is_some() && get(&reference, "uri").is_some() {
                return refuse("`ref` has a `name` or a `uri`");
            }
            Some(match text_of(&reference, "type", "`ref.type` must be a string")?.as_str() {
                "ref/prompt" => Target::PromptReference(text_of(&reference, "name", "`ref.name` must be a string")?),
                "ref/resource" => Target::TemplateReference(text_of(&reference, "uri", "`ref.uri` must be a string")?),
                _ => return refuse("`ref.type` is unknown"),
            })
        }
    })
}
