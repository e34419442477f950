//! The caller, as the policy sees one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use serde_json::Value;

use crate::compiled::Ring;

/// A person, or an application on its own behalf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A person, through a client.
    User,
    /// An application with a token of its own (`idtyp` is `app`).
    App,
    /// Anybody, of whom a backend with public access asks for no token: without tenant, object and roles.
    Public,
}

impl Kind {
    /// The word for it, as `caller.kind` in conditions.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::App => "app",
            Self::Public => "public",
        }
    }
}

/// What the token was granted, beside what the roles open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scopes {
    /// No ceiling: a token of the identity provider, taken directly.
    Unlimited,
    /// At most these tags: a token that the gateway issued.
    Granted(BTreeSet<String>),
}

/// The caller: identity, roles and scopes, all taken from a verified token.
#[derive(Clone, Debug)]
pub struct Subject {
    kind: Kind,
    tenant: String,
    object: String,
    client: Option<String>,
    roles: Vec<String>,
    groups: Vec<String>,
    scopes: Scopes,
    guest: Option<bool>,
    acrs: Vec<String>,
    auth_time: Option<u64>,
    claims: BTreeMap<String, Value>,
    /// The keys under the policy that was asked first; another policy computes its own.
    ring: OnceLock<(u64, Arc<Ring>)>,
}

impl Subject {
    /// A caller without roles, groups or a scope ceiling; `tenant` and `object` are the GUIDs `tid` and `oid`, or
    /// another issuer and its `sub`.
    #[must_use]
    pub fn new(kind: Kind, tenant: impl Into<String>, object: impl Into<String>) -> Self {
        Self {
            kind,
            tenant: tenant.into(),
            object: object.into(),
            client: None,
            roles: Vec::new(),
            groups: Vec::new(),
            scopes: Scopes::Unlimited,
            guest: None,
            acrs: Vec::new(),
            auth_time: None,
            claims: BTreeMap::new(),
            ring: OnceLock::new(),
        }
    }

    /// With these app-role values (`roles`).
    #[must_use]
    pub fn with_roles(self, roles: Vec<String>) -> Self {
        Self { roles, ring: OnceLock::new(), ..self }
    }

    /// With these groups' object IDs (`groups`); none after an overage.
    #[must_use]
    pub fn with_groups(self, groups: Vec<String>) -> Self {
        let groups = groups.into_iter().map(|group| group.to_ascii_lowercase()).collect();
        Self { groups, ring: OnceLock::new(), ..self }
    }

    /// With this ceiling.
    #[must_use]
    pub fn with_scopes(self, scopes: Scopes) -> Self {
        Self { scopes, ring: OnceLock::new(), ..self }
    }

    /// Through this OAuth client.
    #[must_use]
    pub fn with_client(self, client: impl Into<String>) -> Self {
        Self { client: Some(client.into()), ring: OnceLock::new(), ..self }
    }

    /// Whether the account is another directory's (`acct`), where the token says so.
    #[must_use]
    pub fn with_guest(self, guest: Option<bool>) -> Self {
        Self { guest, ring: OnceLock::new(), ..self }
    }

    /// With what the sign-in satisfied: authentication contexts (`acrs`), and when it was (`auth_time`, seconds since
    /// the Unix epoch).
    #[must_use]
    pub fn with_sign_in(self, acrs: Vec<String>, auth_time: Option<u64>) -> Self {
        Self { acrs, auth_time, ring: OnceLock::new(), ..self }
    }

    /// With further claims of the token, as `caller.claims` in conditions and pins. A claim that is null says nothing:
    /// pinned to it, an argument would be what many servers take for no restriction at all.
    #[must_use]
    pub fn with_claims(self, mut claims: BTreeMap<String, Value>) -> Self {
        claims.retain(|_, value| !value.is_null());
        Self { claims, ring: OnceLock::new(), ..self }
    }

    /// Person or application.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The directory (`tid`), or the issuer that is none of Entra's.
    #[must_use]
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// The object in the directory (`oid`), or the issuer's `sub`.
    #[must_use]
    pub fn object(&self) -> &str {
        &self.object
    }

    /// The OAuth client that holds the token.
    #[must_use]
    pub fn client(&self) -> Option<&str> {
        self.client.as_deref()
    }

    /// App-role values.
    #[must_use]
    pub fn roles(&self) -> &[String] {
        &self.roles
    }

    /// Whether the account is another directory's, where the token says so.
    #[must_use]
    pub fn guest(&self) -> Option<bool> {
        self.guest
    }

    /// Authentication contexts that the sign-in satisfied.
    #[must_use]
    pub fn acrs(&self) -> &[String] {
        &self.acrs
    }

    /// When the person signed in, in seconds since the Unix epoch.
    #[must_use]
    pub fn auth_time(&self) -> Option<u64> {
        self.auth_time
    }

    /// A further claim of the token.
    #[must_use]
    pub fn claim(&self, name: &str) -> Option<&Value> {
        self.claims.get(name)
    }

    pub(crate) fn groups(&self) -> &[String] {
        &self.groups
    }

    pub(crate) fn scopes(&self) -> &Scopes {
        &self.scopes
    }

    pub(crate) fn in_tenant(&self, tenant: &str) -> Self {
        Self { tenant: tenant.to_owned(), ring: OnceLock::new(), ..self.clone() }
    }

    /// The keys under the policy `id`, made once.
    pub(crate) fn ring(&self, id: u64, make: impl FnOnce() -> Ring) -> Arc<Ring> {
        match self.ring.get() {
            Some((known, ring)) if *known == id => Arc::clone(ring),
            Some(_) => Arc::new(make()),
            None => {
                let ring = Arc::new(make());
                let _ = self.ring.set((id, Arc::clone(&ring)));
                ring
            }
        }
    }
}
