//! Reads the store's log of what was ended, so that every node obeys within a second; no request waits for it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::audit::{Auditor, Authorization, Kind, Step};
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

/// A reading of the log in so many: the store is asked whether it may be trusted still.
const VOUCH_EVERY: u32 = 25;

/// A fault of the store, if it has one, in words for the operator: that it is not the one that this gateway was started on,
/// or may not be trusted any more.
#[derive(Debug, Default)]
pub(super) struct Fault(Mutex<Option<String>>);

impl Fault {
    /// The words.
    pub(super) fn told(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether this is news.
    fn learn(&self, fault: Option<String>) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let news = *known != fault;
        *known = fault;
        news
    }
}

/// Follows the log.
pub(super) struct Feed {
    store: Arc<dyn Store>,
    revocations: Arc<Revocations>,
    auditor: Arc<Auditor>,
    clock: Arc<dyn Clock>,
    replaced: Arc<Fault>,
    untrusted: Arc<Fault>,
    seen: u64,
    /// Whether what was there at the start has been read.
    caught_up: bool,
}

impl Feed {
    /// Follows from the beginning of what is kept.
    pub(super) fn new(
        store: Arc<dyn Store>,
        revocations: Arc<Revocations>,
        auditor: Arc<Auditor>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (replaced, untrusted) = (Arc::default(), Arc::default());
        Self { store, revocations, auditor, clock, replaced, untrusted, seen: 0, caught_up: false }
    }

    /// What it learns of whether the store is still the same.
    pub(super) fn replaced(&self) -> Arc<Fault> {
        Arc::clone(&self.replaced)
    }

    /// What it learns of whether the store may be trusted still.
    pub(super) fn untrusted(&self) -> Arc<Fault> {
        Arc::clone(&self.untrusted)
    }

    /// Asks whether the store may be trusted still. Silence says nothing of it.
    async fn vouch(&self) {
        let fault = match tokio::time::timeout(DEADLINE, self.store.vouch()).await {
            Ok(Err(StoreError::Unusable { what, .. })) => Some(what),
            Ok(Ok(())) => None,
            Ok(Err(_)) | Err(_) => return,
        };
        match (self.untrusted.learn(fault.clone()), fault) {
            (true, Some(what)) => tracing::error!("the store {what}"),
            (true, None) => tracing::info!("the store may be trusted again"),
            (false, _) => {}
        }
    }

    /// Reads what is new.
    pub(super) async fn read(&mut self) -> Result<(), StoreError> {
        let began = self.clock.elapsed();
        let mut log = self.store.revocations(self.seen).await?;
        if log.newest < self.seen {
            tracing::warn!("the store is older than what was read from it; its log of revocations is read anew");
            log = self.store.revocations(0).await?;
            self.caught_up = false;
        }
        let ended = |line: &Revocation| Ended {
            key: line.key.clone(),
            issued_before: line.issued_before,
            kept_until: line.kept_until,
        };
        let new: Vec<Ended> = log.lines.iter().map(ended).collect();
        self.revocations.read(&new, began);
        self.seen = log.newest;
        // What is read first was recorded by the runs before, but for what was ended while none was there.
        let recorded = std::mem::replace(&mut self.caught_up, true);
        let is_new = |line: &&Revocation| {
            recorded || self.auditor.before().is_some_and(|until| revoked_at(line) >= until.as_secs())
        };
        for step in log.lines.iter().filter(is_new).filter_map(by_operator) {
            self.auditor.note(self.clock.moment(), Kind::OAuth(Box::new(step)));
        }
        Ok(())
    }

    /// Reads again and again.
    pub(super) async fn follow(mut self) {
        let mut failing = false;
        for number in (0..VOUCH_EVERY).cycle() {
            tokio::time::sleep(EVERY).await;
            if number == 0 {
                self.vouch().await;
            }
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
    let step = step.because("an operator ended the sessions; this node obeys from now on");
    Some(Authorization { revoked_at: Some(revoked_at(line)), ..step })
}

/// When it was done: tokens of that second are over, too.
fn revoked_at(line: &Revocation) -> u64 {
    line.issued_before.as_secs().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::audit::{Destination, Digester, Format, OnFailure, Options, Signer};
    use crate::clock::{ManualClock, Timestamp};
    use crate::jose::signing_key::SigningKey;
    use crate::store::{SqliteStore, Whose};

    /// One run: it reads the log, and again after something was revoked.
    async fn run(path: &Path, store: &Arc<dyn Store>, clock: &ManualClock, meanwhile: Option<&str>) {
        let file = Destination::File { path: path.to_owned(), format: Format::Native, rotation: None };
        let (manual, clock): (_, Arc<dyn Clock>) = (clock, Arc::new(clock.clone()));
        let signer = Signer {
            key: SigningKey::generate().unwrap(),
            issuer: "https://gw.example".to_owned(),
            clock: Arc::clone(&clock),
        };
        let digester = Digester::none();
        let options = Options { durable: false, on_failure: OnFailure::Deny, digester, metrics: None };
        let auditor = Arc::new(Auditor::start(vec![file], signer, options).unwrap());
        let revocations = Arc::new(Revocations::new(None, Arc::clone(&clock)));
        let mut feed = Feed::new(Arc::clone(store), revocations, Arc::clone(&auditor), Arc::clone(&clock));
        feed.read().await.unwrap();
        if let Some(client) = meanwhile {
            store.revoke(&Whose::Client(client.to_owned()), clock.now()).await.unwrap();
            feed.read().await.unwrap();
        }
        manual.advance(Duration::from_secs(1));
        auditor.close().await.unwrap();
    }

    #[tokio::test]
    async fn what_an_operator_ended_is_recorded_once_however_often_a_gateway_starts() {
        let directory = tempfile::tempdir().unwrap();
        let (path, clock) =
            (directory.path().join("audit.jsonl"), ManualClock::new(Timestamp::from_secs(1_800_000_000)));
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&directory.path().join("s.db")).await.unwrap());
        let revoke = async |client: &str| {
            store.revoke(&Whose::Client(client.to_owned()), clock.now()).await.unwrap();
            clock.advance(Duration::from_secs(100));
        };
        revoke("before-the-trail").await;
        run(&path, &store, &clock, Some("while-it-ran")).await;
        clock.advance(Duration::from_secs(100));
        revoke("while-it-was-down").await;
        for _ in 0..3 {
            run(&path, &store, &clock, None).await;
            clock.advance(Duration::from_secs(100));
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let revoked: Vec<_> = lines.filter(|line| line["event"] == "grant_revoked").collect();
        let told: Vec<_> = revoked.iter().map(|line| (line["client"].as_str().unwrap(), &line["revoked_at"])).collect();
        let (while_it_ran, while_it_was_down) = (1_800_000_100.into(), 1_800_000_201.into());
        assert_eq!(told, [("while-it-ran", &while_it_ran), ("while-it-was-down", &while_it_was_down)]);
    }
}
