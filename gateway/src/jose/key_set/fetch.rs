//! Entra's keys: discovery first, then the set it names, both bounded and held against what is configured.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::{KeySetError, KeySource, Keys, parse};
use crate::outbound::{Outbound, OutboundError};

const MAX_DOCUMENT: usize = 1 << 20;

/// Why a set could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// It could not be fetched.
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    /// The discovery document is another issuer's.
    #[error("`{url}`: {what}; check `entra.authority_host` and `entra.tenant_id`")]
    Discovery {
        /// Where it came from.
        url: String,
        /// What is wrong.
        what: &'static str,
    },
    /// The set cannot be used.
    #[error("`{url}`: {source}")]
    Keys {
        /// Where it came from.
        url: String,
        /// What is wrong.
        source: KeySetError,
    },
    /// It took too long as a whole.
    #[error("the identity provider's keys did not arrive in time; check the network")]
    Timeout,
    /// The source had nothing to give.
    #[error("the identity provider published no key")]
    NoKeys,
    /// A bug.
    #[error("fetching the identity provider's keys panicked; report this")]
    Panicked,
}

/// The key set of one Entra tenant.
#[derive(Clone, Debug)]
pub struct EntraKeys {
    outbound: Outbound,
    authority: String,
    tenant_id: String,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
    #[serde(default)]
    cloud_instance_name: Option<String>,
}

impl EntraKeys {
    /// The keys of `tenant_id` in the cloud at `authority_host` (an origin without a trailing slash).
    #[must_use]
    pub fn new(outbound: Outbound, authority_host: &str, tenant_id: &str) -> Self {
        Self { outbound, authority: authority_host.to_owned(), tenant_id: tenant_id.to_ascii_lowercase() }
    }

    /// The issuer of this tenant's version 2.0 tokens.
    #[must_use]
    pub fn issuer(&self) -> String {
        format!("{}/{}/v2.0", self.authority, self.tenant_id)
    }

    async fn discover(&self) -> Result<Discovery, FetchError> {
        let url = format!("{}/.well-known/openid-configuration", self.issuer());
        let discovery: Discovery = self.outbound.fetch_json(&url, MAX_DOCUMENT).await?;
        if discovery.issuer != self.issuer() {
            let what = "names another issuer (OpenID Connect Discovery section 4.3)";
            return Err(FetchError::Discovery { url, what });
        }
        if !same_origin(&discovery.jwks_uri, &self.authority) {
            return Err(FetchError::Discovery { url, what: "names keys on another host" });
        }
        Ok(discovery)
    }
}

#[async_trait]
impl KeySource for EntraKeys {
    async fn fetch(&self) -> Result<Keys, FetchError> {
        let discovery = self.discover().await?;
        let url = discovery.jwks_uri;
        let document: Value = self.outbound.fetch_json(&url, MAX_DOCUMENT).await?;
        let cloud = discovery.cloud_instance_name;
        parse(&document, cloud.as_deref()).map_err(|source| FetchError::Keys { url, source })
    }
}

/// Compared as tuples: an opaque origin (`data:`, `file:`) is the same as none.
fn same_origin(one: &str, other: &str) -> bool {
    let origin = |url: &str| Url::parse(url).ok().map(|url| url.origin()).filter(url::Origin::is_tuple);
    origin(one).is_some_and(|one| Some(one) == origin(other))
}
