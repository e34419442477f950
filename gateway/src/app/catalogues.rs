//! What the gateway knows of its backends' tools, and how that becomes what requests are decided by.
//!
//! A backend of which anything is compared or imported has a [`Keeper`]. Whenever one of them knows something new, the
//! whole [`Standing`] is made anew and swapped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use portcullis_policy::{BackendName, Policy};

use super::{StartError, backends, start};
use crate::audit::{Auditor, Kind, Reload, ToolDrift};
use crate::backend::Replicas;
use crate::backend::catalogue::{Client, Keeper, Known, Limits, Pinned};
use crate::backend::pinning::{Change, Drift, LockError, LockFile, Mode, Rule, Surface};
use crate::clock::Clock;
use crate::config::{Config, settings};
use crate::metrics::{Figures, Metrics};
use crate::proxy::standing::{Current, Kept, Standing};

/// All pages of a list are read in so long, or not at all.
const FETCH: Duration = Duration::from_secs(30);

/// The keepers, and what comes of what they know.
#[derive(Debug)]
pub(super) struct Catalogues {
    policy: Arc<Policy>,
    kept: Vec<(Arc<Keeper>, Rule)>,
    auditor: Arc<Auditor>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    current: Current,
    /// What the trail has been told.
    told: Mutex<Told>,
}

/// What the trail has been told.
#[derive(Clone, Debug, Default)]
struct Told {
    /// By backend and tool.
    drifts: BTreeMap<(BackendName, String), Drift>,
    /// By backend.
    locks: Locks,
}

/// The client that reads a backend's tools.
pub(super) fn client(config: &Config, backend: &settings::Backend, replicas: Arc<Replicas>) -> Client {
    Client::new(replicas, Limits { bytes: config.limits.answer_body, time: FETCH.min(backend.timeout) })
}

/// As [`client`], with connections of its own: for commands.
///
/// # Errors
///
/// Returns a [`StartError`] when the backend's settings cannot be used.
pub(crate) fn client_of(config: &Config, backend: &settings::Backend) -> Result<Client, StartError> {
    Ok(client(config, backend, Arc::new(backends::replicas(backend)?)))
}

/// Where a backend's lock file is; nothing where none is kept. A backend that is not checked for drift has one in the
/// state directory, for the tags that it has declared.
pub(crate) fn lock_path(config: &Config, backend: &settings::Backend) -> Option<PathBuf> {
    let imports = || config.policy.needs_catalogue(&backend.name);
    let of_imports = || config.state.directory.join(format!("imported-{}.json", backend.name));
    backend.drift.as_ref().map(|drift| drift.lock.clone()).or_else(|| imports().then(of_imports))
}

/// The lock file of a backend whose catalogue is kept, and what is done about tools that differ from it.
fn pinned(config: &Config, backend: &settings::Backend) -> Result<Option<(Pinned, Rule)>, StartError> {
    let read = |path: &Path| LockFile::read(path, &backend.name);
    if let Some(drift) = &backend.drift {
        let lock = read(&drift.lock).map_err(start("a lock file"))?;
        return Ok(Some((Pinned::new(drift.lock.clone(), lock), drift.rule)));
    }
    let Some(path) = lock_path(config, backend) else { return Ok(None) };
    let lock = match read(&path) {
        Err(LockError::Missing { .. }) => {
            let empty = LockFile::empty(&backend.name);
            empty.write(&path).map_err(start("the file of imported tags"))?;
            empty
        }
        other => other.map_err(start("the file of imported tags"))?,
    };
    Ok(Some((Pinned::new(path, lock), Rule::Always(Mode::Pass))))
}

impl Catalogues {
    /// The catalogues of the backends that need one, by the servers of each; what was known before of servers that
    /// stay is still known.
    pub(super) fn new(
        config: &Config,
        replicas: &[Arc<Replicas>],
        (auditor, clock, metrics): (Arc<Auditor>, Arc<dyn Clock>, Arc<Metrics>),
        before: Option<&Self>,
    ) -> Result<Arc<Self>, StartError> {
        let keepers = || before.into_iter().flat_map(|before| &before.kept).map(|(keeper, _)| keeper);
        let mut kept = Vec::new();
        for (backend, replicas) in config.backends.iter().zip(replicas) {
            let Some((pinned, rule)) = pinned(config, backend)? else { continue };
            let client = client(config, backend, Arc::clone(replicas));
            let (name, every) = (backend.name.clone(), backend.catalogue_refresh);
            let keeper = Keeper::new(name, client, every, Some(pinned), Arc::clone(&clock));
            if let Some(before) = keepers().find(|before| before.reads(replicas)) {
                keeper.go_on_from(before);
            }
            kept.push((Arc::new(keeper), rule));
        }
        let policy = Arc::clone(&config.policy);
        let nothing = Standing::new(Arc::clone(&policy), BTreeMap::new());
        let current = Arc::new(ArcSwap::from_pointee(nothing));
        let told = before.map(|before| before.told.lock().unwrap_or_else(PoisonError::into_inner).clone());
        let mut told: Told = told.unwrap_or_default();
        let locks = kept.iter().filter_map(|(keeper, _)| lock_of(keeper));
        for (backend, lock) in locks {
            // Of one that was there before, a change is told.
            told.locks.entry(backend).or_insert(lock);
        }
        let catalogues = Self { policy, kept, auditor, clock, metrics, current, told: Mutex::new(told) };
        catalogues.swap();
        Ok(Arc::new(catalogues))
    }

    /// What requests are decided by, now and later.
    pub(super) fn current(&self) -> Current {
        Arc::clone(&self.current)
    }

    /// Each keeper's work, which does not end.
    pub(super) fn work(self: &Arc<Self>) -> impl Iterator<Item = impl Future<Output = ()> + Send + use<>> {
        let all = self.kept.iter().map(|(keeper, _)| (Arc::clone(keeper), Arc::clone(self)));
        all.collect::<Vec<_>>().into_iter().map(|(keeper, catalogues)| async move {
            Box::pin(keeper.keep_forever(|| catalogues.swap())).await;
        })
    }

    /// Makes the standing anew from what is known, and lets it count.
    fn swap(&self) {
        // One at a time: what is made later must not be replaced by what was made before.
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let policy = Arc::new(self.policy());
        let mut drifts = BTreeMap::new();
        let mut kept = BTreeMap::new();
        for (keeper, rule) in &self.kept {
            let surface = self.surface(keeper.backend(), &keeper.known(), *rule).map(|(surface, found)| {
                drifts.extend(found.into_iter().map(|drift| ((keeper.backend().clone(), drift.tool.clone()), drift)));
                surface
            });
            kept.insert(keeper.backend().clone(), Kept { keeper: Arc::clone(keeper), surface });
        }
        self.current.store(Arc::new(Standing::new(policy, kept)));
        self.tell(&told.drifts, &drifts);
        told.drifts = drifts;
        let locks = self.kept.iter().filter_map(|(keeper, _)| lock_of(keeper)).collect();
        self.tell_locks(&told.locks, &locks);
        told.locks = locks;
    }

    /// Tells the trail which lock files are others, or cannot be used.
    fn tell_locks(&self, before: &Locks, now: &Locks) {
        for (backend, (lock, fault)) in now {
            let Some((lock_before, fault_before)) = before.get(backend) else { continue };
            let event = match fault {
                Some(_) if fault != fault_before => "lock_refused",
                None if lock != lock_before || fault_before.is_some() => "lock_reloaded",
                _ => continue,
            };
            let reload = Reload::new(event, self.policy.hash().to_string());
            let hashes = (Some(lock.hash()), Some(lock_before.hash()).filter(|before| *before != lock.hash()));
            let (backends, faults) = (vec![backend.to_string()], usize::from(fault.is_some()));
            let reload = Reload { backends, faults, lock_hash: hashes.0, lock_before: hashes.1, ..reload };
            self.auditor.note(self.clock.moment(), Kind::Reload(Box::new(reload)));
        }
    }

    /// The policy with what the backends say of their tools; what they have declared is kept.
    fn policy(&self) -> Policy {
        let mut policy = (*self.policy).clone();
        for (keeper, _) in &self.kept {
            let (backend, known) = (keeper.backend(), keeper.known());
            // What explains denials has to know which tools there are, where nothing else has to.
            let wanted = policy.needs_catalogue(backend) || policy.explains();
            let Some(catalogue) = known.catalogue.filter(|_| wanted) else { continue };
            let lock = known.pinned.as_ref().map(|pinned| &*pinned.lock);
            policy = policy.with_catalogue(backend, &catalogue.for_policy(lock));
            for finding in policy.catalogue_findings(backend) {
                tracing::warn!(%backend, "{finding}");
            }
            if let Err(error) = keeper.keep(&policy.imported(backend)) {
                tracing::error!(%backend, %error, "imported tags cannot be written; they stay until this process ends");
            }
        }
        policy
    }

    fn surface(&self, backend: &BackendName, known: &Known, rule: Rule) -> Option<(Surface, Vec<Drift>)> {
        let catalogue = known.catalogue.as_ref()?;
        let lock = known.pinned.as_ref().map(|pinned| &*pinned.lock);
        let mode = |tool: &str| rule.mode(self.policy.names_tool(backend, tool));
        Some(Surface::new(catalogue, lock, &mode))
    }

    /// Tells log and trail what is not as it was told before.
    fn tell(&self, before: &BTreeMap<(BackendName, String), Drift>, now: &BTreeMap<(BackendName, String), Drift>) {
        for ((backend, tool), drift) in now.iter().filter(|(key, drift)| before.get(*key) != Some(*drift)) {
            let fields = drift.change.fields().iter().map(|field| field.as_str()).collect();
            let (change, action) = (drift.change.as_str(), drift.mode.as_str());
            if drift.mode != Mode::Pass {
                let what = &drift.change;
                tracing::warn!(%backend, tool, change, action, "a tool {what}; see `portcullis tools diff`");
            }
            self.record(ToolDrift { backend: backend.to_string(), tool: tool.clone(), change, fields, action });
        }
        for (backend, tool) in before.keys().filter(|key| !now.contains_key(*key)) {
            tracing::info!(%backend, tool, "a tool is as it was approved");
            let (change, action) = ("settled", "none");
            let drift =
                ToolDrift { backend: backend.to_string(), tool: tool.clone(), change, fields: Vec::new(), action };
            self.record(drift);
        }
    }

    fn record(&self, drift: ToolDrift) {
        self.metrics.catalogue.drifted(&drift.backend, drift.change);
        self.auditor.note(self.clock.moment(), Kind::Drift(Box::new(drift)));
    }

    /// What the operator should know of each, in words.
    pub(super) fn notes(&self) -> Vec<String> {
        let told = &self.told.lock().unwrap_or_else(PoisonError::into_inner).drifts;
        let mut notes = Vec::new();
        for (keeper, _) in &self.kept {
            let (name, known) = (keeper.backend(), keeper.known());
            let age = keeper.age().map(|age| age.as_secs());
            let failure = known.failure.as_ref().map(|why| format!("; it cannot be read now: {why}"));
            let failure = failure.unwrap_or_default();
            notes.push(match (&known.catalogue, age) {
                // Read is not yet taken: it is so once requests are decided by it.
                (Some(catalogue), Some(age)) if self.current.load().knows_tools_of(name) => {
                    let tools = catalogue.tools().len();
                    format!("backend `{name}`: catalogue of {tools} tools, {age} s old{failure}")
                }
                _ => format!("backend `{name}`: no catalogue yet, so that none of its tools can be called{failure}"),
            });
            if let Some(fault) = &known.lock_fault {
                notes.push(format!("backend `{name}`: {fault}"));
            }
            let of_this = told.iter().filter(|((backend, _), _)| backend == name).map(|(_, drift)| drift);
            let (quarantined, drifted) = count(of_this);
            if drifted > 0 {
                notes.push(format!(
                    "backend `{name}`: {drifted} tools are not as approved, {quarantined} of them quarantined; see `portcullis tools diff`"
                ));
            }
        }
        notes
    }

    /// Sets the series.
    pub(super) fn observe(&self, metrics: &Metrics) {
        let told = &self.told.lock().unwrap_or_else(PoisonError::into_inner).drifts;
        metrics.catalogue.forget();
        for (keeper, _) in &self.kept {
            let name = keeper.backend();
            let known = keeper.known();
            let listed = known.catalogue.map_or(0, |catalogue| catalogue.tools().len());
            let of_this = told.iter().filter(|((backend, _), _)| backend == name).map(|(_, drift)| drift);
            let (quarantined, drifted) = count(of_this);
            let (age, failures, lock_refused) = (keeper.age(), keeper.failures(), known.lock_fault.is_some());
            let refresh = keeper.every();
            let figures = Figures { age, refresh, listed, quarantined, drifted, failures, lock_refused };
            metrics.catalogue.observe(name.as_ref(), &figures);
        }
    }
}

/// The lock file that counts, and what is wrong with the one on the disk.
type Lock = (Arc<LockFile>, Option<String>);
type Locks = BTreeMap<BackendName, Lock>;

/// The lock file of a keeper, with its backend.
fn lock_of(keeper: &Arc<Keeper>) -> Option<(BackendName, Lock)> {
    let Known { pinned, lock_fault, .. } = keeper.known();
    pinned.map(|pinned| (keeper.backend().clone(), (pinned.lock, lock_fault)))
}

/// How many are quarantined, and how many differ at all.
fn count<'d>(drifts: impl Iterator<Item = &'d Drift>) -> (usize, usize) {
    drifts.fold((0, 0), |(quarantined, drifted), drift| {
        let held = drift.mode == Mode::Quarantine && drift.change != Change::Gone;
        (quarantined + usize::from(held), drifted + 1)
    })
}
