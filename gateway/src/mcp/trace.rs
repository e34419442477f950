//! Where a message says that it belongs: `traceparent` and `tracestate` in its `_meta`, without a prefix (SEP-414).
//! Read as they are written, and written as they are given; what they mean is `trace`'s affair. What means nothing there
//! goes no further: no backend is left to make something of it.

use serde_json::value::RawValue;

use super::edit::{Edit, edit, quoted};
use super::jsonrpc::members;
use super::target::{get, text};
use crate::trace::Context;

pub(super) const PARENT: &str = "traceparent";
pub(super) const STATE: &str = "tracestate";
/// Longer than any honest one.
const MAX: usize = 1024;

/// A place in a trace, in the words of the W3C.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// `traceparent`.
    pub parent: String,
    /// `tracestate`.
    pub state: Option<String>,
}

impl TraceContext {
    /// What the members of `_meta` say.
    pub(super) fn read(meta: &[(String, &RawValue)]) -> Option<Self> {
        let short = |name| get(meta, name).filter(|json| json.get().len() <= MAX).and_then(text);
        Some(Self { parent: short(PARENT)?, state: short(STATE) })
    }

    /// `params` (an object, or nothing) with this in their `_meta`, in place of what was there.
    pub(super) fn write(&self, params: Option<&str>) -> String {
        let mut found = false;
        let changed = edit(params.unwrap_or("{}"), &mut |name, value| {
            if name != "_meta" {
                return Ok(Edit::Keep);
            }
            found = true;
            let without = edit(value, &mut |name, _| Ok(Edit::keep_if(name != PARENT && name != STATE)))?;
            Ok(Edit::Replace(self.append(without.as_deref().unwrap_or(value))))
        });
        let changed = changed.ok().flatten();
        let params = changed.as_deref().or(params).unwrap_or("{}");
        if found {
            return params.to_owned();
        }
        let meta = self.append("{}");
        with(params, &format!("\"_meta\":{meta}"))
    }

    fn append(&self, meta: &str) -> String {
        let state = self.state.as_ref().map(|state| format!(",\"{STATE}\":{}", quoted(state)));
        with(meta, &format!("\"{PARENT}\":{}{}", quoted(&self.parent), state.unwrap_or_default()))
    }
}

/// What the members of `_meta` mean, if they mean anything.
pub(super) fn context(meta: &str) -> Option<Context> {
    let told = TraceContext::read(&members(meta)?)?;
    Context::parse(&told.parent, told.state.as_deref())
}

/// An object with more members. INVARIANT: `object` is one, for it was taken apart before.
fn with(object: &str, members: &str) -> String {
    let inside = object.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or_default().trim();
    let comma = if inside.is_empty() { "" } else { "," };
    format!("{{{inside}{comma}{members}}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_takes_the_place_of_the_one_that_was_there() {
        let context = TraceContext { parent: "p".to_owned(), state: Some("s\"".to_owned()) };
        let bare = TraceContext { state: None, ..context.clone() };
        for (params, with_state, without) in [
            (None, r#"{"_meta":{"traceparent":"p","tracestate":"s\""}}"#, r#"{"_meta":{"traceparent":"p"}}"#),
            (
                Some(r#"{"name":"a"}"#),
                r#"{"name":"a","_meta":{"traceparent":"p","tracestate":"s\""}}"#,
                r#"{"name":"a","_meta":{"traceparent":"p"}}"#,
            ),
            (
                Some(r#"{"_meta":{"traceparent":"old","x":{"y": 1},"tracestate":"old"},"name":"a"}"#),
                r#"{"_meta":{"x":{"y": 1},"traceparent":"p","tracestate":"s\""},"name":"a"}"#,
                r#"{"_meta":{"x":{"y": 1},"traceparent":"p"},"name":"a"}"#,
            ),
            (
                Some(r#"{ "_meta" : { } , "name":"a"}"#),
                r#"{"_meta":{"traceparent":"p","tracestate":"s\""},"name":"a"}"#,
                r#"{"_meta":{"traceparent":"p"},"name":"a"}"#,
            ),
        ] {
            assert_eq!(context.write(params), with_state);
            assert_eq!(bare.write(params), without);
            assert!(crate::json::check(&context.write(params), crate::json::MAX_DEPTH).is_ok());
        }
    }
}
