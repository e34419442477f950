//! Entra's tokens (Microsoft identity platform, access token and ID token claims reference), version 2.0 only.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::{ClaimsError, MAX_ROLES, MAX_TEXT};
use crate::clock::Timestamp;
use crate::jose::jwt::{self, JwtError};
use crate::json;

const GRAPH: &str = "00000003-0000-0000-c000-000000000000";

/// What a token of this tenant and this app registration says.
#[derive(Clone, Debug)]
pub struct EntraExpectations {
    /// The exact issuer, from the provider's own metadata.
    pub issuer: String,
    /// The directory's GUID.
    pub tenant_id: String,
    /// The app registration's GUID, which is the audience.
    pub client_id: String,
    /// Short names of the delegated permissions, one of which a person's token must carry.
    pub scopes: Vec<String>,
    /// Tolerance for clocks that differ.
    pub clock_skew: Duration,
}

/// Who a token of Entra is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntraIdentity {
    /// Whether it is an application on its own behalf.
    pub is_app: bool,
    /// The directory.
    pub tid: String,
    /// The object in it.
    pub oid: String,
    /// App-role values; none when the claim is absent or not a list of texts.
    pub roles: Vec<String>,
    /// Groups' object IDs; none after an overage.
    pub groups: Vec<String>,
    /// When the token ends.
    pub exp: Timestamp,
    /// The application that holds it (`azp`).
    pub client: Option<String>,
    /// Its name in logs (`uti`).
    pub token_id: Option<String>,
    /// For display only.
    pub name: Option<String>,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    exp: f64,
    nbf: f64,
    iat: f64,
    ver: String,
    tid: String,
    oid: String,
    sub: String,
    azp: Option<String>,
    scp: Option<String>,
    idtyp: Option<String>,
    nonce: Option<String>,
    uti: Option<String>,
    name: Option<String>,
    preferred_username: Option<String>,
    #[serde(default)]
    roles: Value,
    #[serde(default)]
    groups: Value,
}

impl EntraExpectations {
    /// Checks the claims of an access token that is presented as a bearer.
    ///
    /// # Errors
    ///
    /// Returns the [`ClaimsError`] that says which claim is not as it must be.
    pub fn access_token(&self, payload: &[u8], now: Timestamp) -> Result<EntraIdentity, ClaimsError> {
        let claims = self.common(payload, now)?;
        // An ID token has our audience and a good signature too.
        if claims.nonce.is_some() || claims.azp.is_none() {
            return Err(ClaimsError::IdToken);
        }
        let is_app = match (claims.idtyp.as_deref(), &claims.scp) {
            (Some("app"), None) => true,
            (None | Some("user"), Some(granted)) => {
                if !granted.split(' ').any(|scope| self.scopes.iter().any(|known| known == scope)) {
                    return Err(ClaimsError::Kind);
                }
                false
            }
            _ => return Err(ClaimsError::Kind),
        };
        Ok(identity(claims, is_app))
    }

    /// Checks the claims of the ID token of one login.
    ///
    /// # Errors
    ///
    /// Returns the [`ClaimsError`] that says which claim is not as it must be.
    pub fn id_token(&self, payload: &[u8], nonce: &str, now: Timestamp) -> Result<EntraIdentity, ClaimsError> {
        let claims = self.common(payload, now)?;
        if claims.nonce.as_deref() != Some(nonce) {
            return Err(ClaimsError::Nonce);
        }
        Ok(identity(claims, false))
    }

    /// Checks the claims of an ID token that came with a refresh, where there is no nonce to compare.
    ///
    /// # Errors
    ///
    /// Returns the [`ClaimsError`] that says which claim is not as it must be.
    pub fn refreshed_id_token(&self, payload: &[u8], now: Timestamp) -> Result<EntraIdentity, ClaimsError> {
        Ok(identity(self.common(payload, now)?, false))
    }

    fn common(&self, payload: &[u8], now: Timestamp) -> Result<Claims, ClaimsError> {
        self.explain(payload)?;
        let claims: Claims = jwt::object(payload).map_err(|_error: JwtError| ClaimsError::Shape)?;
        if claims.ver != "2.0" {
            return Err(ClaimsError::VersionOne);
        }
        if !is_guid(&claims.tid) || !claims.tid.eq_ignore_ascii_case(&self.tenant_id) {
            return Err(ClaimsError::Tenant);
        }
        if claims.iss != self.issuer {
            return Err(ClaimsError::Issuer);
        }
        if claims.aud != self.client_id {
            return Err(ClaimsError::Audience);
        }
        let skew = self.clock_skew.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "seconds fit a double for the next hundred million years")]
        let now = now.as_secs() as f64;
        if !(claims.exp.is_finite() && claims.exp > now - skew && claims.exp < 1e11) {
            return Err(ClaimsError::Expired);
        }
        if !(claims.nbf <= now + skew && claims.iat <= now + skew) {
            return Err(ClaimsError::NotYet);
        }
        let optional = [&claims.azp, &claims.uti, &claims.nonce];
        let too_long = optional.into_iter().flatten().any(|text| text.len() > MAX_TEXT);
        if !is_guid(&claims.oid) || claims.sub.is_empty() || claims.sub.len() > MAX_TEXT || too_long {
            return Err(ClaimsError::Shape);
        }
        Ok(claims)
    }

    /// The two first-run mistakes, told apart before the claims are read as version 2.
    fn explain(&self, payload: &[u8]) -> Result<(), ClaimsError> {
        let claims: Value = jwt::object(payload).map_err(|_error: JwtError| ClaimsError::Shape)?;
        let claim = |name| claims.get(name).and_then(Value::as_str);
        if claim("aud") == Some(GRAPH) || claim("aud") == Some("https://graph.microsoft.com") {
            return Err(ClaimsError::Graph);
        }
        if claim("ver") == Some("1.0") {
            return Err(ClaimsError::VersionOne);
        }
        let members = claims.as_object().into_iter().flat_map(serde_json::Map::keys);
        if members.into_iter().any(|name| json::resembles(name, &["tid"])) {
            return Err(ClaimsError::Shape);
        }
        let roles = claims.get("roles").and_then(Value::as_array);
        if roles.is_some_and(|roles| roles.len() > MAX_ROLES) {
            return Err(ClaimsError::Shape);
        }
        Ok(())
    }
}

fn is_guid(text: &str) -> bool {
    text.len() == 36 && Uuid::try_parse(text).is_ok()
}

fn identity(claims: Claims, is_app: bool) -> EntraIdentity {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be a time of this age")]
    let exp = Timestamp::from_secs(claims.exp as u64);
    EntraIdentity {
        is_app,
        tid: claims.tid.to_ascii_lowercase(),
        oid: claims.oid.to_ascii_lowercase(),
        roles: texts(&claims.roles),
        groups: texts(&claims.groups),
        exp,
        client: claims.azp,
        token_id: claims.uti,
        name: claims.preferred_username.or(claims.name),
    }
}

/// A list of texts; anything else grants nothing.
fn texts(value: &Value) -> Vec<String> {
    let all = value.as_array().map(|items| items.iter().map(Value::as_str).collect::<Option<Vec<&str>>>());
    all.flatten().unwrap_or_default().into_iter().map(str::to_owned).collect()
}
