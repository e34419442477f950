//! The people, and what was given out to them.

use std::collections::HashMap;

/// A person.
#[derive(Clone, Debug)]
pub struct User {
    /// What they sign in with.
    pub name: String,
    /// Their object ID.
    pub oid: String,
    /// Their app roles.
    pub roles: Vec<String>,
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
        };
        people.into_iter().enumerate().map(user).collect()
    }
}

/// An authorization code and what it was asked with.
#[derive(Clone, Debug)]
pub(crate) struct Code {
    pub(crate) user: String,
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
    /// Refresh tokens and whose they are; using one does not end it.
    pub(crate) refresh_tokens: HashMap<String, (String, String)>,
    pub(crate) requests: Vec<String>,
    pub(crate) down: bool,
}

impl Directory {
    pub(crate) fn new(users: Vec<User>) -> Self {
        Self { users, codes: HashMap::new(), refresh_tokens: HashMap::new(), requests: Vec::new(), down: false }
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
        self.refresh_tokens.retain(|_, (user, _)| user != name);
    }
}
