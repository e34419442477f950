//! A backend as the data plane sees it: its path, its endpoint, and what its challenges say.

use std::sync::Arc;

use portcullis_policy::BackendName;

use super::on_behalf_of::OnBehalfOf;
use crate::authn::Audience;
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
