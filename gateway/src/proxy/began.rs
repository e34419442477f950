//! Who began the session of each id last.
//!
//! A backend that gives an id a second time, after a restart for instance, has ended the first session of that id;
//! whoever still holds that one is not let into the second. In memory only: another instance does not know.

use std::time::Duration;

use moka::sync::Cache;
use portcullis_policy::{BackendName, Subject};

use crate::mcp::session::binding;

/// Longer than sessions are left alone.
const REMEMBERED: Duration = Duration::from_hours(24);
const CAPACITY: u64 = 100_000;

/// Sessions as backends know them, each with whose it is.
#[derive(Debug)]
pub(super) struct Began(Cache<String, Box<[u8]>>);

/// A session as a backend knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named<'a> {
    pub(super) backend: &'a BackendName,
    /// The server that gave the id, where there are several.
    pub(super) replica: Option<&'a str>,
    pub(super) raw: &'a str,
}

impl Named<'_> {
    /// Neither a name nor an id has a space in it.
    fn key(&self) -> String {
        [self.backend.as_ref(), self.replica.unwrap_or_default(), self.raw].join(" ")
    }
}

impl Default for Began {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(CAPACITY).time_to_idle(REMEMBERED).build())
    }
}

impl Began {
    /// Notes that a caller has begun a session.
    pub(super) fn note(&self, session: &Named<'_>, caller: &Subject) {
        self.0.insert(session.key(), binding(session.backend, caller).into());
    }

    /// Whether somebody else has begun a session of this id since.
    pub(super) fn is_anothers(&self, session: &Named<'_>, caller: &Subject) -> bool {
        self.0.get(&session.key()).is_some_and(|last| *last != *binding(session.backend, caller))
    }
}

#[cfg(test)]
mod tests {
    use portcullis_policy::Kind;

    use super::*;

    #[test]
    fn an_id_belongs_to_whoever_began_it_last() {
        let backend = BackendName::try_from("weather").unwrap();
        let [a, b] = ["a", "b"].map(|object| Subject::new(Kind::User, "t", object).with_client("c"));
        let (began, session) = (Began::default(), Named { backend: &backend, replica: None, raw: "1" });
        assert!(!began.is_anothers(&session, &a), "what is not known is nobody else's");
        began.note(&session, &a);
        assert!(!began.is_anothers(&session, &a) && began.is_anothers(&session, &b));
        began.note(&session, &b);
        assert!(began.is_anothers(&session, &a) && !began.is_anothers(&session, &b));
        assert!(!began.is_anothers(&Named { replica: Some("r"), ..session }, &a));
    }
}
