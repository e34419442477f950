//! Opaque values of a backend as one caller holds them: sealed for this backend, this caller and this client, so that
//! they are worth nothing to anybody else.

use portcullis_policy::{BackendName, Subject};

use crate::clock::Clock;
use crate::mcp::session::bound;
use crate::mcp::{Place, Seals};
use crate::store::Sealer;

/// How long a state waits for its next round, in seconds: a person may be thinking.
const STATE_LIFETIME: u64 = 3600;

/// The seals of one caller on one backend.
pub(super) struct CallerSeals<'a> {
    pub(super) sealer: &'a Sealer,
    pub(super) backend: &'a BackendName,
    pub(super) subject: &'a Subject,
    pub(super) clock: &'a dyn Clock,
}

impl CallerSeals<'_> {
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
        String::from_utf8(raw.to_vec()).ok()
    }
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
        let of = |subject| CallerSeals { sealer: &sealer, backend: &backend, subject, clock: &clock };
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
}
