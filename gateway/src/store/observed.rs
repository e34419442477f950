//! A store whose acts are measured.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{
    Client, CodeRecord, Counted, Digest256, Grant, Login, Presentation, Presented, Redemption, Revocations, Rotation,
    Store, StoreError, Successor, Whose,
};
use crate::clock::{Stopwatch, Timestamp};
use crate::metrics;

/// Measures every act of the store inside.
#[derive(Debug)]
pub struct Observed {
    inner: Arc<dyn Store>,
    series: metrics::Store,
}

impl Observed {
    /// Measures this store.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>, series: metrics::Store) -> Self {
        for act in ACTS {
            series.has(act);
        }
        Self { inner, series }
    }

    async fn timed<T>(
        &self,
        operation: &'static str,
        act: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let started = Stopwatch::start();
        let result = act.await;
        self.series.done(operation, started.elapsed(), result.is_err());
        result
    }
}

macro_rules! acts {
    ($($name:ident($($argument:ident: $of:ty),*) -> $gives:ty;)*) => {
        /// The name of each.
        const ACTS: &[&str] = &[$(stringify!($name)),*];

        #[async_trait]
        impl Store for Observed {
            // No act: what it finds is in the log and in `/readyz`.
            async fn vouch(&self) -> Result<(), StoreError> {
                self.inner.vouch().await
            }
            $(async fn $name(&self, $($argument: $of),*) -> Result<$gives, StoreError> {
                self.timed(stringify!($name), self.inner.$name($($argument),*)).await
            })*
        }
    };
}

acts! {
    register_client(client: &Client) -> ();
    keep_client(client: &Client) -> ();
    client(id: &str) -> Option<Client>;
    begin_login(id: Digest256, login: &Login, expires: Timestamp) -> ();
    login(id: Digest256, now: Timestamp) -> Option<Login>;
    take_login(id: Digest256, now: Timestamp) -> Option<Login>;
    issue_code(code: Digest256, record: &CodeRecord, grant: &Grant, expires: Timestamp) -> ();
    redeem_code(code: Digest256, presented: &Presented<'_>, now: Timestamp) -> Redemption;
    begin_refresh(token: Digest256, grant_id: &str, expires: Timestamp) -> ();
    present_refresh_token(token: Digest256, client_id: &str, now: Timestamp) -> Presentation;
    rotate_refresh_token(token: Digest256, successor: &Successor, grant: &Grant, now: Timestamp) -> Rotation;
    grant(grant_id: &str) -> Option<Grant>;
    revoke(whose: &Whose, now: Timestamp) -> u64;
    revoke_refresh_token(token: Digest256, client_id: &str, now: Timestamp) -> Option<Grant>;
    end_access_tokens(grant_id: &str, now: Timestamp) -> ();
    revocations(after: u64) -> Revocations;
    spend_assertion(id: Digest256, expires: Timestamp) -> bool;
    key(name: &str, fresh: Vec<u8>) -> Vec<u8>;
    known_key(name: &str) -> Option<Vec<u8>>;
    replace_key(name: &str, seen: &[u8], fresh: Vec<u8>) -> bool;
    lease(of: &str, holder: Digest256, now: Timestamp, until: Timestamp) -> bool;
    release(of: &str, holder: Digest256) -> ();
    count(of: Digest256, period: Duration, burst: u32) -> Counted;
    purge(now: Timestamp) -> u64;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use crate::store::SqliteStore;

    #[tokio::test]
    async fn acts_are_measured_and_failures_counted() {
        let directory = tempfile::tempdir().unwrap();
        let metrics = Metrics::new().unwrap();
        let store = SqliteStore::open(&directory.path().join("a.db")).await.unwrap();
        let store = Observed::new(Arc::new(store), metrics.store.clone());
        assert_eq!(store.key("a", vec![1]).await.unwrap(), [1]);
        assert!(store.grant("none").await.unwrap().is_none());
        let text = String::from_utf8(metrics.encode().unwrap()).unwrap();
        for line in [
            r#"portcullis_store_operation_duration_seconds_count{operation="key"} 1"#,
            r#"portcullis_store_errors_total{operation="grant"} 0"#,
            r#"portcullis_store_errors_total{operation="redeem_code"} 0"#,
        ] {
            assert!(text.contains(line), "{text}");
        }
    }
}
