//! One refresh of a grant at a time, in this process and in the fleet: the identity provider is asked once, however many
//! ask here.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;

use super::error::OAuthError;
use super::{State as Server, secret};
use crate::store::{Digest256, Store};

/// A refresh takes no longer: the identity provider's own deadline is shorter.
const LEASE: Duration = Duration::from_secs(10);
/// Between two looks whether another node has done.
const PAUSE: Duration = Duration::from_millis(50);
/// Looks before the client is told to come again: for longer than the lease of a node that died.
const LOOKS: u32 = 300;

/// The right to refresh a grant.
pub(super) struct Turn<'s> {
    server: &'s Server,
    name: String,
    holder: Digest256,
    is_ours: bool,
    _here: OwnedMutexGuard<()>,
}

/// Somebody else is at it, elsewhere.
pub(super) enum Taken<'s> {
    /// It is our turn.
    Ours(Turn<'s>),
    /// Another node's; look again.
    Anothers(Waiting<'s>),
}

/// In line, first of this process.
pub(super) struct Waiting<'s> {
    turn: Turn<'s>,
    looks: u32,
}

/// Waits for whoever refreshes this grant in this process, and asks for the turn in the fleet.
pub(super) async fn take<'s>(server: &'s Server, grant_id: &str) -> Result<Taken<'s>, OAuthError> {
    let lock: Arc<tokio::sync::Mutex<()>> = server.refreshing.get_with(grant_id.to_owned(), Default::default);
    let here = lock.lock_owned().await;
    let (name, holder) = (format!("refresh:{grant_id}"), Digest256::of(&secret()));
    Waiting { turn: Turn { server, name, holder, is_ours: false, _here: here }, looks: 0 }.ask().await
}

impl<'s> Waiting<'s> {
    /// Asks again after a while.
    pub(super) async fn again(self) -> Result<Taken<'s>, OAuthError> {
        tokio::time::sleep(PAUSE).await;
        self.ask().await
    }

    async fn ask(mut self) -> Result<Taken<'s>, OAuthError> {
        let Turn { server, name, holder, is_ours, .. } = &mut self.turn;
        let now = server.clock.now();
        let asked = server.store.lease(name, *holder, now, now.plus(LEASE));
        // Also when nobody learns what became of it: what is another's is not given back.
        *is_ours = true;
        if asked.await? {
            return Ok(Taken::Ours(self.turn));
        }
        *is_ours = false;
        self.looks += 1;
        if self.looks > LOOKS { Err(OAuthError::TemporarilyUnavailable) } else { Ok(Taken::Anothers(self)) }
    }
}

impl Turn<'_> {
    /// Lets the next one.
    pub(super) async fn done(mut self) {
        self.is_ours = false;
        release(&*self.server.store, &self.name, self.holder).await;
    }
}

impl Drop for Turn<'_> {
    /// Who asked may have gone away in the middle; whoever comes next does not wait until the lease is over.
    fn drop(&mut self) {
        if !self.is_ours {
            return;
        }
        let (store, name, holder) = (Arc::clone(&self.server.store), std::mem::take(&mut self.name), self.holder);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { release(&*store, &name, holder).await });
        }
    }
}

async fn release(store: &dyn Store, name: &str, holder: Digest256) {
    if let Err(error) = store.release(name, holder).await {
        tracing::warn!(%error, "a lease cannot be given back; it ends by itself");
    }
}
