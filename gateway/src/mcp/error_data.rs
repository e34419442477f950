//! What an error says beside its code and message: of a list nothing that could be a part of it, and no address that a
//! user would be sent to, where the backend's features do not have that (2025-11-25, client/elicitation, section URL
//! Elicitation Required Error).

use bytes::Bytes;

use super::edit::{Edit, Uneditable, edit};
use super::features::Features;
use super::list_filter::Unreadable;
use crate::json::{MAX_DEPTH, check, could_have, resembles};

/// What the protocol itself says of an error (2026-07-28, versioning and capabilities).
const OF_PROTOCOL: [&str; 3] = ["supported", "requested", "requiredCapabilities"];
/// The addresses that an error sends the user to.
const ADDRESSES: &str = "elicitations";

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
        let is_address = |name: &str| name == ADDRESSES || resembles(name, &[ADDRESSES]);
        if !data.starts_with('{') {
            return Ok(Edit::Keep);
        }
        edit(data, &mut |name, _| Ok(Edit::keep_if(!is_address(name)))).map(Edit::to)
    })
}

/// The error that answers for a list, with what the protocol says of it and nothing else.
pub(super) fn error_of_list(body: &Bytes) -> Result<Bytes, Unreadable> {
    if !could_have(body, &["data"]) {
        return Ok(body.clone());
    }
    with_data(body, &mut |data| {
        if !data.starts_with('{') {
            return Ok(Edit::Drop);
        }
        edit(data, &mut |name, _| Ok(Edit::keep_if(OF_PROTOCOL.contains(&name)))).map(Edit::to)
    })
}

fn with_data(body: &Bytes, change: &mut dyn FnMut(&str) -> Result<Edit, Uneditable>) -> Result<Bytes, Unreadable> {
    let text = std::str::from_utf8(body).map_err(|_not_utf8| Unreadable)?;
    check(text, MAX_DEPTH).map_err(|_unsound| Unreadable)?;
    let edited = edit(text, &mut |name, value| match name {
        "error" => edit(value, &mut |name, value| match name {
            "data" => change(value),
            name if resembles(name, &["data"]) => Ok(Edit::Drop),
            _ => Ok(Edit::Keep),
        })
        .map(Edit::to),
        _ => Ok(Edit::Keep),
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
        let versions = error(r#","data":{"supported":["2026-07-28"],"requested":"x"}"#);
        assert_eq!(error_of_list(&versions), Ok(versions.clone()), "the control");
        assert_eq!(error_of_list(&error("")), Ok(error("")));
    }
}
