//! The route table: which path is whose. Closed and exact.
//!
//! A path is a backend's, byte for byte (one trailing slash is the same resource), or it is local and the in-process
//! router answers it, 404 included. No header, query, case or encoding changes that. The `Host` must be a name the
//! gateway is known by (RFC 9110 section 7.2; DNS rebinding).

use std::sync::Arc;

use super::mount::Mount;

/// Paths and host names.
#[derive(Debug)]
pub struct RouteTable {
    mounts: Vec<Arc<Mount>>,
    hosts: Vec<String>,
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
    /// A table of these mounts, for a gateway known as `public_url` (an origin).
    #[must_use]
    pub fn new(mounts: Vec<Arc<Mount>>, public_url: &str) -> Self {
        Self { mounts, hosts: host_names(public_url) }
    }

    /// The route of a request; `host` is its `Host` header or `:authority`, `path` is without the query.
    #[must_use]
    pub fn find(&self, host: &str, path: &str) -> Route<'_> {
        if !self.hosts.iter().any(|known| known.eq_ignore_ascii_case(host)) {
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

/// The `Host` values that mean this gateway: the public one, with and without the scheme's own port, and the names
/// of the loopback interface when the public one is of it.
fn host_names(public_url: &str) -> Vec<String> {
    let (scheme, authority) = public_url.split_once("://").unwrap_or(("https", public_url));
    let default_port = if scheme == "http" { ":80" } else { ":443" };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
            (host, format!(":{port}"))
        }
        _ => (authority, String::new()),
    };
    let loopback = ["127.0.0.1", "localhost", "[::1]"];
    let names = if loopback.contains(&host) { loopback.to_vec() } else { vec![host] };
    let mut hosts = Vec::new();
    for name in names {
        hosts.push(format!("{name}{port}"));
        if port.is_empty() {
            hosts.push(format!("{name}{default_port}"));
        }
    }
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_name_is_known_with_and_without_its_port() {
        assert_eq!(host_names("https://mcp.example.com"), ["mcp.example.com", "mcp.example.com:443"]);
        assert_eq!(host_names("https://mcp.example.com:8443"), ["mcp.example.com:8443"]);
    }

    #[test]
    fn a_loopback_gateway_is_known_by_every_loopback_name() {
        assert_eq!(host_names("http://127.0.0.1:8080"), ["127.0.0.1:8080", "localhost:8080", "[::1]:8080"]);
    }

    #[test]
    fn another_host_is_misdirected_and_a_known_one_is_not() {
        let table = RouteTable::new(Vec::new(), "https://mcp.example.com");
        for host in ["evil.example", "mcp.example.com.evil.example", "mcp.example.com:444", ""] {
            assert!(matches!(table.find(host, "/mcp"), Route::Misdirected), "{host}");
        }
        assert!(matches!(table.find("MCP.example.com", "/token"), Route::Local));
    }
}
