//! A backend as the data plane sees it: its path, its endpoint, and what its challenges say.

use std::sync::Arc;

use portcullis_policy::{BackendName, Kind};

use super::on_behalf_of::OnBehalfOf;
use crate::authn::{Audience, VerifiedIdentity};
use crate::backend::Replicas;
use crate::backend::caller::Caller;
use crate::backend::catalogue::Listing;
use crate::mcp::Features;
use crate::metrics;

/// One backend under one path.
#[derive(Debug)]
pub struct Mount {
    /// Its name in the policy.
    pub name: BackendName,
    /// Its path, with a leading and without a trailing slash.
    pub path: String,
    /// Whose tokens are good here.
    pub audience: Audience,
    /// Where its protected resource metadata is (RFC 9728), for challenges.
    pub resource_metadata: String,
    /// The scopes that a first challenge names, separated by spaces.
    pub scope: String,
    /// Tells it who calls, if it asks.
    pub caller: Caller,
    /// Gets it a token for an API of its own.
    pub on_behalf_of: Option<OnBehalfOf>,
    /// What may pass between its server and clients, beside calls and lists.
    pub features: Features,
    /// What is counted of it.
    pub series: Arc<metrics::Backend>,
    /// Its tools as the gateway itself reads them, for who asks what is open to them; where anybody may ask.
    pub listing: Option<Arc<Listing>>,
    /// Where it is.
    pub replicas: Arc<Replicas>,
}

impl Mount {
    /// Whether clients and servers are the same to each other by the rules of `other`, another time's mount of the same
    /// name. The servers themselves are compared elsewhere.
    pub(super) fn has_rules_of(&self, other: &Self) -> bool {
        let scope = |mount: &Self| mount.on_behalf_of.as_ref().map(|api| Arc::clone(&api.scope));
        self.features == other.features
            && self.audience == other.audience
            && self.caller.wanted() == other.caller.wanted()
            && scope(self) == scope(other)
    }

    /// Whether a caller who was let in before would be let in here.
    pub(super) fn admits(&self, identity: &VerifiedIdentity) -> bool {
        if identity.subject().kind() == Kind::Public {
            return self.audience.public;
        }
        identity.is_of_gateway() || self.audience.accept_entra_tokens
    }
}
