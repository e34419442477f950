//! The people, and what was given out to them.

use std::collections::{HashMap, HashSet};

use crate::fault::{Endpoint, Fault};

/// A person.
#[derive(Clone, Debug, Default)]
pub struct User {
    /// What they sign in with.
    pub name: String,
    /// Their object ID.
    pub oid: String,
    /// Their app roles.
    pub roles: Vec<String>,
    /// Their directory; the provider's own when absent.
    pub tenant: Option<String>,
    /// Whether they are a guest in it.
    pub guest: bool,
}

impl User {
    /// The people of the demonstration.
    #[must_use]
    pub fn examples() -> Vec<Self> {
        let people: [(&str, &[&str]); 6] = [
            ("nora", &[]),
            ("rita", &["Task.Read"]),
            ("walt", &["Task.Read", "Task.Write"]),
            ("dora", &["Task.Delete"]),
            ("alice", &["Task.All"]),
            ("max", &["Task.All", "MCPServer.Admin"]),
        ];
        let user = |(index, (name, roles)): (usize, (&str, &[&str]))| Self {
            name: name.to_owned(),
            oid: format!("0a11ce00-0000-4000-8000-{:012}", index + 1),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            ..Self::default()
        };
        people.into_iter().enumerate().map(user).collect()
    }
}

/// How and when a person signed in.
#[derive(Clone, Debug)]
pub(crate) struct SignIn {
    pub(crate) user: String,
    pub(crate) acrs: Vec<String>,
    pub(crate) auth_time: u64,
}

/// An authorization code and what it was asked with.
#[derive(Clone, Debug)]
pub(crate) struct Code {
    pub(crate) sign_in: SignIn,
    pub(crate) redirect_uri: String,
    pub(crate) challenge: String,
    pub(crate) nonce: Option<String>,
    pub(crate) scope: String,
}

/// Everything that changes.
#[derive(Debug)]
pub(crate) struct Directory {
    users: Vec<User>,
    pub(crate) codes: HashMap<String, Code>,
    /// Refresh tokens, whose they are and for what; using one does not end it.
    pub(crate) refresh_tokens: HashMap<String, (SignIn, String)>,
    pub(crate) requests: Vec<String>,
    pub(crate) faults: HashMap<Endpoint, Fault>,
    /// What the authorization endpoint answers instead of signing anybody in.
    pub(crate) refusal: Option<(&'static str, u32)>,
    /// What the on-behalf-of exchange answers instead of a token.
    pub(crate) exchange_refusal: Option<(&'static str, u32)>,
    /// The token of a platform that is taken as the client's credential.
    pub(crate) federated: Option<String>,
    /// When people began the session that they have.
    sessions: HashMap<String, u64>,
    /// People who cannot satisfy an authentication context.
    weak: HashSet<String>,
}

impl Directory {
    pub(crate) fn new(users: Vec<User>) -> Self {
        Self {
            users,
            codes: HashMap::new(),
            refresh_tokens: HashMap::new(),
            requests: Vec::new(),
            faults: HashMap::new(),
            refusal: None,
            exchange_refusal: None,
            federated: None,
            sessions: HashMap::new(),
            weak: HashSet::new(),
        }
    }

    pub(crate) fn user(&self, name: &str) -> Option<&User> {
        let name = name.split('@').next().unwrap_or(name);
        self.users.iter().find(|user| user.name == name)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.users.iter().map(|user| user.name.clone()).collect()
    }

    pub(crate) fn set_roles(&mut self, name: &str, roles: &[&str]) {
        if let Some(user) = self.users.iter_mut().find(|user| user.name == name) {
            user.roles = roles.iter().map(|role| (*role).to_owned()).collect();
        }
    }

    pub(crate) fn revoke(&mut self, name: &str) {
        self.refresh_tokens.retain(|_, (sign_in, _)| sign_in.user != name);
    }

    pub(crate) fn set_weak(&mut self, name: &str, weak: bool) {
        if weak {
            self.weak.insert(name.to_owned());
        } else {
            self.weak.remove(name);
        }
    }

    /// Ends a person's session, or sets when it began.
    pub(crate) fn set_session(&mut self, name: &str, since: Option<u64>) {
        match since {
            Some(since) => self.sessions.insert(name.to_owned(), since),
            None => self.sessions.remove(name),
        };
    }

    /// Signs a person in: by the session that they have, unless it is to be anew or is older than `max_age`.
    pub(crate) fn sign_in(
        &mut self,
        name: &str,
        anew: bool,
        max_age: Option<u64>,
        acrs: &[String],
        now: u64,
    ) -> SignIn {
        let known = self.sessions.get(name).copied();
        let kept = known.filter(|since| !anew && max_age.is_none_or(|age| now.saturating_sub(*since) < age));
        let auth_time = kept.unwrap_or(now);
        self.sessions.insert(name.to_owned(), auth_time);
        let acrs = if self.weak.contains(name) { Vec::new() } else { acrs.to_vec() };
        SignIn { user: name.to_owned(), acrs, auth_time }
    }
}
