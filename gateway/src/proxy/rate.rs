//! How often a caller may ask a backend: every request counts, whatever it asks for and whether it is open, and so do
//! notifications, streams that are opened, and sessions that are ended. Only the answer to a server's question does not.
//!
//! A rate that the caller's roles give takes the place of everybody's; each such rate is counted in a table of its own.

use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::{Arc, PoisonError, RwLock};

use governor::Quota;
use portcullis_policy::Rate as RoleRate;

use super::door::{Failure, Visit};
use super::rejection::Rejection;
use crate::authn::VerifiedIdentity;
use crate::limit::local::{CALLERS, Gcra, MEMBERS};
use crate::limit::{Rate, TooOften};
use crate::mcp::{ClientMessage, Kind, Method, RequestId};

/// The limits of callers, at work.
#[derive(Debug)]
pub(super) struct Calls {
    everybodys: Option<Gcra>,
    of_roles: RwLock<HashMap<RoleRate, Arc<Gcra>>>,
}

impl Calls {
    /// With this rate for those whose roles give none; `None` is no limit.
    pub(super) fn new(everybodys: Option<Rate>) -> Self {
        Self { everybodys: everybodys.map(|rate| Gcra::new(rate, CALLERS)), of_roles: RwLock::default() }
    }

    pub(super) fn check(&self, rate: Option<RoleRate>, caller: &impl Hash) -> Result<(), TooOften> {
        match rate {
            Some(rate) => self.of_role(rate).check(caller),
            None => self.everybodys.as_ref().map_or(Ok(()), |limit| limit.check(caller)),
        }
    }

    fn of_role(&self, rate: RoleRate) -> Arc<Gcra> {
        let known = self.of_roles.read().unwrap_or_else(PoisonError::into_inner).get(&rate).cloned();
        known.unwrap_or_else(|| {
            let mut all = self.of_roles.write().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry(rate).or_insert_with(|| Arc::new(Gcra::new(quota(rate), MEMBERS))))
        })
    }
}

/// At least one call at a time, however it is written; a policy that loads has no zeros.
fn quota(rate: RoleRate) -> Quota {
    let at_least_one = |count| NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
    let steady = Quota::with_period(rate.per / at_least_one(rate.calls).get());
    steady.unwrap_or(Quota::per_hour(NonZeroU32::MIN)).allow_burst(at_least_one(rate.burst))
}

impl Visit<'_> {
    /// Counts these messages; the first that is too many refuses them all.
    pub(super) fn check_rate(&self, identity: &VerifiedIdentity, messages: &[ClientMessage]) -> Result<(), Failure> {
        let counted = messages.iter().filter(|message| message.kind() != Kind::Response);
        for message in counted {
            self.count_one(identity, message.method().map_or("unknown", Method::as_str), message.id())?;
        }
        Ok(())
    }

    /// Counts one request of the caller.
    pub(super) fn count_one(
        &self,
        identity: &VerifiedIdentity,
        method: &str,
        id: Option<&RequestId>,
    ) -> Result<(), Failure> {
        let subject = identity.subject();
        let rate = self.door.standing().rate(subject, &self.mount.name);
        let caller = (self.mount.name.as_ref(), subject.tenant(), subject.object());
        self.door
            .calls
            .check(rate, &caller)
            .map_err(|wait| self.refuse(Some(identity), method, Rejection::TooOften { id: id.cloned(), wait }))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_rate_of_roles_takes_the_place_of_everybodys_and_each_is_counted_apart() {
        let calls = Calls::new(Rate::per_minute(1));
        let hourly = RoleRate { calls: 2, per: Duration::from_secs(3600), burst: 3 };
        let good = |rate, who: &str| (0..9).filter(|_| calls.check(rate, &who).is_ok()).count();
        assert_eq!((good(Some(hourly), "a"), good(None, "a"), good(Some(hourly), "b")), (3, 1, 3));
        let wait = calls.check(Some(hourly), &"a").unwrap_err();
        assert!((1750..=1800).contains(&wait.seconds()), "{wait:?}: two an hour are one in half an hour");
        assert!(Calls::new(None).check(None, &"a").is_ok(), "no rate is no limit");
    }
}
