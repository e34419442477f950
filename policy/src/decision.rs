//! What a decision is made of: a permit that only the policy can write, or a denial with its reasons.

use std::fmt;
use std::sync::Arc;

use crate::compiled::{Bits, Ring};
use crate::names::{Role, Tag};
use crate::policy::Compiled;

/// Proof that the policy permits an act.
///
/// Only [`crate::Policy::authorize`] makes one, so whatever asks for a `Permitted<T>` cannot be reached around the
/// policy.
#[derive(Debug)]
pub struct Permitted<T> {
    act: T,
    permit: Permit,
}

impl<T> Permitted<T> {
    pub(crate) fn new(act: T, permit: Permit) -> Self {
        Self { act, permit }
    }

    /// The act that is permitted.
    pub fn act(&self) -> &T {
        &self.act
    }

    /// Why it is permitted.
    pub fn permit(&self) -> &Permit {
        &self.permit
    }
}

/// Why an act is permitted; its text names the role behind every tag.
#[derive(Clone)]
pub struct Permit {
    pub(crate) policy: Arc<Compiled>,
    pub(crate) ring: Arc<Ring>,
    pub(crate) backend: usize,
    pub(crate) how: How,
}

/// What opened.
#[derive(Clone, Debug)]
pub(crate) enum How {
    /// An act of the protocol, open to every verified caller.
    Protocol,
    /// A key for every one of these tags.
    Keys(Bits),
    /// A grant of a role for this one tool.
    Grant(Role),
}

impl Permit {
    /// The policy that decided.
    #[must_use]
    pub fn policy_hash(&self) -> &Arc<str> {
        &self.policy.hash
    }

    /// The tags of what is permitted, as far as keys opened them.
    pub fn tags(&self) -> impl Iterator<Item = &Tag> {
        let locks = if let How::Keys(locks) = &self.how { *locks } else { Bits::default() };
        let tags = self.policy.backends.get(self.backend).map_or(&[][..], |backend| &backend.tags);
        tags.iter().enumerate().filter(move |(bit, _)| locks.contains(*bit)).map(|(_, tag)| tag)
    }
}

impl fmt::Display for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let locks = match &self.how {
            How::Protocol => return f.write_str("open to every verified caller"),
            How::Grant(role) => return write!(f, "role `{role}` opens this tool by name"),
            How::Keys(locks) => *locks,
        };
        let (Some(backend), Some(ring)) =
            (self.policy.backends.get(self.backend), self.ring.backends.get(self.backend))
        else {
            return Ok(());
        };
        let mut separator = "";
        for (bit, tag) in backend.tags.iter().enumerate().filter(|(bit, _)| locks.contains(*bit)) {
            let giver = ring.givers.iter().find(|(given, _)| *given == bit).map_or("?", |(_, role)| role.as_ref());
            write!(f, "{separator}role `{giver}` opens tag `{tag}`")?;
            separator = ", ";
        }
        Ok(())
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permit({self})")
    }
}

/// How an act is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DenialKind {
    /// It is not open to this caller: whatever they do, it does not exist for them.
    NotOpen,
    /// It is open, but the token was granted less; these are all the scopes that the act needs.
    ScopeMissing {
        /// Tags, which are scopes.
        scopes: Vec<Tag>,
    },
}

/// One reason of a denial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The policy lists tenants, and not this one.
    TenantNotListed,
    /// The backend is not one of this policy's.
    UnknownBackend,
    /// The item carries no tag, so it opens to nobody.
    Untagged,
    /// The caller holds no key for this tag.
    TagClosed(Tag),
    /// A deny rule: its id, and the reason it gives.
    Denied(String, Option<String>),
    /// The token's scopes do not cover this tag.
    ScopeMissing(Tag),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TenantNotListed => f.write_str("the tenant is not listed"),
            Self::UnknownBackend => f.write_str("the backend is not in the policy"),
            Self::Untagged => f.write_str("it carries no tag"),
            Self::TagClosed(tag) => write!(f, "tag `{tag}` is not open"),
            Self::Denied(id, None) => write!(f, "deny rule `{id}`"),
            Self::Denied(id, Some(reason)) => write!(f, "deny rule `{id}`: {reason}"),
            Self::ScopeMissing(tag) => write!(f, "scope `{tag}` is missing"),
        }
    }
}

/// A refusal, with every reason in order. The text is for the log and the audit trail, not for the caller.
#[derive(Clone, Debug)]
pub struct Denial {
    pub(crate) kind: DenialKind,
    pub(crate) reasons: Vec<Reason>,
    pub(crate) policy_hash: Arc<str>,
}

impl Denial {
    /// How it is refused.
    #[must_use]
    pub fn kind(&self) -> &DenialKind {
        &self.kind
    }

    /// Why, in order.
    #[must_use]
    pub fn reasons(&self) -> &[Reason] {
        &self.reasons
    }

    /// The policy that decided.
    #[must_use]
    pub fn policy_hash(&self) -> &Arc<str> {
        &self.policy_hash
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for reason in &self.reasons {
            write!(f, "{separator}{reason}")?;
            separator = "; ";
        }
        Ok(())
    }
}

impl std::error::Error for Denial {}
