//! Who may call from a browser, and the names that the gateway is called by.

use super::values::Resolver;
use crate::config::document::Text;

/// The listed origins, each in the one spelling that browsers send (RFC 6454 section 6.2).
pub(super) fn origins(resolver: &mut Resolver<'_>, written: &[Text]) -> Vec<String> {
    let mut origins = Vec::with_capacity(written.len());
    for text in written {
        let Some(value) = resolver.text(text) else { continue };
        if value.contains('*') || value == "null" {
            let message =
                format!("`{value}` is everybody's page; write each origin, such as `https://app.example.com`");
            resolver.fault(Some(text), message);
        } else if is_of_program(&value) {
            origins.push(value);
        } else {
            origins.extend(resolver.origin(Some(text), &value));
        }
    }
    origins
}

/// The origin of a program's own pages: a browser extension, an editor, a desktop application.
fn is_of_program(value: &str) -> bool {
    let Some((scheme, host)) = value.split_once("://") else { return false };
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b'_');
    let known = !matches!(scheme, "http" | "https" | "file" | "data" | "blob" | "ws" | "wss");
    known && !scheme.is_empty() && !host.is_empty() && scheme.bytes().chain(host.bytes()).all(plain)
}

/// Names with or without a port.
pub(super) fn hosts(resolver: &mut Resolver<'_>, written: &[Text]) -> Vec<String> {
    listed(resolver, written, |value| {
        let (name, port) = value.split_once(':').unwrap_or((value, "443"));
        is_name(name) && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

/// Names without a port.
pub(super) fn names(resolver: &mut Resolver<'_>, written: &[Text]) -> Vec<String> {
    listed(resolver, written, is_name)
}

fn listed(resolver: &mut Resolver<'_>, written: &[Text], is_good: impl Fn(&str) -> bool) -> Vec<String> {
    let mut hosts = Vec::with_capacity(written.len());
    for text in written {
        let Some(value) = resolver.text(text) else { continue };
        if is_good(&value) {
            hosts.push(value.to_ascii_lowercase());
        } else {
            let message = format!("`{value}` is no host; write a name such as `mcp.internal`, without scheme and path");
            resolver.fault(Some(text), message);
        }
    }
    hosts
}

fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    !name.is_empty() && name.len() <= 253 && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_have_origins_of_their_own() {
        for origin in ["chrome-extension://abcdefghijklmnop", "vscode-webview://1a2b", "app://obsidian.md"] {
            assert!(is_of_program(origin), "{origin}");
        }
        for origin in ["https://a", "http://a", "file://", "data:x", "chrome-extension://A", "a://b/c", "://b", "a://"]
        {
            assert!(!is_of_program(origin), "{origin}");
        }
    }

    #[test]
    fn a_name_has_no_scheme_and_no_path() {
        assert!(is_name("mcp.internal") && is_name("10.0.0.1"));
        for bad in ["", "https://a", "a/b", "a:1", "*.example", "a b"] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
