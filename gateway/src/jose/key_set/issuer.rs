//! The keys of an issuer that is not Entra: at a place of their own, or where the issuer's metadata says.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::fetch::MAX_DOCUMENT;
use super::{FetchError, KeySource, Keys, parse_any};
use crate::outbound::{Outbound, OutboundError};

/// The key set of one issuer.
#[derive(Clone, Debug)]
pub struct IssuerKeys {
    outbound: Outbound,
    issuer: String,
    jwks_uri: Option<String>,
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

impl IssuerKeys {
    /// The keys at this address; without one, where the issuer's metadata says.
    #[must_use]
    pub fn new(outbound: Outbound, issuer: &str, jwks_uri: Option<&str>) -> Self {
        Self { outbound, issuer: issuer.to_owned(), jwks_uri: jwks_uri.map(str::to_owned) }
    }

    async fn jwks_uri(&self) -> Result<String, FetchError> {
        if let Some(known) = &self.jwks_uri {
            return Ok(known.clone());
        }
        let mut url = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let metadata: Metadata = match self.outbound.fetch_json(&url, MAX_DOCUMENT).await {
            Ok(metadata) => metadata,
            // An authorization server that knows nothing of OpenID Connect.
            Err(OutboundError::Status { status: 404, .. }) => {
                url = inserted(&self.issuer);
                self.outbound.fetch_json(&url, MAX_DOCUMENT).await?
            }
            Err(error) => return Err(error.into()),
        };
        if metadata.issuer != self.issuer {
            return Err(FetchError::Metadata { url, what: "is the metadata of another issuer (RFC 8414 section 3.3)" });
        }
        Ok(metadata.jwks_uri)
    }
}

#[async_trait]
impl KeySource for IssuerKeys {
    async fn fetch(&self) -> Result<Keys, FetchError> {
        let url = self.jwks_uri().await?;
        let document: Value = self.outbound.fetch_json(&url, MAX_DOCUMENT).await?;
        parse_any(&document).map_err(|source| FetchError::Keys { url, source })
    }
}

/// RFC 8414 section 3: the name goes between host and path.
fn inserted(issuer: &str) -> String {
    const NAME: &str = "/.well-known/oauth-authorization-server";
    let Ok(url) = Url::parse(issuer) else { return format!("{issuer}{NAME}") };
    format!("{}{NAME}{}", url.origin().ascii_serialization(), url.path().trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::Router;
    use axum::routing::get;
    use serde_json::json;

    use super::*;
    use crate::jose::fixture::Rsa;
    use crate::jose::signing_key::SigningKey;
    use crate::outbound::Settings;

    /// A server of these documents; gives its origin.
    async fn serve(documents: impl Fn(&str) -> Vec<(&'static str, Value)>) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let mut router = Router::new();
        for (path, document) in documents(&origin) {
            let document = Arc::new(document.to_string());
            router = router.route(path, get(move || async move { document.to_string() }));
        }
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        origin
    }

    async fn fetch(issuer: &str, jwks_uri: Option<&str>) -> Result<Vec<String>, FetchError> {
        let outbound = Outbound::new(&Settings::default()).unwrap();
        let mut kids: Vec<String> = IssuerKeys::new(outbound, issuer, jwks_uri).fetch().await?.into_keys().collect();
        kids.sort();
        Ok(kids)
    }

    fn keys() -> Value {
        let mut own = SigningKey::generate().unwrap().public_jwk().clone();
        own["kid"] = json!("ec");
        let secret = json!({ "kty": "oct", "kid": "hmac", "k": "AAAA" });
        json!({ "keys": [own, Rsa::provider().jwk("rsa"), secret] })
    }

    #[tokio::test]
    async fn keys_of_both_kinds_are_found_by_either_metadata_or_without_one() {
        let metadata = |origin: &str, path: &str| json!({ "issuer": format!("{origin}{path}"), "jwks_uri": format!("{origin}/keys") });
        let origin = serve(|origin| {
            vec![
                ("/keys", keys()),
                ("/oidc/.well-known/openid-configuration", metadata(origin, "/oidc")),
                ("/.well-known/oauth-authorization-server/oauth", metadata(origin, "/oauth")),
                ("/slash/.well-known/openid-configuration", metadata(origin, "/slash/")),
                ("/other/.well-known/openid-configuration", metadata(origin, "/oidc")),
            ]
        })
        .await;
        for path in ["/oidc", "/oauth", "/slash/"] {
            assert_eq!(fetch(&format!("{origin}{path}"), None).await.unwrap(), ["ec", "rsa"], "{path}");
        }
        let keys = format!("{origin}/keys");
        assert_eq!(fetch("https://nobody.example", Some(&keys)).await.unwrap(), ["ec", "rsa"]);
        let foreign = fetch(&format!("{origin}/other"), None).await.unwrap_err().to_string();
        assert!(foreign.contains("another issuer") && foreign.contains("oauth.identity_assertions"), "{foreign}");
        assert!(fetch(&format!("{origin}/nothing"), None).await.is_err());
    }
}
