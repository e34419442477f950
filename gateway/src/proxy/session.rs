//! Session ids as clients hold them: the backend's own id, sealed for this backend, caller and client.
//!
//! A backend of several servers has the one that began the session named in it, and one that a client of 2025-03-26 began
//! says so. Any instance with the key can open one, and nobody can use another's: what does not open is an unknown
//! session.

use std::borrow::Cow;

use portcullis_policy::{BackendName, Subject};

use super::began::Named;
use crate::mcp::session::{binding, is_session_id};
use crate::store::Sealer;

/// Longer than any sealed id.
const MAX_SEALED: usize = 2048;
/// Stands behind the id of a session whose client may send batches.
const BATCHES: &str = "batches";

/// A session as the backend knows it.
#[derive(Clone, Debug)]
pub(super) struct Session {
    /// The backend's id; absent where it keeps no sessions.
    pub(super) raw: Option<String>,
    /// The server that began it, where there are several (see `Replicas::mark`).
    pub(super) replica: Option<String>,
    /// Names this caller's session among all others.
    pub(super) key: Vec<u8>,
    /// Whether its client may send batches without a word of the revision. What keeps no sessions is not asked.
    pub(super) may_batch: bool,
}

impl Session {
    /// The session that a client names; `None` when it is not this caller's.
    pub(super) fn open(sealer: &Sealer, backend: &BackendName, subject: &Subject, held: Option<&str>) -> Option<Self> {
        let mut key = binding(backend, subject);
        let Some(held) = held else { return Some(Self { raw: None, replica: None, key, may_batch: true }) };
        if held.len() > MAX_SEALED {
            return None;
        }
        let opened = String::from_utf8(sealer.open(&key, held).ok()?).ok()?;
        // No session id has a space in it.
        let parts: Vec<&str> = opened.split(' ').collect();
        let (replica, raw, may_batch) = match *parts.as_slice() {
            [raw] => (None, raw, false),
            [replica, raw] => (Some(replica), raw, false),
            [replica, raw, BATCHES] => (Some(replica).filter(|replica| !replica.is_empty()), raw, true),
            _ => return None,
        };
        // The key has the server too: two may give the same id.
        key.extend_from_slice(named(replica, raw).as_bytes());
        let replica = replica.map(str::to_owned);
        is_session_id(raw).then(|| Self { raw: Some(raw.to_owned()), replica, key, may_batch })
    }

    /// What names the session of this backend's id, as [`Session::open`] finds it in what the client gets to hold.
    pub(super) fn key_of(backend: &BackendName, subject: &Subject, replica: Option<&str>, raw: &str) -> Vec<u8> {
        let mut key = binding(backend, subject);
        key.extend_from_slice(named(replica, raw).as_bytes());
        key
    }

    /// What a client gets to hold of a backend's id; `None` when that is no session id.
    pub(super) fn seal(sealer: &Sealer, subject: &Subject, of: &Named<'_>, may_batch: bool) -> Option<String> {
        let Named { backend, replica, raw } = *of;
        if !is_session_id(raw) {
            return None;
        }
        let written = if may_batch {
            format!("{} {raw} {BATCHES}", replica.unwrap_or_default()).into()
        } else {
            named(replica, raw)
        };
        sealer.seal(&binding(backend, subject), written.as_bytes()).ok()
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
        let seal = |replica, may_batch| {
            let named = Named { backend: &backend, replica, raw: "raw-1" };
            Session::seal(&sealer, &alice, &named, may_batch).unwrap()
        };
        let id = seal(None, false);
        let opened = Session::open(&sealer, &backend, &alice, Some(&id)).unwrap();
        assert_eq!(opened.raw.as_deref(), Some("raw-1"));
        let key = Session::key_of(&backend, &alice, None, "raw-1");
        assert_eq!((opened.replica, &opened.key), (None, &key));
        for replica in [None, Some("a1b2c3d4")] {
            let open = |may_batch| Session::open(&sealer, &backend, &alice, Some(&seal(replica, may_batch))).unwrap();
            let (plain, batches) = (open(false), open(true));
            assert_eq!((plain.may_batch, batches.may_batch), (false, true));
            assert_eq!((plain.raw, plain.replica, plain.key), (batches.raw, batches.replica, batches.key));
        }
        let elsewhere = seal(Some("a1b2c3d4"), false);
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
