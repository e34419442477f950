//! How often somebody may ask: rates, and who is counted as one.
//!
//! Counting is in process ([`local`]), so that nothing on the data path waits; of endpoints that wait for the store in any case a
//! fleet counts together, too (`Store::count`).
//! What is limited, and what is answered then, is for `oauth` and `proxy` to say.

mod address;
pub mod local;

use std::num::NonZeroU32;
use std::time::Duration;

pub use address::{ClientAddress, TrustedProxies};
use governor::Quota;
use local::Gcra;

/// How often: a steady rate, and how much may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    /// Requests per minute in the long run.
    pub per_minute: NonZeroU32,
    /// Requests that may come at once after a pause.
    pub burst: NonZeroU32,
}

impl Rate {
    /// This many a minute, all of which may come at once; none for 0, which is no limit.
    #[must_use]
    pub fn per_minute(count: u32) -> Option<Self> {
        NonZeroU32::new(count).map(|count| Self { per_minute: count, burst: count })
    }

    /// From one request to the next in the long run.
    #[must_use]
    pub fn period(self) -> Duration {
        Duration::from_mins(1) / self.per_minute.get()
    }
}

impl From<Rate> for Quota {
    fn from(rate: Rate) -> Self {
        Self::per_minute(rate.per_minute).allow_burst(rate.burst)
    }
}

/// Too often; how long to wait until the next request is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooOften(pub Duration);

impl TooOften {
    /// The value of `Retry-After` (RFC 9110 section 10.2.3): whole seconds, at least one.
    #[must_use]
    pub fn seconds(self) -> u64 {
        self.0.as_secs().saturating_add(u64::from(self.0.subsec_nanos() > 0)).max(1)
    }
}

/// The rates of one endpoint of the authorization server; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointRates {
    /// For each address; an IPv6 client is its /64.
    pub per_address: Option<Rate>,
    /// For everybody together.
    pub total: Option<Rate>,
}

/// Every rate that the gateway was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Requests of one caller to one backend.
    pub calls: Option<Rate>,
    /// `/authorize`.
    pub authorize: EndpointRates,
    /// `/register`.
    pub register: EndpointRates,
    /// `/token`.
    pub token: EndpointRates,
    /// `/device_authorization` and `/device`.
    pub device: EndpointRates,
}

/// One endpoint's limit, at work.
#[derive(Debug, Default)]
pub struct Endpoint {
    rates: EndpointRates,
    per_address: Option<Gcra>,
    total: Option<Gcra>,
}

impl Endpoint {
    /// A limit of these rates.
    #[must_use]
    pub fn new(rates: EndpointRates) -> Self {
        Self {
            rates,
            per_address: rates.per_address.map(|rate| Gcra::new(rate, local::ADDRESSES)),
            total: rates.total.map(|rate| Gcra::new(rate, 1)),
        }
    }

    /// Its rates.
    #[must_use]
    pub fn rates(&self) -> EndpointRates {
        self.rates
    }

    /// Counts a request of this address. One that its own address may not make does not count for everybody.
    ///
    /// # Errors
    ///
    /// Returns how long to wait.
    pub fn check(&self, address: ClientAddress) -> Result<(), TooOften> {
        self.per_address.as_ref().map_or(Ok(()), |limit| limit.check(&address))?;
        self.total.as_ref().map_or(Ok(()), |limit| limit.check(&()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_is_slowed_down_and_the_others_are_not_until_everybody_is() {
        let rates = EndpointRates { per_address: Rate::per_minute(3), total: Rate::per_minute(5) };
        let endpoint = Endpoint::new(rates);
        let address = |text: &str| ClientAddress::of(text.parse().unwrap());
        let (one, two) = (address("203.0.113.1"), address("203.0.113.2"));
        assert_eq!((0..3).map(|_| endpoint.check(one)).collect::<Vec<_>>(), [Ok(()); 3]);
        assert!(endpoint.check(one).is_err_and(|wait| (1..=20).contains(&wait.seconds())));
        assert_eq!(
            (endpoint.check(two), endpoint.check(two)),
            (Ok(()), Ok(())),
            "refused requests count for nobody else"
        );
        assert!(endpoint.check(two).is_err(), "everybody together has had enough");
        assert!(Endpoint::new(EndpointRates::default()).check(one).is_ok(), "no rate is no limit");
    }

    #[test]
    fn a_wait_is_told_in_whole_seconds_and_never_as_none() {
        for (milliseconds, seconds) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (59_999, 60)] {
            assert_eq!(TooOften(Duration::from_millis(milliseconds)).seconds(), seconds);
        }
    }
}
