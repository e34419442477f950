//! Keeps the last good catalogue of a backend, and its lock file, and reads both anew when there is reason to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use portcullis_policy::{BackendName, Tag};
use tokio::sync::Notify;

use super::{Catalogue, Client, FetchError, listen};
use crate::backend::Replicas;
use crate::backend::pinning::{LockError, LockFile};
use crate::clock::{Clock, Timestamp};

/// The first pause after a failure; each further one doubles it.
const RETRY: Duration = Duration::from_secs(1);
const MAX_RETRY: Duration = Duration::from_secs(30);
/// How often the lock file is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Two fetches lie at least so far apart, whatever the backend or callers do.
const MIN_PAUSE: Duration = Duration::from_secs(1);

/// A lock file, and where it is.
#[derive(Clone, Debug)]
pub struct Pinned {
    /// The file.
    pub path: PathBuf,
    /// What it said when it was last good, with what backends have declared since.
    pub lock: Arc<LockFile>,
    /// Tags that could not be written into it: they count all the same, as long as this process lives.
    pub unwritten: Imported,
}

/// Tags that a backend has put on its tools.
pub type Imported = BTreeMap<String, BTreeSet<Tag>>;

impl Pinned {
    /// What a file says.
    #[must_use]
    pub fn new(path: PathBuf, lock: LockFile) -> Self {
        Self { path, lock: Arc::new(lock), unwritten: Imported::new() }
    }

    /// Has these tags count; what is to be written, if anything is.
    ///
    /// INVARIANT: they count at once, whatever becomes of the file: what a server says next is not waited for.
    fn takes(&mut self, imported: &Imported) -> Option<(Arc<LockFile>, PathBuf)> {
        if let Some(more) = self.lock.with_locks(imported) {
            self.lock = Arc::new(more);
            self.unwritten.extend(imported.clone());
        }
        (!self.unwritten.is_empty()).then(|| (Arc::clone(&self.lock), self.path.clone()))
    }
}

/// What is known of a backend's tools.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The last good catalogue; none until the first.
    pub catalogue: Option<Arc<Catalogue>>,
    /// When it was last read from the backend.
    pub read_at: Option<Timestamp>,
    /// Why the last try failed, if it did.
    pub failure: Option<String>,
    /// The last good lock file, where drift is checked.
    pub pinned: Option<Pinned>,
    /// What is wrong with the file as it is now.
    pub lock_fault: Option<String>,
}

/// Keeps what is known of one backend's tools.
pub struct Keeper {
    backend: BackendName,
    client: Client,
    every: Duration,
    clock: Arc<dyn Clock>,
    known: Mutex<Known>,
    nudged: Notify,
    failures: AtomicU64,
}

impl Keeper {
    /// A keeper that reads `every` so often at least; nothing is known yet but the lock file.
    #[must_use]
    pub fn new(
        backend: BackendName,
        client: Client,
        every: Duration,
        pinned: Option<Pinned>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let known = Mutex::new(Known { pinned, ..Known::default() });
        Self { backend, client, every, clock, known, nudged: Notify::new(), failures: AtomicU64::new(0) }
    }

    /// Takes over what another keeper of the same servers knows of their tools; the lock file is its own, but for the
    /// tags that could not be written into the other's.
    pub fn go_on_from(&self, other: &Self) {
        let Known { catalogue, read_at, failure, pinned, .. } = other.known();
        let mut known = self.lock();
        (known.catalogue, known.read_at, known.failure) = (catalogue, read_at, failure);
        if let (Some(own), Some(before)) = (&mut known.pinned, pinned) {
            own.lock = merged(&own.lock, &before.unwritten);
            own.unwritten = before.unwritten;
        }
        self.failures.store(other.failures(), Ordering::Relaxed);
    }

    /// Has tags stay on tools from now on, and in the lock file. Those that cannot be written stay as long as this
    /// process lives, and are tried again with the next.
    ///
    /// # Errors
    ///
    /// Returns a [`LockError`] when they could not be written.
    pub fn keep(&self, imported: &Imported) -> Result<(), LockError> {
        let Some((lock, path)) = self.lock().pinned.as_mut().and_then(|pinned| pinned.takes(imported)) else {
            return Ok(());
        };
        lock.write(&path)?;
        if let Some(pinned) = &mut self.lock().pinned {
            pinned.unwritten.clear();
        }
        Ok(())
    }

    /// Whether it reads these servers.
    #[must_use]
    pub fn reads(&self, replicas: &Arc<Replicas>) -> bool {
        self.client.reads(replicas)
    }

    /// Whose tools it keeps.
    #[must_use]
    pub fn backend(&self) -> &BackendName {
        &self.backend
    }

    /// What is known now.
    #[must_use]
    pub fn known(&self) -> Known {
        self.lock().clone()
    }

    /// How old the catalogue is.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        self.lock().read_at.map(|at| self.clock.now().since(at))
    }

    /// How often it is read at least.
    #[must_use]
    pub fn every(&self) -> Duration {
        self.every
    }

    /// How many fetches have failed since the start.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Has the catalogue read anew soon: something does not fit it.
    pub fn nudge(&self) {
        self.nudged.notify_one();
    }

    /// Reads the catalogue as long as the process lives; `changed` is called when it, or the lock file, has become
    /// another.
    pub async fn keep_forever(&self, changed: impl Fn() + Sync) {
        tokio::join!(
            self.read_forever(&changed),
            self.look_forever(&changed),
            listen::listen_forever(self, &self.client)
        );
    }

    async fn read_forever(&self, changed: &(impl Fn() + Sync)) {
        let mut failed = 0_u32;
        loop {
            let pause = match self.client.fetch().await {
                Ok(fetched) => {
                    failed = 0;
                    if self.take(fetched.catalogue) {
                        changed();
                    }
                    if fetched.changed {
                        self.nudge();
                    }
                    fetched.ttl.map_or(self.every, |ttl| ttl.min(self.every))
                }
                Err(error) => {
                    failed += 1;
                    self.failed(&error);
                    RETRY.saturating_mul(1 << failed.min(6).saturating_sub(1)).min(MAX_RETRY).min(self.every)
                }
            };
            tokio::time::sleep(MIN_PAUSE.min(pause)).await;
            let rest = pause.saturating_sub(MIN_PAUSE);
            // Whoever nudges after the fetch began is heard; a nudge does not shorten the pause after a failure.
            if failed > 0 {
                tokio::time::sleep(rest).await;
            } else {
                let _ = tokio::time::timeout(rest, self.nudged.notified()).await;
            }
        }
    }

    /// Keeps a catalogue; whether it is another than before.
    fn take(&self, catalogue: Catalogue) -> bool {
        let mut known = self.lock();
        known.read_at = Some(self.clock.now());
        if known.failure.take().is_some() {
            tracing::info!(backend = %self.backend, "the catalogue is read again");
        }
        if known.catalogue.as_ref().is_some_and(|before| before.hash() == catalogue.hash()) {
            return false;
        }
        tracing::info!(backend = %self.backend, tools = catalogue.tools().len(), hash = %catalogue.hash(), "the catalogue is read");
        known.catalogue = Some(Arc::new(catalogue));
        true
    }

    /// INVARIANT: a failure takes nothing away: the last good catalogue stays, and gets older.
    fn failed(&self, error: &FetchError) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let mut known = self.lock();
        let again = known.failure.replace(error.to_string());
        if again.as_deref() != known.failure.as_deref() {
            tracing::warn!(backend = %self.backend, error = error.label(), %error, "the catalogue cannot be read; the last good one stays");
        }
    }

    async fn look_forever(&self, changed: &(impl Fn() + Sync)) {
        let Some(path) = self.lock().pinned.as_ref().map(|pinned| pinned.path.clone()) else { return };
        // Looked at once in any case: it may have become another since it was read.
        let mut seen = None;
        loop {
            tokio::time::sleep(LOOK).await;
            let now = Some(stamp(&path));
            if now == seen {
                continue;
            }
            seen = now;
            if self.relock(LockFile::read(&path, &self.backend)) {
                changed();
            }
        }
    }

    /// Keeps a lock file; whether it says something else than before, or something else is wrong with it.
    ///
    /// INVARIANT: a file that is gone or damaged approves nothing and takes nothing back; the last good one stays.
    fn relock(&self, read: Result<LockFile, LockError>) -> bool {
        let mut known = self.lock();
        match read {
            Ok(lock) => {
                let mended = known.lock_fault.take().is_some();
                let Some(pinned) = &mut known.pinned else { return false };
                let lock = merged(&Arc::new(lock), &pinned.unwritten);
                let other = pinned.lock != lock;
                pinned.lock = lock;
                if other {
                    tracing::info!(backend = %self.backend, "the lock file is read");
                }
                other || mended
            }
            Err(error) => {
                tracing::error!(backend = %self.backend, %error, "the lock file cannot be used; the last good one stays");
                let fault = Some(error.to_string());
                let other = known.lock_fault != fault;
                known.lock_fault = fault;
                other
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a lock file says, with these tags.
fn merged(lock: &Arc<LockFile>, unwritten: &Imported) -> Arc<LockFile> {
    lock.with_locks(unwritten).map_or_else(|| Arc::clone(lock), Arc::new)
}

/// What changes when a file is replaced or written to.
fn stamp(path: &std::path::Path) -> Option<(u64, i64, i64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let data = std::fs::metadata(path).ok()?;
    Some((data.ino(), data.mtime(), data.mtime_nsec(), data.len()))
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Keeper").field(&self.backend).finish()
    }
}
