//! The `params` of a message as a backend gets them: what the gateway handed out sealed is opened, what the backend's
//! features or the caller's roles do not cover is taken out, and everything else stays as it was.

use std::cell::LazyCell;

use super::edit::{Edit, Uneditable, edit, quoted, text};
use super::jsonrpc::RequestId;
use super::method::Method;
use super::refusal::Refusal;
use super::terms::{Place, Task, Terms};
use super::trace::{PARENT, STATE, context};
use super::version::Era;
use crate::json::resembles;

const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
/// Ties a message to a task (2025-11-25, basic/utilities/tasks).
pub(super) const RELATED_TASK: &str = "io.modelcontextprotocol/related-task";

/// What a message is, as far as its `params` depend on it.
pub(super) struct Settled<'a> {
    pub(super) method: Method,
    pub(super) era: Era,
    /// The tool, prompt or URI that it reaches for.
    pub(super) name: Option<&'a str>,
    /// The task that it is about.
    pub(super) task: Option<&'a Task>,
}

/// The methods that may take more than one round (basic/patterns/mrtr).
pub(super) fn has_rounds(method: Method, era: Era) -> bool {
    era == Era::Modern && matches!(method, Method::ToolsCall | Method::PromptsGet | Method::ResourcesRead)
}

/// The new `params`; `None` when they stay as they are.
pub(super) fn settle(
    params: &str,
    message: &Settled<'_>,
    terms: &Terms<'_>,
    id: Option<&RequestId>,
) -> Result<Option<String>, Refusal> {
    let mut foreign_state = false;
    let edited = edit(params, &mut |name, value| match (name, message.method) {
        ("capabilities", Method::Initialize) => terms.features.restrict(value).map(Edit::to),
        ("_meta", _) => meta(value, terms).map(Edit::to),
        ("requestState", method) if has_rounds(method, message.era) => {
            let place = Place::RequestState { method: method.as_str(), name: message.name.unwrap_or_default() };
            let opened = text(value).and_then(|sealed| terms.seals.open(place, &sealed));
            foreign_state |= opened.is_none();
            Ok(Edit::to(opened.map(|raw| quoted(&raw))))
        }
        ("requestState", _) => Ok(Edit::Drop),
        // What the client was asked on the round before.
        ("inputResponses", method) if has_rounds(method, message.era) => {
            edit(value, &mut |_, outcome| settle_outcome(outcome, terms).map(Edit::to)).map(Edit::to)
        }
        ("task", Method::ToolsCall) => Ok(Edit::keep_if(terms.features.tasks)),
        ("taskId", _) => Ok(Edit::to(message.task.map(|task| quoted(&task.raw)))),
        ("notifications", Method::SubscriptionsListen) => subscriptions(value, terms).map(Edit::to),
        _ => Ok(Edit::Keep),
    });
    if foreign_state {
        return Err(Refusal::params("`requestState` was not given to this caller for this request", id.cloned()));
    }
    edited.map_err(|Uneditable| Refusal::params("`params` has a member of the wrong type", id.cloned()))
}

fn meta(object: &str, terms: &Terms<'_>) -> Result<Option<String>, Uneditable> {
    let context = LazyCell::new(|| context(object));
    edit(object, &mut |name, value| match name {
        CAPABILITIES => terms.features.restrict(value).map(Edit::to),
        LOG_LEVEL => Ok(Edit::keep_if(terms.features.logging)),
        "progressToken" => Ok(Edit::keep_if(terms.features.progress)),
        RELATED_TASK => Ok(Edit::Drop),
        PARENT => Ok(Edit::keep_if(context.is_some())),
        // Beside a context alone does it mean anything (W3C Trace Context section 3.3).
        STATE => Ok(Edit::keep_if(context.as_ref().is_some_and(|context| context.state.is_some()))),
        _ => Ok(Edit::Keep),
    })
}

/// What a client listens for, without what is not open to it; the acknowledgement says what is left
/// (2026-07-28, basic/patterns/subscriptions).
pub(super) fn subscriptions(value: &str, terms: &Terms<'_>) -> Result<Option<String>, Uneditable> {
    edit(value, &mut |name, value| match name {
        "toolsListChanged" | "promptsListChanged" | "resourcesListChanged" => Ok(Edit::Keep),
        "resourceSubscriptions" => {
            let asked: Vec<String> = serde_json::from_str(value).map_err(|_mistyped| Uneditable)?;
            let open: Vec<&String> = asked.iter().filter(|uri| (terms.resource)(uri)).collect();
            let kept = open.len() == asked.len();
            Ok(Edit::to((!kept).then(|| serde_json::json!(open).to_string())))
        }
        // A task's progress can be asked for; nothing else is known to be harmless.
        _ => Ok(Edit::Drop),
    })
}

/// The result of a client's own answer, with the task it is tied to as the backend knows it; where there are no tasks,
/// without it. What else names one, in another spelling, goes.
pub(super) fn settle_outcome(json: &str, terms: &Terms<'_>) -> Result<Option<String>, Uneditable> {
    if !json.starts_with('{') {
        return Ok(None);
    }
    edit(json, &mut |name, value| match name {
        name if is_meta_respelled(name) => Ok(Edit::Drop),
        "_meta" => edit(value, &mut |name, value| match name {
            name if resembles(name, &[RELATED_TASK]) => Ok(Edit::Drop),
            RELATED_TASK if !terms.features.tasks => Ok(Edit::Drop),
            RELATED_TASK => edit(value, &mut |name, value| match name {
                "taskId" => {
                    let task = text(value).and_then(|handle| Task::open(terms.seals, &handle)).ok_or(Uneditable)?;
                    Ok(Edit::Replace(quoted(&task.raw)))
                }
                _ => Ok(Edit::Drop),
            })
            .map(Edit::to),
            _ => Ok(Edit::Keep),
        })
        .map(Edit::to),
        _ => Ok(Edit::Keep),
    })
}

/// Whether a reader that takes `snake_case` for `camelCase`, or a field's name for its alias, sees a `_meta`.
pub(super) fn is_meta_respelled(name: &str) -> bool {
    let flat = || name.chars().filter(|c| !matches!(c, '_' | '-')).collect::<String>();
    name != "_meta" && (resembles(name, &["_meta", "meta"]) || flat().eq_ignore_ascii_case("meta"))
}
