//! Takes a changed configuration into use while requests go on: all of it, or nothing.
//!
//! The directories of the files are watched, so that a file that is replaced, a link that is set anew and one that is
//! written in place are all seen; SIGHUP asks for it outright, and now and then the files are looked at in any case.
//! What counts as a change is what the files say, once they say the same twice. What is refused for another reason than
//! what they say is tried again with every look.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use super::running::Running;
use super::{StartError, directory_of, fixed, keys, start};
use crate::audit::{Event, Kind, Reload};
use crate::config::{self, Config, Environment, Files};

/// A file that is being written is left alone for so long.
const SETTLE: Duration = Duration::from_millis(150);
/// However busily files are written, they are read after so many looks.
const LOOKS: usize = 20;
/// Where the system tells nothing, files are looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Where the configuration comes from.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file.
    pub file: PathBuf,
    /// What `${NAME}` in it means.
    pub environment: Environment,
}

/// Reloads what runs.
pub(super) struct Reloader {
    running: Arc<Running>,
    source: Source,
    current: Mutex<Current>,
    /// Why what is on the disk is not what runs.
    fault: Mutex<Option<String>>,
}

/// What counts, and what was looked at last, be it good or bad.
struct Current {
    config: Arc<Config>,
    /// With what they said when they were read, which is what was understood of them: what was written since then is a
    /// change.
    files: Files,
    /// What the files said that count now.
    taken: [u8; 32],
    /// Whether what was looked at last is to be tried again though it says the same: it was refused for something else.
    due: bool,
    /// The last refusal, where the trail did not take it.
    unrecorded: Option<Reload>,
}

/// Why a change does not count.
enum Refused {
    /// For what its files say: it is looked at again when they say something else.
    Files(String),
    /// For what is not in them, and may be over with the next look.
    Now(String),
}

impl Refused {
    fn into_text(self) -> String {
        match self {
            Self::Files(text) => text,
            Self::Now(text) => format!("{text}; it is tried again every few seconds"),
        }
    }
}

impl Reloader {
    pub(super) fn new(running: Arc<Running>, source: Source, config: Arc<Config>) -> Self {
        let (files, taken) = (config.files.clone(), config.files.digest());
        let current = Current { config, files, taken, due: false, unrecorded: None };
        Self { running, source, current: Mutex::new(current), fault: Mutex::default() }
    }

    /// The configuration that counts; nothing while it is being changed.
    pub(super) fn config(&self) -> Option<Arc<Config>> {
        self.current.try_lock().ok().map(|current| Arc::clone(&current.config))
    }

    /// Why what is on the disk is not what runs, in words for the operator.
    pub(super) fn fault(&self) -> Option<String> {
        lock(&self.fault).clone()
    }

    /// Makes everything of the present configuration anew whenever the signing keys are others.
    pub(super) async fn follow_keys(self: Arc<Self>) {
        let (mut failing, mut due) = (false, false);
        loop {
            tokio::time::sleep(keys::LOOK_EVERY).await;
            let outcome = match self.running.lasting().look_for_keys().await {
                Ok(changed) => {
                    due |= changed;
                    if due { self.take_keys().await } else { Ok(()) }
                }
                Err(error) => Err(error.to_string()),
            };
            // Said once, not with every look; what cannot be done now is tried with the next.
            match &outcome {
                Err(error) if !failing => {
                    tracing::error!(error, "the signing keys in the store cannot be used; those of before go on");
                }
                Ok(()) if failing => tracing::info!("the signing keys in the store can be used again"),
                _ => {}
            }
            failing = outcome.is_err();
            due &= failing;
        }
    }

    /// Has the next request served by the keys that are known now.
    async fn take_keys(self: &Arc<Self>) -> Result<(), String> {
        let reloader = Arc::clone(self);
        let taken = tokio::task::spawn_blocking(move || {
            let current = lock(&reloader.current);
            reloader.running.swap(&current.config, true, || true).map(|()| current.config.policy.hash().to_string())
        });
        let hash = taken.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let keys = self.running.lasting().key_names();
        tracing::info!(?keys, "other signing keys count from now on");
        // They count whether that is recorded or not: a key that somebody else may have must not go on.
        self.record(Reload { keys, ..Reload::new("keys_replaced", hash) });
        Ok(())
    }

    /// What makes this look at the files; call it where a runtime is entered.
    pub(super) fn watch(self: &Arc<Self>) -> Result<impl Future<Output = ()> + Send + use<>, StartError> {
        let hangup = signal(SignalKind::hangup()).map_err(start("the signals"))?;
        let told = Arc::new(Notify::new());
        let teller = Arc::clone(&told);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading the files is an event, too, and no reason to read them again.
            if !event.is_ok_and(|event| event.kind.is_access()) {
                teller.notify_one();
            }
        });
        let watcher = watcher
            .inspect_err(|error| tracing::warn!(%error, "files cannot be watched; they are looked at now and then"));
        let reloader = Arc::clone(self);
        Ok(async move { reloader.watch_forever(hangup, told, watcher.ok()).await })
    }

    async fn watch_forever(
        self: Arc<Self>,
        mut hangup: Signal,
        told: Arc<Notify>,
        watcher: Option<RecommendedWatcher>,
    ) {
        let mut watched = Watched { watcher, directories: BTreeSet::new() };
        loop {
            watched.add(&lock(&self.current).files);
            let asked = tokio::select! {
                _ = hangup.recv() => true,
                () = told.notified() => false,
                () = tokio::time::sleep(LOOK_EVERY) => false,
            };
            let reloader = Arc::clone(&self);
            let seen = self.settled().await;
            // It reads files, and runs the policy's tests.
            let done = tokio::task::spawn_blocking(move || reloader.look(seen, asked)).await;
            if let Err(error) = done {
                tracing::error!(%error, "a reload ended in a fault of the gateway; what ran before goes on; report this");
            }
        }
    }

    /// What the files say, once they say the same twice.
    async fn settled(&self) -> [u8; 32] {
        let files = lock(&self.current).files.clone();
        let mut last = files.now().digest();
        for _ in 0..LOOKS {
            tokio::time::sleep(SETTLE).await;
            let now = files.now().digest();
            if now == last {
                break;
            }
            last = now;
        }
        last
    }

    /// Reloads when the files say something else than at the last look, when what they say could not be taken then for
    /// another reason, or when it was asked for.
    fn look(&self, seen: [u8; 32], asked: bool) {
        let mut current = lock(&self.current);
        self.record_late(&mut current);
        let is_other = current.files.digest() != seen || asked;
        if !is_other && !current.due {
            return;
        }
        let outcome = self.reload(&mut current);
        current.due = matches!(outcome, Err(Refused::Now(_)));
        let fault = outcome.err().map(Refused::into_text);
        // Before the series: who sees that asks why.
        let before = std::mem::replace(&mut *lock(&self.fault), fault.clone());
        // What is in the way still was told when it came.
        if !is_other && fault.is_some() && fault == before {
            return;
        }
        self.running.lasting().metrics.configuration.reloaded(fault.is_none());
        if let Some(fault) = fault {
            for line in fault.lines() {
                tracing::error!(fault = line, "the configuration is refused; what ran before goes on");
            }
            let faults = fault.lines().count();
            let hash = current.config.policy.hash().to_string();
            let refusal = Reload {
                faults,
                config_hash: Some(self.running.lasting().config_hash(&current.files.digest())),
                ..Reload::new("config_refused", hash)
            };
            current.unrecorded = (!self.record(refusal.clone())).then_some(refusal);
        }
    }

    /// Has the trail told of the last refusal, where it had no room for that: before anything that comes of the next try.
    fn record_late(&self, current: &mut Current) {
        let Some(refusal) = current.unrecorded.take() else { return };
        let lasting = self.running.lasting();
        let kind = Kind::Reload(Box::new(refusal.clone()));
        let event = Event { time: lasting.clock.moment(), request_id: None, trace_id: None, kind };
        // That there is no room was told when it was refused.
        if lasting.auditor.record(event).is_err() {
            current.unrecorded = Some(refusal);
        }
    }

    fn reload(&self, current: &mut Current) -> Result<(), Refused> {
        // What is written from now on is another change, and looked at.
        let now = current.files.now();
        let is_none = |file: &&PathBuf| std::fs::metadata(file).is_ok_and(|metadata| !metadata.is_file());
        let none = current.files.paths().find(is_none).cloned();
        if let Some(file) = none {
            current.files = now;
            return Err(Refused::Files(format!("`{}` is not a file any more; put one into its place", file.display())));
        }
        let new = config::load_anew(&self.source.file, &self.source.environment).map_err(|error| {
            // Nothing came of those that were not read. The one that is to be mended is watched from now on.
            current.files = current.files.now().with(error.files());
            Refused::Files(error.to_string())
        })?;
        current.files = new.files.clone();
        let fixed = fixed::changed(&current.config, &new);
        if !fixed.is_empty() {
            let names = fixed.join("`, `");
            return Err(Refused::Files(format!(
                "`{names}` cannot change while the gateway runs; restart it, or take the change back"
            )));
        }
        let backends = self.running.differing(&new);
        let (hash, before) = (new.policy.hash().to_string(), current.config.policy.hash().to_string());
        let taken = current.files.digest();
        let lasting = self.running.lasting();
        let (config_hash, config_before) =
            (Some(lasting.config_hash(&taken)), Some(lasting.config_hash(&current.taken)));
        let reload = Reload::new("config_reloaded", hash);
        let reload = Reload { before: Some(before), backends, config_hash, config_before, ..reload };
        let same_policy = reload.before.as_ref() == Some(&reload.policy_hash);
        let swapped = self.running.swap(&new, same_policy, || self.record(reload.clone()));
        swapped.map_err(|error| Refused::Now(error.to_string()))?;
        for warning in &new.warnings {
            tracing::warn!("{warning}");
        }
        lasting.metrics.configuration.taken(&reload.policy_hash, lasting.clock.now().as_secs());
        tracing::info!(policy = reload.policy_hash, before = reload.before, backends = ?reload.backends, "the configuration is reloaded");
        current.config = Arc::new(new);
        current.taken = taken;
        Ok(())
    }

    /// Whether the trail has taken it.
    fn record(&self, reload: Reload) -> bool {
        let lasting = self.running.lasting();
        lasting.auditor.note(lasting.clock.moment(), Kind::Reload(Box::new(reload)))
    }
}

/// The directories that are watched; the files in them come and go.
struct Watched {
    watcher: Option<RecommendedWatcher>,
    directories: BTreeSet<PathBuf>,
}

impl Watched {
    fn add(&mut self, files: &Files) {
        let Some(watcher) = &mut self.watcher else { return };
        // Where a link leads to, its file is replaced as well.
        let led = files.paths().filter_map(|file| std::fs::canonicalize(file).ok());
        for file in files.paths().cloned().chain(led) {
            let directory = directory_of(&file);
            if self.directories.contains(&directory) {
                continue;
            }
            // One that is not there now may be later; the regular look finds it.
            if watcher.watch(&directory, RecursiveMode::NonRecursive).is_ok() {
                self.directories.insert(directory);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
