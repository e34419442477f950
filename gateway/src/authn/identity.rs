//! The proof that somebody was verified.

use std::sync::Arc;

use portcullis_policy::{Kind, Subject};

use super::revocations::Revocable;
use crate::clock::Timestamp;
use crate::limit::ClientAddress;

/// A caller whose token was verified, or one of whom a backend asks for none. Only [`super::Authenticator`] makes one.
#[derive(Debug)]
pub struct VerifiedIdentity {
    subject: Subject,
    expires_at: Timestamp,
    token_id: Option<String>,
    revocable: Option<Revocable>,
    grant: Option<String>,
}

impl VerifiedIdentity {
    /// INVARIANT: called only with what a verifier in `jose` returned.
    pub(super) fn new(
        subject: Subject,
        expires_at: Timestamp,
        token_id: Option<String>,
        revocable: Option<Revocable>,
    ) -> Self {
        Self { subject, expires_at, token_id, revocable, grant: None }
    }

    /// Whoever calls from this address. The address stands where others have their object: sessions, rates and shares
    /// are this address's own.
    pub(super) fn of_nobody(address: ClientAddress) -> Self {
        let subject = Subject::new(Kind::Public, "", address.to_string());
        Self::new(subject, Timestamp::from_secs(u64::MAX), None, None)
    }

    /// What its token can be ended by; only the gateway's own can.
    /// Whether the gateway issued the token.
    #[must_use]
    pub fn is_of_gateway(&self) -> bool {
        self.revocable.is_some()
    }

    pub(super) fn revocable(&self) -> Option<&Revocable> {
        self.revocable.as_ref()
    }

    /// With the grant that the token belongs to.
    pub(super) fn of_grant(self, grant: String) -> Self {
        Self { grant: Some(grant), ..self }
    }

    /// The grant that the token belongs to; only the gateway's own tokens have one.
    #[must_use]
    pub fn grant(&self) -> Option<&str> {
        self.grant.as_deref()
    }

    /// The caller, for the policy.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The client that holds the token (`client_id` or `azp`).
    #[must_use]
    pub fn client_id(&self) -> Option<&str> {
        self.subject.client()
    }

    /// When the token ends; the end of time for one who brought none.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// The token's name in logs (`jti` or `uti`).
    #[must_use]
    pub fn token_id(&self) -> Option<&str> {
        self.token_id.as_deref()
    }
}

/// An identity, whose token it was, and since when that is known.
#[derive(Debug)]
pub(super) struct Verified {
    pub(super) identity: Arc<VerifiedIdentity>,
    pub(super) issuer: Issuer,
    pub(super) since: Timestamp,
}

/// Whose token it was.
#[derive(Debug)]
pub(super) enum Issuer {
    /// Ours, for this resource.
    Own { resource: String },
    /// Entra's, for the app registration.
    Entra,
}
