//! What survives a restart: the store, and the keys that are kept in it.

use std::sync::Arc;

use super::{StartError, start};
use crate::config::settings::State;
use crate::store::{RedisStore, Sealer, SqliteStore, Store};

pub(super) const DATABASE: &str = "portcullis.db";

/// Opens the state, and makes what is not there.
pub(super) async fn open(state: &State) -> Result<(Arc<dyn Store>, Sealer), StartError> {
    let directory = &state.directory;
    let mut builder = std::fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(builder.recursive(true), 0o700);
    builder.create(directory).map_err(start("the state directory"))?;
    let database = directory.join(DATABASE);
    // A key is made for a new database only: an old one without its key is an incident, not a fresh start.
    let sealer = sealer(state, !database.exists())?;
    let store: Arc<dyn Store> = match &state.redis {
        Some(redis) => Arc::new(RedisStore::open(redis, sealer.clone()).await.map_err(start("the store"))?),
        None => Arc::new(SqliteStore::open(&database).await.map_err(start("the store"))?),
    };
    Ok((store, sealer))
}

/// The store in words, for whoever has asked a command to do something in it: it may be another one than they mean.
pub(crate) fn name(state: &State) -> String {
    let Some(redis) = &state.redis else { return format!("`{}`", state.directory.join(DATABASE).display()) };
    let hosts = redis.urls.iter().filter_map(|url| {
        let url = url::Url::parse(url.expose()).ok()?;
        Some(format!("{}:{}", url.host_str()?, url.port().unwrap_or(6379)))
    });
    format!("Redis at {}, under `{}`", hosts.collect::<Vec<_>>().join(", "), redis.prefix)
}

/// The store of a gateway that has run before: for commands, which never make one.
///
/// # Errors
///
/// Returns a [`StartError`] when there is none, or it cannot be used.
pub(crate) async fn existing(state: &State) -> Result<Arc<dyn Store>, StartError> {
    let database = state.directory.join(DATABASE);
    Ok(match &state.redis {
        Some(redis) => {
            let store = RedisStore::existing(redis, sealer(state, false)?).await;
            Arc::new(store.map_err(start("the store"))?)
        }
        None if !database.exists() => {
            let what = format!("`{}` is missing; see `state.path`", database.display());
            return Err(start("the store")(what));
        }
        // What ends a session is not sealed there: it can be ended though the key is lost.
        None => Arc::new(SqliteStore::open(&database).await.map_err(start("the store"))?),
    })
}

/// As [`existing`], with what opens the keys in it.
///
/// # Errors
///
/// As [`existing`]; also when the sealing key is missing.
pub(crate) async fn existing_and_sealer(state: &State) -> Result<(Arc<dyn Store>, Sealer), StartError> {
    Ok((existing(state).await?, sealer(state, false)?))
}

fn sealer(state: &State, may_create: bool) -> Result<Sealer, StartError> {
    let sealer = match state.seal_keys.as_slice() {
        [] => Sealer::from_file(&state.directory.join("seal.key"), may_create),
        files => Sealer::from_files(files),
    };
    sealer.map_err(start("the sealing key"))
}

/// What is kept under this name, or else `fresh` from now on.
pub(super) async fn kept(
    name: &'static str,
    fresh: &[u8],
    store: &dyn Store,
    sealer: &Sealer,
) -> Result<Vec<u8>, StartError> {
    let sealed = sealer.seal(name.as_bytes(), fresh).map_err(start(name))?;
    let kept = store.key(name, sealed.into_bytes()).await.map_err(start(name))?;
    let kept = String::from_utf8(kept).map_err(start(name))?;
    let opened = sealer.open(name.as_bytes(), &kept).map_err(start(name))?;
    if !sealer.is_newest(name.as_bytes(), &kept) {
        let anew = sealer.seal(name.as_bytes(), &opened).map_err(start(name))?;
        // Another node that was first has sealed the same.
        store.replace_key(name, kept.as_bytes(), anew.into_bytes()).await.map_err(start(name))?;
    }
    Ok(opened)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_store_is_named_without_its_password() {
        let directory = Path::new("s").to_owned();
        let mut state = State { directory, redis: None, seal_keys: Vec::new() };
        assert_eq!(name(&state), "`s/portcullis.db`");
        state.redis = Some(crate::store::RedisSettings {
            urls: vec![crate::config::Secret::new("rediss://u:secret@redis.data:6380/0")],
            kind: crate::store::RedisKind::Single,
            username: None,
            password: None,
            ca_file: None,
            prefix: "portcullis".to_owned(),
            wait_replicas: 0,
            connections: 1,
        });
        assert_eq!(name(&state), "Redis at redis.data:6380, under `portcullis`");
    }

    #[tokio::test]
    async fn a_gateway_that_lost_its_key_does_not_start_and_its_sessions_can_be_ended() {
        let directory = tempfile::tempdir().unwrap();
        let state = State { directory: directory.path().to_owned(), redis: None, seal_keys: Vec::new() };
        assert!(existing(&state).await.is_err(), "a command makes none");
        drop(open(&state).await.unwrap());
        assert!(open(&state).await.is_ok() && existing_and_sealer(&state).await.is_ok(), "the control");
        std::fs::remove_file(directory.path().join("seal.key")).unwrap();
        assert!(open(&state).await.unwrap_err().to_string().contains("seal.key"));
        assert!(existing(&state).await.is_ok());
        assert!(existing_and_sealer(&state).await.is_err());
    }
}
