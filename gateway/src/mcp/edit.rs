//! Edits the members of a JSON object, in their order, and leaves every other byte of their values as it was.

use super::jsonrpc::members;

/// What becomes of a member.
#[derive(Debug)]
pub(super) enum Edit {
    /// It stays.
    Keep,
    /// It goes.
    Drop,
    /// It stays, with this JSON as its value.
    Replace(String),
}

impl Edit {
    /// Keeps what is passed.
    pub(super) fn keep_if(passed: bool) -> Self {
        if passed { Self::Keep } else { Self::Drop }
    }

    /// The value as edited; kept when there was nothing to edit.
    pub(super) fn to(value: Option<String>) -> Self {
        value.map_or(Self::Keep, Self::Replace)
    }
}

/// The object is none, or one of its members could not be edited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Uneditable;

/// The object with its members edited; `None` when nothing changed. `object` has been checked with `json::check`.
pub(super) fn edit(
    object: &str,
    change: &mut dyn FnMut(&str, &str) -> Result<Edit, Uneditable>,
) -> Result<Option<String>, Uneditable> {
    let members = members(object).ok_or(Uneditable)?;
    let mut edits = Vec::with_capacity(members.len());
    for (name, value) in &members {
        edits.push(change(name, value.get())?);
    }
    if edits.iter().all(|edit| matches!(edit, Edit::Keep)) {
        return Ok(None);
    }
    let mut out = String::with_capacity(object.len());
    out.push('{');
    for ((name, value), edit) in members.iter().zip(&edits) {
        let value = match edit {
            Edit::Drop => continue,
            Edit::Keep => value.get(),
            Edit::Replace(value) => value,
        };
        if out.len() > 1 {
            out.push(',');
        }
        out.push_str(&quoted(name));
        out.push(':');
        out.push_str(value);
    }
    out.push('}');
    Ok(Some(out))
}

/// An item of a list with one of its members changed; `None` when nothing changed.
///
/// # Errors
///
/// Returns an error when the item is no object, or the member could not be changed.
#[expect(clippy::result_unit_err, reason = "there is nothing to say but that the item cannot be shown")]
pub fn with_member(
    item: &str,
    member: &str,
    change: &mut dyn FnMut(&str) -> Result<Option<String>, ()>,
) -> Result<Option<String>, ()> {
    let changed = edit(item, &mut |name, value| {
        if name == member { change(value).map(Edit::to).map_err(|()| Uneditable) } else { Ok(Edit::Keep) }
    });
    changed.map_err(|Uneditable| ())
}

/// A text as JSON.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A JSON string's text.
pub(super) fn text(json: &str) -> Option<String> {
    serde_json::from_str(json).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(object: &str) -> Result<Option<String>, Uneditable> {
        edit(object, &mut |name, value| match name {
            "drop" => Ok(Edit::Drop),
            "new" => Ok(Edit::Replace(format!("[{value}]"))),
            "bad" => Err(Uneditable),
            _ => Ok(Edit::Keep),
        })
    }

    #[test]
    fn members_are_edited_in_their_order() {
        assert_eq!(edited(r#"{"a": 1.0 ,"b":{}}"#), Ok(None));
        assert_eq!(edited(r#"{"a": 1.0 ,"drop":2,"new":"x"}"#), Ok(Some(r#"{"a":1.0,"new":["x"]}"#.to_owned())));
        assert_eq!(edited(r#"{"drop":2}"#), Ok(Some("{}".to_owned())));
        assert_eq!(edited(r#"{"a\"b":1,"drop":2}"#), Ok(Some(r#"{"a\"b":1}"#.to_owned())));
        for bad in ["[]", "1", r#"{"bad":1}"#] {
            assert_eq!(edited(bad), Err(Uneditable), "{bad}");
        }
    }
}
