//! The address of a Redis from its parts.

use super::super::document::{Redis, State};
use super::super::{Environment, Fault};
use super::{Found, REDIS, overruled, switch, text};

const URL: &str = "MREG_REDIS_URL";

pub(super) fn take(state: &mut State, environment: &Environment, name: &str, found: &mut Found) {
    let (url, host) = (environment.get(URL), environment.get("REDIS_HOST"));
    let port = environment.get("REDIS_PORT").filter(|port| !super::is_of_kubernetes("REDIS_PORT", port));
    let tls = environment.get("REDIS_SSL");
    let is_tls = tls.as_deref().map_or(Some(false), switch);
    let parts = [("REDIS_HOST", host.is_some()), ("REDIS_PORT", port.is_some()), ("REDIS_SSL", tls.is_some())];
    let address = match (url, host, is_tls) {
        (Some(_), ..) => {
            if let Some((part, _)) = parts.into_iter().find(|(_, is_set)| *is_set) {
                if part == name {
                    found.faults.push(Fault::whole(format!("`{URL}` and `{part}` are set; unset one of them")));
                }
                return;
            }
            // Named, not quoted: a fault shows the name, and the value is a secret.
            format!("${{{URL}}}")
        }
        (None, Some(_), None) => {
            found.faults.push(Fault::whole("`REDIS_SSL` is neither `true` nor `false`".to_owned()));
            return;
        }
        (None, Some(_), Some(is_tls)) => {
            let scheme = if is_tls { "rediss" } else { "redis" };
            format!("{scheme}://${{REDIS_HOST}}:{}", if port.is_some() { "${REDIS_PORT}" } else { "6379" })
        }
        (None, None, _) => {
            let needed = format!("`{name}` is set, but neither `REDIS_HOST` nor `{URL}`; set one, or unset it");
            // A file that uses the variable itself says what it is for.
            if state.redis.is_none() {
                found.faults.push(Fault::whole(needed));
            }
            return;
        }
    };
    match &state.redis {
        Some(Redis { url: Some(known), .. }) if known.value == address => {}
        // The file speaks of the variable: nothing is overruled.
        Some(redis) if uses(redis, name) => {}
        Some(_) => found.warnings.push(overruled(name, REDIS)),
        None => {
            let password = environment.get("REDIS_PASSWORD").map(|_| text("${REDIS_PASSWORD}".to_owned()));
            state.redis = Some(Redis { url: Some(text(address)), password, ..Redis::default() });
        }
    }
}

fn uses(redis: &Redis, name: &str) -> bool {
    let texts = [&redis.url, &redis.password].into_iter().flatten();
    texts.chain(&redis.cluster).any(|text| text.value.contains(&format!("${{{name}")))
}
