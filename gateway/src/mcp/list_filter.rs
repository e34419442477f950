//! Takes out of a list what the caller may not see, and nothing else: cursor, `_meta`, unknown members and order stay
//! as they were, byte for byte.
//!
//! One pass finds the items as slices, a second reads each item's name. From 2026-07-28 on, a list is its caller's
//! alone, and not for long (`caching`), whatever the backend said; and it is complete: a list asks nothing back. One that
//! does, or that can be read in more than one way, is unreadable, and an unreadable list is never passed on.

mod visit;

use std::borrow::Cow;

use bytes::Bytes;

use super::answer;
use super::caching::{self, PRIVATE, SCOPE};
use super::error_data::error_of_list;
use super::jsonrpc::RequestId;
use super::version::Era;
use visit::{Found, Span};

/// What is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ListKind {
    /// `tools`, by `name`.
    Tools,
    /// `prompts`, by `name`.
    Prompts,
    /// `resources`, by `uri`.
    Resources,
    /// `resourceTemplates`, by `uriTemplate`.
    ResourceTemplates,
    /// Nothing: a result that is only made private (`server/discover`).
    Nothing,
}

impl ListKind {
    /// Every kind that has items.
    pub const WITH_ITEMS: [Self; 4] = [Self::Tools, Self::Prompts, Self::Resources, Self::ResourceTemplates];

    /// The member of the result that holds the items.
    fn member(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::ResourceTemplates => "resourceTemplates",
            Self::Nothing => "",
        }
    }

    fn key(self) -> &'static str {
        match self {
            Self::Tools | Self::Prompts | Self::Nothing => "name",
            Self::Resources => "uri",
            Self::ResourceTemplates => "uriTemplate",
        }
    }
}

/// A list as the caller may see it.
#[derive(Clone, Debug)]
pub struct Filtered {
    /// The whole JSON-RPC answer.
    pub body: Bytes,
    /// Items that stayed.
    pub shown: usize,
    /// Items that went.
    pub hidden: usize,
    /// Where the id begins, in the answer as it came and in `body`; `None` when that was not noted.
    pub id_at: Option<(usize, usize)>,
}

/// What becomes of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is not shown.
    Hidden,
    /// It is shown as it is.
    Shown,
    /// It is shown like this, as JSON.
    Changed(String),
}

impl Fate {
    /// Shown as it is, or not at all.
    #[must_use]
    pub fn shown_if(shown: bool) -> Self {
        if shown { Self::Shown } else { Self::Hidden }
    }
}

/// The answer is no list that can be read in one way only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the list in the backend's answer cannot be read in one way only")]
pub struct Unreadable;

/// Filters the answer to the request `id`; `keep` says of a name, URI or template whether it stays. An error answer
/// passes with its code, its message and what the protocol itself says of it.
///
/// # Errors
///
/// Returns [`Unreadable`] for anything that is not this one answer, read in one way only.
pub fn filter(
    body: &Bytes,
    kind: ListKind,
    id: &RequestId,
    era: Era,
    keep: &mut dyn FnMut(&str) -> bool,
) -> Result<Filtered, Unreadable> {
    filter_items(body, kind, id, era, &mut |name, _| Fate::shown_if(keep(name)))
}

/// As [`filter`]; `keep` also gets the item as JSON, and may change it.
///
/// # Errors
///
/// As [`filter`].
pub fn filter_items(
    body: &Bytes,
    kind: ListKind,
    id: &RequestId,
    era: Era,
    keep: &mut dyn FnMut(&str, &str) -> Fate,
) -> Result<Filtered, Unreadable> {
    let text = std::str::from_utf8(body).map_err(|_not_utf8| Unreadable)?;
    let found = visit::find(text, kind.member()).ok_or(Unreadable)?;
    if found.is_error && found.id == Some("null") {
        let body = error_of_list(&answer::address_error(body, id).ok_or(Unreadable)?)?;
        return Ok(Filtered { body, shown: 0, hidden: 0, id_at: None });
    }
    if found.id.and_then(RequestId::from_json).as_ref() != Some(id) || found.has_other_list {
        return Err(Unreadable);
    }
    if found.is_error {
        return Ok(Filtered { body: error_of_list(body)?, shown: 0, hidden: 0, id_at: None });
    }
    rewrite(body, text, &found, kind, era, keep)
}

fn rewrite(
    body: &Bytes,
    text: &str,
    found: &Found<'_>,
    kind: ListKind,
    era: Era,
    keep: &mut dyn FnMut(&str, &str) -> Fate,
) -> Result<Filtered, Unreadable> {
    if era == Era::Modern && found.is_incomplete {
        return Err(Unreadable);
    }
    let items = match (&found.items, kind) {
        (Some(items), _) => items.as_slice(),
        (None, ListKind::Nothing) => &[],
        (None, _) => return Err(Unreadable),
    };
    let mut kept: Vec<Cow<'_, str>> = Vec::with_capacity(items.len());
    let mut changed = false;
    for item in items {
        let name = visit::name(item, kind.key()).ok_or(Unreadable)?;
        match keep(&name, item) {
            Fate::Hidden => {}
            Fate::Shown => kept.push(Cow::Borrowed(*item)),
            Fate::Changed(item) => {
                changed = true;
                kept.push(Cow::Owned(item));
            }
        }
    }
    let mut edits: Vec<(Span, String)> = Vec::with_capacity(3);
    if kept.len() < items.len() || changed {
        let span = Span::around(text, items).ok_or(Unreadable)?;
        edits.push((span, kept.join(",")));
    }
    if era == Era::Modern {
        edits.extend(private(text, found).ok_or(Unreadable)?);
        if let Some((ttl, capped)) = found.ttl.and_then(|ttl| Some((ttl, caching::capped(ttl)?))) {
            edits.push((Span::of(text, ttl).ok_or(Unreadable)?, capped));
        }
    }
    let (shown, hidden) = (kept.len(), items.len() - kept.len());
    edits.sort_by_key(|(span, _)| span.start);
    let changed = if edits.is_empty() { body.clone() } else { apply(text, &edits).ok_or(Unreadable)?.into() };
    let id = found.id.and_then(|id| Span::of(text, id));
    let id_at = id.and_then(|id| Some((id.start, moved(id, &edits, text.len(), changed.len())?)));
    Ok(Filtered { body: changed, shown, hidden, id_at })
}

/// Where a part begins after the edits, when it lies before or behind all of them.
fn moved(part: Span, edits: &[(Span, String)], before: usize, after: usize) -> Option<usize> {
    let (Some((first, _)), Some((last, _))) = (edits.first(), edits.last()) else { return Some(part.start) };
    if part.end <= first.start {
        Some(part.start)
    } else if part.start >= last.end {
        after.checked_sub(before - part.start)
    } else {
        None
    }
}

/// The edit that makes a result private; `Some(None)` when it is already.
#[expect(clippy::option_option, reason = "outer: can it be read; inner: is there anything to change")]
fn private(text: &str, found: &Found<'_>) -> Option<Option<(Span, String)>> {
    match (found.cache_scope, found.first_member) {
        (Some(PRIVATE), _) => Some(None),
        (Some(value), _) => Some(Some((Span::of(text, value)?, PRIVATE.to_owned()))),
        // The text before the first member's name ends with its opening quotation mark.
        (None, Some(name)) => {
            let start = Span::of(text, name)?.start.checked_sub(1)?;
            Some(Some((Span { start, end: start }, format!("\"{SCOPE}\":{PRIVATE},"))))
        }
        (None, None) => None,
    }
}

fn apply(text: &str, edits: &[(Span, String)]) -> Option<String> {
    let grown: usize = edits.iter().map(|(_, replacement)| replacement.len()).sum();
    let mut out = String::with_capacity(text.len() + grown);
    let mut at = 0;
    for (span, replacement) in edits {
        out.push_str(text.get(at..span.start)?);
        out.push_str(replacement);
        at = span.end;
    }
    out.push_str(text.get(at..)?);
    Some(out)
}

#[cfg(test)]
mod tests;
