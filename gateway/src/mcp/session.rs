//! Session ids of the revisions up to 2025-11-25: what is one, and what a sealed one binds.

use portcullis_policy::{BackendName, Subject};

/// Longer than any server's.
const MAX_RAW: usize = 1024;

/// Whether a backend's session id is one: visible ASCII (MCP 2025-11-25, Streamable HTTP section Session Management).
#[must_use]
pub fn is_session_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_RAW && text.bytes().all(|b| (0x21..=0x7e).contains(&b))
}

/// What a sealed session id is good for: this backend, this caller, this client. Each part carries its length, so
/// that no two bindings have the same bytes.
#[must_use]
pub fn binding(backend: &BackendName, subject: &Subject) -> Vec<u8> {
    bound("mcp-session", backend, subject, &[])
}

/// What a sealed value of the kind `label` is good for: this backend, this caller, this client, and `more`.
#[must_use]
pub fn bound(label: &str, backend: &BackendName, subject: &Subject, more: &[&[u8]]) -> Vec<u8> {
    let mut out = label.as_bytes().to_vec();
    let caller = [backend.as_ref(), subject.tenant(), subject.object(), subject.client().unwrap_or("")];
    for part in caller.iter().map(|part| part.as_bytes()).chain(more.iter().copied()) {
        out.extend_from_slice(&(part.len() as u64).to_be_bytes());
        out.extend_from_slice(part);
    }
    out
}

#[cfg(test)]
mod tests {
    use portcullis_policy::Kind;

    use super::*;

    #[test]
    fn session_ids_are_visible_ascii() {
        assert!(is_session_id("b4c1-…".replace('…', "x").as_str()));
        for bad in ["", "a b", "a\r\nb", "ä", &"x".repeat(1025)] {
            assert!(!is_session_id(bad), "{bad:?}");
        }
    }

    #[test]
    fn every_part_of_a_binding_counts() {
        let backend = |name| BackendName::try_from(name).unwrap();
        let subject =
            |tenant: &str, object: &str, client: &str| Subject::new(Kind::User, tenant, object).with_client(client);
        let base = binding(&backend("a"), &subject("t", "o", "c"));
        for other in [
            binding(&backend("b"), &subject("t", "o", "c")),
            binding(&backend("a"), &subject("u", "o", "c")),
            binding(&backend("a"), &subject("t", "p", "c")),
            binding(&backend("a"), &subject("t", "o", "d")),
            binding(&backend("a"), &subject("to", "", "c")),
        ] {
            assert_ne!(base, other);
        }
    }
}
