//! Identity assertions (ID-JAG, draft-ietf-oauth-identity-assertion-authz-grant-03; MCP's enterprise-managed authorization) as a
//! grant (RFC 7523 section 2.1): an issuer that the operator named says who a person is, to a client of the configuration.
//!
//! Nobody is asked and nobody signs in here, so that little follows from an assertion: a token of ours for the one resource that it
//! names, with no more scopes than it has and no roles but those that the configuration makes of it. There is no refresh token:
//! who wants to go on brings another assertion. The log and the trail say why one was refused, and the caller does not learn it.

use std::collections::{BTreeMap, BTreeSet};

use axum::response::Response;

use super::clients::{Known, Source};
use super::error::OAuthError;
use super::form::Parameters;
use super::{Configured, Resource, State as Server, scope, step_up, token};
use crate::audit::{Authorization, Step};
use crate::jose::VerifyError;
use crate::jose::access_token::IdType;
use crate::jose::claims::Assertion;
use crate::jose::identity_assertion::Verifier;
use crate::jose::jwt;
use crate::store::{Digest256, Grant};

/// The grant type (RFC 7523 section 2.1).
pub const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// Its one profile here, as metadata names it (section 7.2 of the draft).
pub(super) const PROFILE: &str = "urn:ietf:params:oauth:grant-profile:id-jag";

/// An issuer whose word on a person is taken.
#[derive(Clone, Debug)]
pub struct Trusted {
    /// Verifies its assertions.
    pub verifier: Verifier,
    /// App-role values, by the value of its claim that they follow from.
    pub roles: BTreeMap<String, Vec<String>>,
    /// The clients that may bring its assertions; every one with the grant type when absent.
    pub clients: Option<BTreeSet<String>>,
}

impl Trusted {
    /// The app-role values that follow from an assertion, each once.
    fn roles_of(&self, assertion: &Assertion) -> Vec<String> {
        let roles: BTreeSet<&String> =
            assertion.values.iter().filter_map(|value| self.roles.get(value)).flatten().collect();
        roles.into_iter().cloned().collect()
    }
}

/// Why an assertion is not taken.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("it is no token: {0}")]
    Form(#[from] jwt::JwtError),
    #[error("its issuer is not one of `oauth.identity_assertions`")]
    Issuer,
    #[error("its issuer is not taken from this client; see `clients` in `oauth.identity_assertions`")]
    Client,
    #[error("it does not verify: {0}")]
    Verify(VerifyError),
    #[error("it was used before")]
    Replayed,
    #[error("it is for no resource of this gateway, or for several and the request names none of them")]
    Resource,
    #[error("none of the scopes that it has and the request asks for can be granted")]
    Scope,
}

pub(super) async fn by_assertion(
    server: &Server,
    known: &Known,
    parameters: &Parameters,
) -> Result<Response, OAuthError> {
    if server.issuers.is_empty() {
        return Err(OAuthError::UnsupportedGrantType);
    }
    let Source::Configured(client) = &known.source else { return Err(OAuthError::UnauthorizedClient) };
    if !client.grants.assertion {
        return Err(OAuthError::UnauthorizedClient);
    }
    let text = parameters.get("assertion").ok_or(OAuthError::InvalidRequest("assertion is missing"))?;
    let (trusted, assertion) = match verified(server, client, text).await {
        Ok(found) => found,
        Err(Refusal::Verify(VerifyError::Unavailable)) => {
            tracing::error!(
                client = client.id,
                "an assertion cannot be judged: the keys of its issuer are not available"
            );
            return Err(OAuthError::TemporarilyUnavailable);
        }
        Err(refusal) => return Err(refuse(server, client, &refusal)),
    };
    let resource = resource(server, &assertion, parameters.get("resource"));
    let resource = resource.ok_or_else(|| refuse(server, client, &Refusal::Resource))?;
    let grant = grant(client, resource, trusted, &assertion, parameters.get("scope"));
    if !step_up::covers_any(server, &grant) {
        return Err(refuse(server, client, &Refusal::Scope));
    }
    // Last of all: what is refused for anything else can be presented rightly.
    let name = Digest256::apart("identity-assertion", &format!("{}\n{}", trusted.verifier.issuer(), assertion.jti));
    if !server.store.spend_assertion(name, assertion.expires).await? {
        return Err(refuse(server, client, &Refusal::Replayed));
    }
    if !server.record(Authorization::of(Step::TokensIssued, &grant).because("identity_assertion")) {
        return Err(OAuthError::TemporarilyUnavailable);
    }
    token::answer(server, &grant, IdType::User, &grant.scopes, None)
}

/// The assertion, if its issuer is trusted for this client and it is this client's.
async fn verified<'s>(
    server: &'s Server,
    client: &Configured,
    text: &str,
) -> Result<(&'s Trusted, Assertion), Refusal> {
    let jws = jwt::parse(text)?;
    let issuer = jws.unverified().map(|claimed| claimed.iss).unwrap_or_default();
    let trusted = server.issuers.get(&issuer).ok_or(Refusal::Issuer)?;
    // Before its key is looked for: whom nobody believes here must not make us ask the issuer.
    if trusted.clients.as_ref().is_some_and(|clients| !clients.contains(&client.id)) {
        return Err(Refusal::Client);
    }
    let (audience, now) = (&server.settings.issuer, server.clock.now());
    let assertion = trusted.verifier.verify(&jws, audience, &client.id, now).await.map_err(Refusal::Verify)?;
    Ok((trusted, assertion))
}

/// The resource of an assertion: its only one, or the one of several that the request names.
fn resource<'s>(server: &'s Server, assertion: &Assertion, asked: Option<&str>) -> Option<&'s Resource> {
    let of_assertion = |resource: &&Resource| {
        assertion.resources.iter().any(|url| server.resource(url).is_some_and(|found| found.url == resource.url))
    };
    match (asked, assertion.resources.as_slice()) {
        (Some(url), _) => server.resource(url).filter(of_assertion),
        (None, [single]) => server.resource(single),
        (None, _) => None,
    }
}

/// What follows from an assertion, of what the request asks for.
fn grant(
    client: &Configured,
    resource: &Resource,
    trusted: &Trusted,
    assertion: &Assertion,
    asked: Option<&str>,
) -> Grant {
    let named = |name: &str| assertion.scope.as_deref().is_some_and(|scope| scope.split(' ').any(|one| one == name));
    let granted: Vec<String> = match &assertion.scope {
        // The issuer may speak of scopes that are none here; none of them must come to mean all.
        Some(_) => resource.scopes.iter().filter(|scope| named(&scope.name)).map(|scope| scope.name.clone()).collect(),
        None => resource.usual_scopes().map(|scope| scope.name.clone()).collect(),
    };
    Grant {
        id: uuid::Uuid::new_v4().to_string(),
        client_id: client.id.clone(),
        resource: resource.url.clone(),
        scopes: scope::shared(asked, &granted),
        tid: trusted.verifier.issuer().to_owned(),
        oid: assertion.sub.clone(),
        roles: trusted.roles_of(assertion),
        groups: Vec::new(),
        // Contexts of Entra's are no other issuer's to give: what wants a stronger sign-in is not covered.
        auth_time: None,
        acrs: Vec::new(),
        // Of another directory than the gateway's own.
        guest: true,
        claims: BTreeMap::new(),
        upstream: None,
        may_refresh: false,
    }
}

/// Tells the operator why, and the client what RFC 6749, 7523 and 8707 have a word for.
fn refuse(server: &Server, client: &Configured, refusal: &Refusal) -> OAuthError {
    tracing::warn!(client = client.id, %refusal, "an identity assertion is refused");
    let step = Authorization::new(Step::SignInFailed, &client.id);
    // It is refused either way.
    let _ = server.record(step.because(format!("an identity assertion is refused: {refusal}")));
    match refusal {
        Refusal::Resource => OAuthError::InvalidTarget,
        Refusal::Scope => OAuthError::InvalidScope,
        Refusal::Form(_) | Refusal::Issuer | Refusal::Client | Refusal::Verify(_) | Refusal::Replayed => {
            OAuthError::InvalidGrant
        }
    }
}
