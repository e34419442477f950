//! Entra's tokens (Microsoft identity platform, access token and ID token claims reference): version 2.0, and access
//! tokens of version 1.0 where the operator chose to take them.
//!
//! The rules are those of Microsoft's own validators and stricter: one exact audience, one exact issuer per tenant,
//! tenants by an explicit list, scopes for people, app roles and `idtyp` for applications.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::ClaimsError;
use super::claim_set::{ClaimSet, Texts};
use crate::clock::Timestamp;
use crate::jose::jwt::Payload;

/// Microsoft Graph, under its GUID and its URL.
const GRAPH: [&str; 2] = ["00000003-0000-0000-c000-000000000000", "https://graph.microsoft.com"];
/// Microsoft's validators tolerate this much; nobody needs more.
const MAX_CLOCK_SKEW: Duration = Duration::from_mins(5);

/// What the tokens of these tenants and this app registration say.
#[derive(Clone, Debug)]
pub struct EntraExpectations {
    /// The exact issuer, from the provider's own metadata.
    pub issuer: String,
    /// The directory's GUID.
    pub tenant_id: String,
    /// Further directories whose members are let in.
    pub allowed_tenants: Vec<Tenant>,
    /// The app registration's GUID, which is the audience.
    pub client_id: String,
    /// Short names of the delegated permissions, one of which a person's token must carry.
    pub scopes: Vec<String>,
    /// Tolerance for clocks that differ; 300 s at most, whatever is set.
    pub clock_skew: Duration,
    /// How access tokens of version 1.0 look; they are refused when absent.
    pub version_one: Option<VersionOne>,
    /// Further claims that policies may ask for.
    pub claims: BTreeSet<String>,
}

/// How access tokens of version 1.0 look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionOne {
    /// The exact issuer, with `{tenantid}` for the directory.
    pub issuer: String,
    /// The registration's Application ID URI, which may be the audience.
    pub app_id_uri: String,
}

impl VersionOne {
    /// The issuer of a directory's tokens.
    #[must_use]
    pub fn issuer_of(&self, tid: &str) -> String {
        self.issuer.replace("{tenantid}", &tid.to_ascii_lowercase())
    }
}

/// Another directory in the same cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Its GUID.
    pub tenant_id: String,
    /// The exact issuer of its version 2.0 tokens.
    pub issuer: String,
}

/// Who a token of Entra is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntraIdentity {
    /// Whether it is an application on its own behalf.
    pub is_app: bool,
    /// The directory, in lower case.
    pub tid: String,
    /// The object in it, in lower case.
    pub oid: String,
    /// App-role values; none when the claim is absent or not a list of texts.
    pub roles: Vec<String>,
    /// Groups' object IDs; none after an overage.
    pub groups: Vec<String>,
    /// Whether there are more groups than the token lists, so that it says nothing of them.
    pub groups_overage: bool,
    /// Whether the person is a guest in the directory.
    pub is_guest: bool,
    /// Further claims that policies may ask for: texts, numbers, booleans and lists of them.
    pub claims: BTreeMap<String, Value>,
    /// When the token ends.
    pub exp: Timestamp,
    /// When the person signed in (`auth_time`).
    pub auth_time: Option<Timestamp>,
    /// Authentication contexts that the sign-in satisfied.
    pub acrs: Vec<String>,
    /// The application that holds it (`azp`, or `appid` in version 1.0).
    pub client: Option<String>,
    /// Its name in logs (`uti`).
    pub token_id: Option<String>,
    /// For display only.
    pub name: Option<String>,
}

/// Claims of the right issuer, tenant, audience and time; what kind of token it is, is still open.
struct Common {
    claims: ClaimSet,
    tid: String,
    oid: String,
    exp: Timestamp,
    /// The claim that names the application.
    client: &'static str,
    /// Further claims that are asked for.
    wanted: BTreeSet<String>,
}

impl EntraExpectations {
    /// Whether this is the issuer of a tenant that is let in.
    #[must_use]
    pub fn is_issuer(&self, issuer: &str) -> bool {
        let current = issuer == self.issuer || self.allowed_tenants.iter().any(|tenant| issuer == tenant.issuer);
        current || self.version_one.as_ref().is_some_and(|one| self.tenants().any(|tid| one.issuer_of(tid) == issuer))
    }

    /// Every directory that is let in.
    fn tenants(&self) -> impl Iterator<Item = &str> {
        [self.tenant_id.as_str()].into_iter().chain(self.allowed_tenants.iter().map(|tenant| tenant.tenant_id.as_str()))
    }

    /// The issuer of a tenant that is let in.
    #[must_use]
    pub fn issuer_of(&self, tid: &str) -> Option<&str> {
        if tid.eq_ignore_ascii_case(&self.tenant_id) {
            return Some(&self.issuer);
        }
        let tenant = self.allowed_tenants.iter().find(|tenant| tid.eq_ignore_ascii_case(&tenant.tenant_id));
        tenant.map(|tenant| tenant.issuer.as_str())
    }

    /// Judges an access token that is presented as a bearer.
    ///
    /// # Errors
    ///
    /// Returns the [`ClaimsError`] that says which claim is not as it must be.
    pub fn access_token(&self, payload: Payload<'_>, now: Timestamp) -> Result<EntraIdentity, ClaimsError> {
        let common = self.common(payload, self.version_one.as_ref(), now)?;
        let claims = &common.claims;
        claims.date("nbf")?;
        // An ID token has our audience and a good signature too, and may carry roles.
        if claims.has("nonce") || !claims.has(common.client) {
            return Err(ClaimsError::IdToken);
        }
        let is_app = match (claims.optional_text("idtyp")?, claims.optional_text("scp")?) {
            (Some("app"), None) => true,
            (None | Some("user"), Some(granted)) => {
                self.check_scope(granted)?;
                false
            }
            _ => return Err(ClaimsError::Kind),
        };
        let identity = common.identity(is_app)?;
        // Anybody in the tenant can have an application's token for this API; only a role means that it was let in.
        if is_app && identity.roles.is_empty() { Err(ClaimsError::NoRole) } else { Ok(identity) }
    }

    fn check_scope(&self, granted: &str) -> Result<(), ClaimsError> {
        let known = granted.split(' ').any(|scope| self.scopes.iter().any(|known| known == scope));
        if known { Ok(()) } else { Err(ClaimsError::Scope) }
    }

    /// Judges the ID token of one login.
    ///
    /// # Errors
    ///
    /// Returns the [`ClaimsError`] that says which claim is not as it must be.
    pub fn id_token(&self, payload: Payload<'_>, nonce: &str, now: Timestamp) -> Result<EntraIdentity, ClaimsError> {
        let common = self.common(payload, None, now)?;
        let sent = common.claims.text("nonce").map_err(|_error| ClaimsError::Nonce)?;
        if nonce.is_empty() || !bool::from(subtle::ConstantTimeEq::ct_eq(sent.as_bytes(), nonce.as_bytes())) {
            return Err(ClaimsError::Nonce);
        }
        common.person()
    }

    /// Judges an ID token that came with a refresh, where there is no nonce to compare.
    ///
    /// # Errors
    ///
    /// Returns the [`ClaimsError`] that says which claim is not as it must be.
    pub fn refreshed_id_token(&self, payload: Payload<'_>, now: Timestamp) -> Result<EntraIdentity, ClaimsError> {
        self.common(payload, None, now)?.person()
    }

    /// The order is that of the questions an operator asks: which version, whose tenant, for whom, when.
    fn common(
        &self,
        payload: Payload<'_>,
        version_one: Option<&VersionOne>,
        now: Timestamp,
    ) -> Result<Common, ClaimsError> {
        let claims = ClaimSet::parse(payload)?;
        let aud = claims.text("aud")?;
        if GRAPH.contains(&aud.trim_end_matches('/')) {
            return Err(ClaimsError::Graph);
        }
        let one = match (claims.text("ver")?, version_one) {
            ("2.0", _) => None,
            ("1.0", Some(one)) => Some(one),
            ("1.0", None) => return Err(ClaimsError::VersionOne),
            _ => return Err(ClaimsError::Version),
        };
        if claims.has_look_alike("tid") {
            return Err(ClaimsError::Mistyped("tid"));
        }
        let tid = claims.guid("tid")?;
        let issuer = self.issuer_of(&tid).ok_or(ClaimsError::Tenant)?;
        if claims.text("iss")? != one.map_or_else(|| issuer.to_owned(), |one| one.issuer_of(&tid)) {
            return Err(ClaimsError::Issuer);
        }
        // Version 1.0 names the application by its URI, with or without a slash at its end.
        let by_uri = |one: &VersionOne| aud.strip_suffix('/').unwrap_or(aud) == one.app_id_uri;
        if aud != self.client_id && !one.is_some_and(by_uri) {
            return Err(ClaimsError::Audience);
        }
        let exp = self.check_times(&claims, now)?;
        claims.text("sub")?;
        let oid = claims.guid("oid")?;
        let client = if one.is_some() { "appid" } else { "azp" };
        Ok(Common { claims, tid, oid, exp, client, wanted: self.claims.clone() })
    }

    /// For how long a token is taken past its end, since no two clocks agree.
    pub(crate) fn tolerance(&self) -> Duration {
        self.clock_skew.min(MAX_CLOCK_SKEW)
    }

    fn check_times(&self, claims: &ClaimSet, now: Timestamp) -> Result<Timestamp, ClaimsError> {
        let skew = self.tolerance();
        let exp = claims.date("exp")?;
        if exp.plus(skew) <= now {
            return Err(ClaimsError::Expired);
        }
        let latest = now.plus(skew);
        // OpenID Connect asks for no `nbf` in an ID token.
        let begins = claims.optional_date("nbf")?;
        if begins.is_some_and(|begins| begins > latest) || claims.date("iat")? > latest {
            return Err(ClaimsError::NotYet);
        }
        Ok(exp)
    }
}

impl Common {
    /// An access token for this API has the same audience; its scopes give it away.
    fn person(self) -> Result<EntraIdentity, ClaimsError> {
        if self.claims.has("scp") || self.claims.has("idtyp") {
            return Err(ClaimsError::NotAnIdToken);
        }
        self.identity(false)
    }

    fn identity(self, is_app: bool) -> Result<EntraIdentity, ClaimsError> {
        let text = |name| Ok::<_, ClaimsError>(self.claims.optional_text(name)?.map(str::to_owned));
        let (groups, groups_overage) = self.groups()?;
        Ok(EntraIdentity {
            is_app,
            roles: self.listed("roles")?,
            groups,
            groups_overage,
            exp: self.exp,
            auth_time: self.claims.optional_date("auth_time")?,
            acrs: self.contexts()?,
            is_guest: self.is_guest()?,
            claims: self.claims.listed_values(&self.wanted),
            client: text(self.client)?,
            token_id: text("uti")?,
            name: text("preferred_username").ok().flatten().or_else(|| text("name").ok().flatten()),
            tid: self.tid,
            oid: self.oid,
        })
    }

    /// Authentication contexts: `acrs`, and `acr` where the directory fills it.
    fn contexts(&self) -> Result<Vec<String>, ClaimsError> {
        let mut contexts = self.listed("acrs")?;
        let single = self.claims.optional_text("acr").ok().flatten();
        contexts.extend(single.filter(|acr| !contexts.iter().any(|known| known == acr)).map(str::to_owned));
        Ok(contexts)
    }

    /// `acct` is 1 for a guest; without it, a guest is whom another provider vouches for.
    fn is_guest(&self) -> Result<bool, ClaimsError> {
        if let Some(account) = self.claims.number("acct")? {
            return Ok(account != 0);
        }
        let vouched = self.claims.optional_text("idp")?;
        Ok(vouched.is_some_and(|idp| Some(idp) != self.claims.optional_text("iss").ok().flatten()))
    }

    /// After an overage the list is another document's, and what is left of it here says nothing.
    fn groups(&self) -> Result<(Vec<String>, bool), ClaimsError> {
        let elsewhere = self.claims.members("_claim_names").is_some_and(|names| names.contains_key("groups"));
        if elsewhere || self.claims.is_true("hasgroups") {
            return Ok((Vec::new(), true));
        }
        Ok((self.listed("groups")?, false))
    }

    /// A list of texts; anything else grants nothing.
    fn listed(&self, name: &'static str) -> Result<Vec<String>, ClaimsError> {
        match self.claims.texts(name)? {
            Texts::Listed(texts) => Ok(texts),
            Texts::Absent => Ok(Vec::new()),
            Texts::Mistyped => {
                tracing::warn!(
                    claim = name,
                    reason = "claim_type",
                    "the claim is not a list of texts; it grants nothing"
                );
                Ok(Vec::new())
            }
        }
    }
}
