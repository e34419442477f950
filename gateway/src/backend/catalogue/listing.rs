//! The tools of a backend for who wants to know what is open to them: read when somebody asks, and kept for a while.
//!
//! Nothing is decided by it. Where requests are decided by a catalogue there is a `Keeper`.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::{Catalogue, Client};
use crate::clock::Stopwatch;

/// Whoever asks waits no longer than this for a server.
const PATIENCE: Duration = Duration::from_secs(5);
/// A server that could not be read is not asked again for so long.
const BACK_OFF: Duration = Duration::from_secs(10);

/// The tools of one backend.
#[derive(Debug)]
pub struct Listing {
    client: Client,
    fresh_for: Duration,
    last: Mutex<Option<Read>>,
}

#[derive(Debug)]
struct Read {
    age: Stopwatch,
    catalogue: Option<Arc<Catalogue>>,
}

impl Listing {
    /// A listing that is read anew after this long; nothing is asked yet.
    #[must_use]
    pub fn new(client: Client, fresh_for: Duration) -> Self {
        Self { client, fresh_for, last: Mutex::default() }
    }

    /// The tools; `None` when the backend does not say them in time. One asks, however many want to know.
    pub async fn get(&self) -> Option<Arc<Catalogue>> {
        let mut last = self.last.lock().await;
        if let Some(read) = last.as_ref() {
            let life = if read.catalogue.is_some() { self.fresh_for } else { BACK_OFF };
            if read.age.elapsed() < life {
                return read.catalogue.clone();
            }
        }
        let fetched = tokio::time::timeout(PATIENCE, self.client.fetch()).await;
        let catalogue = match fetched {
            Ok(Ok(fetched)) => Some(Arc::new(fetched.catalogue)),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the tools of a backend cannot be listed");
                None
            }
            Err(_elapsed) => None,
        };
        let read = Read { age: Stopwatch::start(), catalogue: catalogue.clone() };
        *last = Some(read);
        catalogue
    }
}
