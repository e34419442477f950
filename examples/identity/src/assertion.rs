//! Issuers of identity assertions (ID-JAG, draft-ietf-oauth-identity-assertion-authz-grant) beside the directory: any name is one,
//! at `/assertions/NAME`, with keys of its own.
//!
//! A client trades a person's ID token of this provider for an assertion there (RFC 8693). Which client the assertion is for at the
//! other server is what the client says: there is nobody here whom it could deceive.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Form, Json};
use serde_json::{Value, json};

use crate::keys::Keys;
use crate::token::{insert, now, secret};
use crate::{Running, Shared};

const TYPE: &str = "oauth-id-jag+jwt";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ASSERTION: &str = "urn:ietf:params:oauth:token-type:id-jag";
const LIFETIME: u64 = 300;

impl Running {
    /// The identifier of the issuer of this name.
    #[must_use]
    pub fn assertion_issuer(&self, name: &str) -> String {
        self.shared.assertion_issuer(name)
    }

    /// An assertion of the issuer of this name: its own claims, with some replaced or added (`null` takes one away).
    ///
    /// # Errors
    ///
    /// Returns an error when a key cannot be made.
    pub fn assertion(&self, name: &str, replace: &Value) -> std::io::Result<String> {
        self.assertion_of_type(name, TYPE, replace)
    }

    /// As [`Running::assertion`], of any type of token.
    ///
    /// # Errors
    ///
    /// Returns an error when a key cannot be made.
    pub fn assertion_of_type(&self, name: &str, typ: &str, replace: &Value) -> std::io::Result<String> {
        Ok(self.shared.keys_of(name)?.sign_as(typ, &self.shared.assertion_claims(name, replace)))
    }
}

impl Shared {
    fn assertion_issuer(&self, name: &str) -> String {
        format!("{}/assertions/{name}", self.origin)
    }

    /// The keys of an issuer, which begin when somebody asks for them.
    fn keys_of(&self, name: &str) -> std::io::Result<Arc<Keys>> {
        let mut all = self.issuers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(name) {
            return Ok(Arc::clone(known));
        }
        let fresh = Arc::new(Keys::generate()?);
        all.insert(name.to_owned(), Arc::clone(&fresh));
        Ok(fresh)
    }

    fn assertion_claims(&self, name: &str, replace: &Value) -> Value {
        let now = now();
        let mut claims =
            json!({ "iss": self.assertion_issuer(name), "jti": secret(), "iat": now, "exp": now + LIFETIME });
        for (name, value) in replace.as_object().into_iter().flatten() {
            insert(&mut claims, name, value.clone());
        }
        claims
    }
}

pub(crate) async fn metadata(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Json<Value> {
    let issuer = shared.assertion_issuer(&name);
    Json(json!({
        "issuer": issuer,
        "jwks_uri": format!("{issuer}/keys"),
        "token_endpoint": format!("{issuer}/token"),
        "authorization_endpoint": format!("{issuer}/authorize"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "grant_types_supported": [EXCHANGE],
        "identity_chaining_requested_token_types_supported": [ASSERTION],
    }))
}

pub(crate) async fn keys(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Response {
    match shared.keys_of(&name) {
        Ok(keys) => Json(json!({ "keys": keys.public(&shared.assertion_issuer(&name)) })).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Trades an ID token for an assertion.
pub(crate) async fn token(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    Form(form): Form<HashMap<String, String>>,
) -> Response {
    let get = |name: &str| form.get(name).map_or("", String::as_str);
    if get("grant_type") != EXCHANGE || get("requested_token_type") != ASSERTION {
        return refused("unsupported_grant_type");
    }
    let text = |claims: &Value, name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let person = shared.keys.open(get("subject_token")).map(|claims| text(&claims, "preferred_username"));
    let Some(person) = person.filter(|person| !person.is_empty()) else { return refused("invalid_grant") };
    let Ok(keys) = shared.keys_of(&name) else { return refused("server_error") };
    let user = person.split('@').next().unwrap_or_default();
    let roles = shared.directory().user(user).map(|user| user.roles.clone()).unwrap_or_default();
    let scope = form.get("scope").map_or(Value::Null, |scope| scope.as_str().into());
    let claims = json!({ "sub": user, "email": person, "aud": get("audience"), "resource": get("resource"), "scope": scope,
        "client_id": get("client_id"), "groups": roles });
    let assertion = keys.sign_as(TYPE, &shared.assertion_claims(&name, &claims));
    Json(json!({ "issued_token_type": ASSERTION, "access_token": assertion, "token_type": "N_A", "expires_in": LIFETIME }))
        .into_response()
}

fn refused(error: &str) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response()
}
