//! What a reload cannot change. Every key of the configuration is either here or taken into use by the next door; the
//! patterns name them all, so that a key that is added has to be put on one side.

use crate::config::Config;
use crate::config::settings::{Entra, IdentityAssertions, Server};

/// The keys that differ between what runs and what was written, and that only a restart can change.
pub(super) fn changed(now: &Config, new: &Config) -> Vec<&'static str> {
    let Config { server, state, entra, audit, limits, oauth, traces, identity_assertions, .. } = now;
    let mut names = of_server(server, &new.server);
    if *state != new.state {
        names.push("state");
    }
    names.extend(of_entra(entra, &new.entra));
    if oauth.revocation_staleness != new.oauth.revocation_staleness {
        names.push("oauth.revocation_staleness");
    }
    if oauth.key_lifetime != new.oauth.key_lifetime {
        names.push("oauth.key_lifetime");
    }
    // Their keys are fetched from the start on; what is made of an assertion is taken into use.
    let keys = |list: &[IdentityAssertions]| -> Vec<(String, Option<String>)> {
        list.iter().map(|trusted| (trusted.issuer.clone(), trusted.jwks_uri.clone())).collect()
    };
    if keys(identity_assertions) != keys(&new.identity_assertions) {
        names.push("oauth.identity_assertions (issuer, jwks_uri)");
    }
    // What connections are held by, whatever goes through them.
    if limits.budgets != new.limits.budgets || limits.deadlines != new.limits.deadlines {
        names.push("limits (of connections, streams, bodies at once, and deadlines)");
    }
    if *audit != new.audit {
        names.push("audit");
    }
    if *traces != new.traces {
        names.push("traces");
    }
    names
}

fn of_server(now: &Server, new: &Server) -> Vec<&'static str> {
    let Server {
        listen,
        public_url,
        admin_listen,
        threads,
        shutdown_grace,
        drain_delay,
        tls,
        allowed_origins: _,
        hosts: _,
        admin_hosts,
        trusted_proxies,
        auth_endpoints: _,
        default_backend: _,
    } = now;
    let same = [
        ("server.listen", *listen == new.listen),
        ("server.public_url", *public_url == new.public_url),
        ("server.admin_listen", *admin_listen == new.admin_listen),
        ("server.threads", *threads == new.threads),
        ("server.shutdown_grace", *shutdown_grace == new.shutdown_grace),
        ("server.drain_delay", *drain_delay == new.drain_delay),
        ("server.tls", *tls == new.tls),
        ("server.admin_hosts", *admin_hosts == new.admin_hosts),
        ("server.trusted_proxies", shown(trusted_proxies) == shown(&new.trusted_proxies)),
    ];
    names(&same)
}

fn of_entra(now: &Entra, new: &Entra) -> Vec<&'static str> {
    let Entra {
        tenant_id,
        tenants,
        client_id,
        credential: _,
        authority,
        app_id_uri,
        accept_v1_tokens,
        scopes: _,
        clock_skew: _,
        claims,
    } = now;
    let same = [
        ("entra.tenant_id", *tenant_id == new.tenant_id),
        ("entra.client_id", *client_id == new.client_id),
        ("entra.tenants", *tenants == new.tenants),
        ("entra.authority_host", shown(authority) == shown(&new.authority)),
        ("entra.app_id_uri", *app_id_uri == new.app_id_uri),
        ("entra.accept_v1_tokens", *accept_v1_tokens == new.accept_v1_tokens),
        ("entra.claims", *claims == new.claims),
    ];
    names(&same)
}

fn shown(value: &impl std::fmt::Debug) -> String {
    format!("{value:?}")
}

fn names(same: &[(&'static str, bool)]) -> Vec<&'static str> {
    same.iter().filter(|(_, same)| !same).map(|(name, _)| *name).collect()
}
