//! Says what the policy decides about one act, and why: the same text as in the log and the audit trail.

use std::fmt;

use crate::action::Action;
use crate::authorize::Asked;
use crate::decision::{Denial, DenialKind, Permit};
use crate::names::BackendName;
use crate::policy::Policy;
use crate::subject::Subject;

/// A decision in words.
#[derive(Clone, Debug)]
pub struct Explanation {
    what: String,
    roles: Vec<String>,
    verdict: Result<Permit, Denial>,
}

impl Policy {
    /// Decides as [`Policy::authorize`] would, and says why.
    #[must_use]
    pub fn explain(&self, subject: &Subject, backend: &BackendName, action: &Action<'_>) -> Explanation {
        self.explain_asked(subject, backend, &Asked::of(*action))
    }

    /// Decides a call with these arguments (an object as JSON) at `now`, in seconds since the Unix epoch, and says why.
    #[must_use]
    pub fn explain_call(
        &self,
        subject: &Subject,
        backend: &BackendName,
        action: &Action<'_>,
        arguments: Option<&str>,
        now: u64,
    ) -> Explanation {
        self.explain_asked(subject, backend, &Asked { action: *action, arguments: &|| arguments, now })
    }

    fn explain_asked(&self, subject: &Subject, backend: &BackendName, asked: &Asked<'_>) -> Explanation {
        let held = self.0.roles_of(subject);
        let roles = held.iter().filter_map(|role| self.0.roles.get(*role)).map(|role| role.name.to_string()).collect();
        Explanation { what: describe(backend, &asked.action), roles, verdict: self.decide(subject, backend, asked) }
    }
}

impl Explanation {
    /// The decision itself.
    ///
    /// # Errors
    ///
    /// Returns the denial when it is one.
    pub fn verdict(&self) -> Result<&Permit, &Denial> {
        self.verdict.as_ref()
    }

    /// The policy roles that the caller holds.
    #[must_use]
    pub fn roles(&self) -> &[String] {
        &self.roles
    }

    /// Whether the act would be permitted.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.verdict.is_ok()
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, why, hash) = match &self.verdict {
            Ok(permit) => ("allow", permit.to_string(), permit.policy_hash()),
            Err(denial) => {
                let challenged = matches!(denial.kind(), DenialKind::ScopeMissing { .. });
                let word = if challenged { "challenge" } else { "deny" };
                (word, denial.to_string(), denial.policy_hash())
            }
        };
        let roles = if self.roles.is_empty() { "none".to_owned() } else { self.roles.join(", ") };
        write!(f, "{word}: {}\n  because {why}\n  policy roles held: {roles}\n  policy {hash}", self.what)
    }
}

fn describe(backend: &BackendName, action: &Action<'_>) -> String {
    match action {
        Action::CallTool { name } => format!("call tool {backend}/{name}"),
        Action::FollowTask { tool } => format!("follow a task of {backend}/{tool}"),
        Action::CompletePrompt { name } => format!("complete prompt {backend}/{name}"),
        Action::GetPrompt { name } => format!("get prompt {backend}/{name}"),
        Action::ReadResource { uri } => format!("read resource {backend}/{uri}"),
        Action::UseTemplate { template } => format!("complete template {backend}/{template}"),
        Action::ListTools => format!("list tools of {backend}"),
        Action::ListPrompts => format!("list prompts of {backend}"),
        Action::ListResources => format!("list resources of {backend}"),
        Action::ListResourceTemplates => format!("list resource templates of {backend}"),
        Action::Protocol => format!("speak to {backend}"),
    }
}
