//! How often a caller may ask a backend: every request counts, whatever it asks for and whether it is open.

use super::door::{Failure, Visit};
use super::rejection::Rejection;
use crate::authn::VerifiedIdentity;
use crate::mcp::{ClientMessage, Kind, Method};

impl Visit<'_> {
    /// Counts the requests among these messages; the first that is too many refuses them all.
    pub(super) fn check_rate(&self, identity: &VerifiedIdentity, messages: &[ClientMessage]) -> Result<(), Failure> {
        let Some(limit) = &self.door.calls else { return Ok(()) };
        let subject = identity.subject();
        let caller = (self.mount.name.as_ref(), subject.tenant(), subject.object());
        for message in messages.iter().filter(|message| message.kind() == Kind::Request) {
            if let Err(wait) = limit.check(&caller) {
                let method = message.method().map_or("response", Method::as_str);
                let rejection = Rejection::TooOften { id: message.id().cloned(), wait };
                return Err(self.refuse(Some(identity), method, rejection));
            }
        }
        Ok(())
    }
}
