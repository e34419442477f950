//! The two addresses that the gateway listens on, for clients and for its operators: they are never one.
//!
//! Both on one socket, clients would be answered `/metrics` now and then; and one of them beside the other on every
//! address of the machine cannot be had at all.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::values::Resolver;
use crate::config::document;

const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
const ADMIN_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);

/// That of clients, and that of operators.
pub(super) fn resolve(resolver: &mut Resolver<'_>, written: &document::Server) -> (SocketAddr, SocketAddr) {
    let listen = resolver.address(written.listen.as_ref(), LISTEN);
    let admin_listen = resolver.address(written.admin_listen.as_ref(), ADMIN_LISTEN);
    if collide(listen, admin_listen) {
        resolver.fault(
            written.admin_listen.as_ref().or(written.listen.as_ref()),
            format!(
                "`server.listen` (`{listen}`) and `server.admin_listen` (`{admin_listen}`) cannot both be had; give \
                 them different ports"
            ),
        );
    }
    (listen, admin_listen)
}

/// Whether who listens at the one keeps the other from it. Port 0 is another one each time.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let (one_ip, other_ip) = (one.ip().to_canonical(), other.ip().to_canonical());
    // `[::]` takes IPv4 along.
    let takes = |all: IpAddr, it: IpAddr| all.is_unspecified() && (all.is_ipv6() || it.is_ipv4());
    one.port() == other.port()
        && one.port() != 0
        && (one_ip == other_ip || takes(one_ip, other_ip) || takes(other_ip, one_ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_port_is_enough_for_both_only_at_addresses_of_their_own() {
        for (one, other, expected) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "0.0.0.0:80", true),
            ("[::]:80", "127.0.0.1:80", true),
            ("[::]:80", "0.0.0.0:80", true),
            ("[::]:80", "[::1]:80", true),
            ("[::ffff:127.0.0.1]:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("0.0.0.0:80", "0.0.0.0:81", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("0.0.0.0:80", "[::1]:80", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
        ] {
            let (one, other) = (one.parse().unwrap(), other.parse().unwrap());
            assert_eq!((collide(one, other), collide(other, one)), (expected, expected), "{one} {other}");
        }
    }
}
