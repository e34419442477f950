//! What a message is read and an answer passed under, beside its bytes: the features of the backend, what the caller
//! may see, and the seals that bind opaque values to the caller they were given to.
//!
//! A backend without a login cannot know whose task or whose state it is shown. The gateway hands out such values
//! sealed, and takes back only what it sealed for the same caller and the same place.

use serde::{Deserialize, Serialize};

use super::features::Features;

/// What a sealed value is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// `requestState` of a multi round-trip request: to repeat this method on this name (basic/patterns/mrtr).
    RequestState {
        /// The method.
        method: &'static str,
        /// The tool, prompt or URI.
        name: &'a str,
    },
    /// A task's id, with the tool that works on it.
    Task,
    /// The id of an event, in this session.
    Event {
        /// Names the caller's session.
        session: &'a [u8],
    },
}

/// Seals values for one caller of one backend.
pub trait Seals: Sync {
    /// What the client gets to hold; `None` when it cannot be sealed.
    fn seal(&self, place: Place<'_>, raw: &str) -> Option<String>;

    /// What the backend gave; `None` when it was not sealed for this caller and place.
    fn open(&self, place: Place<'_>, sealed: &str) -> Option<String>;
}

/// The terms of one caller on one backend.
#[derive(Clone, Copy)]
pub struct Terms<'a> {
    /// What may pass between the server and its clients.
    pub features: Features,
    /// The caller's seals.
    pub seals: &'a dyn Seals,
    /// Whether a resource is open to the caller.
    pub resource: &'a (dyn Fn(&str) -> bool + Sync),
    /// Whether a tool of this name is there and closed to the caller.
    pub hides: &'a (dyn Fn(&str) -> bool + Sync),
}

/// A task as the gateway knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// The id that the client holds.
    pub handle: String,
    /// The id that the backend gave.
    pub raw: String,
    /// The tool that works on it.
    pub tool: String,
}

impl Task {
    /// Hands out a task that `tool` works on.
    pub(super) fn issue(seals: &dyn Seals, tool: &str, raw: &str) -> Option<Self> {
        let handle = seals.seal(Place::Task, &serde_json::json!([tool, raw]).to_string())?;
        Some(Self { handle, raw: raw.to_owned(), tool: tool.to_owned() })
    }

    /// The task of this handle, if it is this caller's.
    pub(super) fn open(seals: &dyn Seals, handle: &str) -> Option<Self> {
        let opened = seals.open(Place::Task, handle)?;
        let (tool, raw) = serde_json::from_str::<(String, String)>(&opened).ok()?;
        Some(Self { handle: handle.to_owned(), raw, tool })
    }
}

/// Terms under which nothing sealed opens and no resource is open.
#[derive(Clone, Copy, Debug)]
pub struct Strict;

impl Seals for Strict {
    fn seal(&self, _: Place<'_>, _: &str) -> Option<String> {
        None
    }

    fn open(&self, _: Place<'_>, _: &str) -> Option<String> {
        None
    }
}

impl Default for Terms<'_> {
    fn default() -> Self {
        Self { features: Features::default(), seals: &Strict, resource: &|_| false, hides: &|_| false }
    }
}
