//! Session ids as clients hold them: the backend's own id, sealed for this backend, caller and client.
//!
//! A backend of several servers has the one that began the session named in it. Any instance with the key can open one, and nobody can use another's: what does not open is an unknown session.

use std::borrow::Cow;

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
    /// The server that began it, where there are several (see `Replicas::mark`).
    pub(super) replica: Option<String>,
    /// Names this caller's session among all others.
    pub(super) key: Vec<u8>,
}

impl Session {
    /// The session that a client names; `None` when it is not this caller's.
    pub(super) fn open(sealer: &Sealer, backend: &BackendName, subject: &Subject, named: Option<&str>) -> Option<Self> {
        let mut key = binding(backend, subject);
        let Some(named) = named else { return Some(Self { raw: None, replica: None, key }) };
        if named.len() > MAX_SEALED {
            return None;
        }
        let opened = String::from_utf8(sealer.open(&key, named).ok()?).ok()?;
        // No session id has a space in it. The key has the server too: two may give the same id.
        key.extend_from_slice(opened.as_bytes());
        let (replica, raw) = match opened.split_once(' ') {
            Some((replica, raw)) => (Some(replica.to_owned()), raw.to_owned()),
            None => (None, opened),
        };
        is_session_id(&raw).then_some(Self { raw: Some(raw), replica, key })
    }

    /// What names the session of this backend's id, as [`Session::open`] finds it in what the client gets to hold.
    pub(super) fn key_of(backend: &BackendName, subject: &Subject, replica: Option<&str>, raw: &str) -> Vec<u8> {
        let mut key = binding(backend, subject);
        key.extend_from_slice(named(replica, raw).as_bytes());
        key
    }

    /// What a client gets to hold of a backend's id; `None` when that is no session id.
    pub(super) fn seal(
        sealer: &Sealer,
        backend: &BackendName,
        subject: &Subject,
        replica: Option<&str>,
        raw: &str,
    ) -> Option<String> {
        if !is_session_id(raw) {
            return None;
        }
        sealer.seal(&binding(backend, subject), named(replica, raw).as_bytes()).ok()
    }
}

/// A session's id with the server that gave it, where there are several.
fn named<'a>(replica: Option<&str>, raw: &'a str) -> Cow<'a, str> {
    replica.map_or(Cow::Borrowed(raw), |replica| Cow::Owned(format!("{replica} {raw}")))
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
        let id = Session::seal(&sealer, &backend, &alice, None, "raw-1").unwrap();
        let opened = Session::open(&sealer, &backend, &alice, Some(&id)).unwrap();
        assert_eq!(opened.raw.as_deref(), Some("raw-1"));
        let key = Session::key_of(&backend, &alice, None, "raw-1");
        assert_eq!((opened.replica, &opened.key), (None, &key));
        let elsewhere = Session::seal(&sealer, &backend, &alice, Some("a1b2c3d4"), "raw-1").unwrap();
        let elsewhere = Session::open(&sealer, &backend, &alice, Some(&elsewhere)).unwrap();
        assert_eq!((elsewhere.raw.as_deref(), elsewhere.replica.as_deref()), (Some("raw-1"), Some("a1b2c3d4")));
        assert_ne!(key, elsewhere.key, "the same id of two servers is two sessions");
        assert_eq!(elsewhere.key, Session::key_of(&backend, &alice, Some("a1b2c3d4"), "raw-1"));
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
