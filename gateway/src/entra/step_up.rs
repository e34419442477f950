//! What a sign-in must prove beyond who it is: an authentication context (`acrs`), and how fresh it is (`auth_time`).
//!
//! Asked for with the `claims` parameter (OpenID Connect Core section 5.5), `max_age` and `prompt=login`; judged by what
//! the ID token says and by nothing that was asked. What is absent is not met.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::clock::Timestamp;

/// What a sign-in must prove. The default asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepUp {
    /// Authentication contexts, all of which it must satisfy.
    pub acrs: BTreeSet<String>,
    /// How long ago it may have been.
    pub max_age: Option<Duration>,
}

impl StepUp {
    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.acrs.is_empty() && self.max_age.is_none()
    }

    /// This and another one, both of which must be met.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.acrs.extend(other.acrs.iter().cloned());
        let ages = [self.max_age, other.max_age];
        Self { max_age: ages.into_iter().flatten().min(), ..self }
    }

    /// Whether a sign-in at `auth_time` that satisfied these contexts is enough now; `skew` is how far ahead its clock may
    /// be.
    #[must_use]
    pub fn is_met(&self, acrs: &[String], auth_time: Option<Timestamp>, now: Timestamp, skew: Duration) -> bool {
        // As the policy compares them.
        if !self.acrs.iter().all(|wanted| acrs.iter().any(|held| held.eq_ignore_ascii_case(wanted))) {
            return false;
        }
        let Some(max_age) = self.max_age else { return true };
        auth_time.is_some_and(|at| at <= now.plus(skew) && now < at.plus(max_age))
    }

    /// When a sign-in at `auth_time` is no longer enough; `None` when it stays so.
    #[must_use]
    pub fn ends(&self, auth_time: Option<Timestamp>) -> Option<Timestamp> {
        Some(auth_time.unwrap_or(Timestamp::from_secs(0)).plus(self.max_age?))
    }

    /// The `claims` parameter that asks for it; without `insist` the answer may leave it out.
    pub(super) fn claims(&self, insist: bool) -> Option<String> {
        if self.is_nothing() {
            return None;
        }
        let mut id_token = serde_json::Map::new();
        let mut access_token = serde_json::Map::new();
        if !self.acrs.is_empty() {
            let mut wanted = match self.acrs.iter().collect::<Vec<_>>().as_slice() {
                [single] => json!({ "value": single }),
                several => json!({ "values": several }),
            };
            if let (true, Some(members)) = (insist, wanted.as_object_mut()) {
                members.insert("essential".to_owned(), Value::Bool(true));
            }
            access_token.insert("acrs".to_owned(), wanted.clone());
            id_token.insert("acrs".to_owned(), wanted);
        }
        id_token.insert("auth_time".to_owned(), if insist { json!({ "essential": true }) } else { Value::Null });
        let mut claims = json!({ "id_token": id_token });
        if let (false, Some(members)) = (access_token.is_empty(), claims.as_object_mut()) {
            members.insert("access_token".to_owned(), access_token.into());
        }
        Some(claims.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SKEW: Duration = Duration::from_secs(60);

    fn step_up(acrs: &[&str], max_age: Option<u64>) -> StepUp {
        StepUp { acrs: acrs.iter().map(|&acr| acr.to_owned()).collect(), max_age: max_age.map(Duration::from_secs) }
    }

    #[test]
    fn what_is_absent_stale_or_from_the_future_is_not_met() {
        let (now, wanted) = (Timestamp::from_secs(10_000), step_up(&["c1"], Some(600)));
        let met = |acrs: &[&str], auth_time: Option<u64>| {
            let acrs: Vec<String> = acrs.iter().map(|&acr| acr.to_owned()).collect();
            wanted.is_met(&acrs, auth_time.map(Timestamp::from_secs), now, SKEW)
        };
        assert!(met(&["c1"], Some(9_500)) && met(&["c2", "c1"], Some(10_060)));
        assert!(met(&["c1"], Some(9_401)) && !met(&["c1"], Some(9_400)), "up to max_age and not at it");
        assert!(!met(&[], Some(9_500)) && !met(&["c2"], Some(9_500)) && !met(&["c11"], Some(9_500)));
        assert!(met(&["C1"], Some(9_500)), "case says nothing, as in the policy");
        assert!(!met(&["c1"], None) && !met(&["c1"], Some(10_061)));
        assert!(StepUp::default().is_met(&[], None, now, SKEW));
    }

    #[test]
    fn two_wants_are_both_met_or_neither() {
        let both = step_up(&["c1"], Some(600)).and(&step_up(&["c2"], Some(60)));
        assert_eq!(both, step_up(&["c1", "c2"], Some(60)));
        assert_eq!(both.clone().and(&StepUp::default()), both);
        assert_eq!(both.ends(Some(Timestamp::from_secs(100))), Some(Timestamp::from_secs(160)));
        assert_eq!(step_up(&["c1"], None).ends(None), None);
    }

    #[test]
    fn the_claims_parameter_asks_for_what_is_wanted() {
        let read = |text: Option<String>| serde_json::from_str::<Value>(&text.unwrap()).unwrap();
        let wanted = json!({ "essential": true, "value": "c1" });
        assert_eq!(
            read(step_up(&["c1"], Some(600)).claims(true)),
            json!({ "id_token": { "acrs": wanted, "auth_time": { "essential": true } }, "access_token": { "acrs": wanted } })
        );
        assert_eq!(read(step_up(&[], Some(600)).claims(false)), json!({ "id_token": { "auth_time": null } }));
        assert_eq!(
            read(step_up(&["c1", "c2"], None).claims(false))["id_token"]["acrs"],
            json!({ "values": ["c1", "c2"] })
        );
        assert_eq!(StepUp::default().claims(true), None);
    }
}
