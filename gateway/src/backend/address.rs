//! Where a backend listens: a name that is looked up anew, so that it may move.
//!
//! Only addresses that the operator wrote are looked up here, never one that a stranger chose.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long an answer of the resolver is used; a moved backend is found within it.
const LIFETIME: Duration = Duration::from_secs(10);

/// A host and a port.
#[derive(Debug)]
pub(super) struct Address {
    host: String,
    port: u16,
    found: Mutex<Option<(Vec<SocketAddr>, Instant)>>,
}

impl Address {
    /// The address of `host` (a name, or an IP address without brackets) and `port`.
    #[must_use]
    pub(super) fn new(host: &str, port: u16) -> Self {
        Self { host: host.to_owned(), port, found: Mutex::default() }
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Every socket address it stands for, in the resolver's order.
    ///
    /// # Errors
    ///
    /// Returns the resolver's error, or `NotFound` when it knows no address.
    pub(super) async fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        if let Ok(ip) = self.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, self.port)]);
        }
        if let Some((found, until)) = &*self.lock()
            && Instant::now() < *until
        {
            return Ok(found.clone());
        }
        let found: Vec<SocketAddr> = tokio::net::lookup_host((self.host.as_str(), self.port)).await?.collect();
        if found.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        }
        *self.lock() = Some((found.clone(), Instant::now() + LIFETIME));
        Ok(found)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(Vec<SocketAddr>, Instant)>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_ip_address_needs_no_resolver() {
        let address = Address::new("::1", 9000);
        assert_eq!(address.resolve().await.unwrap(), ["[::1]:9000".parse().unwrap()]);
        assert!(address.lock().is_none());
    }

    #[tokio::test]
    async fn a_name_is_looked_up_and_kept_for_a_while() {
        let address = Address::new("localhost", 9000);
        let found = address.resolve().await.unwrap();
        assert!(found.iter().all(|found| found.ip().is_loopback() && found.port() == 9000));
        assert_eq!(address.lock().clone().unwrap().0, found);
    }

    #[tokio::test]
    async fn a_name_without_an_address_is_an_error() {
        assert!(Address::new("name.invalid", 80).resolve().await.is_err());
    }
}
