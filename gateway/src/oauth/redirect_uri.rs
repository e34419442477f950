//! Redirect URIs: which may be registered, and which presented one is a registered one (RFC 6749 section 3.1.2,
//! RFC 8252 sections 7 and 8, OAuth 2.1 section 4.1.3).
//!
//! A URI is accepted only in the one spelling that every parser agrees on, and compared as text. The port of a loopback
//! address is the only thing that may differ later.

use url::Url;

/// Longer than any honest redirect URI.
const MAX_LENGTH: usize = 2048;
const NOT_NORMAL: &str = "A redirect URI is an absolute URI in its normal form";
/// Characters that a URI has not (RFC 3986 section 2), and that some parsers read as others.
const ODD: [char; 10] = ['\\', '|', '^', '`', '{', '}', '\'', '<', '>', '"'];
/// The hosts that mean the person's own machine.
const LOOPBACK: [&str; 3] = ["127.0.0.1", "[::1]", "localhost"];
/// Schemes that well-known applications handle; others need a reverse domain name (RFC 8252 section 7.1).
const APPLICATIONS: [&str; 20] = [
    "antigravity",
    "chatgpt",
    "claude",
    "code-oss",
    "codex",
    "cursor",
    "goose",
    "jan",
    "jetbrains",
    "kiro",
    "lmstudio",
    "opencode",
    "raycast",
    "trae",
    "vscode",
    "vscode-insiders",
    "vscodium",
    "warp",
    "windsurf",
    "zed",
];

/// What an answer has in its query, or in its body (RFC 6749 sections 4.1.2 and 4.1.2.1, RFC 9207 section 2).
const OF_ANSWERS: [&str; 7] = ["code", "state", "iss", "error", "error_description", "error_uri", "response"];

/// The gateway's own names.
#[derive(Clone, Copy, Debug)]
pub struct Own<'o> {
    /// Its origin.
    pub issuer: &'o str,
    /// Further names, each `host` or `host:port`.
    pub hosts: &'o [String],
}

/// Checks a URI that a client registers.
///
/// # Errors
///
/// Returns why the URI cannot be registered, in words for the client.
pub fn check(uri: &str, own: &Own<'_>) -> Result<(), &'static str> {
    if uri.len() > MAX_LENGTH {
        return Err("A redirect URI is too long");
    }
    if uri.contains(['#', '*', '@']) {
        return Err("A redirect URI has no fragment, no wildcard and no user name");
    }
    let parsed = Url::parse(uri).map_err(|_error| NOT_NORMAL)?;
    // What a parser would change, another parser may read in another way.
    let is_normal = parsed.as_str() == uri || parsed.as_str().strip_suffix('/') == Some(uri);
    let is_odd = !uri.bytes().all(|byte| byte.is_ascii_graphic()) || uri.contains(ODD);
    if !is_normal || is_odd || parsed.cannot_be_a_base() || !is_plainly_encoded(&parsed) {
        return Err(NOT_NORMAL);
    }
    // The answer would have it twice, and a client may read the first.
    if parsed.query_pairs().any(|(name, _)| OF_ANSWERS.contains(&name.as_ref())) {
        return Err("The query of a redirect URI has none of the parameters that an answer has");
    }
    if is_own(&parsed, own) {
        return Err("A redirect URI does not lead back to the gateway");
    }
    if !is_allowed(&parsed) {
        return Err("A redirect URI is https, http on a loopback address, or an application's own scheme");
    }
    Ok(())
}

/// Whether `presented` is a registered URI: the same text, or on a loopback address the same but for the port.
#[must_use]
pub(super) fn is_registered(presented: &str, registered: &[String], own: &Own<'_>) -> bool {
    if registered.iter().any(|known| known == presented) {
        return true;
    }
    let Some(presented_parts) = loopback_parts(presented) else { return false };
    let is_same = registered.iter().any(|known| loopback_parts(known) == Some(presented_parts));
    is_same && check(presented, own).is_ok()
}

/// The same for every URI that counts as the same: a loopback address without its port, any other as it is.
#[must_use]
pub(super) fn canonical(uri: &str) -> String {
    let Ok(mut parsed) = Url::parse(uri) else { return uri.to_owned() };
    if loopback_parts(uri).is_none() || parsed.set_port(None).is_err() {
        return uri.to_owned();
    }
    parsed.into()
}

/// Whether a browser goes there itself; anything else is for an application that the browser opens.
#[must_use]
pub(super) fn is_web(uri: &str) -> bool {
    uri.starts_with("https://") || uri.starts_with("http://")
}

/// What a person sees of where the answer goes, and whether that is a program on their own device.
#[must_use]
pub(super) fn shown(uri: &str) -> (String, bool) {
    let Ok(parsed) = Url::parse(uri) else { return (uri.to_owned(), true) };
    let host = parsed.host_str().unwrap_or_default();
    match (parsed.scheme(), parsed.port()) {
        ("https" | "http", Some(port)) => (format!("{host}:{port}"), LOOPBACK.contains(&host)),
        ("https" | "http", None) => (host.to_owned(), LOOPBACK.contains(&host)),
        (scheme, _) => (format!("{scheme}: (an application on this device)"), true),
    }
}

/// Whether a scheme is one that applications on a device handle.
#[must_use]
pub(super) fn is_application(scheme: &str) -> bool {
    APPLICATIONS.contains(&scheme) || is_reverse_domain(scheme)
}

/// Whether a host means the person's own machine.
#[must_use]
pub(super) fn is_loopback(host: &str) -> bool {
    LOOPBACK.contains(&host)
}

fn is_allowed(uri: &Url) -> bool {
    let host = uri.host_str().unwrap_or_default();
    match uri.scheme() {
        "https" => !host.is_empty() && !host.ends_with('.'),
        "http" => LOOPBACK.contains(&host),
        scheme => is_application(scheme),
    }
}

/// A name like `com.example.app`, which only its owner has a claim to.
fn is_reverse_domain(scheme: &str) -> bool {
    scheme.contains('.') && scheme.split('.').all(|label| !label.is_empty() && !label.starts_with('-'))
}

/// Encoded dots, slashes, backslashes and control characters mean one thing here and another behind.
fn is_plainly_encoded(uri: &Url) -> bool {
    let encoded = uri.as_str().split('%').skip(1);
    let mut bytes = encoded.map(|rest| rest.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()));
    bytes.all(|byte| byte.is_some_and(|byte| !byte.is_ascii_control() && !b"./\\".contains(&byte)))
}

/// Whether the URI leads to the gateway; on the person's own machine every loopback name does.
fn is_own(uri: &Url, names: &Own<'_>) -> bool {
    let Ok(own) = Url::parse(names.issuer) else { return true };
    if !matches!(uri.scheme(), "https" | "http") {
        return false;
    }
    let host = uri.host_str().unwrap_or_default();
    let further = names.hosts.iter().any(|name| match uri.port() {
        Some(port) => *name == format!("{host}:{port}"),
        None => name == host || uri.port_or_known_default().is_some_and(|port| *name == format!("{host}:{port}")),
    });
    if further {
        return true;
    }
    let is_loopback = |url: &Url| url.host_str().is_some_and(|host| LOOPBACK.contains(&host));
    let same_host = uri.host_str() == own.host_str() || is_loopback(uri) && is_loopback(&own);
    same_host && uri.port_or_known_default() == own.port_or_known_default()
}

/// Host and everything behind the port of an `http` URI on a loopback address.
fn loopback_parts(uri: &str) -> Option<(&str, &str)> {
    let rest = uri.strip_prefix("http://")?;
    let host = LOOPBACK.into_iter().find(|host| rest.starts_with(host))?;
    let rest = rest.strip_prefix(host)?;
    let Some(port_and_rest) = rest.strip_prefix(':') else {
        return (rest.is_empty() || rest.starts_with(['/', '?'])).then_some((host, rest));
    };
    let end = port_and_rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(port_and_rest.len());
    let (port, rest) = port_and_rest.split_at_checked(end)?;
    let is_port = port.parse::<u16>().is_ok_and(|port| port != 0);
    (is_port && (rest.is_empty() || rest.starts_with(['/', '?']))).then_some((host, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: Own<'static> = Own { issuer: "https://mcp.example.com", hosts: &[] };

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
            assert_eq!(check(good, &ISSUER), Ok(()), "{good}");
        }
    }

    #[test]
    fn addresses_that_could_lead_elsewhere_cannot() {
        for bad in [
            "",
            "x",
            "/callback",
            "//evil.example/cb",
            "http://evil.example/cb",
            "https://mcp.example.com/auth/callback",
            "https://MCP.example.com/x",
            "javascript:alert(1)",
            "JavaScript:alert(1)",
            "data:text/html,x",
            "file:///etc/passwd",
            "vbscript:x",
            "blob:https://x/y",
            "about:blank",
            "https://a.example/cb#f",
            "https://u@a.example/cb",
            "https://u:p@a.example/cb",
            "https://@a.example/cb",
            "https://*.example/cb",
            "https://a.example/../cb",
            "https://a.example/%2e%2e/cb",
            "https://a.example\\@evil.example/",
            "http://127.1/cb",
            "http://2130706433/cb",
            "http://0x7f.1/cb",
            "http://127.0.0.1.evil.example/cb",
            "http://localhost.evil.example/cb",
            "http://127.0.0.2/cb",
            "http://0.0.0.0/cb",
            "http://[::ffff:127.0.0.1]/cb",
            "https:/a.example/cb",
            "https:a.example/cb",
            "https://a.example /cb",
            "https://a.example/\ncb",
            "com.example.app:cb",
            "search-ms:query=x",
            "ms-settings:x",
            "tel:123",
            "intent://x/y",
            "cursor://u@x/cb",
            "http://127.0.0.1:99999/cb",
            "http://127.0.0.1:*/cb",
            "http://127.0.0.1:080/cb",
            "http://LOCALHOST/cb",
            "HTTPS://a.example/cb",
            "https://a.example./cb",
            "https://a.example/%2Fevil",
            "https://a.example/%5cevil",
            "https://a.example/%0d%0aX",
            "https://a.example/%zz",
            "https://%61.example/cb",
            "https://a.example/cb\u{202e}",
            "httpx://x/y",
            "ws://127.0.0.1/cb",
        ] {
            assert!(check(bad, &ISSUER).is_err(), "{bad}");
        }
        assert!(check(&format!("https://a.example/{}", "x".repeat(3000)), &ISSUER).is_err());
    }

    #[test]
    fn no_name_of_the_gateway_is_somebody_elses() {
        let hosts = ["mcp.internal".to_owned(), "mcp.internal.example:8443".to_owned(), "a.example:443".to_owned()];
        let own = Own { hosts: &hosts, ..ISSUER };
        for bad in [
            "https://mcp.internal/cb",
            "https://mcp.internal.example:8443/cb",
            "https://a.example/cb",
            "https://mcp.example.com/cb",
        ] {
            assert_eq!(check(bad, &own), Err("A redirect URI does not lead back to the gateway"), "{bad}");
        }
        for good in ["https://mcp.internal.example/cb", "https://b.example/cb", "https://mcp.internal:8443/cb"] {
            assert_eq!(check(good, &own), Ok(()), "{good}");
        }
    }

    #[test]
    fn what_an_answer_has_is_not_there_before() {
        for name in OF_ANSWERS {
            for uri in [
                format!("https://a.example/cb?{name}=x"),
                format!("https://a.example/cb?k=v&{name}"),
                format!("http://127.0.0.1:1/cb?{name}=x"),
                format!("com.example.app:/cb?{name}=x"),
            ] {
                assert!(check(&uri, &ISSUER).is_err(), "{uri}");
            }
        }
        // Spelt otherwise it is the same name.
        assert!(check("https://a.example/cb?%69ss=x", &ISSUER).is_err());
        assert_eq!(check("https://a.example/cb?codes=x&k=code", &ISSUER), Ok(()), "the control");
    }

    #[test]
    fn a_person_sees_the_host_and_the_port() {
        for (uri, shows) in [
            ("https://claude.ai/api/mcp/auth_callback", ("claude.ai".to_owned(), false)),
            ("https://a.example:8443/cb", ("a.example:8443".to_owned(), false)),
            ("http://localhost:3334/cb", ("localhost:3334".to_owned(), true)),
            ("cursor://anysphere/cb", ("cursor: (an application on this device)".to_owned(), true)),
        ] {
            assert_eq!(shown(uri), shows);
        }
    }

    #[test]
    fn on_a_loopback_gateway_every_loopback_name_with_its_port_is_its_own() {
        let own = Own { issuer: "http://127.0.0.1:8080", hosts: &[] };
        for uri in ["http://127.0.0.1:8080/cb", "http://localhost:8080/cb", "http://[::1]:8080/cb"] {
            assert!(check(uri, &own).is_err(), "{uri}");
        }
        assert_eq!(check("http://127.0.0.1:8081/cb", &own), Ok(()));
    }

    #[test]
    fn a_request_names_a_registered_address_and_only_a_loopback_port_may_differ() {
        let loopback = "http://127.0.0.1:1000/cb";
        let matches = |registered: &str, requested: &str| is_registered(requested, &[registered.to_owned()], &ISSUER);
        for (registered, requested, want) in [
            ("https://a.example/cb", "https://a.example/cb", true),
            ("https://a.example/cb", "https://a.example/cb/", false),
            ("https://a.example/cb", "https://a.example/cb?x", false),
            ("https://a.example/cb", "https://a.example:8443/cb", false),
            ("https://a.example/cb", "https://A.example/cb", false),
            (loopback, "http://127.0.0.1:2000/cb", true),
            (loopback, "http://127.0.0.1/cb", true),
            (loopback, "http://127.0.0.1:0/cb", false),
            (loopback, "http://127.0.0.1:65536/cb", false),
            (loopback, "http://127.0.0.1:2000/cb/../x", false),
            ("http://127.0.0.1", "http://127.0.0.1:2000", true),
            ("http://[::1]:1/cb", "http://[::1]:2/cb", true),
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
