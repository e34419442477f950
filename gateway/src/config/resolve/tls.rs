//! The certificate for clients, and that nobody speaks plain HTTP over a network by mistake.

use std::net::SocketAddr;

use super::values::Resolver;
use crate::clock::{Clock, SystemClock};
use crate::config::{Pair, document};
use crate::limit::TrustedProxies;
use crate::tls::{self, Files};

pub(super) fn resolve(
    resolver: &mut Resolver<'_>,
    server: &document::Server,
    (listen, trusted): (SocketAddr, &TrustedProxies),
    public_url: &str,
    pair: Pair,
) -> Option<Files> {
    let Some(written) = &server.tls else {
        // A proxy on this machine explains no address that others can reach.
        if !listen.ip().is_loopback() && (server.trusted_proxies.is_empty() || trusted.are_of_this_machine()) {
            let message = format!(
                "`{listen}` is open to the network without TLS, and tokens would cross it in the clear; name a certificate in `server.tls`, or in `server.trusted_proxies` the networks of what terminates TLS before it, or listen on `127.0.0.1`"
            );
            resolver.fault(server.listen.as_ref(), message);
        }
        return None;
    };
    if !public_url.starts_with("https:") {
        resolver
            .fault(server.public_url.as_ref(), format!("clients reach `{public_url}` over TLS; write it with https"));
    }
    let certificate = resolver.path(&written.certificate_file)?;
    let key = resolver.path(&written.key_file)?;
    let client_ca = written.client_ca_file.as_ref().map(|file| resolver.path(file));
    let client_ca = match client_ca {
        Some(Some(file)) => Some(file),
        // INVARIANT: an authority that cannot be named is a fault, never no authority.
        Some(None) => return None,
        None => None,
    };
    let files = Files { certificate, key, client_ca };
    if pair == Pair::Checked
        && let Err(error) = tls::load(&files, SystemClock.now())
    {
        resolver.fault(Some(&written.certificate_file), error.to_string());
    }
    Some(files)
}
