//! The servers of the backends: kept over a reload, with their connections, for as long as nothing about them changes.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portcullis_policy::BackendName;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use url::Url;

use super::{StartError, start};
use crate::backend::care::Care;
use crate::backend::{self, Replicas, Upstream};
use crate::config::{Config, settings};

/// The servers of every backend that is configured now.
#[derive(Debug, Default)]
pub(super) struct Backends(Mutex<Vec<Kept>>);

/// What is to take the place of the servers that count now.
#[derive(Debug)]
pub(super) struct Prepared(Vec<Kept>);

/// The servers of one backend, and their tending.
#[derive(Clone, Debug)]
struct Kept {
    like: Likeness,
    replicas: Arc<Replicas>,
    /// Ends with the last that holds it; absent until the servers count.
    tending: Option<Arc<Tending>>,
}

/// Everything that makes servers other servers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Likeness {
    name: String,
    urls: Vec<Url>,
    /// The authority's name, and what is in the file.
    authority: Option<(PathBuf, Vec<u8>)>,
    deadlines: [Duration; 3],
    care: Care,
}

/// Sweeps connections and tries servers until it is dropped.
#[derive(Debug)]
struct Tending(Vec<AbortHandle>);

impl Drop for Tending {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

impl Backends {
    /// The servers that this configuration wants: those that count now where they are alike, and new ones. Nothing
    /// counts before [`Backends::adopt`].
    pub(super) fn prepare(&self, config: &Config) -> Result<Prepared, StartError> {
        let now = self.lock().clone();
        let kept = config.backends.iter().map(|backend| {
            let like = Likeness::of(backend)?;
            match now.iter().find(|kept| kept.like == like) {
                Some(kept) => Ok(kept.clone()),
                None => Ok(Kept { replicas: Arc::new(replicas(backend)?), like, tending: None }),
            }
        });
        kept.collect::<Result<_, StartError>>().map(Prepared)
    }

    /// Lets prepared servers count, and tends them on this runtime; those that are not among them are let go.
    pub(super) fn adopt(&self, Prepared(mut prepared): Prepared, runtime: &Handle) {
        for kept in &mut prepared {
            kept.tending.get_or_insert_with(|| Arc::new(Tending::start(&kept.replicas, runtime)));
        }
        *self.lock() = prepared;
    }

    /// The backends whose servers would not be kept if these counted.
    pub(super) fn leaving(&self, Prepared(prepared): &Prepared) -> Vec<BackendName> {
        let now = self.lock();
        let gone = now.iter().filter(|kept| !prepared.iter().any(|other| Arc::ptr_eq(&kept.replicas, &other.replicas)));
        gone.map(|kept| kept.replicas.any().name().clone()).collect()
    }

    /// The names of the backends that would come, go, or be elsewhere with this configuration.
    pub(super) fn differing(&self, config: &Config) -> Vec<String> {
        let now: Vec<Likeness> = self.lock().iter().map(|kept| kept.like.clone()).collect();
        let new: Vec<Likeness> = config.backends.iter().filter_map(|backend| Likeness::of(backend).ok()).collect();
        let names = now.iter().filter(|like| !new.contains(like)).chain(new.iter().filter(|like| !now.contains(like)));
        names.map(|like| like.name.clone()).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Those that count now, in the order of the configuration.
    pub(super) fn all(&self) -> Vec<Arc<Replicas>> {
        self.lock().iter().map(|kept| Arc::clone(&kept.replicas)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Prepared {
    /// The servers, in the order of the configuration.
    pub(super) fn all(&self) -> Vec<Arc<Replicas>> {
        self.0.iter().map(|kept| Arc::clone(&kept.replicas)).collect()
    }
}

impl Likeness {
    fn of(backend: &settings::Backend) -> Result<Self, StartError> {
        let read = |path: &PathBuf| {
            let content = std::fs::read(path).map_err(start("a `ca_file`"))?;
            Ok((path.clone(), content))
        };
        Ok(Self {
            name: backend.name.to_string(),
            urls: std::iter::once(&backend.url).chain(&backend.replicas).cloned().collect(),
            authority: backend.ca_file.as_ref().map(read).transpose()?,
            deadlines: [backend.connect_timeout, backend.timeout, backend.idle_timeout],
            care: backend.care.clone(),
        })
    }
}

impl Tending {
    fn start(replicas: &Arc<Replicas>, runtime: &Handle) -> Self {
        let sweep = runtime.spawn(backend::sweep_forever(replicas.iter().cloned().collect()));
        let probe = runtime.spawn(backend::probe_forever(Arc::clone(replicas)));
        Self(vec![sweep.abort_handle(), probe.abort_handle()])
    }
}

/// The servers of a backend, not connected yet.
pub(super) fn replicas(backend: &settings::Backend) -> Result<Replicas, StartError> {
    let server = |url: &Url| {
        let upstream = Upstream::new(backend::Settings {
            name: backend.name.clone(),
            url: url.clone(),
            ca_file: backend.ca_file.clone(),
            connect_timeout: backend.connect_timeout,
            timeout: backend.timeout,
            idle_timeout: backend.idle_timeout,
            care: backend.care.clone(),
        });
        upstream.map(Arc::new).map_err(start("a backend"))
    };
    let others = backend.replicas.iter().map(server).collect::<Result<_, _>>()?;
    Ok(Replicas::new(server(&backend.url)?, others))
}
