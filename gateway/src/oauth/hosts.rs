//! The operator's rules: to which hosts answers may go, and whose documents are read.
//!
//! A rule only narrows: what `redirect_uri` refuses, no rule lets through. Hosts are compared as text, whole, or below a
//! domain by its labels.

use url::Url;

use super::redirect_uri::{is_application, is_loopback};

/// Where the well-known hosted clients take their answers (`oauth.redirect_hosts`).
pub const REDIRECT_HOSTS: [&str; 10] = [
    "loopback",
    "applications",
    "claude.ai",
    "claude.com",
    "vscode.dev",
    "insiders.vscode.dev",
    "chatgpt.com",
    "cursor.com",
    "www.cursor.com",
    "global.consent.azure-apim.net",
];

/// Whose metadata documents are read (`oauth.client_domains`).
pub const CLIENT_DOMAINS: [&str; 8] = [
    "claude.ai",
    "claude.com",
    "vscode.dev",
    "insiders.vscode.dev",
    "chatgpt.com",
    "openai.com",
    "cursor.com",
    "www.cursor.com",
];

/// A set of hosts.
#[derive(Clone, Debug, Default)]
pub struct Hosts(Vec<Rule>);

/// The words of a list that could not be understood, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "is no host; write `host`, `host:port`, `*.domain`, `any`, or for redirects `loopback`, `applications` or `scheme:`"
)]
pub struct NotAHost;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    /// Programs on the person's machine that listen on a loopback address.
    Loopback,
    /// Schemes of well-known applications, and those that are a reverse domain name.
    Applications,
    /// One scheme.
    Scheme(String),
    /// One host, with its port where that is not the scheme's own.
    Host(String),
    /// Every host below a domain.
    Below(String),
    /// Every host.
    Any,
}

impl Hosts {
    /// The rules in these words.
    ///
    /// # Errors
    ///
    /// Returns the first word that is none.
    pub fn parse<'w>(words: impl IntoIterator<Item = &'w str>) -> Result<Self, (&'w str, NotAHost)> {
        words.into_iter().map(|word| rule(word).ok_or((word, NotAHost))).collect::<Result<_, _>>().map(Self)
    }

    /// The hosts of a list of this module.
    #[must_use]
    pub fn known(words: &[&'static str]) -> Self {
        Self(words.iter().filter_map(|word| rule(word)).collect())
    }

    /// Every host and every application.
    #[must_use]
    pub fn every() -> Self {
        Self(vec![Rule::Loopback, Rule::Applications, Rule::Any])
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an answer may go to this redirect URI, as far as its host is concerned.
    #[must_use]
    pub(super) fn allow_redirect(&self, uri: &str) -> bool {
        let Ok(url) = Url::parse(uri) else { return false };
        let host = url.host_str().unwrap_or_default();
        match url.scheme() {
            "https" | "http" if is_loopback(host) => self.0.contains(&Rule::Loopback),
            "https" => self.has_host(host, url.port()),
            scheme => self.0.iter().any(|rule| match rule {
                Rule::Applications => is_application(scheme),
                Rule::Scheme(allowed) => allowed == scheme,
                _ => false,
            }),
        }
    }

    /// Whether this host is among them.
    #[must_use]
    pub(super) fn has_host(&self, host: &str, port: Option<u16>) -> bool {
        let with_port = port.map(|port| format!("{host}:{port}"));
        let name = with_port.as_deref().unwrap_or(host);
        self.0.iter().any(|rule| match rule {
            Rule::Any => true,
            Rule::Host(allowed) => allowed == name,
            Rule::Below(domain) => {
                port.is_none()
                    && host.strip_suffix(domain.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
            _ => false,
        })
    }
}

fn rule(word: &str) -> Option<Rule> {
    match word {
        "loopback" => return Some(Rule::Loopback),
        "applications" => return Some(Rule::Applications),
        "any" => return Some(Rule::Any),
        _ => {}
    }
    if let Some(scheme) = word.strip_suffix(':') {
        return is_application(scheme).then(|| Rule::Scheme(scheme.to_owned()));
    }
    let (below, name) = word.strip_prefix("*.").map_or((false, word), |domain| (true, domain));
    // The one spelling that a URL has for it; a domain of one label would let a whole registry in.
    let url = Url::parse(&format!("https://{name}/")).ok()?;
    let same = url.port().map_or_else(
        || url.host_str() == Some(name),
        |port| Some(name) == url.host_str().map(|host| format!("{host}:{port}")).as_deref(),
    );
    if !same || !name.contains('.') || name.ends_with('.') || name.contains('*') || below && url.port().is_some() {
        return None;
    }
    Some(if below { Rule::Below(name.to_owned()) } else { Rule::Host(name.to_owned()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_the_defaults_is_one() {
        assert_eq!(Hosts::known(&REDIRECT_HOSTS).0.len(), REDIRECT_HOSTS.len());
        assert_eq!(Hosts::known(&CLIENT_DOMAINS).0.len(), CLIENT_DOMAINS.len());
    }

    #[test]
    fn words_that_are_no_host_are_refused() {
        for bad in [
            "",
            "*",
            "*.com",
            "com",
            "https://claude.ai",
            "claude.ai/",
            "Claude.ai",
            "claude.ai.",
            "a b.example",
            "*.*.example",
            "x@y.example",
            "javascript:",
            "https:",
            "file:",
            "*.a.example:8443",
            "a.example:443",
            "a.example:x",
        ] {
            assert!(Hosts::parse([bad]).is_err(), "{bad}");
        }
        for good in [
            "claude.ai",
            "a.example:8443",
            "*.corp.example",
            "cursor:",
            "com.example.app:",
            "any",
            "loopback",
            "applications",
        ] {
            assert!(Hosts::parse([good]).is_ok(), "{good}");
        }
    }

    #[test]
    fn answers_go_where_a_rule_says_and_nowhere_else() {
        let hosts = Hosts::parse(["loopback", "cursor:", "claude.ai", "b.example:8443", "*.corp.example"]).unwrap();
        for good in [
            "http://127.0.0.1:1/cb",
            "http://localhost/cb",
            "http://[::1]:9/cb",
            "cursor://x/cb",
            "https://claude.ai/cb",
            "https://b.example:8443/cb",
            "https://a.corp.example/cb",
            "https://a.b.corp.example/cb",
        ] {
            assert!(hosts.allow_redirect(good), "{good}");
        }
        for bad in [
            "https://evil.example/cb",
            "https://claude.ai.evil.example/cb",
            "https://xclaude.ai/cb",
            "https://claude.ai:8443/cb",
            "https://b.example/cb",
            "https://corp.example/cb",
            "https://xcorp.example/cb",
            "https://.corp.example/cb",
            "https://a.corp.example:1/cb",
            "vscode://x/cb",
            "com.example.app:/cb",
            "http://claude.ai/cb",
            "nonsense",
        ] {
            assert!(!hosts.allow_redirect(bad), "{bad}");
        }
        assert!(!Hosts::default().allow_redirect("http://127.0.0.1/cb"), "no rule means no");
        assert!(!Hosts::parse(["any"]).unwrap().allow_redirect("http://127.0.0.1/cb"), "a loopback address is no host");
        assert!(Hosts::every().allow_redirect("https://anything.example/cb"));
    }
}
