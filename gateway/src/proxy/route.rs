//! The route table: which path is whose. Closed and exact.
//!
//! A path is a backend's, byte for byte (one trailing slash is the same resource), or it is local and the in-process
//! router answers it, 404 included. No header, query, case or encoding changes that. The `Host` must be a name the
//! gateway is known by (RFC 9110 section 7.2; DNS rebinding).

use std::sync::Arc;

use super::host::Hosts;
use super::mount::Mount;

/// Paths and host names.
#[derive(Debug)]
pub struct RouteTable {
    mounts: Vec<Arc<Mount>>,
    hosts: Hosts,
}

/// Where a request goes.
#[derive(Debug)]
pub enum Route<'a> {
    /// To a backend, through the door.
    Backend(&'a Arc<Mount>),
    /// To the in-process router.
    Local,
    /// Nowhere: the request names a host that the gateway is not.
    Misdirected,
}

impl RouteTable {
    /// A table of these mounts, for a gateway of these names.
    #[must_use]
    pub fn new(mounts: Vec<Arc<Mount>>, hosts: Hosts) -> Self {
        Self { mounts, hosts }
    }

    /// The route of a request; `host` is its `Host` header or `:authority`, `path` is without the query.
    #[must_use]
    pub fn find(&self, host: &str, path: &str) -> Route<'_> {
        if !self.hosts.knows(host) {
            return Route::Misdirected;
        }
        let path = path.strip_suffix('/').unwrap_or(path);
        self.mounts.iter().find(|mount| mount.path == path).map_or(Route::Local, Route::Backend)
    }

    /// Every mount.
    #[must_use]
    pub fn mounts(&self) -> &[Arc<Mount>] {
        &self.mounts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_host_is_misdirected_and_a_known_one_is_not() {
        let table = RouteTable::new(Vec::new(), Hosts::public("https://mcp.example.com", &[]));
        for host in ["evil.example", "mcp.example.com.evil.example", "mcp.example.com:444", ""] {
            assert!(matches!(table.find(host, "/mcp"), Route::Misdirected), "{host}");
        }
        assert!(matches!(table.find("MCP.example.com", "/token"), Route::Local));
    }
}
