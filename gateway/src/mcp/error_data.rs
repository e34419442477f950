//! What an error says beside its code and message: of a list nothing that could be a part of it, and no address that a
//! user would be sent to, where the backend's features do not have that (2025-11-25, client/elicitation, section URL
//! Elicitation Required Error).

use bytes::Bytes;
use serde_json::value::RawValue;

use super::edit::{Edit, Uneditable, edit};
use super::features::Features;
use super::list_filter::Unreadable;
use crate::json::{MAX_DEPTH, check, could_have, resembles};

/// The addresses that an error sends the user to.
const ADDRESSES: &str = "elicitations";
/// Bytes of `data` that is looked through for them; more than anybody says of an error.
const MAX_DATA: usize = 64 << 10;

/// An error answer without what the backend's features do not cover.
///
/// # Errors
///
/// Returns [`Unreadable`] when it could hold such a thing and can be read in more than one way.
pub fn settle_error(body: &Bytes, features: Features) -> Result<Bytes, Unreadable> {
    if features.url_elicitation || !could_have(body, &[ADDRESSES]) {
        return Ok(body.clone());
    }
    with_data(body, &mut |data| {
        // Each level is read by itself.
        if data.len() > MAX_DATA { Ok(Edit::Drop) } else { without_addresses(data) }
    })
}

/// Without the addresses, however deep they are.
fn without_addresses(data: &str) -> Result<Edit, Uneditable> {
    let is_address = |name: &str| name == ADDRESSES || resembles(name, &[ADDRESSES]);
    if data.starts_with('{') {
        let edited =
            edit(data, &mut |name, value| if is_address(name) { Ok(Edit::Drop) } else { without_addresses(value) });
        return edited.map(Edit::to);
    }
    if !data.starts_with('[') || !could_have(data.as_bytes(), &[ADDRESSES]) {
        return Ok(Edit::Keep);
    }
    let items: Vec<&RawValue> = serde_json::from_str(data).map_err(|_no_list| Uneditable)?;
    let mut kept = Vec::with_capacity(items.len());
    for item in items {
        match without_addresses(item.get())? {
            Edit::Keep => kept.push(item.get().to_owned()),
            Edit::Replace(item) => kept.push(item),
            Edit::Drop => {}
        }
    }
    Ok(Edit::Replace(format!("[{}]", kept.join(","))))
}

/// The error that answers for a list, with what the protocol says of it and nothing else.
pub(super) fn error_of_list(body: &Bytes) -> Result<Bytes, Unreadable> {
    with_data(body, &mut |data| {
        if !data.starts_with('{') {
            return Ok(Edit::Drop);
        }
        edit(data, &mut |name, value| Ok(Edit::keep_if(is_of_protocol(name, value)))).map(Edit::to)
    })
}

/// Whether it is what the protocol itself says of an error (2026-07-28, versioning and capabilities), and no item of a
/// list in its place.
fn is_of_protocol(name: &str, value: &str) -> bool {
    match name {
        "supported" => serde_json::from_str::<Vec<String>>(value).is_ok(),
        "requested" => serde_json::from_str::<String>(value).is_ok(),
        "requiredCapabilities" => value.starts_with('{') && !could_have(value.as_bytes(), &["name", "uri"]),
        _ => false,
    }
}

/// The error with its data changed, and without what an error does not have (JSON-RPC 2.0 section 5).
fn with_data(body: &Bytes, change: &mut dyn FnMut(&str) -> Result<Edit, Uneditable>) -> Result<Bytes, Unreadable> {
    let text = std::str::from_utf8(body).map_err(|_not_utf8| Unreadable)?;
    check(text, MAX_DEPTH).map_err(|_unsound| Unreadable)?;
    let edited = edit(text, &mut |name, value| match name {
        "error" => edit(value, &mut |name, value| match name {
            "data" => change(value),
            "code" | "message" => Ok(Edit::Keep),
            _ => Ok(Edit::Drop),
        })
        .map(Edit::to),
        "jsonrpc" | "id" => Ok(Edit::Keep),
        _ => Ok(Edit::Drop),
    });
    Ok(edited.map_err(|Uneditable| Unreadable)?.map_or_else(|| body.clone(), Bytes::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(rest: &str) -> Bytes {
        format!(r#"{{"jsonrpc":"2.0","id":1,"error":{{"code":-32042,"message":"m"{rest}}}}}"#).into()
    }

    #[test]
    fn an_error_sends_nobody_anywhere_unless_that_is_named() {
        let usual = Features::default();
        let kept = error(r#","data":{"more":1}"#);
        for data in [
            r#","data":{"elicitations":[{"url":"https://x"}],"more":1}"#,
            r#","data":{"more":1,"Elicitations":[]}"#,
            r#","data":{"more":1,"elicitat\u0069ons":[]}"#,
            r#","data":{"more":1},"Data":{"elicitations":[]}"#,
        ] {
            assert_eq!(settle_error(&error(data), usual), Ok(kept.clone()), "{data}");
            let named = Features { url_elicitation: true, ..usual };
            assert_eq!(settle_error(&error(data), named), Ok(error(data)));
        }
        let deep = error(r#","data":{"a":[{"elicitations":[1],"b":1},2],"c":{"Elicitations":1}}"#);
        assert_eq!(settle_error(&deep, usual), Ok(error(r#","data":{"a":[{"b":1},2],"c":{}}"#)));
        let beside = error(r#","elicitations":[{"url":"https://x"}]"#);
        assert_eq!(settle_error(&beside, usual), Ok(error("")));
        let outside =
            Bytes::from(r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32042,"message":"m"},"elicitations":[]}"#);
        assert_eq!(settle_error(&outside, usual), Ok(error("")));
        let large = error(&format!(r#","data":{{"a":"{}","elicitations":[]}}"#, "x".repeat(MAX_DATA)));
        assert_eq!(settle_error(&large, usual), Ok(error("")));
        let large = error(&format!(r#","data":{{"a":"{}"}}"#, "\u{fc}".repeat(MAX_DATA)));
        assert_eq!(settle_error(&large, usual), Ok(large.clone()), "whatever language it is in");
        for plain in ["", r#","data":["elicitations"]"#, r#","data":"elicitations""#, r#","data":{"more":1}"#] {
            assert_eq!(settle_error(&error(plain), usual), Ok(error(plain)), "{plain}");
        }
        let twice = error(r#","data":{"elicitations":[],"elicitations":[1]}"#);
        assert_eq!(settle_error(&twice, usual), Err(Unreadable));
    }

    #[test]
    fn an_error_of_a_list_is_no_list() {
        for data in [r#","data":{"tools":[{"name":"hidden"}]}"#, r#","d\u0061ta":{"t":1}"#] {
            assert_eq!(error_of_list(&error(data)), Ok(error(r#","data":{}"#)), "{data}");
        }
        for data in [r#","data":["hidden"]"#, r#","data":"hidden""#, r#","DATA":{"supported":[]}"#] {
            assert_eq!(error_of_list(&error(data)), Ok(error("")), "{data}");
        }
        for rest in [r#","tools":[{"name":"hidden"}]"#, r#","more":1"#] {
            assert_eq!(error_of_list(&error(rest)), Ok(error("")), "{rest}");
        }
        for data in [
            r#","data":{"supported":[{"name":"hidden"}]}"#,
            r#","data":{"requested":{"name":"hidden"}}"#,
            r#","data":{"requiredCapabilities":{"tools":[{"Name":"hidden"}]}}"#,
        ] {
            assert_eq!(error_of_list(&error(data)), Ok(error(r#","data":{}"#)), "{data}");
        }
        let outside = Bytes::from(r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32042,"message":"m"},"tools":[]}"#);
        assert_eq!(error_of_list(&outside), Ok(error("")));
        let wanting = error(r#","data":{"requiredCapabilities":{"sampling":{}}}"#);
        assert_eq!(error_of_list(&wanting), Ok(wanting.clone()), "the control");
        let versions = error(r#","data":{"supported":["2026-07-28"],"requested":"x"}"#);
        assert_eq!(error_of_list(&versions), Ok(versions.clone()), "the control");
        assert_eq!(error_of_list(&error("")), Ok(error("")));
    }
}
