//! Who calls, as a backend is told that asks for it: plain fields, or a signed assertion, or both.
//!
//! An assertion is a JWT of a key of its own, of a type of its own and for this backend alone, good for two minutes:
//! it proves to the backend that the gateway let this caller through, and is worth nothing as a bearer anywhere.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use portcullis_policy::Kind;
use serde::Serialize;

use crate::authn::VerifiedIdentity;
use crate::clock::Clock;
use crate::jose::signing_key::{SigningKey, SigningKeyError};
use crate::subject;

/// The `typ` of an assertion.
pub const ASSERTION: &str = "portcullis-assertion+jwt";
const LIFETIME: Duration = Duration::from_secs(120);
/// One assertion serves so long, so that a backend always gets one that is good for a minute yet.
const REUSE: Duration = Duration::from_secs(60);
const CAPACITY: u64 = 10_000;

/// What a backend is told of a caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// `X-Portcullis-Tenant`, `-Subject`, `-Client` and `-Roles`.
    pub headers: bool,
    /// `X-Portcullis-Assertion`.
    pub assertion: bool,
}

/// Tells one backend who calls.
#[derive(Debug)]
pub struct Caller {
    wanted: Wanted,
    audience: String,
    asserter: Arc<Asserter>,
}

/// Signs assertions.
#[derive(Debug)]
pub struct Asserter {
    key: SigningKey,
    issuer: String,
    clock: Arc<dyn Clock>,
    signed: Cache<String, Arc<str>>,
}

/// A field of a request and its value.
pub type Field = (&'static str, Arc<str>);

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: String,
    tid: &'a str,
    oid: &'a str,
    roles: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
    iat: u64,
    exp: u64,
    jti: String,
}

impl Asserter {
    /// Signs with this key, as this issuer.
    #[must_use]
    pub fn new(key: SigningKey, issuer: String, clock: Arc<dyn Clock>) -> Self {
        let signed = Cache::builder().max_capacity(CAPACITY).time_to_live(REUSE).build();
        Self { key, issuer, clock, signed }
    }

    fn assertion(&self, identity: &VerifiedIdentity, audience: &str) -> Result<Arc<str>, SigningKeyError> {
        let caller = identity.subject();
        let (tid, oid, roles) = (caller.tenant(), caller.object(), caller.roles());
        let parts = [audience, tid, oid, caller.client().unwrap_or_default()];
        // JSON, so that no two callers have one name.
        let name = serde_json::json!([parts, roles]).to_string();
        if let Some(known) = self.signed.get(&name) {
            return Ok(known);
        }
        let now = self.clock.now();
        let claims = Claims {
            iss: &self.issuer,
            aud: audience,
            sub: subject::name(tid, oid),
            tid,
            oid,
            roles,
            client_id: caller.client(),
            iat: now.as_secs(),
            exp: now.plus(LIFETIME).as_secs(),
            jti: uuid::Uuid::new_v4().to_string(),
        };
        let signed: Arc<str> = self.key.sign(ASSERTION, &claims)?.into();
        self.signed.insert(name, Arc::clone(&signed));
        Ok(signed)
    }
}

impl Caller {
    /// What the backend is told.
    #[must_use]
    pub fn wanted(&self) -> Wanted {
        self.wanted
    }

    /// Tells the backend `audience` what it wants.
    #[must_use]
    pub fn new(wanted: Wanted, audience: String, asserter: Arc<Asserter>) -> Self {
        Self { wanted, audience, asserter }
    }

    /// The fields of a request; none for a backend that does not ask.
    ///
    /// # Errors
    ///
    /// Returns an error when an assertion cannot be signed: the request must not go without it.
    pub fn fields(&self, identity: &VerifiedIdentity) -> Result<Vec<Field>, SigningKeyError> {
        let mut fields: Vec<Field> = Vec::new();
        // Of who brought no token there is nothing to tell.
        if identity.subject().kind() == Kind::Public {
            return Ok(fields);
        }
        if self.wanted.headers {
            let subject = identity.subject();
            // A role that could be taken for two, or cannot stand in a field, is not named.
            let plain = |role: &&String| role.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
            let roles: Vec<&str> = subject.roles().iter().filter(plain).map(String::as_str).collect();
            fields.push(("x-portcullis-tenant", subject.tenant().into()));
            fields.push(("x-portcullis-subject", subject.object().into()));
            fields.extend(subject.client().map(|client| ("x-portcullis-client", client.into())));
            fields.push(("x-portcullis-roles", roles.join(",").into()));
        }
        if self.wanted.assertion {
            fields.push(("x-portcullis-assertion", self.asserter.assertion(identity, &self.audience)?));
        }
        Ok(fields)
    }
}
