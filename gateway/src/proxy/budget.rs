//! What the whole process holds at once: connections, requests, event streams, and the bytes of bodies.
//!
//! Whoever takes from a budget holds a value that gives back when it is dropped, whatever the way out (`shares`). How
//! much there is to give is configuration (`limits`).

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;
use portcullis_policy::{BackendName, Subject};

pub use super::shares::{Held, Room, Spent};
use super::shares::{Pool, Share, Shares};
use crate::limit::{ClientAddress, TrustedProxies};
use crate::metrics::Metrics;

/// Up to here a body takes its room as it comes, and counts against nobody's share: how many of them one caller may
/// have is `requests_per_caller`.
pub(super) const SMALL_BODY: usize = 64 << 10;
/// Bytes of the bodies of local routes, of all together and of one address.
const LOCAL_BYTES: usize = 16 << 20;
const LOCAL_BYTES_PER_ADDRESS: usize = LOCAL_BYTES / 4;

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
    /// Those of one address (an IPv6 /64) that no caller is known of, trusted proxies aside; 0 is no limit.
    pub requests_per_address: usize,
    /// Those of one caller; 0 is no limit.
    pub requests_per_caller: usize,
    /// Bytes of request bodies.
    pub request_bytes: usize,
    /// Those of one caller, in bodies of more than 64 KiB; 0 is no limit.
    pub request_bytes_per_caller: usize,
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

    /// What one address has of so many requests, where nothing is said of it.
    #[must_use]
    pub fn of_address(requests: usize) -> usize {
        (requests / 4).max(1)
    }

    /// What one caller has of so many requests to a backend, where nothing is said of it.
    #[must_use]
    pub fn of_caller(requests_per_backend: usize) -> usize {
        (requests_per_backend / 4).max(1)
    }

    /// What one caller has of so many bytes, where nothing is said of it.
    #[must_use]
    pub fn bytes_of_caller(request_bytes: usize) -> usize {
        (request_bytes / 8).max(1)
    }

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
            requests_per_address: Self::of_address(5_000),
            requests_per_caller: Self::of_caller(2_000),
            request_bytes: 256 << 20,
            request_bytes_per_caller: Self::bytes_of_caller(256 << 20),
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
    _of_address: Option<Share>,
}

/// A request's place at its backend.
#[derive(Debug)]
pub struct AtBackend(#[expect(dead_code, reason = "held, and given back by dropping")] Share);

/// A request's place among those of its caller, and the share of bytes that its body counts against.
#[derive(Debug)]
pub struct Caller {
    pub(super) place: Option<Share>,
    pub(super) bytes: Option<Share>,
}

/// The place of a request that is answered in process, and room for its body.
#[derive(Debug)]
pub(super) struct Local {
    pub(super) place: Held,
    pub(super) room: Room,
}

/// An event stream's place.
#[derive(Debug)]
pub struct Stream {
    _of_all: Held,
    _of_caller: Share,
}

/// Every budget of the process.
#[derive(Debug)]
pub struct Budgets {
    connections: Arc<Pool>,
    connections_per_address: Option<Arc<Shares>>,
    proxies: TrustedProxies,
    requests: Arc<Pool>,
    requests_per_address: Option<Arc<Shares>>,
    requests_per_caller: Option<Arc<Shares>>,
    requests_per_backend: Arc<Shares>,
    request_bytes: Arc<Pool>,
    request_bytes_per_caller: Option<Arc<Shares>>,
    local: Arc<Pool>,
    local_bytes: Arc<Pool>,
    local_bytes_per_address: Arc<Shares>,
    answer_bytes: Arc<Pool>,
    streams: Arc<Pool>,
    streams_per_caller: Arc<Shares>,
}

impl Budgets {
    /// Budgets of this size; trusted proxies may hold any number of the connections.
    #[must_use]
    pub fn new(limits: Limits, proxies: TrustedProxies, metrics: &Metrics) -> Self {
        let pool = |name, limit| Pool::new(name, limit, metrics);
        let shares = |name, limit| Shares::new(name, limit, metrics);
        let some = |name, limit| (limit > 0).then(|| shares(name, limit));
        Self {
            connections: pool("connections", limits.connections),
            connections_per_address: some("connections_per_address", limits.connections_per_address),
            proxies,
            requests: pool("requests", limits.requests),
            requests_per_address: some("requests_per_address", limits.requests_per_address),
            requests_per_caller: some("requests_per_caller", limits.requests_per_caller),
            requests_per_backend: shares("requests_per_backend", limits.requests_per_backend),
            request_bytes: pool("request_bytes", limits.request_bytes),
            request_bytes_per_caller: some("request_bytes_per_caller", limits.request_bytes_per_caller),
            // What comes without a token leaves room for calls.
            local: pool("local_requests", limits.requests.div_ceil(2)),
            local_bytes: pool("local_bytes", LOCAL_BYTES),
            local_bytes_per_address: shares("local_bytes_per_address", LOCAL_BYTES_PER_ADDRESS),
            answer_bytes: pool("answer_bytes", limits.answer_bytes),
            streams: pool("streams", limits.streams),
            streams_per_caller: shares("streams_per_caller", limits.streams_per_caller),
        }
    }

    /// A place among the requests of a backend.
    ///
    /// # Errors
    ///
    /// Returns [`Spent`] when there is none left.
    pub fn at_backend(&self, name: &BackendName) -> Result<AtBackend, Spent> {
        // A backend's share is nobody's own.
        self.requests_per_backend.take(name).map(AtBackend).map_err(|_spent| Spent::Everybodys)
    }

    /// A place for a connection.
    ///
    /// # Errors
    ///
    /// Returns [`Spent`] when there is none.
    pub fn connection(&self, peer: Option<IpAddr>) -> Result<Connection, Spent> {
        let counted = self.connections_per_address.as_ref().zip(self.counted(peer));
        let of_address = counted.map(|(shares, address)| shares.take(&address)).transpose()?;
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

    /// Whose share a request counts against that no caller is known of: the client's, as far as proxies are believed.
    /// A proxy's own has no limit, for everybody behind it would share it.
    pub(super) fn stranger(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> Option<ClientAddress> {
        self.counted(self.proxies.source(peer, headers))
    }

    fn counted(&self, address: Option<IpAddr>) -> Option<ClientAddress> {
        address.filter(|address| !self.proxies.is_trusted(*address)).map(ClientAddress::of)
    }

    /// The share of this address, of which nothing is taken yet.
    pub(super) fn share_of(&self, address: Option<ClientAddress>) -> Option<Share> {
        Some(self.requests_per_address.as_ref()?.of(&address?))
    }

    /// A place for a request that is answered in process, beside its share of the address's.
    pub(super) fn local(&self, address: Option<ClientAddress>) -> Result<Local, Spent> {
        let of_address = address.map(|address| self.local_bytes_per_address.of(&address));
        Ok(Local { place: Held::one(&self.local)?, room: Room::of(&self.local_bytes, of_address, 0) })
    }

    /// A place among the requests of this caller.
    ///
    /// # Errors
    ///
    /// Returns [`Spent`] when there is none.
    pub fn caller(&self, caller: &Subject) -> Result<Caller, Spent> {
        let key = (caller.tenant(), caller.object());
        let place = self.requests_per_caller.as_ref().map(|shares| shares.take(&key)).transpose()?;
        Ok(Caller { place, bytes: self.request_bytes_per_caller.as_ref().map(|shares| shares.of(&key)) })
    }

    /// A place for an event stream of this caller.
    ///
    /// # Errors
    ///
    /// Returns [`Spent`] when there is none.
    pub fn stream(&self, caller: &Subject) -> Result<Stream, Spent> {
        let of_caller = self.streams_per_caller.take(&(caller.tenant(), caller.object()))?;
        Ok(Stream { _of_all: Held::one(&self.streams)?, _of_caller: of_caller })
    }

    /// Room for a request's body, none of it taken yet.
    #[must_use]
    pub fn request_body(&self) -> Room {
        Room::of(&self.request_bytes, None, SMALL_BODY)
    }

    /// Room for an answer, none of it taken yet.
    #[must_use]
    pub fn answer_body(&self) -> Held {
        Held::nothing(&self.answer_bytes)
    }

    /// Writes what is in use, and how much there is, to the metrics.
    pub fn observe(&self, metrics: &Metrics) {
        let of_calls = [&self.connections, &self.requests, &self.request_bytes, &self.answer_bytes, &self.streams];
        for pool in of_calls.into_iter().chain([&self.local, &self.local_bytes]) {
            pool.observe(metrics);
        }
    }
}

#[cfg(test)]
mod tests;
