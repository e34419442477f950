//! `GET /auth/me` and `GET /health` (`server.auth_endpoints`): what only the data plane can say, for scripts and people.
//!
//! Who asks is verified as at a backend, and what is said to be open comes out of the same decision as lists do. Nothing
//! of a caller goes to a backend here: the tools are those that the gateway itself reads.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Method, Response, StatusCode, header};
use serde_json::{Map, Value, json};

use super::exchange::Exchange;
use super::mount::Mount;
use super::{Door, Stage};
use crate::authn::{AuthnError, VerifiedIdentity, challenge};
use crate::backend::catalogue::Catalogue;
use crate::limit::TooOften;
use crate::oauth::PLAIN_CLIENT;

/// A caller, and the backends that take their token.
struct Asker {
    identity: Arc<VerifiedIdentity>,
    good_at: Vec<Arc<Mount>>,
}

impl Door {
    /// The answer, where the path is one of these and they are turned on.
    pub(super) async fn plain(&self, exchange: &Exchange) -> Option<Response<Bytes>> {
        if !self.settings.auth_endpoints {
            return None;
        }
        // RFC 9110 section 9.1: whatever can be got can be looked at. An answer to HEAD is sent without its body.
        let is_read = matches!(*exchange.method(), Method::GET | Method::HEAD);
        match exchange.path() {
            "/auth/me" | "/health" if !is_read => {
                let mut response = answer(StatusCode::METHOD_NOT_ALLOWED, None);
                response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
                Some(response)
            }
            "/auth/me" => Some(self.me(exchange).await),
            "/health" => Some(self.health()),
            _ => None,
        }
    }

    /// Whether a token would be believed now; which part is missing is for operators (`/readyz`).
    fn health(&self) -> Response<Bytes> {
        if self.authenticator.is_ready() && self.lifecycle.stage() == Stage::Serving {
            answer(StatusCode::OK, Some(&json!({ "status": "ok" })))
        } else {
            answer(StatusCode::SERVICE_UNAVAILABLE, Some(&json!({ "status": "unavailable" })))
        }
    }

    async fn me(&self, exchange: &Exchange) -> Response<Bytes> {
        let asker = match self.asker(exchange).await {
            Ok(asker) => asker,
            Err(failure) => return self.unauthenticated(&failure),
        };
        let subject = asker.identity.subject();
        if let Err(wait) = self.calls.check(None, &("/auth/me", subject.tenant(), subject.object())) {
            return too_often(wait);
        }
        // A client that was given a token for one backend learns nothing of the others; who signed in here is a person
        // who wants to know.
        let own = asker.identity.client_id() == Some(PLAIN_CLIENT);
        let shown = if own { self.routes.mounts() } else { &asker.good_at };
        let tools = join_all(shown.iter().map(|mount| self.tools(mount, &asker.identity))).await;
        let backends: Map<String, Value> = shown
            .iter()
            .zip(tools)
            .map(|(mount, tools)| {
                let takes = asker.good_at.iter().any(|good| good.name == mount.name);
                let of = json!({ "resource": mount.audience.resource, "takes_token": takes, "tools": tools });
                (mount.name.to_string(), of)
            })
            .collect();
        let kind = crate::audit::Actor::of(&asker.identity).kind;
        let me = json!({
            "kind": kind,
            "tenant": subject.tenant(),
            "subject": subject.object(),
            "client_id": subject.client(),
            "roles": subject.roles(),
            "expires_at": asker.identity.expires_at().as_secs(),
            "backends": backends,
        });
        answer(StatusCode::OK, Some(&me))
    }

    /// Who asks, by a token that some backend takes.
    async fn asker(&self, exchange: &Exchange) -> Result<Asker, AuthnError> {
        let mut found: Option<Arc<VerifiedIdentity>> = None;
        let (mut good_at, mut failure) = (Vec::new(), AuthnError::Missing);
        for mount in self.routes.mounts() {
            match self.authenticator.authenticate(exchange.headers(), &mount.audience).await {
                Ok(identity) => {
                    good_at.push(Arc::clone(mount));
                    found = Some(identity);
                }
                Err(why) => failure = why,
            }
        }
        found.map(|identity| Asker { identity, good_at }).ok_or(failure)
    }

    /// The tools that lists of this backend show the caller; nothing when it does not say which it has.
    async fn tools(&self, mount: &Mount, identity: &VerifiedIdentity) -> Option<Vec<String>> {
        let standing = self.standing();
        let seen = standing.view(identity.subject(), &mount.name);
        let catalogue: Arc<Catalogue> = match seen.keeper() {
            Some(keeper) => keeper.known().catalogue?,
            None => mount.listing.as_ref()?.get().await?,
        };
        Some(catalogue.tools().iter().filter(|tool| seen.lists(tool)).map(|tool| tool.name().to_owned()).collect())
    }

    fn unauthenticated(&self, failure: &AuthnError) -> Response<Bytes> {
        if *failure == AuthnError::Unavailable {
            return answer(StatusCode::SERVICE_UNAVAILABLE, None);
        }
        let metadata = self.routes.mounts().first().map(|mount| mount.resource_metadata.as_str()).unwrap_or_default();
        let mut response = answer(StatusCode::UNAUTHORIZED, None);
        if let Ok(value) = challenge::unauthorized(failure, metadata, "").parse() {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
        }
        response
    }
}

fn too_often(wait: TooOften) -> Response<Bytes> {
    let mut response = answer(StatusCode::TOO_MANY_REQUESTS, None);
    response.headers_mut().insert(header::RETRY_AFTER, wait.seconds().into());
    response
}

fn answer(status: StatusCode, body: Option<&Value>) -> Response<Bytes> {
    let mut response = Response::new(body.map_or_else(Bytes::new, |body| body.to_string().into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    if body.is_some() {
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    }
    response
}
