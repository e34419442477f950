//! Conditions, where they are written.

use std::sync::Arc;

use super::scope::Names;
use crate::condition::{Condition, Vocabulary};
use crate::policy::Setting;
use crate::written::At;

/// Reads a condition; what is wrong with it is a fault, and the rule does not load.
pub(super) fn read(
    names: &mut Names<'_>,
    text: &At<String>,
    in_deny: bool,
    setting: &Setting,
) -> Option<Arc<Condition>> {
    let vocabulary = Vocabulary { roles: in_deny, claims: setting.claims.as_ref() };
    match Condition::parse(&text.value, vocabulary) {
        Ok(condition) => Some(Arc::new(condition)),
        Err(fault) => {
            names.fault(text.at, format!("`when` cannot be used: {fault}"));
            None
        }
    }
}
