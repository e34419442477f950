//! Signing keys in the store: made, replaced in time, and shared by a fleet.
//!
//! A key is published before it signs, so that every node and every backend knows it by then, and stays good until
//! nothing lives that it signed. Nodes read the store now and then; whoever sees first that a key is old adds the next
//! one, and the others find it there.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::{StartError, start};
use crate::clock::Timestamp;
use crate::jose::signing_key::SigningKey;
use crate::jose::signing_keys::SigningKeys;
use crate::store::{Sealer, Store};

/// The key of access tokens.
pub(super) const TOKENS: &str = "signing-key";
/// The key of assertions for backends.
pub(super) const ASSERTIONS: &str = "assertion-key";
/// The key of the audit trail's checkpoints; it is never replaced, for a trail is verified years later.
pub(super) const TRAIL: &str = "audit-key";
/// How often the store is asked what keys there are.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(5);

/// From when a key is published to when it signs: all nodes have read it by then, and whoever keeps the published set
/// for as long as it may (five minutes, `oauth::metadata::public`) has asked again.
pub(crate) const LEAD: Duration = Duration::from_mins(6);
/// From when a key signs no more to when it is forgotten: no token of ours lives longer.
const OVERLAP: Duration = Duration::from_mins(65);
/// Others may write at the same time; not so often.
const TRIES: usize = 10;

/// What the store has under a key's name, sealed; the oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Ring {
    keys: Vec<Kept>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// PKCS#8, in base64.
    pkcs8: String,
    /// When it was made, in seconds; it signs [`LEAD`] later, or at once where there is no other.
    made: u64,
}

impl Kept {
    fn fresh(now: Timestamp) -> Result<Self, StartError> {
        let key = SigningKey::generate().map_err(start("a signing key"))?;
        Ok(Self { pkcs8: STANDARD.encode(key.pkcs8()), made: now.as_secs() })
    }

    fn signs_from(&self) -> Timestamp {
        Timestamp::from_secs(self.made).plus(LEAD)
    }

    fn key(&self) -> Result<SigningKey, StartError> {
        let pkcs8 = STANDARD.decode(&self.pkcs8).map_err(start("a signing key"))?;
        SigningKey::from_pkcs8(&pkcs8).map_err(start("a signing key"))
    }
}

impl Ring {
    fn fresh(now: Timestamp) -> Result<Self, StartError> {
        Ok(Self { keys: vec![Kept::fresh(now)?] })
    }

    /// What the text says; an early version kept one key and nothing else.
    fn parse(text: &[u8], now: Timestamp) -> Result<Self, StartError> {
        if text.first() == Some(&b'{') {
            return serde_json::from_slice(text).map_err(start("the signing keys"));
        }
        Ok(Self { keys: vec![Kept { pkcs8: STANDARD.encode(text), made: now.as_secs() }] })
    }

    /// What it should be at this time: with a new key when the newest is `every` old, without those that are over.
    fn turned(&self, now: Timestamp, every: Duration) -> Result<Self, StartError> {
        let mut keys = self.keys.clone();
        let is_old = |kept: &Kept| Timestamp::from_secs(kept.made).plus(every) <= now;
        if keys.last().is_none_or(is_old) {
            keys.push(Kept::fresh(now)?);
        }
        let is_over = |next: &Kept| next.signs_from().plus(OVERLAP) <= now;
        while keys.get(1).is_some_and(is_over) {
            keys.remove(0);
        }
        Ok(Self { keys })
    }

    /// Whether a key is published that does not sign yet.
    fn has_next(&self, now: Timestamp) -> bool {
        self.keys.len() > 1 && self.keys.last().is_some_and(|kept| kept.signs_from() > now)
    }

    /// The keys; the newest that may sign does, or else the oldest.
    fn keys(&self, now: Timestamp) -> Result<SigningKeys, StartError> {
        let signer = self.keys.iter().rposition(|kept| kept.signs_from() <= now).unwrap_or_default();
        let mut keys = self.keys.iter().map(Kept::key).collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            return Err(start("the signing keys")("there are none; restore them from a backup"));
        }
        let signer = keys.remove(signer);
        Ok(SigningKeys::new(signer, keys))
    }
}

/// How keys are to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// When they are this old.
    Every(Duration),
    /// Not at all.
    Never,
    /// The next one is made now, unless there is one already, and signs after its time.
    Next,
    /// A new one signs at once, and what the others signed is over.
    AtOnce,
}

/// The keys of this name as they are at this time, replaced where they have to be.
pub(super) async fn read(
    name: &'static str,
    (store, sealer): (&dyn Store, &Sealer),
    now: Timestamp,
    turn: Turn,
) -> Result<SigningKeys, StartError> {
    for _ in 0..TRIES {
        // Nearly always it is there: a look makes no key and writes nothing.
        let seen = match store.known_key(name).await.map_err(start(name))? {
            Some(seen) => seen,
            None => store.key(name, sealed(name, sealer, &Ring::fresh(now)?)?).await.map_err(start(name))?,
        };
        let text = std::str::from_utf8(&seen).map_err(start(name))?;
        let ring = Ring::parse(&sealer.open(name.as_bytes(), text).map_err(start(name))?, now)?;
        let turned = match turn {
            Turn::Every(every) => ring.turned(now, every)?,
            Turn::Never => ring.clone(),
            Turn::Next if ring.has_next(now) => ring.clone(),
            Turn::Next => ring.turned(now, Duration::ZERO)?,
            Turn::AtOnce => Ring::fresh(now)?,
        };
        if turned == ring && sealer.is_newest(name.as_bytes(), text) {
            return ring.keys(now);
        }
        if store.replace_key(name, &seen, sealed(name, sealer, &turned)?).await.map_err(start(name))? {
            if turned != ring {
                tracing::info!(key = name, "signing keys are replaced");
            }
            return turned.keys(now);
        }
    }
    Err(start(name)("others replace it all the time; see that one version of the gateway runs"))
}

fn sealed(name: &'static str, sealer: &Sealer, ring: &Ring) -> Result<Vec<u8>, StartError> {
    let text = serde_json::to_vec(ring).map_err(start(name))?;
    Ok(sealer.seal(name.as_bytes(), &text).map_err(start(name))?.into_bytes())
}

/// Replaces the keys of tokens and of assertions, for the command that does so.
///
/// # Errors
///
/// Returns a [`StartError`] when the store does not do it.
pub(crate) async fn replace(store: &dyn Store, sealer: &Sealer, now: Timestamp, turn: Turn) -> Result<(), StartError> {
    for name in [TOKENS, ASSERTIONS] {
        read(name, (store, sealer), now, turn).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::SqliteStore;

    const DAY: Duration = Duration::from_hours(24);
    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    async fn store(directory: &tempfile::TempDir) -> Arc<dyn Store> {
        Arc::new(SqliteStore::open(&directory.path().join("s.db")).await.unwrap())
    }

    fn names(keys: &SigningKeys) -> Vec<String> {
        keys.iter().map(|key| key.kid().to_owned()).collect()
    }

    #[tokio::test]
    async fn a_key_is_published_before_it_signs_and_good_after_it_has_signed() {
        let directory = tempfile::tempdir().unwrap();
        let (store, sealer) = (store(&directory).await, Sealer::new([7; 32]));
        let at = async |later: u64| {
            let now = NOW.plus(Duration::from_secs(later));
            read(TOKENS, (&*store, &sealer), now, Turn::Every(30 * DAY)).await.unwrap()
        };
        let due = 30 * DAY.as_secs();
        let signs = due + LEAD.as_secs();
        let last = signs + OVERLAP.as_secs();
        let first = names(&at(0).await);
        assert_eq!(first.len(), 1);
        assert_eq!(names(&at(due - 1).await), first);
        let both = names(&at(due).await);
        assert_eq!((both.len(), &both[0]), (2, &first[0]), "the old one signs still");
        assert_eq!(names(&at(signs - 1).await), both);
        let turned = names(&at(signs).await);
        assert_eq!(turned, [both[1].clone(), both[0].clone()], "the new one signs, the old one is good");
        assert_eq!(names(&at(last - 1).await).len(), 2);
        assert_eq!(names(&at(last).await), [both[1].clone()]);
    }

    #[test]
    fn nobody_who_keeps_the_published_keys_as_long_as_they_may_meets_one_that_they_do_not_know() {
        assert!(LEAD >= crate::oauth::MAX_AGE + 2 * LOOK_EVERY, "another node publishes it a look later");
        assert!(OVERLAP >= crate::jose::access_token::MAX_LIFETIME);
    }

    #[tokio::test]
    async fn nodes_that_replace_a_key_at_once_agree() {
        let directory = tempfile::tempdir().unwrap();
        let (store, sealer) = (store(&directory).await, Sealer::new([7; 32]));
        read(TOKENS, (&*store, &sealer), NOW, Turn::Every(DAY)).await.unwrap();
        let later = NOW.plus(DAY);
        let nodes = (0..8).map(|_| {
            let (store, sealer) = (Arc::clone(&store), sealer.clone());
            tokio::spawn(async move { read(TOKENS, (&*store, &sealer), later, Turn::Every(DAY)).await.unwrap() })
        });
        let mut seen = Vec::new();
        for node in nodes.collect::<Vec<_>>() {
            seen.push(names(&node.await.unwrap()));
        }
        assert!(seen[0].len() == 2 && seen.iter().all(|one| *one == seen[0]), "{seen:?}");
    }

    #[tokio::test]
    async fn an_operator_has_the_next_key_made_or_the_old_ones_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let (store, sealer) = (store(&directory).await, Sealer::new([7; 32]));
        let usual = async |now| names(&read(TOKENS, (&*store, &sealer), now, Turn::Every(DAY)).await.unwrap());
        let first = usual(NOW).await;
        replace(&*store, &sealer, NOW, Turn::Next).await.unwrap();
        let both = usual(NOW).await;
        assert_eq!((both.len(), &both[0]), (2, &first[0]));
        replace(&*store, &sealer, NOW, Turn::Next).await.unwrap();
        assert_eq!(usual(NOW).await, both, "the next one is there already");
        replace(&*store, &sealer, NOW, Turn::AtOnce).await.unwrap();
        let new = usual(NOW).await;
        assert!(new.len() == 1 && !both.contains(&new[0]), "{new:?}");
    }

    #[tokio::test]
    async fn keys_are_sealed_anew_under_the_newest_sealing_key_and_an_early_one_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory).await;
        let early = SigningKey::generate().unwrap();
        let file = |name: &str, byte: u8| crate::store::key_file(&directory, name, byte);
        let (old, new) = (file("old", 1), file("new", 2));
        let before = Sealer::from_files(std::slice::from_ref(&old)).unwrap();
        store.key(TOKENS, before.seal(TOKENS.as_bytes(), early.pkcs8()).unwrap().into_bytes()).await.unwrap();
        let both = Sealer::from_files(&[new.clone(), old]).unwrap();
        let keys = read(TOKENS, (&*store, &both), NOW, Turn::Every(DAY)).await.unwrap();
        assert_eq!(names(&keys), [early.kid()]);
        let alone = Sealer::from_files(&[new]).unwrap();
        let keys = read(TOKENS, (&*store, &alone), NOW, Turn::Every(DAY)).await.unwrap();
        assert_eq!(names(&keys), [early.kid()], "the old sealing key is not needed any more");
        assert!(read(TOKENS, (&*store, &before), NOW, Turn::Every(DAY)).await.is_err());
    }
}
