//! Whether a Redis can be trusted with grants: asked when the gateway starts, and now and then while it serves.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use deadpool_redis::redis::{Cmd, Value};

use super::{MARK, RedisStore};
use crate::store::StoreError;

/// What `acts.lua` answers when there is no mark, and when it is another store's.
const EMPTIED: &str = "EMPTIED";
const REPLACED: &str = "REPLACED";

impl RedisStore {
    /// Looks at the servers and at the mark, which is set when there is none and `may_create`; gives the mark.
    pub(super) async fn check(&self, may_create: bool) -> Result<String, StoreError> {
        self.check_servers().await?;
        let unusable = |what: &str| StoreError::Unusable { path: self.shown.clone(), what: what.to_owned() };
        let mut get = Cmd::new();
        get.arg("GET").arg(&self.mark);
        let mut found: Option<String> = self.pool.ask(&get).await?;
        if found.is_none() && may_create {
            let mut set = Cmd::new();
            let identity = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>());
            set.arg("SET").arg(&self.mark).arg(format!("{MARK} {identity}")).arg("NX");
            if self.pool.ask::<Option<String>>(&set).await?.is_some() {
                tracing::warn!(redis = self.shown, "no store was there; it begins empty, and everybody signs in anew");
            }
            found = self.pool.ask(&get).await?;
        }
        let is_ours = |mark: &str| mark.strip_prefix(MARK).is_some_and(|identity| identity.starts_with(' '));
        match found.as_deref() {
            Some(mark) if is_ours(mark) => Ok(mark.to_owned()),
            None => Err(unusable("holds no store under this prefix; see `state.redis`, or restore it from a backup")),
            Some(other) if other.starts_with("portcullis ") => {
                Err(unusable("holds a store of another version; run the Portcullis that wrote it"))
            }
            Some(_) => {
                Err(unusable("holds another program's keys under this prefix; name another `state.redis.prefix`"))
            }
        }
    }

    async fn check_servers(&self) -> Result<(), StoreError> {
        let Some(told) = self.settings_of_servers().await? else {
            tracing::warn!(redis = self.shown, "INFO is not permitted: see yourself that its policy is `noeviction`");
            return Ok(());
        };
        self.check_eviction(&told)?;
        if value(&told, "aof_enabled").any(|enabled| enabled == "0") {
            let what = "it does not log to its disk (`appendonly yes`): what was written last is lost when it stops";
            tracing::warn!(redis = self.shown, "{what}");
        }
        Ok(())
    }

    /// Whether no server was set since then to drop what it is given.
    pub(super) async fn keeps_everything(&self) -> Result<(), StoreError> {
        self.settings_of_servers().await?.map_or(Ok(()), |told| self.check_eviction(&told))
    }

    /// What the servers tell of themselves; nothing where the gateway's user may not ask.
    async fn settings_of_servers(&self) -> Result<Option<Vec<String>>, StoreError> {
        let mut info = Cmd::new();
        info.arg("INFO").arg("everything");
        match self.pool.ask::<Value>(&info).await {
            Ok(told) => Ok(Some(lines(&told))),
            Err(StoreError::Redis(error)) if error.code() == Some("NOPERM") => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn check_eviction(&self, told: &[String]) -> Result<(), StoreError> {
        let Some(policy) = value(told, "maxmemory_policy").find(|policy| policy.starts_with("allkeys")) else {
            return Ok(());
        };
        let what = format!("drops grants when it is full (`maxmemory-policy {policy}`); set it to `noeviction`");
        Err(StoreError::Unusable { path: self.shown.clone(), what })
    }

    /// An error with what it means.
    pub(super) fn told(&self, error: StoreError) -> StoreError {
        match error {
            StoreError::Redis(error) if error.code() == Some(EMPTIED) => StoreError::Unusable {
                path: self.shown.clone(),
                what: "was emptied; restore it from a backup, or start all gateways anew with an empty one".to_owned(),
            },
            StoreError::Redis(error) if error.code() == Some(REPLACED) => StoreError::Replaced {
                path: self.shown.clone(),
                what: "holds another store than when this gateway started; restart this gateway, or put back what was there"
                    .to_owned(),
            },
            other => other,
        }
    }
}

/// The values of this name.
fn value<'t>(told: &'t [String], name: &'t str) -> impl Iterator<Item = &'t str> {
    told.iter().filter_map(move |line| line.strip_prefix(name)?.strip_prefix(':'))
}

/// The lines of one answer or of the answers of all nodes.
fn lines(value: &Value) -> Vec<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => text.lines().map(str::to_owned).collect(),
        Value::Array(values) => values.iter().flat_map(lines).collect(),
        Value::Map(pairs) => pairs.iter().flat_map(|(_, value)| lines(value)).collect(),
        _ => Vec::new(),
    }
}
