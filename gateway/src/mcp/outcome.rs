//! What an answer hands the client beside its content: states and tasks, sealed for the caller, and questions, which
//! the backend's features have to cover; and what may be kept of it, which is the caller's alone. Everything else stays
//! as it was.

use bytes::Bytes;
use memchr::memmem;

use super::caching::{self, PRIVATE, SCOPE, TTL};
use super::edit::{Edit, Uneditable, edit, quoted, text};
use super::jsonrpc::members;
use super::list_filter::Unreadable;
use super::method::Method;
use super::server_message;
use super::settle::{RELATED_TASK, has_rounds};
use super::target::Target;
use super::terms::{Place, Task, Terms};
use super::version::Era;
use crate::json::{MAX_DEPTH, check, could_have, resembles};

/// Members that something is decided by.
const KNOWN: [&str; 6] = ["resultType", "requestState", "inputRequests", "task", "taskId", "_meta"];

/// Those that say what may be kept, from 2026-07-28 on.
const OF_CACHES: [&str; 2] = [SCOPE, TTL];

/// What was asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The method.
    pub method: Method,
    /// Its era.
    pub era: Era,
    /// What it reached for.
    pub target: Option<&'a Target>,
}

/// The answer to `question` with its states and tasks sealed. `body` has been found to be the answer to it.
///
/// # Errors
///
/// Returns [`Unreadable`] when it can be read in more than one way, asks what the backend's features do not cover, or
/// does what the method does not have.
pub fn settle_answer(body: &Bytes, question: &Question<'_>, terms: &Terms<'_>) -> Result<Bytes, Unreadable> {
    if !has_more(body, question, terms) {
        return Ok(body.clone());
    }
    let json = std::str::from_utf8(body).map_err(|_not_utf8| Unreadable)?;
    check(json, MAX_DEPTH).map_err(|_unsound| Unreadable)?;
    let edited = edit(json, &mut |name, value| match name {
        "result" => result(value, question, terms).map(Edit::to),
        _ => Ok(Edit::Keep),
    });
    Ok(edited.map_err(|Uneditable| Unreadable)?.map_or_else(|| body.clone(), Bytes::from))
}

/// Whether the answer could hold more than content, in whatever spelling.
fn has_more(body: &[u8], question: &Question<'_>, terms: &Terms<'_>) -> bool {
    let of_tasks: &[&str] = if terms.features.tasks { &["task"] } else { &[] };
    if question.era == Era::Modern {
        let known = ["requeststate", "inputrequests", "resulttype", "cachescope"];
        return is_kept(question.method) || could_have(body, &[&known, of_tasks].concat());
    }
    if of_tasks.is_empty() { memmem::find(body, b"\\u").is_some() } else { could_have(body, of_tasks) }
}

/// Whether clients may keep a result of this method that is no list.
fn is_kept(method: Method) -> bool {
    method == Method::ResourcesRead
}

fn result(json: &str, question: &Question<'_>, terms: &Terms<'_>) -> Result<Option<String>, Uneditable> {
    let found = members(json).ok_or(Uneditable)?;
    let legacy = question.era == Era::Legacy;
    let is_respelt = |name: &str| resembles(name, &KNOWN) || (!legacy && resembles(name, &OF_CACHES));
    if found.iter().any(|(name, _)| is_respelt(name)) {
        return Err(Uneditable);
    }
    let kind = found.iter().find(|(name, _)| name == "resultType").map(|(_, value)| text(value.get()));
    let rounds = has_rounds(question.method, question.era);
    let governed = question.method.is_of_tasks();
    let creates = terms.features.tasks && question.method == Method::ToolsCall;
    let is_task = match kind.as_ref().map(Option::as_deref) {
        Some(Some("task")) => creates,
        Some(Some("input_required")) if !rounds => return Err(Uneditable),
        None | Some(Some("complete" | "input_required")) => false,
        _ => return Err(Uneditable),
    };
    if kind == Some(Some("task".to_owned())) && !is_task {
        return Err(Uneditable);
    }
    let edited = edit(json, &mut |name, value| match name {
        "requestState" if rounds => state(value, question, terms).map(Edit::Replace),
        "inputRequests" if rounds || governed => questions(value, terms).map(Edit::to),
        "requestState" | "inputRequests" if !legacy => Err(Uneditable),
        SCOPE if !legacy => Ok(if value == PRIVATE { Edit::Keep } else { Edit::Replace(PRIVATE.to_owned()) }),
        // A task's is the time that it lives.
        TTL if !legacy && is_kept(question.method) => Ok(Edit::to(caching::capped(value))),
        "task" if legacy && creates => {
            edit(value, &mut |name, value| issue(name == "taskId", value, question, terms)).map(Edit::to)
        }
        "taskId" if is_task || governed => issue(true, value, question, terms),
        "_meta" => edit(value, &mut |name, value| match name {
            RELATED_TASK if governed => {
                edit(value, &mut |name, value| issue(name == "taskId", value, question, terms)).map(Edit::to)
            }
            RELATED_TASK => Ok(Edit::Drop),
            _ => Ok(Edit::Keep),
        })
        .map(Edit::to),
        _ => Ok(Edit::Keep),
    })?;
    if legacy || !is_kept(question.method) || found.iter().any(|(name, _)| name == SCOPE) {
        return Ok(edited);
    }
    caching::private(edited.as_deref().unwrap_or(json)).map(Some).ok_or(Uneditable)
}

fn state(value: &str, question: &Question<'_>, terms: &Terms<'_>) -> Result<String, Uneditable> {
    let name = question.target.map(Target::as_str).unwrap_or_default();
    let place = Place::RequestState { method: question.method.as_str(), name };
    let sealed = text(value).and_then(|raw| terms.seals.seal(place, &raw)).ok_or(Uneditable)?;
    Ok(quoted(&sealed))
}

/// Every question has to be one that the features cover, and is asked as it would be on a stream.
fn questions(value: &str, terms: &Terms<'_>) -> Result<Option<String>, Uneditable> {
    edit(value, &mut |_, question| {
        let request = members(question).ok_or(Uneditable)?;
        if request.iter().any(|(name, _)| resembles(name, &["method", "params"])) {
            return Err(Uneditable);
        }
        let get = |name: &str| request.iter().find(|(known, _)| known == name).map(|(_, value)| value.get());
        let method = get("method").and_then(text).ok_or(Uneditable)?;
        if method == "ping" || !terms.features.may_ask(&method, get("params")) {
            return Err(Uneditable);
        }
        let asked = |name: &str, value: &str| match name {
            "params" => server_message::asked(&method, value, terms).map(Edit::to),
            _ => Ok(Edit::Keep),
        };
        edit(question, &mut |name, value| asked(name, value)).map(Edit::to)
    })
}

/// A task's id as the client gets to hold it: the one it showed, or a new one.
fn issue(is_id: bool, value: &str, question: &Question<'_>, terms: &Terms<'_>) -> Result<Edit, Uneditable> {
    if !is_id {
        return Ok(Edit::Keep);
    }
    let raw = text(value).ok_or(Uneditable)?;
    let handle = match question.target {
        Some(Target::Task(task)) if task.raw == raw => task.handle.clone(),
        Some(Target::Tool(tool)) => Task::issue(terms.seals, tool, &raw).ok_or(Uneditable)?.handle,
        _ => return Err(Uneditable),
    };
    Ok(Edit::Replace(quoted(&handle)))
}

#[cfg(test)]
mod tests;
