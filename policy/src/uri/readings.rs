//! What else a server may take a URI for: it carries the tags of all of that.
//!
//! A server is free to leave out what it has no use for, such as a query, the user before a host, or its port, so that a
//! URI with one of these must not have fewer locks than the one without.

use std::borrow::Cow;

/// What a server may take for the same resource as a canonical URI: the URI without its query, without a slash at its
/// end or with one behind a bare authority, and without the user and the port of its authority, or the host of a file.
pub(crate) fn readings(uri: &str) -> Vec<Cow<'_, str>> {
    let mut found: Vec<Cow<'_, str>> = shortened(uri).map(Cow::Borrowed).collect();
    let Some((scheme, authority, path)) = split(uri) else { return found };
    let host = without_user(authority);
    let of_file = if scheme == "file" { "" } else { host };
    for authority in [authority, without_port(authority), host, without_port(host), of_file] {
        let read = format!("{scheme}://{authority}{path}");
        for read in with_slash(&read).into_iter().chain([read]) {
            for short in std::iter::once(read.as_str()).chain(shortened(&read)) {
                if short != uri && !found.iter().any(|known| known == short) {
                    found.push(Cow::Owned(short.to_owned()));
                }
            }
        }
    }
    found
}

/// Without a query, and without a slash at the end.
fn shortened(uri: &str) -> impl Iterator<Item = &str> {
    let path = uri.split_once('?').map_or(uri, |(path, _)| path);
    let bare = path.strip_suffix('/').filter(|bare| !bare.ends_with('/'));
    [Some(path), bare].into_iter().flatten().filter(move |short| *short != uri)
}

/// The parts of a URI in whose authority, or behind it, something may be left out; `None` where there is nothing.
fn split(uri: &str) -> Option<(&str, &str, &str)> {
    let (scheme, rest) = uri.split_once("://").filter(|(scheme, _)| !scheme.contains([':', '/', '?']))?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end)?;
    let plain = !authority.contains(['@', ':']) && scheme != "file" && path.starts_with('/');
    (!authority.is_empty() && !plain).then_some((scheme, authority, path))
}

pub(super) fn without_user(authority: &str) -> &str {
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

pub(super) fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// The URI with an empty path written out, where it has an authority and no path.
pub(super) fn with_slash(uri: &str) -> Option<String> {
    let (scheme, authority, path) = split(uri).filter(|(.., path)| !path.starts_with('/'))?;
    Some(format!("{scheme}://{authority}/{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_may_take_for_the_same_has_less() {
        for (uri, others) in [
            ("w://s/a", &[][..]),
            ("w://s/a?b=c/", &["w://s/a"]),
            ("w://s/a/", &["w://s/a"]),
            ("w://s/a/?b", &["w://s/a/", "w://s/a"]),
            ("w://", &[]),
            ("w://?x", &["w://"]),
            ("w:a:1/b@c", &[]),
            ("w:///a", &[]),
            ("w://s", &["w://s/"]),
            ("w://s?x", &["w://s", "w://s/?x", "w://s/"]),
            ("w://s:8/a", &["w://s/a"]),
            ("w://[::1]/a", &[]),
            ("w://[::1]:8/a", &["w://[::1]/a"]),
            ("w://u:p@s:8/a", &["w://u:p@s/a", "w://s:8/a", "w://s/a"]),
            ("w://u@s/a?x", &["w://u@s/a", "w://s/a?x", "w://s/a"]),
            ("file://share/a", &["file:///a"]),
            ("file:///a", &[]),
            ("w://s/u@a:1", &[]),
        ] {
            assert_eq!(readings(uri), others, "{uri}");
        }
    }
}
