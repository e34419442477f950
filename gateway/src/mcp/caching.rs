//! What a client may keep of an answer, and for how long (MCP 2026-07-28, server/utilities/caching).
//!
//! What a caller gets depends on their roles: nobody else may be given it from a memory between, and who loses a role
//! does not see for long what was listed before. What is called or read is decided anew each time, whatever is kept.

/// The member that says who may be given a result again.
pub(super) const SCOPE: &str = "cacheScope";
/// The member that says for how long a result is good, in milliseconds.
pub(super) const TTL: &str = "ttlMs";
/// The only value of `cacheScope` that a client gets to see, as JSON.
pub(super) const PRIVATE: &str = "\"private\"";
/// The longest time that a client may keep anything: five minutes, in milliseconds.
const MAX_TTL: u32 = 300_000;

/// `ttlMs` as the client gets it, as JSON; `None` when it stays as it is. What is no such time is none at all.
pub(super) fn capped(ttl: &str) -> Option<String> {
    let most = f64::from(MAX_TTL);
    match serde_json::from_str::<f64>(ttl) {
        Ok(ttl) if (0.0..=most).contains(&ttl) => None,
        Ok(ttl) if ttl > most => Some(MAX_TTL.to_string()),
        _ => Some("0".to_owned()),
    }
}

/// The result, which says nothing of its scope, as its caller's alone.
pub(super) fn private(result: &str) -> Option<String> {
    let rest = result.trim_start().strip_prefix('{')?;
    let comma = if rest.trim_start().starts_with('}') { "" } else { "," };
    Some(format!("{{\"{SCOPE}\":{PRIVATE}{comma}{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_kept_for_longer_than_a_lost_role_may_show() {
        for kept in ["0", "1", "5.5", "3e5", "300000"] {
            assert_eq!(capped(kept), None, "{kept}");
        }
        for long in ["300001", "99999999", "1e300", "18446744073709551616"] {
            assert_eq!(capped(long).as_deref(), Some("300000"), "{long}");
        }
        for none in ["-1", "\"60000\"", "null", "[]", "1e999", "true"] {
            assert_eq!(capped(none).as_deref(), Some("0"), "{none}");
        }
    }

    #[test]
    fn a_result_without_a_scope_gets_one() {
        assert_eq!(private("{}").unwrap(), r#"{"cacheScope":"private"}"#);
        assert_eq!(private(r#" { "a":1}"#).unwrap(), r#"{"cacheScope":"private", "a":1}"#);
        assert_eq!(private("[]"), None);
    }
}
