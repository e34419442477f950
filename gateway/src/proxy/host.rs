//! The names that a listener answers to (RFC 9110 section 7.2), so that a name of somebody else's that was pointed at
//! its address (DNS rebinding) reaches nothing. That a `Host` is well formed is `head_gate`'s affair.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The names of the loopback interface.
const LOOPBACK: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];

/// The `Host` values that mean a listener.
#[derive(Clone, Debug)]
pub enum Hosts {
    /// These, with their port.
    Public(Vec<String>),
    /// Every address, `localhost`, and these names; with any port.
    Operators(Vec<String>),
}

impl Hosts {
    /// Those of the clients' listener: of the public URL, and of the further names, each `name` or `name:port`.
    #[must_use]
    pub fn public(public_url: &str, further: &[String]) -> Self {
        let (scheme, authority) = public_url.split_once("://").unwrap_or(("https", public_url));
        let default_port = if scheme == "http" { ":80" } else { ":443" };
        let loopback = LOOPBACK.contains(&split(authority).0);
        let spellings = |written: &str, loopback: bool| {
            let (host, port) = split(written);
            let names = if loopback { LOOPBACK.to_vec() } else { vec![host] };
            let ports = if port.is_empty() { vec!["", default_port] } else { vec![port] };
            let all = names.iter().flat_map(|name| ports.iter().map(move |port| format!("{name}{port}")));
            all.collect::<Vec<String>>()
        };
        let further = further.iter().flat_map(|written| spellings(written, false));
        Self::Public(spellings(authority, loopback).into_iter().chain(further).collect())
    }

    /// Those of the operators' listener. A probe or a scrape names an address or a service; an address cannot be
    /// rebound.
    #[must_use]
    pub fn operators(further: &[String]) -> Self {
        Self::Operators(further.to_vec())
    }

    /// Whether a well-formed `Host` is one of them.
    #[must_use]
    pub fn knows(&self, host: &str) -> bool {
        let among = |names: &[String], host: &str| names.iter().any(|name| name.eq_ignore_ascii_case(host));
        match self {
            Self::Public(names) => among(names, host),
            Self::Operators(names) => {
                let (name, _) = split(host);
                is_address(name) || name.eq_ignore_ascii_case("localhost") || among(names, name)
            }
        }
    }
}

/// A host and its port, with the colon; the port may be missing.
fn split(authority: &str) -> (&str, &str) {
    let at = authority.rfind(':').filter(|at| !authority.ends_with(']') && authority.get(at + 1..).is_some());
    at.and_then(|at| authority.split_at_checked(at)).unwrap_or((authority, ""))
}

fn is_address(host: &str) -> bool {
    let v6 = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    v6.map_or_else(|| host.parse::<Ipv4Addr>().is_ok(), |v6| v6.parse::<Ipv6Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_name_is_known_with_and_without_its_port() {
        let hosts = Hosts::public("https://mcp.example.com", &["mcp.internal".to_owned(), "10.0.0.7:8443".to_owned()]);
        for known in ["mcp.example.com", "MCP.example.com:443", "mcp.internal", "mcp.internal:443", "10.0.0.7:8443"] {
            assert!(hosts.knows(known), "{known}");
        }
        for strange in
            ["evil.example", "mcp.example.com.evil.example", "mcp.example.com:444", "10.0.0.7", "localhost", "", ":443"]
        {
            assert!(!hosts.knows(strange), "{strange}");
        }
        assert!(!Hosts::public("https://mcp.example.com:8443", &[]).knows("mcp.example.com"));
    }

    #[test]
    fn a_loopback_gateway_is_known_by_every_loopback_name() {
        let hosts = Hosts::public("http://127.0.0.1:8080", &[]);
        for known in ["127.0.0.1:8080", "localhost:8080", "LOCALHOST:8080", "[::1]:8080"] {
            assert!(hosts.knows(known), "{known}");
        }
        for strange in ["127.0.0.1", "localhost:1", "127.0.0.2:8080"] {
            assert!(!hosts.knows(strange), "{strange}");
        }
        assert!(Hosts::public("http://[::1]:8080", &[]).knows("localhost:8080"));
    }

    #[test]
    fn operators_come_by_address_or_by_a_listed_name() {
        let hosts = Hosts::operators(&["portcullis-admin.monitoring.svc".to_owned()]);
        for known in
            ["127.0.0.1:9090", "10.1.2.3", "[fd00::1]:9090", "localhost", "Portcullis-Admin.monitoring.svc:9090"]
        {
            assert!(hosts.knows(known), "{known}");
        }
        for strange in ["evil.example:9090", "10.1.2.3.evil.example", "localhost.evil.example", ""] {
            assert!(!hosts.knows(strange), "{strange}");
        }
    }
}
