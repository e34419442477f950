//! How often a caller may call: what roles say of it.

use std::time::Duration;

use crate::names::BackendName;
use crate::policy::Policy;
use crate::subject::Subject;

/// So many calls in so much time, and how many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    /// Calls in a period.
    pub calls: u32,
    /// The period.
    pub per: Duration,
    /// Calls that may come at once; at least one.
    pub burst: u32,
}

impl Rate {
    /// Whether it allows more than another: more calls in the same time, or else more at once.
    fn is_above(self, other: Self) -> bool {
        let [mine, theirs] = [(self, other), (other, self)].map(|(a, b)| u128::from(a.calls) * b.per.as_nanos());
        (mine, self.burst) > (theirs, other.burst)
    }
}

impl Policy {
    /// The most generous rate that the caller's roles give on a backend; `None` where none of them speaks of it.
    /// Rates are not inherited, and a role in shadow gives none.
    #[must_use]
    pub fn rate(&self, subject: &Subject, backend: &BackendName) -> Option<Rate> {
        if self.0.roles.iter().all(|role| role.rate.is_none()) {
            return None;
        }
        let (index, _) = self.backend(backend)?;
        let held = self.0.roles_of(subject).into_iter().filter_map(|role| self.0.roles.get(role));
        let rates = held.filter(|role| !role.shadow && role.on.contains(&index)).filter_map(|role| role.rate);
        rates.reduce(|best, rate| if rate.is_above(best) { rate } else { best })
    }
}
