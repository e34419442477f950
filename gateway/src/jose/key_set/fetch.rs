//! Entra's keys: discovery first, then the set it names, both bounded and held against what is configured.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::{KeySetError, KeySource, Keys, parse};
use crate::outbound::{Outbound, OutboundError};

pub(super) const MAX_DOCUMENT: usize = 1 << 20;

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
    /// The metadata of an issuer of assertions is another's.
    #[error("`{url}`: {what}; check `issuer` and `jwks_uri` in `oauth.identity_assertions`")]
    Metadata {
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

/// The key set of one Entra tenant, for one version of its tokens.
#[derive(Clone, Debug)]
pub struct EntraKeys {
    outbound: Outbound,
    authority: String,
    discovery: String,
    issuer: String,
    /// What a key of version 1.0 may name instead: it is published for both versions.
    also: Option<String>,
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
        let issuer = format!("{authority_host}/{}/v2.0", tenant_id.to_ascii_lowercase());
        let discovery = format!("{issuer}/.well-known/openid-configuration");
        Self { outbound, authority: authority_host.to_owned(), discovery, issuer, also: None }
    }

    /// The keys for the same tenant's version 1.0 tokens, which have this issuer.
    #[must_use]
    pub fn version_one(self, tenant_id: &str, issuer: String) -> Self {
        let tenant_id = tenant_id.to_ascii_lowercase();
        let discovery = format!("{}/{tenant_id}/.well-known/openid-configuration", self.authority);
        Self { discovery, issuer, also: Some(self.issuer), ..self }
    }

    /// The issuer of this tenant's tokens.
    #[must_use]
    pub fn issuer(&self) -> String {
        self.issuer.clone()
    }

    async fn discover(&self) -> Result<Discovery, FetchError> {
        let url = self.discovery.clone();
        let discovery: Discovery = self.outbound.fetch_json(&url, MAX_DOCUMENT).await?;
        if discovery.issuer != self.issuer {
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
        let mut document: Value = self.outbound.fetch_json(&url, MAX_DOCUMENT).await?;
        if let Some(also) = &self.also {
            rename(&mut document, also, &self.issuer);
        }
        let cloud = discovery.cloud_instance_name;
        parse(&document, cloud.as_deref()).map_err(|source| FetchError::Keys { url, source })
    }
}

/// Lets keys that name one issuer, or any directory's, be those of another.
fn rename(document: &mut Value, from: &str, to: &str) {
    for key in document.get_mut("keys").and_then(Value::as_array_mut).into_iter().flatten() {
        let named = key.get("issuer").and_then(Value::as_str);
        let any = named.is_some_and(|issuer| issuer.contains("{tenantid}"));
        if let (true, Some(members)) = (any || named == Some(from), key.as_object_mut()) {
            members.insert("issuer".to_owned(), to.into());
        }
    }
}

/// Compared as tuples: an opaque origin (`data:`, `file:`) is the same as none.
fn same_origin(one: &str, other: &str) -> bool {
    let origin = |url: &str| Url::parse(url).ok().map(|url| url.origin()).filter(url::Origin::is_tuple);
    origin(one).is_some_and(|one| Some(one) == origin(other))
}
