//! Opaque values of a backend as one caller holds them: sealed for this backend, this caller and this client, so that
//! they are worth nothing to anybody else.

use std::sync::OnceLock;

use portcullis_policy::{BackendName, Subject};

use crate::clock::Clock;
use crate::mcp::session::bound;
use crate::mcp::{Place, Seals};
use crate::store::Sealer;

/// How long a state waits for its next round, in seconds: a person may be thinking.
const STATE_LIFETIME: u64 = 3600;

/// The seals of one caller on one backend.
pub(super) struct CallerSeals<'a> {
    sealer: &'a Sealer,
    backend: &'a BackendName,
    subject: &'a Subject,
    clock: &'a dyn Clock,
    /// The server whose values are sealed, where there are several.
    server: Option<&'a str>,
    /// The server that gave what was opened first.
    given_by: OnceLock<String>,
}

impl<'a> CallerSeals<'a> {
    /// The seals of this caller on this backend.
    pub(super) fn new(
        sealer: &'a Sealer,
        backend: &'a BackendName,
        subject: &'a Subject,
        clock: &'a dyn Clock,
    ) -> Self {
        Self { sealer, backend, subject, clock, server: None, given_by: OnceLock::new() }
    }

    /// For values of this server (see `Replicas::mark`): a state or a task that it gave is known to no other.
    pub(super) fn of_server(self, server: Option<&'a str>) -> Self {
        Self { server, ..self }
    }

    /// The server that gave the state or task that was opened.
    pub(super) fn given_by(&self) -> Option<String> {
        self.given_by.get().cloned()
    }

    fn binding(&self, place: Place<'_>) -> Vec<u8> {
        let bound = |label, more: &[&[u8]]| bound(label, self.backend, self.subject, more);
        match place {
            Place::RequestState { method, name } => bound("mcp-state", &[method.as_bytes(), name.as_bytes()]),
            Place::Task => bound("mcp-task", &[]),
            Place::Event { session } => bound("mcp-event", &[session]),
        }
    }
}

impl Seals for CallerSeals<'_> {
    fn seal(&self, place: Place<'_>, raw: &str) -> Option<String> {
        let mut value = Vec::with_capacity(raw.len() + 8);
        if matches!(place, Place::RequestState { .. }) {
            value.extend_from_slice(&(self.clock.now().as_secs() + STATE_LIFETIME).to_be_bytes());
        }
        if is_of_server(place) {
            // No mark has a space in it.
            value.extend_from_slice(self.server.unwrap_or_default().as_bytes());
            value.push(b' ');
        }
        value.extend_from_slice(raw.as_bytes());
        self.sealer.seal(&self.binding(place), &value).ok()
    }

    fn open(&self, place: Place<'_>, sealed: &str) -> Option<String> {
        let value = self.sealer.open(&self.binding(place), sealed).ok()?;
        let raw = match place {
            Place::RequestState { .. } => {
                let (until, raw) = value.split_first_chunk::<8>()?;
                (u64::from_be_bytes(*until) > self.clock.now().as_secs()).then_some(raw)?
            }
            Place::Task | Place::Event { .. } => &value,
        };
        let raw = str::from_utf8(raw).ok()?;
        if !is_of_server(place) {
            return Some(raw.to_owned());
        }
        let (server, raw) = raw.split_once(' ')?;
        if !server.is_empty() {
            let _ = self.given_by.set(server.to_owned());
        }
        Some(raw.to_owned())
    }
}

/// Whether such a value is known to the server that gave it and to no other. An event's session says whose it is.
fn is_of_server(place: Place<'_>) -> bool {
    matches!(place, Place::RequestState { .. } | Place::Task)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use portcullis_policy::Kind;

    use super::*;
    use crate::clock::{ManualClock, Timestamp};

    #[test]
    fn a_value_opens_for_its_caller_and_place_and_a_state_in_time() {
        let (sealer, clock) = (Sealer::new([7; 32]), ManualClock::new(Timestamp::from_secs(1000)));
        let backend = BackendName::try_from("weather").unwrap();
        let (alice, bob) = (Subject::new(Kind::User, "t", "alice"), Subject::new(Kind::User, "t", "bob"));
        let of = |subject| CallerSeals::new(&sealer, &backend, subject, &clock);
        let places = [
            Place::RequestState { method: "tools/call", name: "a" },
            Place::RequestState { method: "tools/call", name: "b" },
            Place::RequestState { method: "prompts/get", name: "a" },
            Place::Task,
            Place::Event { session: b"s" },
            Place::Event { session: b"t" },
        ];
        for place in places {
            let sealed = of(&alice).seal(place, "raw").unwrap();
            assert_eq!(of(&alice).open(place, &sealed).as_deref(), Some("raw"));
            assert_eq!(of(&bob).open(place, &sealed), None);
            for other in places.into_iter().filter(|other| *other != place) {
                assert_eq!(of(&alice).open(other, &sealed), None, "{place:?} as {other:?}");
            }
        }
        let state = places[0];
        let sealed = of(&alice).seal(state, "raw").unwrap();
        clock.advance(Duration::from_secs(STATE_LIFETIME));
        assert_eq!(of(&alice).open(state, &sealed), None);
    }

    #[test]
    fn what_a_server_gave_says_which_one_it_was() {
        let (sealer, clock) = (Sealer::new([7; 32]), ManualClock::new(Timestamp::from_secs(1000)));
        let (backend, alice) = (BackendName::try_from("weather").unwrap(), Subject::new(Kind::User, "t", "alice"));
        let seals = || CallerSeals::new(&sealer, &backend, &alice, &clock);
        for place in [Place::RequestState { method: "tools/call", name: "a" }, Place::Task] {
            for (server, raw) in [(None, "raw"), (Some("a1b2c3d4"), "raw"), (Some("a1b2c3d4"), " a b"), (None, "")] {
                let sealed = seals().of_server(server).seal(place, raw).unwrap();
                let opening = seals();
                assert_eq!(opening.open(place, &sealed).as_deref(), Some(raw));
                assert_eq!(opening.given_by().as_deref(), server, "{place:?} {raw}");
            }
        }
    }
}
