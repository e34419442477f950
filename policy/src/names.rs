//! The names that policies are made of: newtypes that parse, so that a name that is no name never gets in.

use std::fmt;

use serde::{Deserialize, Deserializer, de};

/// Why a text is not a name; the remedy is part of the message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NameError(String);

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(std::sync::Arc<str>);

        impl TryFrom<&str> for $name {
            type Error = NameError;

            fn try_from(text: &str) -> Result<Self, NameError> {
                $check(text)?;
                Ok(Self(text.into()))
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::try_from(text.as_str()).map_err(de::Error::custom)
            }
        }
    };
}

name!(
    /// A backend: lower-case letters, digits, `-` and `_`, at most 64.
    BackendName,
    check_backend
);
name!(
    /// A policy role; often an Entra app-role value.
    Role,
    check_role
);
name!(
    /// A tag: an OAuth scope token (RFC 6749 section 3.3), and none of the scopes that `OpenID` Connect reserves.
    Tag,
    check_tag
);

/// Scopes that mean something else (policy language, "Scopes are tags").
const RESERVED_SCOPES: [&str; 4] = ["openid", "profile", "email", "offline_access"];
const MAX_NAME: usize = 128;

fn check_backend(text: &str) -> Result<(), NameError> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
    if text.is_empty() || text.len() > 64 || !text.bytes().all(plain) {
        return Err(NameError(format!(
            "`{text}` is not a backend's name; use lower-case letters, digits, `-` and `_`"
        )));
    }
    Ok(())
}

fn check_role(text: &str) -> Result<(), NameError> {
    if text.trim() != text || text.is_empty() {
        return Err(NameError(format!("`{text}` begins or ends with a space; names match exactly, remove it")));
    }
    if text.contains('*') {
        return Err(NameError(format!("`{text}` holds a `*`; roles match exactly, so name each one")));
    }
    if text.len() > MAX_NAME || text.chars().any(char::is_control) {
        return Err(NameError(
            "a role's name has control characters or is too long; app-role values have at most 120".to_owned(),
        ));
    }
    Ok(())
}

fn check_tag(text: &str) -> Result<(), NameError> {
    let token = |b: u8| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    if text.is_empty() || text.len() > MAX_NAME || !text.bytes().all(token) {
        return Err(NameError(format!(
            "`{text}` is not a tag; tags are OAuth scopes: visible ASCII without spaces, `\"` and `\\`"
        )));
    }
    if RESERVED_SCOPES.contains(&text) {
        return Err(NameError(format!("`{text}` is a scope of OpenID Connect; choose another tag")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_names_parse() {
        assert!(BackendName::try_from("weather-2").is_ok());
        assert!(Role::try_from("MCPServer.Admin").is_ok());
        assert!(Tag::try_from("read:pii").is_ok());
    }

    #[test]
    fn names_that_are_none_are_refused() {
        for bad in ["", "Weather", "a/b", "a b", &"a".repeat(65)] {
            assert!(BackendName::try_from(bad).is_err(), "{bad}");
        }
        for bad in ["", " admin", "admin ", "a\u{0}b", "*", "Task.*"] {
            assert!(Role::try_from(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "a b", "a\"", "openid", "offline_access", "naïve"] {
            assert!(Tag::try_from(bad).is_err(), "{bad}");
        }
    }
}
