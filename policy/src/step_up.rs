//! Step-up: tags that want a fresh or a stronger sign-in than the token may stand for.

use std::time::Duration;

use crate::subject::{Kind, Subject};

/// What a tag wants of the sign-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepUp {
    /// The authentication context (Entra's `acrs`), as in `c1`.
    pub acr: Option<String>,
    /// How old the sign-in may be.
    pub max_age: Option<Duration>,
}

impl StepUp {
    /// Whether a caller's sign-in meets it at `now` (seconds since the Unix epoch). What the token does not say is
    /// not met, and no program meets it.
    pub(crate) fn is_met(&self, caller: &Subject, now: u64) -> bool {
        let context = |acr: &String| caller.acrs().iter().any(|held| held.eq_ignore_ascii_case(acr));
        let fresh = |age: Duration| caller.auth_time().is_some_and(|at| now <= at.saturating_add(age.as_secs()));
        caller.kind() == Kind::User && self.acr.as_ref().is_none_or(context) && self.max_age.is_none_or(fresh)
    }
}
