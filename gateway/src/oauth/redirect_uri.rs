//! Redirect URIs: which may be registered, and which a request may name (RFC 8252, OAuth 2.1 section 2.3).
//!
//! A request names a registered one, character by character. Only the port of a loopback address may differ, for a
//! native application gets a free one at every start.

use url::{Host, Url};

const MAX_LENGTH: usize = 2048;
/// Schemes that a browser would run or read itself.
const UNSAFE: [&str; 12] = [
    "javascript", "data", "file", "vbscript", "blob", "about", "ftp", "ws", "wss", "view-source", "filesystem", "mailto",
];

/// Whether a URI may be registered; the text says why not.
pub(super) fn check(text: &str, issuer: &str) -> Result<(), &'static str> {
    if text.len() > MAX_LENGTH || !text.bytes().all(|b| (0x21..0x7f).contains(&b)) {
        return Err("A redirect URI is too long, or has characters that a URI has not");
    }
    if text.contains(['\\', '*', '#', '"', '<', '>', '{', '}', '|', '^', '`']) {
        return Err("A redirect URI has no wildcard and no fragment");
    }
    let url = Url::parse(text).map_err(|_error| "A redirect URI is not a URI")?;
    if UNSAFE.contains(&url.scheme()) {
        return Err("The redirect URI's scheme is not accepted");
    }
    if !url.username().is_empty() || url.password().is_some() || text.split(['/', '?']).nth(2).is_some_and(|a| a.contains('@')) {
        return Err("A redirect URI has no user name");
    }
    let path = text.split(['?']).next().unwrap_or(text).to_ascii_lowercase();
    let dots = path.split('/').any(|segment| matches!(segment.replace("%2e", ".").as_str(), "." | ".."));
    if dots {
        return Err("A redirect URI has no dot segments");
    }
    match url.scheme() {
        "https" if url.origin().ascii_serialization() == issuer => Err("A redirect URI is not the gateway's own"),
        "https" if is_spelled_as_parsed(text, &url) => Ok(()),
        "http" if url.origin().ascii_serialization() == issuer => Err("A redirect URI is not the gateway's own"),
        "http" if is_loopback(&url) && is_spelled_as_parsed(text, &url) => Ok(()),
        "http" => Err("Plain http is for loopback addresses only"),
        "https" => Err("The redirect URI's host can be read in more than one way"),
        scheme if is_private_use(scheme) => Ok(()),
        _ => Err("The redirect URI's scheme is not accepted"),
    }
}

/// Whether a request may name `requested` when `registered` is registered.
pub(super) fn matches(registered: &str, requested: &str) -> bool {
    if registered == requested {
        return true;
    }
    let (Ok(known), Ok(asked)) = (Url::parse(registered), Url::parse(requested)) else { return false };
    let loopback = known.scheme() == "http" && is_loopback(&known) && is_loopback(&asked);
    loopback && without_port(registered, &known) == without_port(requested, &asked) && check(requested, "").is_ok()
}

/// What the consent page shows of where the answer goes.
pub(super) fn host(text: &str) -> (String, bool) {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => {
            (url.host_str().unwrap_or_default().to_owned(), is_loopback(&url))
        }
        Ok(url) => (format!("{}: (an application on this device)", url.scheme()), true),
        Err(_) => (String::new(), false),
    }
}

/// The URI without its port, as written; `None` when there is no such thing.
fn without_port(text: &str, url: &Url) -> Option<String> {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let (scheme, rest) = text.split_once("://")?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at_checked(end)?;
    let host = authority.strip_suffix(&port)?;
    Some(format!("{scheme}://{host}{tail}"))
}

/// A host that every reader takes for the same: no `127.1`, no percent codes, no missing slashes.
fn is_spelled_as_parsed(text: &str, url: &Url) -> bool {
    let Some((_, rest)) = text.split_once("://") else { return false };
    let authority = rest.split(['/', '?']).next().unwrap_or(rest);
    let host = match url.port() {
        Some(port) => authority.strip_suffix(&format!(":{port}")),
        None => Some(authority),
    };
    host.is_some_and(|host| url.host_str().is_some_and(|parsed| parsed.eq_ignore_ascii_case(host)))
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip == std::net::Ipv4Addr::LOCALHOST,
        Some(Host::Ipv6(ip)) => ip == std::net::Ipv6Addr::LOCALHOST,
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// A scheme of an application of its own (RFC 8252 section 7.1): `com.example.app`, or a plain word like `cursor`.
fn is_private_use(scheme: &str) -> bool {
    !scheme.starts_with("http") && scheme.len() >= 3 && !scheme.starts_with("ms-")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://mcp.example.com";

    #[test]
    fn addresses_of_honest_clients_can_be_registered() {
        for good in [
            "https://claude.ai/api/mcp/auth_callback",
            "http://127.0.0.1:33418/callback",
            "http://127.0.0.1/callback",
            "http://localhost:3334/oauth/callback?x=1",
            "http://[::1]:8000/cb",
            "cursor://anysphere.cursor-retrieval/oauth/callback",
            "vscode://vscode.github-authentication/did-authenticate",
            "com.example.app:/callback",
        ] {
            assert_eq!(check(good, ISSUER), Ok(()), "{good}");
        }
    }

    #[test]
    fn addresses_that_could_lead_elsewhere_cannot() {
        for bad in [
            "", "x", "/callback", "//evil.example/cb", "http://evil.example/cb", "https://mcp.example.com/auth/callback",
            "https://MCP.example.com/x", "javascript:alert(1)", "JavaScript:alert(1)", "data:text/html,x", "file:///etc/passwd",
            "vbscript:x", "blob:https://x/y", "about:blank", "https://a.example/cb#f", "https://u@a.example/cb",
            "https://u:p@a.example/cb", "https://@a.example/cb", "https://*.example/cb", "https://a.example/../cb", "https://a.example/%2e%2e/cb",
            "https://a.example\\@evil.example/", "http://127.1/cb", "http://2130706433/cb", "http://0x7f.1/cb",
            "http://127.0.0.1.evil.example/cb", "http://localhost.evil.example/cb", "http://127.0.0.2/cb", "http://0.0.0.0/cb",
            "http://[::ffff:127.0.0.1]/cb", "https:/a.example/cb", "https:a.example/cb", "https://a.example /cb", "https://a.example/\ncb",
            "https://%61.example/cb", "https://a.example/cb\u{202e}", "httpx://x/y", "ws://127.0.0.1/cb",
        ] {
            assert!(check(bad, ISSUER).is_err(), "{bad}");
        }
        assert!(check(&format!("https://a.example/{}", "x".repeat(3000)), ISSUER).is_err());
    }

    #[test]
    fn a_request_names_a_registered_address_and_only_a_loopback_port_may_differ() {
        let loopback = "http://127.0.0.1:1000/cb";
        for (registered, requested, want) in [
            ("https://a.example/cb", "https://a.example/cb", true),
            ("https://a.example/cb", "https://a.example/cb/", false),
            ("https://a.example/cb", "https://a.example/cb?x", false),
            ("https://a.example/cb", "https://a.example:8443/cb", false),
            ("https://a.example/cb", "https://A.example/cb", false),
            (loopback, "http://127.0.0.1:2000/cb", true),
            (loopback, "http://127.0.0.1/cb", true),
            (loopback, "http://127.0.0.1:2000/cb2", false),
            (loopback, "http://localhost:1000/cb", false),
            (loopback, "http://127.0.0.1:2000/cb?x", false),
            (loopback, "http://127.0.0.1:2000@evil.example/cb", false),
            (loopback, "http://127.1:2000/cb", false),
            (loopback, "https://127.0.0.1:2000/cb", false),
            ("cursor://x/cb", "cursor://x:1/cb", false),
        ] {
            assert_eq!(matches(registered, requested), want, "{registered} {requested}");
        }
    }
}
