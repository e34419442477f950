//! The name of who a token is about, in one text (`sub`): the directory and the object in it.
//!
//! At Entra both are GUIDs, and a colon joins them. Whom another issuer vouches for (`oauth.identity_assertions`) has that
//! issuer as the directory and its `sub` as the object, and `#` joins them, which no issuer has in it (RFC 8414 section 2): no two
//! accounts have one name, whatever an issuer calls its people.

use uuid::Uuid;

/// Longer than any honest issuer.
const MAX_ISSUER: usize = 512;
/// The longest `sub` (OpenID Connect Core section 2).
const MAX_SUB: usize = 255;

/// The name of an object in a directory.
#[must_use]
pub fn name(directory: &str, object: &str) -> String {
    let joint = if is_issuer(directory) { '#' } else { ':' };
    format!("{directory}{joint}{object}")
}

/// Directory and object of a name, GUIDs in lower case; `None` for what is no name.
#[must_use]
pub fn parse(name: &str) -> Option<(String, String)> {
    if let Some((issuer, sub)) = name.split_once('#') {
        return (is_issuer(issuer) && is_sub(sub)).then(|| (issuer.to_owned(), sub.to_owned()));
    }
    let (tid, oid) = name.split_once(':')?;
    (is_guid(tid) && is_guid(oid)).then(|| (tid.to_ascii_lowercase(), oid.to_ascii_lowercase()))
}

/// Whether these are a directory and an object in it: two GUIDs, or an issuer and a `sub`.
#[must_use]
pub fn is_account(directory: &str, object: &str) -> bool {
    if is_issuer(directory) { is_sub(object) } else { is_guid(directory) && is_guid(object) }
}

/// A GUID in its usual form: 36 characters with hyphens.
#[must_use]
pub fn is_guid(text: &str) -> bool {
    text.len() == 36 && Uuid::try_parse(text).is_ok()
}

/// Whether this can be an issuer's identifier: a URL without query and fragment (RFC 8414 section 2).
#[must_use]
pub fn is_issuer(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'?' | b'"' | b'\\' | b'<' | b'>');
    text.len() <= MAX_ISSUER && host.is_some_and(|host| !host.is_empty() && host.bytes().all(plain))
}

/// Whether this can be the `sub` of another issuer: ASCII that can be shown, without a space at either end.
#[must_use]
pub fn is_sub(text: &str) -> bool {
    let shown = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    (1..=MAX_SUB).contains(&text.len()) && text.bytes().all(shown) && text.trim() == text
}

#[cfg(test)]
mod tests {
    use super::*;

    const TID: &str = "11111111-2222-4333-8444-555555555555";
    const OID: &str = "0a11ce00-0000-4000-8000-000000000001";

    #[test]
    fn a_name_is_read_as_it_was_written_and_no_two_accounts_have_one() {
        let accounts = [
            (TID, OID),
            ("https://idp.example", "alice"),
            ("https://idp.example", "8443:alice"),
            ("https://idp.example:8443", "alice"),
            ("https://idp.example", "a#b"),
            ("https://idp.example/a", "b"),
            ("https://idp.example", "a/b"),
            ("https://idp.example", "CN=Alice Example,O=Example"),
            ("https://idp.example", OID),
        ];
        let mut names = Vec::new();
        for (directory, object) in accounts {
            let name = name(directory, object);
            assert_eq!(parse(&name), Some((directory.to_owned(), object.to_owned())), "{name}");
            assert!(!names.contains(&name), "{name}");
            names.push(name);
        }
        assert_eq!(parse(&name(&TID.to_uppercase(), OID)), Some((TID.to_owned(), OID.to_owned())));
    }

    #[test]
    fn what_could_be_taken_for_another_name_is_none() {
        for bad in [
            "",
            "rita",
            TID,
            &format!("{TID}:"),
            &format!("{TID}:rita"),
            &format!("{TID}#{OID}"),
            "https://idp.example",
            "https://idp.example:rita",
            "https://idp.example#",
            "https://idp.example# rita",
            "https://idp.example#r\u{ef}ta",
            "https://idp.example#a\nb",
            "https://idp.example?x#rita",
            "https://#rita",
            "ftp://idp.example#rita",
            &format!("https://idp.example#{}", "x".repeat(256)),
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
