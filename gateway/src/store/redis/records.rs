//! Records as Redis keeps them: sealed for their place, which is part of what is authenticated.

use std::fmt::Debug;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock::Timestamp;
use crate::store::{Client, CodeRecord, Digest256, Grant, Login, Revocation, Revocations, Sealer, StoreError};

/// The name of a secret in a key.
pub(super) fn name(digest: Digest256) -> String {
    URL_SAFE_NO_PAD.encode(digest.as_bytes())
}

/// Seals and opens records.
pub(super) struct Records(Sealer);

impl Records {
    pub(super) fn new(sealer: Sealer) -> Self {
        Self(sealer)
    }

    pub(super) fn client(&self, client: &Client) -> Result<String, StoreError> {
        self.seal(&["client", &client.client_id], client)
    }

    pub(super) fn open_client(&self, id: &str, sealed: &str) -> Result<Client, StoreError> {
        self.open(&["client", id], sealed)
    }

    /// Whether it is sealed under the newest key.
    pub(super) fn is_newest_client(&self, id: &str, sealed: &str) -> bool {
        self.0.is_newest(binding(&["client", id]).as_bytes(), sealed)
    }

    pub(super) fn login(&self, id: Digest256, login: &Login) -> Result<String, StoreError> {
        self.seal(&["login", &name(id)], login)
    }

    pub(super) fn open_login(&self, id: Digest256, sealed: &str) -> Result<Login, StoreError> {
        self.open(&["login", &name(id)], sealed)
    }

    pub(super) fn code(&self, code: Digest256, grant_id: &str, record: &CodeRecord) -> Result<String, StoreError> {
        self.seal(&["code", &name(code), grant_id], record)
    }

    pub(super) fn open_code(&self, code: Digest256, grant_id: &str, sealed: &str) -> Result<CodeRecord, StoreError> {
        self.open(&["code", &name(code), grant_id], sealed)
    }

    pub(super) fn grant(&self, grant: &Grant) -> Result<String, StoreError> {
        self.seal(&["grant", &grant.id], grant)
    }

    pub(super) fn open_grant(&self, id: &str, sealed: &str) -> Result<Grant, StoreError> {
        self.open(&["grant", id], sealed)
    }

    /// That a refresh token is this grant's.
    pub(super) fn proof(&self, token: Digest256, grant_id: &str) -> Result<String, StoreError> {
        self.seal(&["refresh", &name(token), grant_id], &())
    }

    pub(super) fn check_proof(&self, token: Digest256, grant_id: &str, proof: &str) -> Result<(), StoreError> {
        self.open(&["refresh", &name(token), grant_id], proof)
    }

    fn seal(&self, place: &[&str], record: &impl Serialize) -> Result<String, StoreError> {
        let text = serde_json::to_vec(record).map_err(|error| StoreError::Record(error.to_string()))?;
        Ok(self.0.seal(binding(place).as_bytes(), &text)?)
    }

    fn open<T: DeserializeOwned>(&self, place: &[&str], sealed: &str) -> Result<T, StoreError> {
        let text = self.0.open(binding(place).as_bytes(), sealed)?;
        serde_json::from_slice(&text).map_err(|error| StoreError::Record(error.to_string()))
    }
}

/// A record's place, with no two places alike.
fn binding(place: &[&str]) -> String {
    format!("redis\n{}", place.join("\n"))
}

/// A record was found at another's place.
pub(super) fn moved() -> StoreError {
    StoreError::Record("it is not where it was written".to_owned())
}

/// What an act answered: a word, and what it found.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) word: &'a str,
    /// The grant's id and its record.
    pub(super) grant: Option<(&'a str, &'a str)>,
    pub(super) proof: Option<&'a str>,
    pub(super) sealed: Option<&'a str>,
}

impl<'a> Found<'a> {
    pub(super) fn of(answer: &'a [String]) -> Self {
        let part = |place: usize| answer.get(place).map(String::as_str);
        let grant = part(1).zip(part(2));
        Self { word: part(0).unwrap_or_default(), grant, proof: part(3), sealed: part(4) }
    }

    pub(super) fn unexpected(&self) -> StoreError {
        StoreError::Record(format!("Redis answered `{}`", self.word))
    }
}

/// The log, from the last number and its lines.
pub(super) fn revocations(found: &[String]) -> Result<Revocations, StoreError> {
    let (newest, lines) = found.split_first().ok_or_else(|| unreadable(&"an empty answer"))?;
    let newest = newest.parse().map_err(|error| unreadable(&error))?;
    let line = |text: &String| {
        let mut parts = text.splitn(4, ' ');
        let mut number = || parts.next().and_then(|part| part.parse::<u64>().ok());
        let (sequence, before, kept) = (number(), number(), number());
        let known = sequence.zip(before).zip(kept).zip(parts.next());
        let (((sequence, before), kept), key) = known.ok_or_else(|| unreadable(text))?;
        Ok(Revocation {
            sequence,
            key: key.to_owned(),
            issued_before: Timestamp::from_secs(before),
            kept_until: Timestamp::from_secs(kept),
        })
    };
    Ok(Revocations { newest, lines: lines.iter().map(line).collect::<Result<_, StoreError>>()? })
}

fn unreadable(what: &impl Debug) -> StoreError {
    StoreError::Record(format!("the log of revocations: {what:?}"))
}
