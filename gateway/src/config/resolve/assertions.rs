//! Issuers of identity assertions, and the clients that bring them.

use std::collections::{BTreeMap, BTreeSet};

use url::Url;

use super::values::{Resolver, is_loopback};
use crate::config::document::{self, Text};
use crate::config::settings::{Clients, IdentityAssertions};
use crate::oauth::ASSERTION_GRANT;
use crate::subject;

pub(super) fn resolve(
    resolver: &mut Resolver<'_>,
    written: &document::OAuth,
    public_url: &str,
    clients: &Clients,
) -> Vec<IdentityAssertions> {
    let able = clients.configured.iter().filter(|client| client.grants.assertion);
    let able: BTreeSet<&str> = able.map(|client| client.id.as_str()).collect();
    let mut all: Vec<IdentityAssertions> = Vec::with_capacity(written.identity_assertions.len());
    for one in &written.identity_assertions {
        let Some(trusted) = resolve_one(resolver, one, public_url, &able) else { continue };
        // A policy's tenants do not mind the case, and two issuers must not be one there.
        if all.iter().any(|known| known.issuer.eq_ignore_ascii_case(&trusted.issuer)) {
            resolver.fault(Some(&one.issuer), format!("the issuer `{}` is there twice", trusted.issuer));
        }
        all.push(trusted);
    }
    if written.identity_assertions.is_empty() {
        for client in written.clients.iter().filter(|client| able.contains(client.id.value.as_str())) {
            let message = format!("`{ASSERTION_GRANT}` needs an issuer in `oauth.identity_assertions`");
            resolver.fault(Some(&client.id), message);
        }
    } else if able.is_empty() {
        resolver.warn(format!(
            "`oauth.identity_assertions` is of no use: no client has `{ASSERTION_GRANT}` among its `grant_types`"
        ));
    }
    all
}

fn resolve_one(
    resolver: &mut Resolver<'_>,
    written: &document::IdentityAssertions,
    public_url: &str,
    able: &BTreeSet<&str>,
) -> Option<IdentityAssertions> {
    let issuer = resolver.text(&written.issuer)?;
    if !subject::is_issuer(&issuer) || !is_reachable(&issuer) {
        resolver.fault(
            Some(&written.issuer),
            format!("`{issuer}` is no issuer; write its identifier, an https URL without `?` and `#`, to the letter"),
        );
    }
    if issuer.trim_end_matches('/') == public_url {
        resolver.fault(Some(&written.issuer), "the gateway does not take its own word; name another issuer");
    }
    let jwks_uri = written.jwks_uri.as_ref().and_then(|text| resolver.text(text).map(|url| (text, url)));
    if let Some((text, url)) = jwks_uri.as_ref().filter(|(_, url)| !is_reachable(url)) {
        resolver.fault(Some(text), format!("`{url}` is not an https URL"));
    }
    let claim = resolver.text(&written.claim)?;
    let mut roles = BTreeMap::new();
    for (value, named) in &written.roles {
        let named: Vec<String> = named.iter().filter_map(|role| resolver.text(role)).collect();
        roles.insert(value.clone(), named);
    }
    if roles.is_empty() {
        resolver.fault(
            Some(&written.issuer),
            format!("`{issuer}`: `roles` is empty, so that nobody gets a role; map values of `{claim}` to app roles"),
        );
    }
    let clients = written.clients.as_ref().map(|clients| clients_of(resolver, clients, able));
    let tenant = written.tenant.as_ref().and_then(|tenant| resolver.text(tenant));
    Some(IdentityAssertions { issuer, jwks_uri: jwks_uri.map(|(_, url)| url), tenant, claim, roles, clients })
}

fn clients_of(resolver: &mut Resolver<'_>, written: &[Text], able: &BTreeSet<&str>) -> BTreeSet<String> {
    let mut clients = BTreeSet::new();
    for text in written {
        let Some(id) = resolver.text(text) else { continue };
        if !able.contains(id.as_str()) {
            let message =
                format!("`{id}` is no client in `oauth.clients` with `{ASSERTION_GRANT}` among its `grant_types`");
            resolver.fault(Some(text), message);
        }
        clients.insert(id);
    }
    clients
}

fn is_reachable(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| {
        let bare = url.username().is_empty() && url.password().is_none();
        url.has_host() && bare && (url.scheme() == "https" || url.scheme() == "http" && is_loopback(&url))
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{Config, Environment, parse};

    const GRANT: &str = "grant_types: ['urn:ietf:params:oauth:grant-type:jwt-bearer']";

    /// A configuration with these issuers and these clients, in a directory with a client's secret.
    fn load(issuers: &str, clients: &str) -> Result<Config, String> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("secret"), "0123456789abcdef0123456789abcdef").unwrap();
        let text = format!(
            "server: {{ public_url: 'https://gw.example' }}
entra: {{ tenant_id: 11111111-2222-4333-8444-555555555555, client_id: aaaaaaaa-0000-4000-8000-00000000c1d1, client_secret: s }}
oauth: {{ identity_assertions: [{issuers}], clients: [{clients}] }}
backends: {{ weather: {{ url: 'http://127.0.0.1:9000/mcp' }} }}
policy: {{ roles: {{ Task.Read: {{ opens: [read] }} }}, tools: {{ weather: {{ read: ['get_*'] }} }} }}"
        );
        parse(
            &text,
            &directory.path().join(Path::new("gateway.yaml")),
            &Environment::of(Vec::new().into_iter().collect()),
        )
        .map_err(|error| error.to_string())
    }

    fn client(id: &str) -> String {
        format!("{{ id: {id}, secret_file: secret, {GRANT} }}")
    }

    const IDP: &str =
        "issuer: 'https://idp.example', claim: groups, roles: { readers: [Task.Read], staff: [Task.Read] }";

    #[test]
    fn an_issuer_is_read_with_what_is_made_of_its_word() {
        let more = "tenant: acme, jwks_uri: 'https://keys.example/jwks', clients: [portal]";
        let config = load(&format!("{{ {IDP}, {more} }}"), &client("portal")).unwrap();
        let [trusted] = config.identity_assertions.as_slice() else { panic!("one issuer") };
        assert_eq!((trusted.issuer.as_str(), trusted.claim.as_str()), ("https://idp.example", "groups"));
        assert_eq!(trusted.jwks_uri.as_deref(), Some("https://keys.example/jwks"));
        assert_eq!(
            (trusted.tenant.as_deref(), trusted.roles["readers"].as_slice()),
            (Some("acme"), &["Task.Read".to_owned()][..])
        );
        assert_eq!(trusted.clients, Some(["portal".to_owned()].into()));
        assert!(load("", "").unwrap().identity_assertions.is_empty(), "nobody is trusted by default");
        let useless = load(&format!("{{ {IDP} }}"), "").unwrap();
        assert!(useless.warnings.iter().any(|warning| warning.contains("of no use")), "{:?}", useless.warnings);
    }

    #[test]
    fn an_issuer_that_cannot_be_meant_is_a_fault() {
        let with = |from: &str, to: &str| format!("{{ {} }}", IDP.replace(from, to));
        assert!(load(&with("x", "x"), &client("portal")).is_ok(), "the control");
        for (issuers, clients, said) in [
            (with("https://idp.example", "idp.example"), client("a"), "no issuer"),
            (with("https://idp.example", "http://idp.example"), client("a"), "no issuer"),
            (with("https://idp.example", "https://idp.example?x"), client("a"), "no issuer"),
            (with("https://idp.example", "https://idp.example#x"), client("a"), "no issuer"),
            (with("https://idp.example", "https://gw.example/"), client("a"), "its own word"),
            (with("{ readers: [Task.Read], staff: [Task.Read] }", "{}"), client("a"), "nobody gets a role"),
            (format!("{{ {IDP} }}, {{ {} }}", IDP.replace("idp.example", "IDP.example")), client("a"), "there twice"),
            (format!("{{ {IDP}, jwks_uri: 'http://keys.example' }}"), client("a"), "not an https URL"),
            (format!("{{ {IDP}, clients: [other] }}"), client("a"), "`other` is no client"),
            (format!("{{ {IDP} }}"), format!("{{ id: a, {GRANT} }}"), "needs a `secret_file` or a `jwks_file`"),
            (String::new(), client("a"), "needs an issuer"),
        ] {
            let error = load(&issuers, &clients).unwrap_err();
            assert!(error.contains(said), "{issuers} {clients}: {error}");
        }
    }
}
