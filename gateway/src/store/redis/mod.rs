//! The store of a fleet: Redis, by the acts of `acts.lua`. Two gateways on one Redis behave as one.
//!
//! Records are sealed, each for its own place, and what ties a code or a token to a grant is sealed with them: who can
//! write to Redis can lose grants, but cannot read one, change one, or make a token stand for another's.
//!
//! INVARIANT: every key has the store's prefix and is written by a script that has seen the mark of this very store. A
//! Redis that was emptied, or begun anew by another gateway, answers nothing until the gateway is started again; one that
//! may drop keys when it is full is refused.

mod check;
mod connection;
mod managers;
mod records;

use std::time::Duration;

use async_trait::async_trait;
use deadpool_redis::redis::{FromRedisValue, Script, ScriptInvocation, ToRedisArgs};

pub use connection::{Kind, Settings};

use super::revocation::{issued_before, kept_until};
use super::{
    Client, CodeRecord, Counted, Digest256, GRACE, Grant, IDLE_CLIENT, Login, MAX_LOGINS, MAX_UNUSED_CLIENTS,
    Presentation, Presented, Redemption, Revocations, Rotation, Sealer, SpentCode, Store, StoreError, Successor,
    UNUSED_CLIENT, Whose,
};
use crate::clock::Timestamp;
use crate::subject;
use connection::{Pool, is_broken};
use records::{Found, Records, name};

/// What the mark begins with: whose store this is, and of which version. Then comes which store it is, by chance: one that
/// was begun anew is another, and a gateway that was opened on the one before does not go on with it.
const MARK: &str = "portcullis 1";
/// Ended or forgotten in one run of a script: Redis does nothing else meanwhile.
const AT_ONCE: usize = 500;

/// A Redis.
pub struct RedisStore {
    pool: Pool,
    script: Script,
    /// `{prefix}:schema`. The braces keep all keys in one slot of a cluster.
    mark: String,
    /// What is to be read there: the store that was opened.
    marked: String,
    records: Records,
    /// The servers, as they may be shown.
    shown: String,
    wait_replicas: usize,
    max_logins: i64,
    max_unused_clients: i64,
}

impl RedisStore {
    /// Connects, and makes the store when there is none under this prefix.
    ///
    /// # Errors
    ///
    /// Returns [`StoreError::Unusable`] for settings that cannot be, a store that is not ours or of another version, and a
    /// Redis that may drop grants; another error when it cannot be reached.
    pub async fn open(settings: &Settings, sealer: Sealer) -> Result<Self, StoreError> {
        let store = Self::connect(settings, sealer)?;
        Ok(Self { marked: store.check(true).await?, ..store })
    }

    /// Connects to a store that is there.
    ///
    /// # Errors
    ///
    /// As [`RedisStore::open`]; also when there is none.
    pub async fn existing(settings: &Settings, sealer: Sealer) -> Result<Self, StoreError> {
        let store = Self::connect(settings, sealer)?;
        Ok(Self { marked: store.check(false).await?, ..store })
    }

    fn connect(settings: &Settings, sealer: Sealer) -> Result<Self, StoreError> {
        let shown = connection::shown(settings);
        let pool = Pool::new(settings).map_err(|what| StoreError::Unusable { path: shown.clone(), what })?;
        Ok(Self {
            pool,
            script: Script::new(include_str!("acts.lua")),
            mark: format!("{{{}}}:schema", settings.prefix),
            marked: String::new(),
            records: Records::new(sealer),
            shown,
            wait_replicas: settings.wait_replicas,
            max_logins: MAX_LOGINS,
            max_unused_clients: MAX_UNUSED_CLIENTS,
        })
    }

    /// The same store with room for fewer.
    #[cfg(test)]
    pub(super) fn with_bounds(self, max_logins: i64, max_unused_clients: i64) -> Self {
        Self { max_logins, max_unused_clients, ..self }
    }

    /// An act, to be given its arguments.
    fn act(&self, name: &str) -> ScriptInvocation<'_> {
        let mut act = self.script.key(&self.mark);
        act.arg(&self.marked).arg(name);
        act
    }

    async fn read<T: FromRedisValue>(&self, act: &ScriptInvocation<'_>) -> Result<T, StoreError> {
        let read = match self.pool.run(act, 0).await {
            // A connection is not looked at each time, and may have ended since; what only reads may be asked twice.
            Err(StoreError::Redis(error)) if is_broken(&error) => self.pool.run(act, 0).await,
            read => read,
        };
        read.map_err(|error| self.told(error))
    }

    async fn write<T: FromRedisValue>(&self, act: &ScriptInvocation<'_>) -> Result<T, StoreError> {
        self.pool.run(act, self.wait_replicas).await.map_err(|error| self.told(error))
    }

    async fn end_grants(&self, ids: &[impl ToRedisArgs], now: Timestamp) -> Result<u64, StoreError> {
        let mut count = 0;
        for ids in ids.chunks(AT_ONCE) {
            let mut act = self.act("end_grants");
            add_end(&mut act, now);
            for id in ids {
                act.arg(id);
            }
            count += self.write::<u64>(&act).await?;
        }
        Ok(count)
    }

    async fn log(&self, whose: &Whose, before: Timestamp, now: Timestamp) -> Result<(), StoreError> {
        let mut act = self.act("log");
        act.arg(whose.key()).arg(before.as_secs()).arg(kept_until(whose, now).as_secs());
        self.write::<u64>(&act).await.map(drop)
    }
}

/// What the line of an ended grant says.
fn add_end(act: &mut ScriptInvocation<'_>, now: Timestamp) {
    // The same for every grant: the name in it is not looked at.
    let any = Whose::Grant(String::new());
    let (before, kept) = (issued_before(&any, now), kept_until(&any, now));
    act.arg(before.as_secs()).arg(kept.as_secs());
}

#[async_trait]
impl Store for RedisStore {
    async fn register_client(&self, client: &Client) -> Result<(), StoreError> {
        let mut act = self.act("register_client");
        act.arg(&client.client_id).arg(self.records.client(client)?);
        act.arg(client.registered_at).arg(self.max_unused_clients);
        self.write::<u64>(&act).await.map(drop)
    }

    async fn keep_client(&self, client: &Client) -> Result<(), StoreError> {
        let mut act = self.act("keep_client");
        act.arg(&client.client_id).arg(self.records.client(client)?).arg(client.registered_at);
        self.write::<u64>(&act).await.map(drop)
    }

    async fn client(&self, id: &str) -> Result<Option<Client>, StoreError> {
        let found: Option<String> = self.read(self.act("client").arg(id)).await?;
        let Some(sealed) = found else { return Ok(None) };
        let Ok(client) = self.records.open_client(id, &sealed) else {
            // Sealed under a key that is gone by now, or damaged: whoever it was registers anew.
            tracing::warn!(client = id, "a registration cannot be opened, and is taken for none");
            return Ok(None);
        };
        if !self.records.is_newest_client(id, &sealed) {
            // Registrations are kept for longer than anything else; one that is used outlives the key that sealed it.
            let mut act = self.act("reseal_client");
            act.arg(id).arg(sealed).arg(self.records.client(&client)?);
            self.write::<u64>(&act).await?;
        }
        Ok(Some(client))
    }

    async fn begin_login(&self, id: Digest256, login: &Login, expires: Timestamp) -> Result<(), StoreError> {
        let mut act = self.act("begin_login");
        act.arg(name(id)).arg(self.records.login(id, login)?).arg(expires.as_secs()).arg(self.max_logins);
        self.write::<u64>(&act).await.map(drop)
    }

    async fn login(&self, id: Digest256, now: Timestamp) -> Result<Option<Login>, StoreError> {
        let found: Option<String> = self.read(self.act("login").arg(name(id)).arg(now.as_secs())).await?;
        found.map(|sealed| self.records.open_login(id, &sealed)).transpose()
    }

    async fn take_login(&self, id: Digest256, now: Timestamp) -> Result<Option<Login>, StoreError> {
        let found: Option<String> = self.write(self.act("take_login").arg(name(id)).arg(now.as_secs())).await?;
        found.map(|sealed| self.records.open_login(id, &sealed)).transpose()
    }

    async fn issue_code(
        &self,
        code: Digest256,
        record: &CodeRecord,
        grant: &Grant,
        expires: Timestamp,
    ) -> Result<(), StoreError> {
        let mut act = self.act("issue_code");
        act.arg(name(code)).arg(self.records.code(code, &grant.id, record)?).arg(expires.as_secs());
        act.arg(&grant.id).arg(self.records.grant(grant)?).arg(&grant.client_id).arg(&grant.tid).arg(&grant.oid);
        self.write::<u64>(&act).await.map(drop)
    }

    async fn redeem_code(
        &self,
        code: Digest256,
        presented: &Presented<'_>,
        now: Timestamp,
    ) -> Result<Redemption, StoreError> {
        // What a code was issued for never changes, so that it can be compared before the code is spent.
        let found: (Option<String>, Option<String>) = self.read(self.act("code").arg(name(code))).await?;
        let (Some(sealed), Some(grant_id)) = found else { return Ok(Redemption::Unknown) };
        if let Err(refused) = self.records.open_code(code, &grant_id, &sealed)?.check(presented) {
            return Ok(Redemption::Refused(refused));
        }
        let mut act = self.act("redeem_code");
        act.arg(name(code)).arg(now.as_secs());
        add_end(&mut act, now);
        let answer: Vec<String> = self.write(&act).await?;
        match Found::of(&answer) {
            Found { word: "spent", grant: Some((id, record)), .. } if id == grant_id => {
                Ok(Redemption::Spent(Box::new(SpentCode::new(self.records.open_grant(id, record)?))))
            }
            Found { word: "replayed", .. } => Ok(Redemption::Replayed),
            Found { word: "unknown", .. } => Ok(Redemption::Unknown),
            other => Err(other.unexpected()),
        }
    }

    async fn begin_refresh(&self, token: Digest256, grant_id: &str, expires: Timestamp) -> Result<(), StoreError> {
        let mut act = self.act("begin_refresh");
        act.arg(name(token)).arg(self.records.proof(token, grant_id)?).arg(grant_id).arg(expires.as_secs());
        self.write::<u64>(&act).await.map(drop)
    }

    async fn present_refresh_token(
        &self,
        token: Digest256,
        client_id: &str,
        now: Timestamp,
    ) -> Result<Presentation, StoreError> {
        let mut act = self.act("present");
        act.arg(name(token)).arg(client_id).arg(now.as_secs()).arg(GRACE.as_secs());
        add_end(&mut act, now);
        let answer: Vec<String> = self.write(&act).await?;
        let found = Found::of(&answer);
        let grant = |id: &str, record: &str, proof: &str| {
            self.records.check_proof(token, id, proof)?;
            let grant = self.records.open_grant(id, record)?;
            // Redis compared the name beside the record; the record itself is what counts.
            if grant.client_id == client_id { Ok(Box::new(grant)) } else { Err(records::moved()) }
        };
        match found {
            Found { word: "current", grant: Some((id, record)), proof: Some(proof), .. } => {
                grant(id, record, proof).map(Presentation::Current)
            }
            Found { word: "superseded", grant: Some((id, record)), proof: Some(proof), sealed: Some(sealed) } => {
                Ok(Presentation::Superseded { grant: grant(id, record, proof)?, successor: sealed.to_owned() })
            }
            Found { word: "reused", .. } => Ok(Presentation::Reused),
            Found { word: "unknown", .. } => Ok(Presentation::Unknown),
            other => Err(other.unexpected()),
        }
    }

    async fn rotate_refresh_token(
        &self,
        token: Digest256,
        successor: &Successor,
        grant: &Grant,
        now: Timestamp,
    ) -> Result<Rotation, StoreError> {
        let mut act = self.act("rotate");
        act.arg(name(token)).arg(now.as_secs()).arg(GRACE.as_secs());
        act.arg(name(successor.token)).arg(self.records.proof(successor.token, &grant.id)?).arg(&successor.sealed);
        act.arg(successor.expires.as_secs()).arg(&grant.id).arg(self.records.grant(grant)?);
        let done: u64 = self.write(&act).await?;
        Ok(if done == 1 { Rotation::Done } else { Rotation::Superseded })
    }

    async fn grant(&self, grant_id: &str) -> Result<Option<Grant>, StoreError> {
        let found: Option<String> = self.read(self.act("grant").arg(grant_id)).await?;
        found.map(|record| self.records.open_grant(grant_id, &record)).transpose()
    }

    async fn revoke(&self, whose: &Whose, now: Timestamp) -> Result<u64, StoreError> {
        let (kind, who) = match whose {
            Whose::Grant(id) => return self.end_grants(&[id], now).await,
            Whose::User { tid, oid } => ("user", subject::name(tid, oid)),
            Whose::Client(id) => ("client", id.clone()),
            Whose::Tenant(tid) => ("tenant", tid.clone()),
            Whose::Everybody => ("everybody", String::new()),
        };
        // Tokens first: grants end in portions.
        self.log(whose, issued_before(whose, now), now).await?;
        let ids: Vec<String> = self.read(self.act("grants_of").arg(kind).arg(who)).await?;
        self.end_grants(&ids, now).await
    }

    async fn revoke_refresh_token(
        &self,
        token: Digest256,
        client_id: &str,
        now: Timestamp,
    ) -> Result<Option<Grant>, StoreError> {
        let found: (Option<String>, Option<String>) = self.read(self.act("token").arg(name(token))).await?;
        let (Some(id), Some(proof)) = found else { return Ok(None) };
        self.records.check_proof(token, &id, &proof)?;
        let grant = self.grant(&id).await?.filter(|grant| grant.client_id == client_id);
        if grant.is_some() {
            self.end_grants(&[id], now).await?;
        }
        Ok(grant)
    }

    async fn end_access_tokens(&self, grant_id: &str, now: Timestamp) -> Result<(), StoreError> {
        self.log(&Whose::Grant(grant_id.to_owned()), now, now).await
    }

    async fn revocations(&self, after: u64) -> Result<Revocations, StoreError> {
        let found: Vec<String> = self.read(self.act("revocations").arg(after)).await?;
        records::revocations(&found)
    }

    async fn spend_assertion(&self, id: Digest256, expires: Timestamp) -> Result<bool, StoreError> {
        let new: u64 = self.write(self.act("spend_assertion").arg(name(id)).arg(expires.as_secs())).await?;
        Ok(new == 1)
    }

    async fn key(&self, name: &str, fresh: Vec<u8>) -> Result<Vec<u8>, StoreError> {
        self.write(self.act("key").arg(name).arg(fresh)).await
    }

    async fn known_key(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(self.act("known_key").arg(name)).await
    }

    async fn replace_key(&self, name: &str, seen: &[u8], fresh: Vec<u8>) -> Result<bool, StoreError> {
        let done: u64 = self.write(self.act("replace_key").arg(name).arg(seen).arg(fresh)).await?;
        Ok(done == 1)
    }

    async fn lease(&self, of: &str, holder: Digest256, now: Timestamp, until: Timestamp) -> Result<bool, StoreError> {
        let mut act = self.act("lease");
        act.arg(of).arg(name(holder)).arg(now.as_secs()).arg(until.as_secs());
        Ok(self.write::<u64>(&act).await? == 1)
    }

    async fn release(&self, of: &str, holder: Digest256) -> Result<(), StoreError> {
        self.write::<u64>(self.act("release").arg(of).arg(name(holder))).await.map(drop)
    }

    async fn count(&self, of: Digest256, period: Duration, burst: u32) -> Result<Counted, StoreError> {
        let period = u64::try_from(period.as_micros()).unwrap_or(u64::MAX);
        let mut act = self.act("count");
        act.arg(name(of)).arg(period).arg(burst);
        // No replica has to have it before it counts.
        let wait: u64 = self.read(&act).await?;
        Ok(if wait == 0 { Counted::Good } else { Counted::TooOften(Duration::from_millis(wait)) })
    }

    async fn vouch(&self) -> Result<(), StoreError> {
        self.keeps_everything().await
    }

    async fn purge(&self, now: Timestamp) -> Result<u64, StoreError> {
        let before = |age: Duration| now.as_secs().saturating_sub(age.as_secs());
        let mut gone = 0;
        loop {
            let mut act = self.act("purge");
            act.arg(now.as_secs()).arg(before(UNUSED_CLIENT)).arg(before(IDLE_CLIENT)).arg(AT_ONCE);
            let count: u64 = self.write(&act).await?;
            gone += count;
            if count == 0 {
                return Ok(gone);
            }
        }
    }
}

impl std::fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RedisStore({}, {})", self.shown, self.mark)
    }
}
