//! What the whole process holds at once: connections, requests, event streams, and the bytes of bodies.
//!
//! Whoever takes from a budget holds a value that gives back when it is dropped, whatever the way out (`shares`). How
//! much there is to give is configuration (`limits`).

use std::net::IpAddr;
use std::sync::Arc;

use portcullis_policy::{BackendName, Subject};

pub use super::shares::{Held, Spent};
use super::shares::{Pool, Share, Shares};
use crate::limit::{ClientAddress, TrustedProxies};
use crate::metrics::Metrics;
use crate::subject;

/// How much there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections of clients.
    pub connections: usize,
    /// Those of one address (an IPv6 /64), trusted proxies aside; 0 is no limit.
    pub connections_per_address: usize,
    /// Requests that are being answered, streams of GET aside.
    pub requests: usize,
    /// Those of one backend, so that a slow one leaves room for the others.
    pub requests_per_backend: usize,
    /// Bytes of request bodies.
    pub request_bytes: usize,
    /// Bytes of answers that are read whole, and of events that have not ended.
    pub answer_bytes: usize,
    /// Event streams that wait for what a server has to say: those of GET, and subscriptions.
    pub streams: usize,
    /// Those of one caller.
    pub streams_per_caller: usize,
}

impl Limits {
    /// Descriptors for what is no connection: the store, the trail, the log, the listeners, the identity provider.
    const ASIDE: usize = 64;

    /// The same, with no more connections than the process may open files for: each may need one to a backend.
    #[must_use]
    pub fn within(self, open_files: Option<usize>) -> Self {
        let most = open_files.map_or(usize::MAX, |files| files.saturating_sub(Self::ASIDE) / 2).max(1);
        Self { connections: self.connections.min(most), ..self }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 20_000,
            connections_per_address: 0,
            requests: 5_000,
            requests_per_backend: 2_000,
            request_bytes: 256 << 20,
            answer_bytes: 256 << 20,
            streams: 10_000,
            streams_per_caller: 100,
        }
    }
}

/// A connection's place.
#[derive(Debug)]
pub struct Connection {
    _of_all: Held,
    _of_address: Option<Share<ClientAddress>>,
}

/// A request's place at its backend.
#[derive(Debug)]
pub struct AtBackend(#[expect(dead_code, reason = "held, and given back by dropping")] Share<BackendName>);

/// An event stream's place.
#[derive(Debug)]
pub struct Stream {
    _of_all: Held,
    _of_caller: Share<String>,
}

/// Every budget of the process.
#[derive(Debug)]
pub struct Budgets {
    connections: Arc<Pool>,
    addresses: Option<Arc<Shares<ClientAddress>>>,
    proxies: TrustedProxies,
    requests: Arc<Pool>,
    backends: Arc<Shares<BackendName>>,
    request_bytes: Arc<Pool>,
    answer_bytes: Arc<Pool>,
    streams: Arc<Pool>,
    callers: Arc<Shares<String>>,
}

impl Budgets {
    /// Budgets of this size; trusted proxies may hold any number of the connections.
    #[must_use]
    pub fn new(limits: Limits, proxies: TrustedProxies, metrics: &Metrics) -> Self {
        let per_address = limits.connections_per_address;
        Self {
            connections: Pool::new("connections", limits.connections, metrics),
            addresses: (per_address > 0).then(|| Shares::new("connections_per_address", per_address, metrics)),
            proxies,
            requests: Pool::new("requests", limits.requests, metrics),
            backends: Shares::new("requests_per_backend", limits.requests_per_backend, metrics),
            request_bytes: Pool::new("request_bytes", limits.request_bytes, metrics),
            answer_bytes: Pool::new("answer_bytes", limits.answer_bytes, metrics),
            streams: Pool::new("streams", limits.streams, metrics),
            callers: Shares::new("streams_per_caller", limits.streams_per_caller, metrics),
        }
    }

    /// A place among the requests of a backend.
    ///
    /// # Errors
    ///
    /// Returns [`Spent`] when there is none left.
    pub fn at_backend(&self, name: &BackendName) -> Result<AtBackend, Spent> {
        self.backends.take(name.clone()).map(AtBackend)
    }

    /// A place for a connection.
    ///
    /// # Errors
    ///
    /// Returns [`Spent`] when there is none.
    pub fn connection(&self, peer: Option<IpAddr>) -> Result<Connection, Spent> {
        let counted = self.addresses.as_ref().zip(peer).filter(|(_, peer)| !self.proxies.is_trusted(*peer));
        let of_address = counted.map(|(addresses, peer)| addresses.take(ClientAddress::of(peer))).transpose()?;
        Ok(Connection { _of_all: Held::one(&self.connections)?, _of_address: of_address })
    }

    /// A place for a request.
    ///
    /// # Errors
    ///
    /// Returns [`Spent`] when there is none.
    pub fn request(&self) -> Result<Held, Spent> {
        Held::one(&self.requests)
    }

    /// A place for an event stream of this caller.
    ///
    /// # Errors
    ///
    /// Returns [`Spent`] when there is none.
    pub fn stream(&self, caller: &Subject) -> Result<Stream, Spent> {
        let of_caller = self.callers.take(subject::name(caller.tenant(), caller.object()))?;
        Ok(Stream { _of_all: Held::one(&self.streams)?, _of_caller: of_caller })
    }

    /// Room for a request's body, none of it taken yet.
    #[must_use]
    pub fn request_body(&self) -> Held {
        Held::nothing(&self.request_bytes)
    }

    /// Room for an answer, none of it taken yet.
    #[must_use]
    pub fn answer_body(&self) -> Held {
        Held::nothing(&self.answer_bytes)
    }

    /// Writes what is in use, and how much there is, to the metrics.
    pub fn observe(&self, metrics: &Metrics) {
        let pools = [&self.connections, &self.requests, &self.request_bytes, &self.answer_bytes, &self.streams];
        for pool in pools {
            pool.observe(metrics);
        }
    }
}

#[cfg(test)]
mod tests {
    use portcullis_policy::Kind;

    use super::*;

    fn budgets(limits: Limits) -> (Budgets, Metrics) {
        let metrics = Metrics::new().unwrap();
        let proxies = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()]);
        (Budgets::new(limits, proxies, &metrics), metrics)
    }

    fn at(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    #[test]
    fn what_is_dropped_is_given_back() {
        let (budgets, metrics) = budgets(Limits { requests: 2, ..Limits::default() });
        for _ in 0..3 {
            let first = budgets.request().unwrap();
            let second = budgets.request().unwrap();
            assert_eq!(budgets.request().unwrap_err(), Spent::Everybodys);
            drop((first, second));
        }
        budgets.observe(&metrics);
        assert_eq!(metrics.budgets.used.with_label_values(&["requests"]).get(), 0);
        assert_eq!(metrics.budgets.refused.with_label_values(&["requests"]).get(), 3);
    }

    #[test]
    fn bytes_are_held_as_they_come_and_never_beyond_the_budget() {
        let (budgets, metrics) = budgets(Limits { request_bytes: 100, ..Limits::default() });
        let (mut first, mut second) = (budgets.request_body(), budgets.request_body());
        first.resize(60).unwrap();
        second.resize(40).unwrap();
        assert_eq!(second.resize(41), Err(Spent::Everybodys));
        budgets.observe(&metrics);
        assert_eq!(metrics.budgets.used.with_label_values(&["request_bytes"]).get(), 100);
        first.resize(10).unwrap();
        second.resize(90).unwrap();
        drop((first, second));
        budgets.observe(&metrics);
        assert_eq!(metrics.budgets.used.with_label_values(&["request_bytes"]).get(), 0);
    }

    #[test]
    fn an_address_has_its_share_of_the_connections_and_a_trusted_proxy_all_of_them() {
        let limits = Limits { connections: 6, connections_per_address: 2, ..Limits::default() };
        let (budgets, _) = budgets(limits);
        let held =
            [budgets.connection(Some(at("192.0.2.1"))).unwrap(), budgets.connection(Some(at("192.0.2.1"))).unwrap()];
        assert_eq!(budgets.connection(Some(at("192.0.2.1"))).unwrap_err(), Spent::Their);
        let others: Vec<_> = (0..4).map(|_| budgets.connection(Some(at("10.0.0.1"))).unwrap()).collect();
        assert_eq!(budgets.connection(Some(at("192.0.2.2"))).unwrap_err(), Spent::Everybodys);
        drop((held, others));
        let _v6 = [
            budgets.connection(Some(at("2001:db8::1"))).unwrap(),
            budgets.connection(Some(at("2001:db8::2"))).unwrap(),
        ];
        assert_eq!(budgets.connection(Some(at("2001:db8::3"))).unwrap_err(), Spent::Their, "of one /64");
    }

    #[test]
    fn a_caller_has_a_share_of_the_streams() {
        let (budgets, _) = budgets(Limits { streams: 3, streams_per_caller: 2, ..Limits::default() });
        let caller = |object: &str| Subject::new(Kind::User, "t", object);
        let _held = [budgets.stream(&caller("a")).unwrap(), budgets.stream(&caller("a")).unwrap()];
        assert_eq!(budgets.stream(&caller("a")).unwrap_err(), Spent::Their);
        let _other = budgets.stream(&caller("b")).unwrap();
        assert_eq!(budgets.stream(&caller("c")).unwrap_err(), Spent::Everybodys);
        assert_eq!(budgets.callers.len(), 2, "who holds nothing takes no memory");
    }

    #[test]
    fn connections_leave_descriptors_for_backends() {
        let limits = Limits::default();
        assert_eq!(limits.within(Some(256)).connections, 96);
        assert_eq!(limits.within(Some(1 << 20)), limits);
        assert_eq!(limits.within(None), limits);
    }
}
