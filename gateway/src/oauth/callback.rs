//! Back from the identity provider (`/auth/callback`, the one registered redirect URI).
//!
//! The login is taken, whatever comes of it; the browser must be the one that consented; then the code of the
//! identity provider is traded and a code of our own goes to the client.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::HeaderMap;

use super::authorize::ask;
use super::consent::{recorded, upstream_leg};
use super::cookie::{Cookie, Purpose};
use super::error::PageError;
use super::form::Parameters;
use super::outcome::{Outcome, tell};
use super::{CODE_LIFETIME, LOGIN_LIFETIME, State as Server, clients, device, refused, remembered, secret, step_up};
use crate::audit::{Authorization, Step};
use crate::clock::Timestamp;
use crate::entra::{EntraError, SignedIn, errors};
use crate::store::{CodeRecord, Digest256, Grant, Login, Way};

pub(super) async fn arrive(
    State(server): State<Arc<Server>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, PageError> {
    let malformed = PageError::BadRequest("The answer of the identity provider cannot be read.");
    let parameters = Parameters::parse(&query.unwrap_or_default()).map_err(|_malformed| malformed)?;
    let state = parameters.get("state").ok_or(PageError::LoginOver)?;
    let taken = server.store.take_login(Digest256::of(state), server.clock.now()).await?;
    let login = taken.ok_or(PageError::LoginOver)?;
    refused::by(&login.client_id);
    let cookie = Cookie::new(&server, Purpose::Login, state);
    if !login.binding.as_ref().is_some_and(|binding| cookie.matches(&headers, binding)) {
        tracing::warn!(client = %login.client_id, "a login came back in another browser and was ended");
        return Err(PageError::OtherBrowser);
    }
    // Entra sends no `iss` (RFC 9207); whoever sends one must be it.
    if parameters.get("iss").is_some_and(|issuer| !server.entra.is_issuer(issuer)) {
        return Err(malformed);
    }
    let mut response = match (parameters.get("code"), parameters.get("error")) {
        (Some(code), None) => finish(&server, state, &login, code).await?,
        (None, Some(error)) => {
            let description = parameters.get("error_description").unwrap_or_default();
            failed(&server, &login, &EntraError::answered(error, description)).await?
        }
        _ => return Err(malformed),
    };
    cookie.clear(&mut response);
    Ok(response)
}

async fn finish(server: &Server, state: &str, login: &Login, code: &str) -> Result<Response, PageError> {
    let (Some(nonce), Some(verifier)) = (&login.nonce, &login.verifier) else { return Err(PageError::LoginOver) };
    let open = |sealed: &str| server.sealer.open(&upstream_leg(state), sealed);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|_error| PageError::LoginOver);
    let (nonce, verifier) = (text(open(nonce)?)?, text(open(verifier)?)?);
    match server.entra.arrive(code, &nonce, &verifier).await {
        Ok(signed_in) => issue(server, login, signed_in).await,
        Err(error) => failed(server, login, &error).await,
    }
}

async fn issue(server: &Server, login: &Login, signed_in: SignedIn) -> Result<Response, PageError> {
    let SignedIn { identity, refresh_token } = signed_in;
    let account = format!("{}:{}", identity.tid, identity.oid);
    let client = clients::of_login(server, login).await?.ok_or(PageError::LoginOver)?;
    if login.remembered_of.as_ref().is_some_and(|agreed| *agreed != account) {
        return ask_again(server, login).await;
    }
    let wanted = step_up::wanted(server.resource(&login.resource), &login.scopes);
    if !wanted.is_met(&identity.acrs, identity.auth_time, server.clock.now(), server.entra.clock_skew()) {
        return too_weak(server, login, &identity.oid).await;
    }
    let id = uuid::Uuid::new_v4().to_string();
    let upstream = match refresh_token {
        Some(token) => Some(server.sealer.seal(&upstream_binding(&id), token.as_bytes())?),
        None => None,
    };
    let grant = Grant {
        id,
        client_id: login.client_id.clone(),
        resource: login.resource.clone(),
        scopes: login.scopes.clone(),
        tid: identity.tid,
        oid: identity.oid,
        roles: identity.roles,
        groups: identity.groups,
        auth_time: identity.auth_time.map(Timestamp::as_secs),
        acrs: identity.acrs,
        guest: identity.is_guest,
        claims: identity.claims,
        may_refresh: client.may_refresh && upstream.is_some(),
        upstream,
    };
    recorded(server, Authorization::of(Step::SignedIn, &grant))?;
    let code = code_for(server, login).await?;
    server.store.issue_code(code.digest, &code.record, &grant, server.clock.now().plus(code.lifetime)).await?;
    tracing::info!(subject = %grant.oid, tenant = %grant.tid, client = %grant.client_id, "signed in");
    let mut response = tell(server, login, Outcome::Code(&code.text)).await?;
    remembered::keep(server, &client, login, &account, &mut response);
    Ok(response)
}

/// A code of ours, and what it is for.
struct Code {
    text: String,
    digest: Digest256,
    record: CodeRecord,
    lifetime: Duration,
}

/// The code for what comes of a login. A device has its code already, and it is its own verifier; a request that was
/// decided before gets none.
async fn code_for(server: &Server, login: &Login) -> Result<Code, PageError> {
    let mut record = CodeRecord {
        client_id: login.client_id.clone(),
        redirect_uri: login.redirect_uri.clone(),
        code_challenge: login.code_challenge.clone(),
        resource: login.resource.clone(),
    };
    let Way::Device(waiting) = &login.way else {
        let text = secret();
        return Ok(Code { digest: Digest256::of(&text), text, record, lifetime: CODE_LIFETIME });
    };
    let digest = Digest256::read(&waiting.name).ok_or(PageError::LoginOver)?;
    if !device::settle(server, waiting).await? {
        return Err(PageError::LoginOver);
    }
    device::GRANT.clone_into(&mut record.redirect_uri);
    record.code_challenge = Some(waiting.name.clone());
    Ok(Code { text: String::new(), digest, record, lifetime: LOGIN_LIFETIME })
}

/// Another account than the one that agreed: it is asked itself, and what was found out about it is thrown away.
async fn ask_again(server: &Server, login: &Login) -> Result<Response, PageError> {
    tracing::info!(client = %login.client_id, "another account signed in than the one that consented; it is asked");
    let known = clients::find(server, &login.client_id).await?.ok_or(PageError::LoginOver)?;
    let resource = server.resource(&login.resource).ok_or(PageError::LoginOver)?;
    let fresh = Login { binding: None, nonce: None, verifier: None, remembered_of: None, ..login.clone() };
    let mut response = ask(server, fresh, &known, resource).await?;
    remembered::forget(server, login, &mut response);
    Ok(response)
}

/// The sign-in is not what the scopes want: there is no token without them either, or the client would ask for ever.
async fn too_weak(server: &Server, login: &Login, subject: &str) -> Result<Response, PageError> {
    const TEXT: &str = "Your sign-in was not strong or not recent enough for what was asked for.";
    tracing::warn!(
        client = %login.client_id, %subject, scopes = login.scopes.join(" "),
        "a sign-in came back without the authentication context or the auth_time that `step_up` asks for; see that the \
         Conditional Access policy is on and that `acrs` and `auth_time` are optional claims of the ID token"
    );
    let step = Authorization::new(Step::SignInFailed, &login.client_id);
    recorded(server, step.because("the sign-in does not meet the step-up of the scopes"))?;
    tell(server, login, Outcome::Failed("access_denied", TEXT)).await
}

/// What an upstream token is sealed for.
#[must_use]
pub fn upstream_binding(grant_id: &str) -> Vec<u8> {
    [b"upstream-refresh-token:".as_slice(), grant_id.as_bytes()].concat()
}

/// The client learns that it failed; the words are ours, never the identity provider's.
async fn failed(server: &Server, login: &Login, error: &EntraError) -> Result<Response, PageError> {
    let (code, text) = match error {
        EntraError::Refused { advice, .. } => ("access_denied", advice.user),
        EntraError::OtherDirectory { .. } => ("access_denied", errors::other_account()),
        EntraError::Unavailable(_) => {
            ("temporarily_unavailable", "The identity provider does not answer. Please try again in a moment.")
        }
        EntraError::Misconfigured { .. } | EntraError::Unacceptable(_) | EntraError::Credential(_) => {
            ("server_error", "Signing in failed. Please tell your administrator.")
        }
    };
    if code == "access_denied" {
        tracing::warn!(client = %login.client_id, %error, "a sign-in was refused");
    } else {
        tracing::error!(client = %login.client_id, %error, "a sign-in failed");
    }
    recorded(server, Authorization::new(Step::SignInFailed, &login.client_id).because(error.to_string()))?;
    tell(server, login, Outcome::Failed(code, text)).await
}
