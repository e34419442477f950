//! Entra's keys: discovery first, then the set it names, both bounded and held against what is configured.

use async_trait::async_trait;
use serde::Deserialize;
use url::Url;

use super::{KeySetError, KeySource, Keys, parse};
use crate::outbound::{self, OutboundError};

const MAX_DOCUMENT: usize = 1 << 20;

/// Why a set could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// It could not be fetched.
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    /// The discovery document is none, or another issuer's.
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
}

/// The key set of one Entra tenant.
#[derive(Clone, Debug)]
pub struct EntraKeys {
    client: reqwest::Client,
    authority: String,
    tenant_id: String,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl EntraKeys {
    /// The keys of `tenant_id` in the cloud at `authority_host` (an origin without a trailing slash).
    #[must_use]
    pub fn new(client: reqwest::Client, authority_host: &str, tenant_id: &str) -> Self {
        Self { client, authority: authority_host.to_owned(), tenant_id: tenant_id.to_owned() }
    }

    /// The issuer of this tenant's version 2.0 tokens.
    #[must_use]
    pub fn issuer(&self) -> String {
        format!("{}/{}/v2.0", self.authority, self.tenant_id)
    }

    async fn discover(&self) -> Result<Discovery, FetchError> {
        let url = format!("{}/.well-known/openid-configuration", self.issuer());
        let fault = |what| FetchError::Discovery { url: url.clone(), what };
        let body = outbound::get(&self.client, &url, MAX_DOCUMENT).await?;
        let discovery: Discovery = serde_json::from_slice(&body).map_err(|_error| fault("is no discovery document"))?;
        if discovery.issuer != self.issuer() {
            return Err(fault("names another issuer (OpenID Connect Discovery section 4.3)"));
        }
        let host = |url: &str| Url::parse(url).ok().map(|url| url.origin());
        if host(&discovery.jwks_uri) != host(&self.authority) {
            return Err(fault("names keys on another host"));
        }
        Ok(discovery)
    }
}

#[async_trait]
impl KeySource for EntraKeys {
    async fn fetch(&self) -> Result<Keys, FetchError> {
        let discovery = self.discover().await?;
        let url = discovery.jwks_uri;
        let body = outbound::get(&self.client, &url, MAX_DOCUMENT).await?;
        parse(&body, &self.issuer(), &self.tenant_id).map_err(|source| FetchError::Keys { url, source })
    }
}
