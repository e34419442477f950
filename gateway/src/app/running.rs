//! What runs now: the door that requests go through, the servers behind it, and what is known of their tools. All
//! three are of one configuration.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::backends::{Backends, Prepared};
use super::catalogues::Catalogues;
use super::lasting::Lasting;
use super::{StartError, start};
use crate::backend::Replicas;
use crate::config::Config;
use crate::proxy::{CurrentDoor, Door, Over};

/// The gateway as it runs.
pub(super) struct Running {
    lasting: Lasting,
    runtime: Handle,
    backends: Backends,
    door: CurrentDoor,
    known: Mutex<Known>,
}

/// What is known of tools, and the work of keeping it, which ends with it.
struct Known {
    catalogues: Arc<Catalogues>,
    work: Vec<AbortHandle>,
}

/// Everything of a configuration, made and not in use yet.
struct Made {
    servers: Prepared,
    catalogues: Arc<Catalogues>,
    door: Door,
}

impl Running {
    /// Makes everything of this configuration, and lets it run.
    pub(super) fn start(lasting: Lasting, config: &Config, runtime: Handle) -> Result<Self, StartError> {
        let backends = Backends::default();
        let Made { servers, catalogues, door } = make(&lasting, &backends, config, None)?;
        backends.adopt(servers, &runtime);
        let known = Mutex::new(Known::keep(catalogues, &runtime));
        Ok(Self { lasting, runtime, backends, door: CurrentDoor::new(door), known })
    }

    /// What outlives every configuration.
    pub(super) fn lasting(&self) -> &Lasting {
        &self.lasting
    }

    /// The door that counts, now and after every reload.
    pub(super) fn door(&self) -> CurrentDoor {
        self.door.clone()
    }

    /// The servers that count now.
    pub(super) fn backends(&self) -> Vec<Arc<Replicas>> {
        self.backends.all()
    }

    /// What is known of tools now.
    pub(super) fn catalogues(&self) -> Arc<Catalogues> {
        Arc::clone(&self.known().catalogues)
    }

    /// Lets another configuration run, from the next request on, once `agreed` says so; after an error, or a no, what
    /// ran before goes on as if nothing had been.
    pub(super) fn swap(
        &self,
        config: &Config,
        same_policy: bool,
        agreed: impl FnOnce() -> bool,
    ) -> Result<(), StartError> {
        let mut known = self.known();
        let door = self.door.get();
        let Made { servers, catalogues, door } =
            make(&self.lasting, &self.backends, config, Some((&door, &known.catalogues)))?;
        let over = match (same_policy, self.backends.leaving(&servers)) {
            (false, _) => Over::Everything,
            (true, names) if names.is_empty() => Over::Nothing,
            (true, names) => Over::Backends(names),
        };
        if !agreed() {
            return Err(start("the audit trail")(
                "it does not take the reload, and nothing is done that it does not know",
            ));
        }
        self.backends.adopt(servers, &self.runtime);
        *known = Known::keep(catalogues, &self.runtime);
        self.door.swap(door, &over);
        Ok(())
    }

    /// The backends that would come, go or be elsewhere with this configuration.
    pub(super) fn differing(&self, config: &Config) -> Vec<String> {
        self.backends.differing(config)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn keep(catalogues: Arc<Catalogues>, runtime: &Handle) -> Self {
        let work = catalogues.work().map(|work| runtime.spawn(work).abort_handle()).collect();
        Self { catalogues, work }
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        self.work.iter().for_each(AbortHandle::abort);
    }
}

/// Makes everything of a configuration; nothing that runs is touched.
fn make(
    lasting: &Lasting,
    backends: &Backends,
    config: &Config,
    before: Option<(&Door, &Catalogues)>,
) -> Result<Made, StartError> {
    let servers = backends.prepare(config)?;
    let replicas = servers.all();
    let (door, known) = before.unzip();
    let trail = (Arc::clone(&lasting.auditor), Arc::clone(&lasting.clock), Arc::clone(&lasting.metrics));
    let catalogues = Catalogues::new(config, &replicas, trail, known)?;
    let door = lasting.door(config, (&replicas, catalogues.current()), door)?;
    Ok(Made { servers, catalogues, door })
}
