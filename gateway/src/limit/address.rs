//! Whose request it is, by address: the peer's, or what proxies that the operator trusts say of it.
//!
//! Forwarding headers count only from a peer in `server.trusted_proxies`, and then from the right: each proxy appends
//! whom it heard it from, so the first address that is no trusted proxy is the client, and what stands left of it was
//! written by the client.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// No honest chain of proxies is longer.
const MAX_HOPS: usize = 32;
/// An IPv6 client commands the whole of its /64.
const CLIENT_PREFIX: u128 = !0 << 64;

/// What is counted as one client: an IPv4 address, or the /64 of an IPv6 one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddress(u128);

impl ClientAddress {
    /// The client at this address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self(v4.to_ipv6_mapped().to_bits()),
            IpAddr::V6(v6) => Self(v6.to_bits() & CLIENT_PREFIX),
        }
    }

    /// Clients whose address is not known are one.
    #[must_use]
    pub fn unknown() -> Self {
        Self::of(IpAddr::V6(Ipv6Addr::UNSPECIFIED))
    }
}

/// As addresses are written; an IPv6 network with its prefix.
impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = Ipv6Addr::from_bits(self.0);
        match address.to_ipv4_mapped() {
            Some(v4) => write!(f, "{v4}"),
            None => write!(f, "{address}/64"),
        }
    }
}

/// The proxies whose word counts.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// These networks.
    #[must_use]
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Whether there are some, and all of them are on this machine.
    #[must_use]
    pub fn are_of_this_machine(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|network| network.network().is_loopback())
    }

    /// Whether a connection without TLS may come from here, where the network reaches the listener: from a proxy that
    /// terminates TLS, or from this machine. Anybody else's tokens cross the network in the clear.
    #[must_use]
    pub fn may_be_plain(&self, peer: Option<IpAddr>) -> bool {
        peer.is_some_and(|peer| peer.to_canonical().is_loopback() || self.is_trusted(peer))
    }

    /// The client behind a connection from `peer`.
    #[must_use]
    pub fn client(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> ClientAddress {
        self.source(peer, headers).map_or_else(ClientAddress::unknown, ClientAddress::of)
    }

    /// The address of that client, whole; an IPv4 one in its own form.
    #[must_use]
    pub fn source(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> Option<IpAddr> {
        peer.map(|peer| self.behind(peer, headers).to_canonical())
    }

    fn behind(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        if !self.is_trusted(peer) {
            return peer;
        }
        let by = |name: HeaderName, read: fn(&str) -> Option<IpAddr>| {
            headers.contains_key(&name).then(|| self.first_stranger(peer, headers, &name, read))
        };
        match (by(X_FORWARDED_FOR, bare), by(FORWARDED, parameter)) {
            (Some(client), None) | (None, Some(client)) => client,
            (Some(client), Some(same)) if client == same => client,
            // One of the two is the proxy's and one may be the client's own; which is not to be told.
            (None, None) | (Some(_), Some(_)) => peer,
        }
    }

    /// The right-most address that is no trusted proxy; the last one that is, where the chain ends or is unreadable.
    fn first_stranger(
        &self,
        peer: IpAddr,
        headers: &HeaderMap,
        name: &HeaderName,
        read: fn(&str) -> Option<IpAddr>,
    ) -> IpAddr {
        let lines: Vec<&str> = headers.get_all(name).iter().map(|line| line.to_str().unwrap_or("?")).collect();
        let hops = lines.iter().rev().flat_map(|line| line.rsplit(',')).take(MAX_HOPS);
        let mut last = peer;
        for hop in hops {
            let Some(address) = read(hop.trim()) else { return last };
            last = address;
            if !self.is_trusted(address) {
                return last;
            }
        }
        last
    }

    /// Whether this is the address of one of them.
    #[must_use]
    pub fn is_trusted(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// An address, with or without a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`.
fn bare(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
        return is_port.then(|| address.parse::<Ipv6Addr>().ok().map(IpAddr::V6)).flatten();
    }
    text.parse::<std::net::SocketAddrV4>().ok().map(|address| IpAddr::V4(*address.ip()))
}

/// The `for` of one element of `Forwarded` (RFC 7239 section 4).
fn parameter(element: &str) -> Option<IpAddr> {
    let mut values = element.split(';').filter_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        name.eq_ignore_ascii_case("for").then_some(value)
    });
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    let value = value.strip_prefix('"').map_or(Some(value), |quoted| quoted.strip_suffix('"'))?;
    bare(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, headers: &[(&str, &str)]) -> ClientAddress {
        let proxies = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        proxies.client(Some(peer.parse().unwrap()), &map)
    }

    fn is(address: &str) -> ClientAddress {
        ClientAddress::of(address.parse().unwrap())
    }

    #[test]
    fn only_a_proxy_or_this_machine_may_speak_plain_http() {
        let proxies =
            |networks: &[&str]| TrustedProxies::new(networks.iter().map(|network| network.parse().unwrap()).collect());
        let some = proxies(&["10.1.0.0/16", "fd00::/8"]);
        for (peer, may) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("fd00::1", true),
            ("127.0.0.1", true),
            ("::1", true),
            ("10.2.0.1", false),
            ("203.0.113.5", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(some.may_be_plain(Some(peer.parse().unwrap())), may, "{peer}");
        }
        assert!(!some.may_be_plain(None));
        assert!(proxies(&["127.0.0.0/8", "::1/128"]).are_of_this_machine());
        assert!(!some.are_of_this_machine() && !proxies(&[]).are_of_this_machine());
        assert!(!proxies(&["127.0.0.0/8", "10.0.0.0/8"]).are_of_this_machine());
    }

    #[test]
    fn the_client_is_the_rightmost_address_that_no_trusted_proxy_has() {
        for (peer, headers, expected) in [
            ("10.0.0.1", &[("x-forwarded-for", "203.0.113.7")][..], "203.0.113.7"),
            ("10.0.0.1", &[("x-forwarded-for", "1.1.1.1, 203.0.113.7, 10.0.0.2")], "203.0.113.7"),
            ("10.0.0.1", &[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "203.0.113.7")], "203.0.113.7"),
            ("10.0.0.1", &[("x-forwarded-for", "203.0.113.7:4711")], "203.0.113.7"),
            ("10.0.0.1", &[("x-forwarded-for", "[2001:db8::7]:4711")], "2001:db8::7"),
            ("::ffff:10.0.0.1", &[("x-forwarded-for", "203.0.113.7")], "203.0.113.7"),
            ("10.0.0.1", &[("forwarded", "for=203.0.113.7;proto=https")], "203.0.113.7"),
            ("10.0.0.1", &[("forwarded", "for=1.1.1.1, For=\"[2001:db8::7]:80\";by=10.0.0.1")], "2001:db8::7"),
            ("10.0.0.1", &[("x-forwarded-for", "203.0.113.7"), ("forwarded", "for=203.0.113.7")], "203.0.113.7"),
            ("10.0.0.1", &[], "10.0.0.1"),
        ] {
            assert_eq!(client(peer, headers), is(expected), "{peer} {headers:?}");
        }
    }

    #[test]
    fn what_a_stranger_says_of_itself_does_not_count() {
        let stranger = "198.51.100.9";
        for headers in [
            &[("x-forwarded-for", "203.0.113.7")][..],
            &[("x-forwarded-for", "10.0.0.1")],
            &[("forwarded", "for=203.0.113.7")],
            &[("x-real-ip", "203.0.113.7"), ("true-client-ip", "203.0.113.7")],
        ] {
            assert_eq!(client(stranger, headers), is(stranger), "{headers:?}");
        }
        // Behind a trusted proxy, whatever stands left of what the proxy wrote.
        for spoofed in ["203.0.113.7", "10.0.0.9", "unknown", "", "_hidden", "127.0.0.1, ::1"] {
            let line = format!("{spoofed}, {stranger}");
            assert_eq!(client("10.0.0.1", &[("x-forwarded-for", &line)]), is(stranger), "{line}");
        }
    }

    #[test]
    fn a_chain_that_cannot_be_read_ends_at_the_last_proxy() {
        for line in ["unknown", "203.0.113.7 x", "203.0.113", "203.0.113.7:port", "[2001:db8::7", ""] {
            assert_eq!(client("10.0.0.1", &[("x-forwarded-for", line)]), is("10.0.0.1"), "{line}");
        }
        assert_eq!(client("10.0.0.1", &[("x-forwarded-for", "?, 10.0.0.5")]), is("10.0.0.5"));
        for line in ["for=unknown", "for=_x", "for=1.2.3.4;for=5.6.7.8", "by=1.2.3.4", "for=\"1.2.3.4"] {
            assert_eq!(client("10.0.0.1", &[("forwarded", line)]), is("10.0.0.1"), "{line}");
        }
        let both = [("x-forwarded-for", "203.0.113.7"), ("forwarded", "for=203.0.113.8")];
        assert_eq!(client("10.0.0.1", &both), is("10.0.0.1"), "one of the two is the client's own");
    }

    #[test]
    fn an_ipv6_client_is_its_64_and_a_mapped_address_its_ipv4_self() {
        assert_eq!(is("2001:db8::1"), is("2001:db8::ffff:1:2"));
        assert_ne!(is("2001:db8:0:1::1"), is("2001:db8:0:2::1"));
        assert_eq!(is("::ffff:203.0.113.7"), is("203.0.113.7"));
        assert_ne!(is("203.0.113.7"), is("203.0.113.8"));
        assert_eq!(is("::ffff:203.0.113.7").to_string(), "203.0.113.7");
        assert_eq!(is("2001:db8::ffff:1:2").to_string(), "2001:db8::/64");
    }
}
