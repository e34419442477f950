//! Reads the store's log of what was ended, so that every node obeys within a second; no request waits for it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::audit::{Auditor, Authorization, Event, Kind, Step};
use crate::authn::{Ended, Revocations};
use crate::clock::Clock;
use crate::store::{Revocation, Store, StoreError};
use crate::subject;

/// How often the log is read: a revocation is obeyed everywhere within a second.
const EVERY: Duration = Duration::from_millis(400);
/// A store that does not answer by then has failed.
const DEADLINE: Duration = Duration::from_secs(2);
/// An age from which on the operator is told.
pub(super) const NOTABLE: Duration = Duration::from_secs(5);

/// Why the store is not the one that this gateway was started on, if it is not.
#[derive(Debug, Default)]
pub(super) struct Replaced(Mutex<Option<String>>);

impl Replaced {
    /// In words for the operator.
    pub(super) fn fault(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn learn(&self, fault: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }
}

/// Follows the log.
pub(super) struct Feed {
    store: Arc<dyn Store>,
    revocations: Arc<Revocations>,
    auditor: Arc<Auditor>,
    clock: Arc<dyn Clock>,
    replaced: Arc<Replaced>,
    seen: u64,
}

impl Feed {
    /// Follows from the beginning of what is kept.
    pub(super) fn new(
        store: Arc<dyn Store>,
        revocations: Arc<Revocations>,
        auditor: Arc<Auditor>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { store, revocations, auditor, clock, replaced: Arc::default(), seen: 0 }
    }

    /// What it learns of whether the store is still the same.
    pub(super) fn replaced(&self) -> Arc<Replaced> {
        Arc::clone(&self.replaced)
    }

    /// Reads what is new.
    pub(super) async fn read(&mut self) -> Result<(), StoreError> {
        let (now, began) = (self.clock.now(), self.clock.elapsed());
        let mut log = self.store.revocations(self.seen).await?;
        if log.newest < self.seen {
            tracing::warn!("the store is older than what was read from it; its log of revocations is read anew");
            log = self.store.revocations(0).await?;
        }
        let ended = |line: &Revocation| Ended {
            key: line.key.clone(),
            issued_before: line.issued_before,
            kept_until: line.kept_until,
        };
        let new: Vec<Ended> = log.lines.iter().map(ended).collect();
        self.revocations.read(&new, began);
        self.seen = log.newest;
        // A gateway that starts reads what was ended long ago, too: that is no news.
        for step in log.lines.iter().filter(|line| line.is_of_tokens(now)).filter_map(by_operator) {
            let event = Event { time: now, request_id: None, trace_id: None, kind: Kind::OAuth(Box::new(step)) };
            if let Err(error) = self.auditor.record(event) {
                tracing::error!(%error, "an audit event was not taken");
            }
        }
        Ok(())
    }

    /// Reads again and again.
    pub(super) async fn follow(mut self) {
        let mut failing = false;
        loop {
            tokio::time::sleep(EVERY).await;
            let outcome = tokio::time::timeout(DEADLINE, self.read()).await;
            if let Ok(answer) = &outcome {
                let replaced = answer.as_ref().err().filter(|error| matches!(error, StoreError::Replaced { .. }));
                self.replaced.learn(replaced.map(ToString::to_string));
            }
            let failure = match outcome {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_elapsed) => Some("the store does not answer".to_owned()),
            };
            // Said once, not twice a second.
            match &failure {
                Some(error) if !failing => tracing::error!(error, "the log of revocations cannot be read"),
                None if failing => tracing::info!("the log of revocations can be read again"),
                _ => {}
            }
            failing = failure.is_some();
        }
    }
}

/// What the trail says of a line that only an operator can have caused; the rest is recorded where it is done.
fn by_operator(line: &Revocation) -> Option<Authorization> {
    let (kind, whose) = line.key.split_once(':')?;
    let everybody = || Authorization::new(Step::GrantRevoked, "*");
    let step = match kind {
        "client" => Authorization::new(Step::GrantRevoked, whose),
        "everybody" => everybody(),
        "tenant" => Authorization { tenant: Some(whose.to_owned()), ..everybody() },
        "user" => {
            let (tenant, object) = subject::parse(whose)?;
            Authorization { tenant: Some(tenant), subject: Some(object), ..everybody() }
        }
        _ => return None,
    };
    Some(step.because("an operator ended the sessions; this node obeys from now on"))
}
