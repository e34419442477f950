//! Device authorization (RFC 8628), for programs where nobody can open a browser (`oauth.device_authorization`).
//!
//! The device asks (`ask`) and waits (`poll`); a person enters the code that it shows (`verify`), and from there on it is
//! the ordinary consent and sign-in. A request is two records: one by the device's code, for as long as it may wait, and
//! one by the person's, which is taken when it is decided, so that it is decided once. When somebody has signed in, the
//! device's code becomes an ordinary code whose verifier is itself.

mod ask;
mod poll;
mod verify;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};

use super::{State as Server, no_head};
use crate::store::{Digest256, StoreError, Waiting};

pub(super) use ask::ask;
pub(super) use poll::by_device_code;

/// The grant type (section 3.4); also where such a code counts as sent to.
pub const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// From the request to its end, whoever is waiting.
const LIFETIME: Duration = Duration::from_mins(10);
/// Between two polls (section 3.5).
const INTERVAL: Duration = Duration::from_secs(5);
/// Letters that are not taken for others and spell no words (section 6.1): eight of them are 34 bits.
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
const LENGTH: usize = 8;

/// The page where a person enters the code.
pub(super) fn page() -> Router<Arc<Server>> {
    Router::new().route("/device", get(verify::show).post(verify::enter).head(no_head))
}

/// The endpoint where a device asks.
pub(super) fn endpoint() -> Router<Arc<Server>> {
    Router::new().route("/device_authorization", post(ask))
}

/// A code for a person to enter, without its hyphen.
fn user_code() -> String {
    let letters = std::iter::repeat_with(rand::random::<u8>).filter(|byte| *byte < 240);
    letters
        .filter_map(|byte| LETTERS.get(usize::from(byte) % LETTERS.len()))
        .take(LENGTH)
        .copied()
        .map(char::from)
        .collect()
}

/// What a person entered as a code, however they wrote it; `None` when it cannot be one.
fn entered(text: &str) -> Option<String> {
    let letters: String =
        text.chars().filter(|c| !c.is_whitespace() && *c != '-').map(|c| c.to_ascii_uppercase()).collect();
    let is_code = letters.len() == LENGTH && letters.bytes().all(|byte| LETTERS.contains(&byte));
    is_code.then_some(letters)
}

/// As it is shown: in two halves.
fn shown(code: &str) -> String {
    let (first, last) = code.split_at_checked(LENGTH / 2).unwrap_or((code, ""));
    format!("{first}-{last}")
}

/// The record that a person's code stands for.
fn ticket(code: &str) -> Digest256 {
    Digest256::apart("user-code", code)
}

/// The record of a request that was declined.
fn declined(name: &str) -> Digest256 {
    Digest256::apart("device-declined", name)
}

/// Decides a request, once; false when it was decided before, or is over.
pub(super) async fn settle(server: &Server, waiting: &Waiting) -> Result<bool, StoreError> {
    let Some(ticket) = Digest256::read(&waiting.ticket) else { return Ok(false) };
    Ok(server.store.take_login(ticket, server.clock.now()).await?.is_some())
}

/// Tells the device that nothing comes of its request.
pub(super) async fn decline(server: &Server, waiting: &Waiting) -> Result<(), StoreError> {
    let Some(ticket) = Digest256::read(&waiting.ticket) else { return Ok(()) };
    let now = server.clock.now();
    if let Some(login) = server.store.take_login(ticket, now).await? {
        server.store.begin_login(declined(&waiting.name), &login, now.plus(LIFETIME)).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_however_a_person_writes_it_and_nothing_else_is() {
        let code = user_code();
        assert_eq!(entered(&shown(&code)), Some(code.clone()));
        assert_eq!(entered(&format!(" {} ", shown(&code).to_ascii_lowercase())), Some(code));
        assert_eq!(entered("bcdf ghjk").as_deref(), Some("BCDFGHJK"));
        for bad in
            ["", "BCDF-GHJ", "BCDF-GHJKL", "ABCD-FGHJ", "BCDF-GHJ1", "BCDF-GHJ\u{212a}", "BCDF_GHJK", "bcdfghj\u{0}"]
        {
            assert_eq!(entered(bad), None, "{bad}");
        }
    }

    #[test]
    fn codes_do_not_repeat_and_use_every_letter() {
        let codes: std::collections::HashSet<String> = (0..2000).map(|_| user_code()).collect();
        assert!(codes.len() >= 1999, "{}", codes.len());
        for letter in LETTERS {
            assert!(codes.iter().any(|code| code.bytes().any(|byte| byte == *letter)));
        }
    }
}
