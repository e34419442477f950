//! Session ids as clients hold them: the backend's own id, sealed for this backend, caller and client.
//!
//! Any instance with the key can open one, and nobody can use another's: what does not open is an unknown session.

use portcullis_policy::{BackendName, Subject};

use crate::mcp::session::{binding, is_session_id};
use crate::store::Sealer;

/// Longer than any sealed id.
const MAX_SEALED: usize = 2048;

/// A session as the backend knows it.
#[derive(Clone, Debug)]
pub(super) struct Session {
    /// The backend's id; absent where it keeps no sessions.
    pub(super) raw: Option<String>,
    /// Names this caller's session among all others.
    pub(super) key: Vec<u8>,
}

impl Session {
    /// The session that a client names; `None` when it is not this caller's.
    pub(super) fn open(sealer: &Sealer, backend: &BackendName, subject: &Subject, named: Option<&str>) -> Option<Self> {
        let mut key = binding(backend, subject);
        let Some(named) = named else { return Some(Self { raw: None, key }) };
        if named.len() > MAX_SEALED {
            return None;
        }
        let raw = String::from_utf8(sealer.open(&key, named).ok()?).ok().filter(|raw| is_session_id(raw))?;
        key.extend_from_slice(raw.as_bytes());
        Some(Self { raw: Some(raw), key })
    }

    /// What a client gets to hold of a backend's id; `None` when that is no session id.
    pub(super) fn seal(sealer: &Sealer, backend: &BackendName, subject: &Subject, raw: &str) -> Option<String> {
        if !is_session_id(raw) {
            return None;
        }
        sealer.seal(&binding(backend, subject), raw.as_bytes()).ok()
    }
}

#[cfg(test)]
mod tests {
    use portcullis_policy::Kind;

    use super::*;

    #[test]
    fn a_session_opens_for_its_own_caller_only() {
        let sealer = Sealer::new([1; 32]);
        let backend = BackendName::try_from("weather").unwrap();
        let alice = Subject::new(Kind::User, "t", "alice").with_client("c");
        let id = Session::seal(&sealer, &backend, &alice, "raw-1").unwrap();
        let opened = Session::open(&sealer, &backend, &alice, Some(&id)).unwrap();
        assert_eq!(opened.raw.as_deref(), Some("raw-1"));
        let others = [
            Subject::new(Kind::User, "t", "bob").with_client("c"),
            Subject::new(Kind::User, "t", "alice").with_client("d"),
            Subject::new(Kind::User, "u", "alice").with_client("c"),
        ];
        for other in others {
            assert!(Session::open(&sealer, &backend, &other, Some(&id)).is_none());
        }
        let elsewhere = BackendName::try_from("crm").unwrap();
        assert!(Session::open(&sealer, &elsewhere, &alice, Some(&id)).is_none());
        for bad in ["", "raw-1", id.get(1..).unwrap()] {
            assert!(Session::open(&sealer, &backend, &alice, Some(bad)).is_none());
        }
    }
}
