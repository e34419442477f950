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
    /// The tags on what is permitted.
    pub(crate) locks: Bits,
    /// The arguments after pins, where they changed them.
    pub(crate) arguments: Option<String>,
    /// What headers say of the arguments, where pins apply.
    pub(crate) mirrored: Option<Vec<(String, String)>>,
    /// What would have refused it, if it did more than record.
    pub(crate) shadow: Vec<Reason>,
}

/// What opened.
#[derive(Clone, Debug)]
pub(crate) enum How {
    /// An act of the protocol, open to every verified caller.
    Protocol,
    /// A key for every tag.
    Keys,
    /// A grant of a role for this one tool.
    Grant(Role),
    /// Nothing did; the policy only records.
    Shadow,
}

impl Permit {
    /// The policy that decided.
    #[must_use]
    pub fn policy_hash(&self) -> &Arc<str> {
        &self.policy.hash
    }

    /// The tags on what is permitted.
    pub fn tags(&self) -> impl Iterator<Item = &Tag> {
        let tags = self.policy.backends.get(self.backend).map_or(&[][..], |backend| &backend.tags);
        tags.iter().enumerate().filter(|(bit, _)| self.locks.contains(*bit)).map(|(_, tag)| tag)
    }

    /// The arguments that leave, as JSON, where pins changed what the caller wrote.
    #[must_use]
    pub fn arguments(&self) -> Option<&str> {
        self.arguments.as_deref()
    }

    /// The headers that mirror arguments (`Mcp-Param-*`), by the rest of their names, made of the arguments that leave;
    /// `None` where nothing is pinned and the caller's own count.
    #[must_use]
    pub fn mirrored(&self) -> Option<&[(String, String)]> {
        self.mirrored.as_deref()
    }

    /// What would have refused it, if it did more than record.
    #[must_use]
    pub fn shadow(&self) -> &[Reason] {
        &self.shadow
    }
}

impl fmt::Display for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.how {
            How::Protocol => f.write_str("open to every verified caller")?,
            How::Grant(role) => write!(f, "role `{role}` opens this tool by name")?,
            How::Keys | How::Shadow => self.write_keys(f)?,
        }
        for reason in &self.shadow {
            write!(f, "; in shadow: {reason}")?;
        }
        Ok(())
    }
}

impl Permit {
    fn write_keys(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(backend), Some(ring)) =
            (self.policy.backends.get(self.backend), self.ring.backends.get(self.backend))
        else {
            return Ok(());
        };
        let mut separator = "";
        for (bit, tag) in backend.tags.iter().enumerate().filter(|(bit, _)| self.locks.contains(*bit)) {
            let giver = ring.givers.iter().find(|(given, _)| *given == bit);
            let conditional = ring.conditional.iter().find(|key| key.bit == bit);
            match (giver, conditional) {
                (Some((_, role)), _) => write!(f, "{separator}role `{role}` opens tag `{tag}`")?,
                (None, Some(key)) => {
                    let when = key.all.iter().map(|condition| condition.text().as_ref()).collect::<Vec<_>>();
                    write!(f, "{separator}role `{}` opens tag `{tag}` when {}", key.role, when.join(" and "))?;
                }
                (None, None) => write!(f, "{separator}nothing opens tag `{tag}`")?,
            }
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
    /// It is open, but the token was granted less, or stands for an older or weaker sign-in than a tag wants; these are
    /// all the scopes that the act needs.
    ScopeMissing {
        /// Tags, which are scopes.
        scopes: Vec<Tag>,
    },
    /// It is open, and refused with these arguments.
    Refused {
        /// What the caller may be told.
        told: String,
    },
    /// What the backend has is not known yet, and the caller holds some key there.
    NotKnownYet,
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
    /// The sign-in is not what this tag wants.
    StepUpMissing(Tag),
    /// A key has a condition that is not met: the tag, the condition, and why it failed if it did.
    ConditionFalse(Tag, String, Option<String>),
    /// A deny rule whose condition failed, which is as good as met: its id, and why.
    DenyFailed(String, String),
    /// The backend's catalogue has no tool of this name.
    UnknownTool,
    /// The backend's catalogue has not been read yet.
    NotKnownYet,
    /// What is imported for it cannot be used.
    Import(String),
    /// The token lacks the claim that this pin is to.
    PinClaim(String),
    /// The tool's schema does not plainly have what this pin is for.
    PinSchema(String),
    /// The argument is not what this pin wants.
    Pin(String),
    /// An argument is there whose name a server may take for the one of this pin.
    PinSpelling(String),
    /// It has what this pin is for, and is not completed.
    PinCompletion(String),
    /// The tag is in shadow, and no key opens it.
    ShadowTag(Tag),
    /// A role in shadow would open this tag.
    ShadowRole(Role, Tag),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TenantNotListed => f.write_str("the tenant is not listed"),
            Self::UnknownBackend => f.write_str("the backend is not in the policy"),
            Self::Untagged => f.write_str("it carries no tag"),
            Self::TagClosed(tag) | Self::ShadowTag(tag) => write!(f, "tag `{tag}` is not open"),
            Self::Denied(id, None) => write!(f, "deny rule `{id}`"),
            Self::Denied(id, Some(reason)) => write!(f, "deny rule `{id}`: {reason}"),
            Self::ScopeMissing(tag) => write!(f, "scope `{tag}` is missing"),
            Self::StepUpMissing(tag) => write!(f, "step-up for tag `{tag}` is not met"),
            Self::ConditionFalse(tag, when, None) => write!(f, "tag `{tag}` is not open: not true: {when}"),
            Self::ConditionFalse(tag, when, Some(why)) => write!(f, "tag `{tag}` is not open: {why}: {when}"),
            Self::DenyFailed(id, why) => write!(f, "deny rule `{id}`: its condition failed: {why}"),
            Self::UnknownTool => f.write_str("the backend has no such tool"),
            Self::NotKnownYet => f.write_str("the backend's catalogue has not been read yet"),
            Self::Import(why) => write!(f, "import: {why}"),
            Self::PinClaim(id) => write!(f, "pin `{id}`: the token lacks the claim"),
            Self::PinSchema(id) => write!(f, "pin `{id}`: the tool's schema does not have the argument"),
            Self::Pin(id) => write!(f, "pin `{id}`: the argument is another"),
            Self::PinSpelling(id) => write!(f, "pin `{id}`: the argument is there in another spelling"),
            Self::PinCompletion(id) => write!(f, "pin `{id}`: what is pinned is not completed"),
            Self::ShadowRole(role, tag) => write!(f, "role `{role}` would open tag `{tag}`"),
        }
    }
}

/// A refusal, with every reason in order. The text is for the log and the audit trail, not for the caller.
#[derive(Clone, Debug)]
pub struct Denial {
    pub(crate) kind: DenialKind,
    pub(crate) reasons: Vec<Reason>,
    pub(crate) policy_hash: Arc<str>,
    /// What the caller is told beside that it is unknown, where the policy explains denials.
    pub(crate) explained: Option<String>,
    /// What roles in shadow would have opened.
    pub(crate) shadow: Vec<Reason>,
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

    /// What the caller is told instead of that there is no such tool, where the policy explains denials.
    #[must_use]
    pub fn explained(&self) -> Option<&str> {
        self.explained.as_deref()
    }

    /// What roles in shadow would have opened.
    #[must_use]
    pub fn shadow(&self) -> &[Reason] {
        &self.shadow
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for reason in &self.reasons {
            write!(f, "{separator}{reason}")?;
            separator = "; ";
        }
        for reason in &self.shadow {
            write!(f, "; in shadow: {reason}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Denial {}
