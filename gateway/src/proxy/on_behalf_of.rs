//! A backend with an Entra API of its own gets a token for it, in the caller's name (`backends.X.on_behalf_of`).
//!
//! The token comes of the grant that the caller's token belongs to; the caller's own token has no part in it and never
//! crosses. It is kept in memory until shortly before its end, and asked for once however many calls wait for it; nobody
//! else waits. Without it the call does not go.

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;

use super::door::Visit;
use super::rejection::Rejection;
use crate::authn::VerifiedIdentity;
use crate::backend::caller::Field;
use crate::clock::{Clock, Timestamp};
use crate::entra::{Entra, EntraError};
use crate::mcp;
use crate::oauth;
use crate::store::{Sealer, Store};

/// A token that ends so soon might not survive the call.
const MARGIN: Duration = Duration::from_secs(60);
const CAPACITY: u64 = 10_000;
/// Nothing is kept longer, whatever a token says of itself.
const LONGEST: Duration = Duration::from_hours(2);

/// Exchanges grants for tokens of other APIs.
#[derive(Debug)]
pub struct Exchanger {
    entra: Arc<Entra>,
    store: Arc<dyn Store>,
    sealer: Sealer,
    clock: Arc<dyn Clock>,
    tokens: Cache<(String, Arc<str>), Arc<Kept>>,
}

/// What a backend gets: an exchanger and the scope of its API.
#[derive(Clone, Debug)]
pub struct OnBehalfOf {
    /// Asks for the tokens.
    pub exchanger: Arc<Exchanger>,
    /// As in `api://its-id/.default`.
    pub scope: Arc<str>,
}

/// A token and when it ends.
struct Kept {
    field: Arc<str>,
    ends: Timestamp,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the caller's token belongs to no sign-in here")]
    NoGrant,
    #[error("the sign-in behind the caller's token is over, or the identity provider gave nothing to exchange")]
    Over,
    #[error("the store failed: {0}")]
    Store(String),
    #[error(transparent)]
    Entra(EntraError),
}

impl Exchanger {
    /// Exchanges what this store keeps sealed.
    #[must_use]
    pub fn new(entra: Arc<Entra>, store: Arc<dyn Store>, sealer: Sealer, clock: Arc<dyn Clock>) -> Self {
        let tokens = Cache::builder().max_capacity(CAPACITY).time_to_live(LONGEST).build();
        Self { entra, store, sealer, clock, tokens }
    }

    /// The value of an `Authorization` field for the API of `scope`.
    async fn authorization(&self, grant: &str, scope: &Arc<str>) -> Result<Arc<str>, Arc<Failure>> {
        let key = (grant.to_owned(), Arc::clone(scope));
        let now = self.clock.now();
        if let Some(kept) = self.tokens.get(&key).await {
            if now.plus(MARGIN) < kept.ends {
                return Ok(Arc::clone(&kept.field));
            }
            self.tokens.invalidate(&key).await;
        }
        let kept = self.tokens.try_get_with(key, self.exchange(grant, scope)).await?;
        Ok(Arc::clone(&kept.field))
    }

    async fn exchange(&self, grant: &str, scope: &str) -> Result<Arc<Kept>, Failure> {
        let store = |error: &dyn std::fmt::Display| Failure::Store(error.to_string());
        let grant = self.store.grant(grant).await.map_err(|error| store(&error))?.ok_or(Failure::Over)?;
        let sealed = grant.upstream.as_deref().ok_or(Failure::Over)?;
        let upstream = self.sealer.open(&oauth::upstream_binding(&grant.id), sealed);
        let upstream = upstream.map_err(|error| store(&error))?;
        let upstream = String::from_utf8(upstream).map_err(|error| store(&error))?;
        let exchanged = self.entra.on_behalf_of(&upstream, &grant.tid, scope).await.map_err(Failure::Entra)?;
        let ends = self.clock.now().plus(exchanged.lifetime);
        tracing::debug!(subject = %grant.oid, scope, "a token was exchanged for a backend");
        Ok(Arc::new(Kept { field: format!("Bearer {}", exchanged.access_token).into(), ends }))
    }
}

impl Visit<'_> {
    /// The field that the backend's own API wants; `None` for a backend that has none.
    pub(super) async fn on_behalf_of(
        &self,
        identity: &VerifiedIdentity,
        id: Option<&mcp::RequestId>,
    ) -> Result<Option<Field>, Rejection> {
        let Some(OnBehalfOf { exchanger, scope }) = &self.mount.on_behalf_of else { return Ok(None) };
        let found = match identity.grant() {
            Some(grant) => exchanger.authorization(grant, scope).await,
            None => Err(Arc::new(Failure::NoGrant)),
        };
        match found {
            Ok(value) => Ok(Some(("authorization", value))),
            Err(failure) => Err(self.not_exchanged(&failure, scope, id)),
        }
    }

    /// What the caller is told, and what the operator is.
    fn not_exchanged(&self, failure: &Failure, scope: &str, id: Option<&mcp::RequestId>) -> Rejection {
        let (request_id, backend) = (&self.id, &self.mount.name);
        let id = id.cloned();
        match failure {
            Failure::NoGrant | Failure::Over | Failure::Entra(EntraError::Refused { .. }) => {
                tracing::warn!(
                    %request_id, %backend, scope, error = %failure,
                    "the caller gets no token for the backend's API; see the consent and Conditional Access of that API"
                );
                Rejection::NotOnBehalf { id }
            }
            Failure::Store(_) => {
                tracing::error!(%request_id, %backend, error = %failure, "no token could be exchanged for the backend");
                Rejection::Unavailable { id }
            }
            Failure::Entra(_) => {
                tracing::error!(%request_id, %backend, scope, error = %failure, "no token could be exchanged for the backend");
                Rejection::BadGateway { id }
            }
        }
    }
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kept(until {})", self.ends)
    }
}
