//! What a server asks or tells of its own accord, as the client gets to hold it: its task under the client's own handle,
//! and of the tools that a model may use, and of what it says that it listens for, nothing that is closed to the caller.

use serde_json::value::RawValue;

use super::edit::{Edit, Uneditable, edit, quoted, text};
use super::jsonrpc::members;
use super::list_filter::Unreadable;
use super::settle::{RELATED_TASK, subscriptions};
use super::target::Target;
use super::terms::Terms;
use crate::json::{MAX_DEPTH, check, could_have, resembles};

/// Has the client's model say something, and may give it tools (client/sampling).
const SAMPLING: &str = "sampling/createMessage";

/// Says what of a subscription counts (2026-07-28, basic/patterns/subscriptions).
pub(super) const ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";

/// The question or note `json`, on the stream that was opened for `target`; `None` when it stays as it is.
///
/// # Errors
///
/// Returns [`Unreadable`] when it names a task or tools and can be read in more than one way.
pub fn settle_server_message(
    json: &str,
    target: Option<&Target>,
    terms: &Terms<'_>,
) -> Result<Option<String>, Unreadable> {
    // A slash may be escaped, so that the one word has to do.
    if !could_have(json.as_bytes(), &["related-task", "tools", "acknowledged"]) {
        return Ok(None);
    }
    check(json, MAX_DEPTH).map_err(|_unsound| Unreadable)?;
    let message = members(json).ok_or(Unreadable)?;
    let method = message.iter().find(|(name, _)| name == "method").and_then(|(_, value)| text(value.get()));
    let method = method.ok_or(Unreadable)?;
    let edited = edit(json, &mut |name, value| match name {
        "params" => params(&method, value, target, terms).map(Edit::to),
        _ => Ok(Edit::Keep),
    });
    edited.map_err(|Uneditable| Unreadable)
}

fn params(method: &str, json: &str, target: Option<&Target>, terms: &Terms<'_>) -> Result<Option<String>, Uneditable> {
    let own = if method == ACKNOWLEDGED { acknowledged(json, terms)? } else { asked(method, json, terms)? };
    let json = own.as_deref().unwrap_or(json);
    let edited = edit(json, &mut |name, value| match name {
        "_meta" => edit(value, &mut |name, value| match name {
            RELATED_TASK => Ok(related(value, target)),
            name if resembles(name, &[RELATED_TASK]) => Err(Uneditable),
            _ => Ok(Edit::Keep),
        })
        .map(Edit::to),
        name if resembles(name, &["_meta"]) => Err(Uneditable),
        _ => Ok(Edit::Keep),
    })?;
    Ok(edited.or(own))
}

fn acknowledged(params: &str, terms: &Terms<'_>) -> Result<Option<String>, Uneditable> {
    edit(params, &mut |name, value| match name {
        "notifications" => subscriptions(value, terms).map(Edit::to),
        "_meta" => Ok(Edit::Keep),
        _ => Ok(Edit::Drop),
    })
}

/// The task as the client showed it; of another one the client knows nothing that it could show.
fn related(value: &str, target: Option<&Target>) -> Edit {
    let Some(Target::Task(task)) = target else { return Edit::Drop };
    let edited = edit(value, &mut |name, value| match name {
        "taskId" if text(value).as_deref() == Some(&task.raw) => Ok(Edit::Replace(quoted(&task.handle))),
        _ => Err(Uneditable),
    });
    edited.map_or(Edit::Drop, |edited| edited.map_or(Edit::Drop, Edit::Replace))
}

/// The `params` of a question without the tools that are closed to the caller; `None` when they stay as they are.
pub(super) fn asked(method: &str, params: &str, terms: &Terms<'_>) -> Result<Option<String>, Uneditable> {
    if method != SAMPLING {
        return Ok(None);
    }
    edit(params, &mut |name, value| match name {
        "tools" => tools(value, terms).map(Edit::to),
        name if resembles(name, &["tools"]) => Err(Uneditable),
        _ => Ok(Edit::Keep),
    })
}

fn tools(list: &str, terms: &Terms<'_>) -> Result<Option<String>, Uneditable> {
    let tools: Vec<&RawValue> = serde_json::from_str(list).map_err(|_no_list| Uneditable)?;
    let mut open = Vec::with_capacity(tools.len());
    for tool in &tools {
        let tool = tool.get();
        let found = members(tool).ok_or(Uneditable)?;
        if found.iter().any(|(name, _)| resembles(name, &["name"])) {
            return Err(Uneditable);
        }
        let name = found.iter().find(|(known, _)| known == "name").and_then(|(_, value)| text(value.get()));
        if !(terms.hides)(&name.ok_or(Uneditable)?) {
            open.push(tool);
        }
    }
    Ok((open.len() < tools.len()).then(|| format!("[{}]", open.join(","))))
}

#[cfg(test)]
mod tests {
    use super::super::{Features, Task};
    use super::*;

    fn settled(json: &str, target: Option<&Target>) -> Result<Option<String>, Unreadable> {
        let terms = Terms { features: Features::default(), hides: &|name| name == "delete_y", ..Terms::default() };
        settle_server_message(json, target, &terms)
    }

    #[test]
    fn a_task_is_named_as_the_client_knows_it_or_not_at_all() {
        let (handle, raw, tool) = ("sealed".to_owned(), "raw".to_owned(), "deploy".to_owned());
        let task = Target::Task(Task { handle, raw, tool });
        let ask = |meta: &str| {
            format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{{"_meta":{{{meta}}},"a":1.0}}}}"#
            )
        };
        let of = |id: &str| format!(r#""x":1,"io.modelcontextprotocol/related-task":{{"taskId":"{id}"}}"#);
        let bare = ask(r#""x":1"#);
        assert_eq!(settled(&ask(&of("raw")), Some(&task)), Ok(Some(ask(&of("sealed")))));
        assert_eq!(settled(&ask(&of("other")), Some(&task)), Ok(Some(bare.clone())));
        let escaped = of("raw").replace("related", "rel\\u0061ted");
        for target in [None, Some(&Target::Tool("deploy".to_owned()))] {
            assert_eq!(settled(&ask(&of("raw")), target), Ok(Some(bare.clone())));
            assert_eq!(settled(&ask(&escaped), target), Ok(Some(bare.clone())));
        }
        assert_eq!(settled(&bare, Some(&task)), Ok(None), "the control");
        let respelt = of("raw").replace("related", "Related");
        for bad in [format!("{},{}", of("raw"), of("raw").replace(r#""x":1,"#, "")), format!("{respelt},{}", of("a"))] {
            assert_eq!(settled(&ask(&bad), Some(&task)), Err(Unreadable), "{bad}");
        }
        for alone in [respelt.as_str(), &of("raw").replace("related-task", "RELATED-TASK")] {
            assert_eq!(settled(&ask(alone), Some(&task)), Err(Unreadable), "{alone}");
        }
    }

    #[test]
    fn what_is_acknowledged_is_what_is_open() {
        let told = |params: &str| {
            format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{{"_meta":{{"x":1.0}}{params}}}}}"#
            )
        };
        let terms = Terms { resource: &|uri| uri == "x://open", ..Terms::default() };
        let settled = |params: &str| settle_server_message(&told(params), None, &terms);
        let open = r#","notifications":{"toolsListChanged":true,"resourceSubscriptions":["x://open"]}"#;
        assert_eq!(settled(open), Ok(None), "the control");
        let want = Ok(Some(told(open)));
        let escaped = told(r#","notifications":{"resourceSubscriptions":["x:\/\/closed"]}"#)
            .replace("notifications/subscriptions/", "notifications\\/subscriptions\\/");
        let read = settle_server_message(&escaped, None, &terms).unwrap().unwrap();
        assert!(!read.contains("closed"), "{read}");
        assert_eq!(settled(&open.replace(r#""x://open""#, r#""x://closed","x://open""#)), want);
        assert_eq!(
            settled(&open.replace("true,", r#"true,"taskIds":["raw"],"ResourceSubscriptions":["x://closed"],"#)),
            want
        );
        assert_eq!(settled(&format!(r#"{open},"Notifications":{{"resourceSubscriptions":["x://closed"]}}"#)), want);
        assert_eq!(settled(r#","notifications":["x://closed"]"#), Err(Unreadable));
    }

    #[test]
    fn a_model_is_given_no_tool_that_is_closed() {
        let ask = |tools: &str| {
            format!(r#"{{"id":1,"method":"sampling/createMessage","params":{{"messages":[],"tools":{tools}}}}}"#)
        };
        let open = r#"[{"name":"get_x","inputSchema":{"n":1.0}}]"#;
        let both = r#"[{"name":"delete_y"},{"name":"get_x","inputSchema":{"n":1.0}}]"#;
        assert_eq!(settled(&ask(both), None), Ok(Some(ask(open))));
        assert_eq!(settled(&ask(&both.replace("delete", "d\\u0065lete")), None), Ok(Some(ask(open))));
        assert_eq!(settled(&ask(open), None), Ok(None), "the control");
        for bad in [r#"{"name":"delete_y"}"#, r#"[{"Name":"get_x","name":"a"}]"#, "[{}]", r#"["delete_y"]"#] {
            assert_eq!(settled(&ask(bad), None), Err(Unreadable), "{bad}");
        }
        let respelt = ask(both).replace(r#""tools""#, r#""Tools":[],"tools""#);
        assert_eq!(settled(&respelt, None), Err(Unreadable));
        for other in ["Tools", "TOOLS", "\u{ff54}ools", "tool\u{17f}"] {
            let respelt = ask(both).replace(r#""tools""#, &format!("\"{other}\""));
            assert_eq!(settled(&respelt, None), Err(Unreadable), "{other}");
        }
        let note = r#"{"method":"notifications/message","params":{"data":{"tools":["delete_y"]}}}"#;
        assert_eq!(settled(note, None), Ok(None));
    }
}
