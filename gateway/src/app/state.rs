//! What survives a restart: the store, and the keys that are kept in it.

use std::path::Path;
use std::sync::Arc;

use super::{StartError, start};
use crate::jose::signing_key::SigningKey;
use crate::store::{Sealer, SqliteStore, Store};

/// The names of the keys that the store keeps, and what they are sealed for.
pub(super) const SIGNING_KEY: &str = "signing-key";
pub(super) const ASSERTION_KEY: &str = "assertion-key";

/// Opens the state directory, and makes it when there is none.
pub(super) async fn open(directory: &Path) -> Result<(Arc<dyn Store>, Sealer), StartError> {
    let mut builder = std::fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(builder.recursive(true), 0o700);
    builder.create(directory).map_err(start("the state directory"))?;
    let database = directory.join("portcullis.db");
    // A key is made for a new database only: an old one without its key is an incident, not a fresh start.
    let sealer =
        Sealer::from_file(&directory.join("seal.key"), !database.exists()).map_err(start("the sealing key"))?;
    let store = SqliteStore::open(&database).await.map_err(start("the store"))?;
    Ok((Arc::new(store), sealer))
}

/// The store of a gateway that has run before: for commands, which never make one.
///
/// # Errors
///
/// Returns a [`StartError`] when there is none, or it cannot be used.
pub(crate) async fn existing(directory: &Path) -> Result<Arc<dyn Store>, StartError> {
    let database = directory.join("portcullis.db");
    if !database.exists() {
        let what = format!("`{}` is missing; see `state.path`", database.display());
        return Err(start("the store")(what));
    }
    Ok(Arc::new(SqliteStore::open(&database).await.map_err(start("the store"))?))
}

/// The key of this name: the one that is kept, or a new one.
pub(super) async fn signing_key(
    name: &'static str,
    store: &dyn Store,
    sealer: &Sealer,
) -> Result<SigningKey, StartError> {
    let fresh = SigningKey::generate().map_err(start(name))?;
    let pkcs8 = kept(name, fresh.pkcs8(), store, sealer).await?;
    SigningKey::from_pkcs8(&pkcs8).map_err(start(name))
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
    sealer.open(name.as_bytes(), &kept).map_err(start(name))
}
