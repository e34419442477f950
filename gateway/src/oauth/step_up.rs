//! Scopes that want a stronger or fresher sign-in than others (`step_up` of a tag), and what that means for a token.
//!
//! INVARIANT: no token carries such a scope unless the sign-in behind it met what the scope wants, and none carries it for
//! longer than that stays true.

use std::time::Duration;

use super::{Resource, State as Server};
use crate::clock::Timestamp;
use crate::entra::StepUp;
use crate::store::Grant;

/// What these scopes of a resource want of a sign-in, together.
pub(super) fn wanted(resource: Option<&Resource>, scopes: &[String]) -> StepUp {
    let all = resource.map_or(&[][..], |resource| resource.scopes.as_slice()).iter();
    let asked = all.filter(|scope| scopes.contains(&scope.name)).filter_map(|scope| scope.step_up.as_ref());
    asked.fold(StepUp::default(), StepUp::and)
}

/// The scopes that the sign-in of a grant is enough for, now.
pub(super) fn covered(server: &Server, grant: &Grant, scopes: &[String], now: Timestamp) -> Vec<String> {
    let resource = server.resource(&grant.resource);
    let auth_time = grant.auth_time.map(Timestamp::from_secs);
    let is_covered = |scope: &&String| {
        let wanted = wanted(resource, std::slice::from_ref(scope));
        wanted.is_met(&grant.acrs, auth_time, now, server.entra.clock_skew())
    };
    scopes.iter().filter(is_covered).cloned().collect()
}

/// Whether a token of this grant would have a scope, where its resource has any; for grants of nobody who signs in here.
pub(super) fn covers_any(server: &Server, grant: &Grant) -> bool {
    let without = server.resource(&grant.resource).is_none_or(|resource| resource.scopes.is_empty());
    without || !covered(server, grant, &grant.scopes, server.clock.now()).is_empty()
}

/// How long a token with these scopes may live: as long as any other, but never past the end of what a scope wants.
pub(super) fn lifetime(server: &Server, grant: &Grant, scopes: &[String], now: Timestamp) -> Duration {
    let longest = server.settings.access_token_lifetime;
    let wanted = wanted(server.resource(&grant.resource), scopes);
    wanted.ends(grant.auth_time.map(Timestamp::from_secs)).map_or(longest, |end| longest.min(end.since(now)))
}
