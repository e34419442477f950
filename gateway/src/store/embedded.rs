//! The embedded store: one SQLite file, written with full synchronisation, one writer at a time. Longer than other files
//! here because it is one trait, act by act.

mod ended;
mod schema;

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection, Row, Sqlite, SqliteConnection, SqlitePool, Transaction};

use super::{
    Client, CodeRecord, Digest256, GRACE, Grant, IDLE_CLIENT, Login, MAX_LOGINS, MAX_UNUSED_CLIENTS, Presentation,
    Presented, Redemption, Revocations, Rotation, SpentCode, Store, StoreError, Successor, UNUSED_CLIENT, Whose,
};
use crate::clock::Timestamp;

/// One SQLite file.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    pool: SqlitePool,
    /// One connection, for what reads all tables: it keeps their pages, and the others would, too.
    sweeper: SqlitePool,
    max_logins: i64,
    max_unused_clients: i64,
}

impl SqliteStore {
    /// Opens the file, and makes it when there is none.
    ///
    /// # Errors
    ///
    /// Returns [`StoreError::Unusable`] for a file that is not ours, damaged, or of another version: never an empty
    /// store instead.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let unusable = |what: &str| StoreError::Unusable { path: path.display().to_string(), what: what.to_owned() };
        let is_new = !path.exists();
        schema::before_opening(path).map_err(unusable)?;
        if is_new {
            // Of nobody else, whatever the process's umask says; what SQLite puts beside it gets the same mode.
            let made = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
            made.map_err(|error| unusable(&format!("cannot be made ({error}); see its directory")))?;
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(is_new)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(10));
        let sweeper = connections(1).connect_lazy_with(options.clone().create_if_missing(false));
        let pool = connections(4).connect_with(options).await.map_err(|error| {
            unusable(&format!(
                "is not a database that can be opened ({error}); restore it from a backup, or move it away"
            ))
        })?;
        if is_new {
            schema::create(&pool).await?;
        }
        schema::check(&pool).await.map_err(unusable)?;
        schema::migrate(&pool, is_new).await?;
        // A file is one gateway's: whoever held a lease has died with the process before, and is not waited for. Where two
        // have it open, in an upgrade or with a command, the identity provider may be asked twice; a token has one successor
        // still.
        sqlx::query("DELETE FROM lease").execute(&pool).await?;
        Ok(Self { pool, sweeper, max_logins: MAX_LOGINS, max_unused_clients: MAX_UNUSED_CLIENTS })
    }

    /// The same store with room for fewer.
    #[cfg(test)]
    pub(super) fn with_bounds(self, max_logins: i64, max_unused_clients: i64) -> Self {
        Self { max_logins, max_unused_clients, ..self }
    }

    /// Lets go of the file.
    #[cfg(test)]
    pub(super) async fn close(self) {
        self.pool.close().await;
        self.sweeper.close().await;
    }

    async fn write(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        Ok(self.pool.begin_with("BEGIN IMMEDIATE").await?)
    }
}

/// So many connections to a file. They do not age: each has a thread and two megabytes of pages, and stays.
fn connections(most: u32) -> SqlitePoolOptions {
    let pool = SqlitePoolOptions::new().max_connections(most).idle_timeout(None).max_lifetime(None);
    pool.after_release(|connection, _| Box::pin(usable(connection)))
}

/// Whether a connection can be used again. After a COMMIT that found the disk full, which SQLite rolls back by itself, sqlx
/// still counts a transaction, and could begin none.
async fn usable(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    // Behind whatever was to be rolled back.
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}

fn encode(record: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(record).map_err(|error| StoreError::Record(error.to_string()))
}

fn decode<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Record(error.to_string()))
}

fn seconds(time: Timestamp) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

async fn grant(transaction: &mut Transaction<'static, Sqlite>, grant_id: &str) -> Result<Option<Grant>, StoreError> {
    let query = sqlx::query_scalar::<_, String>("SELECT record FROM consent WHERE id = ?").bind(grant_id);
    query.fetch_optional(&mut **transaction).await?.map(|record| decode(&record)).transpose()
}

#[async_trait]
impl Store for SqliteStore {
    async fn register_client(&self, client: &Client) -> Result<(), StoreError> {
        let mut transaction = self.write().await?;
        sqlx::query("INSERT INTO client (id, record, registered, used) VALUES (?, ?, ?, 0)")
            .bind(&client.client_id)
            .bind(encode(client)?)
            .bind(i64::try_from(client.registered_at).unwrap_or(i64::MAX))
            .execute(&mut *transaction)
            .await?;
        sqlx::query(
            "DELETE FROM client WHERE id IN
             (SELECT id FROM client WHERE used = 0 ORDER BY registered DESC, rowid DESC LIMIT -1 OFFSET ?)",
        )
        .bind(self.max_unused_clients)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    async fn keep_client(&self, client: &Client) -> Result<(), StoreError> {
        let query = sqlx::query(
            "INSERT INTO client (id, record, registered, used) VALUES (?, ?, ?, 0)
             ON CONFLICT (id) DO UPDATE SET record = excluded.record",
        );
        let registered = i64::try_from(client.registered_at).unwrap_or(i64::MAX);
        query.bind(&client.client_id).bind(encode(client)?).bind(registered).execute(&self.pool).await?;
        Ok(())
    }

    async fn client(&self, id: &str) -> Result<Option<Client>, StoreError> {
        let query = sqlx::query_scalar::<_, String>("SELECT record FROM client WHERE id = ?").bind(id);
        query.fetch_optional(&self.pool).await?.map(|record| decode(&record)).transpose()
    }

    async fn begin_login(&self, id: Digest256, login: &Login, expires: Timestamp) -> Result<(), StoreError> {
        let mut transaction = self.write().await?;
        sqlx::query("INSERT INTO login (id, record, expires) VALUES (?, ?, ?)")
            .bind(id.as_bytes())
            .bind(encode(login)?)
            .bind(seconds(expires))
            .execute(&mut *transaction)
            .await?;
        sqlx::query("DELETE FROM login WHERE id IN (SELECT id FROM login ORDER BY expires DESC LIMIT -1 OFFSET ?)")
            .bind(self.max_logins)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    async fn login(&self, id: Digest256, now: Timestamp) -> Result<Option<Login>, StoreError> {
        let query = sqlx::query_scalar::<_, String>("SELECT record FROM login WHERE id = ? AND expires > ?");
        let found = query.bind(id.as_bytes()).bind(seconds(now)).fetch_optional(&self.pool).await?;
        found.map(|record| decode(&record)).transpose()
    }

    async fn take_login(&self, id: Digest256, now: Timestamp) -> Result<Option<Login>, StoreError> {
        let query = sqlx::query("DELETE FROM login WHERE id = ? RETURNING record, expires").bind(id.as_bytes());
        let Some(row) = query.fetch_optional(&self.pool).await? else { return Ok(None) };
        if row.try_get::<i64, _>("expires")? <= seconds(now) {
            return Ok(None);
        }
        decode(row.try_get::<&str, _>("record")?).map(Some)
    }

    async fn issue_code(
        &self,
        code: Digest256,
        record: &CodeRecord,
        grant: &Grant,
        expires: Timestamp,
    ) -> Result<(), StoreError> {
        let mut transaction = self.write().await?;
        sqlx::query("INSERT INTO consent (id, client, record, expires) VALUES (?, ?, ?, ?)")
            .bind(&grant.id)
            .bind(&grant.client_id)
            .bind(encode(grant)?)
            .bind(seconds(expires))
            .execute(&mut *transaction)
            .await?;
        sqlx::query("INSERT INTO code (id, consent, record, spent, expires) VALUES (?, ?, ?, 0, ?)")
            .bind(code.as_bytes())
            .bind(&grant.id)
            .bind(encode(record)?)
            .bind(seconds(expires))
            .execute(&mut *transaction)
            .await?;
        sqlx::query("UPDATE client SET used = ? WHERE id = ?")
            .bind(seconds(expires))
            .bind(&grant.client_id)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    async fn redeem_code(
        &self,
        code: Digest256,
        presented: &Presented<'_>,
        now: Timestamp,
    ) -> Result<Redemption, StoreError> {
        let mut transaction = self.write().await?;
        let query = sqlx::query("SELECT consent, record, spent, expires FROM code WHERE id = ?").bind(code.as_bytes());
        let Some(row) = query.fetch_optional(&mut *transaction).await? else { return Ok(Redemption::Unknown) };
        let record: CodeRecord = decode(row.try_get("record")?)?;
        let grant_id: String = row.try_get("consent")?;
        if let Err(refused) = record.check(presented) {
            return Ok(Redemption::Refused(refused));
        }
        if row.try_get::<i64, _>("spent")? != 0 {
            ended::grant(&mut transaction, &grant_id, now).await?;
            transaction.commit().await?;
            return Ok(Redemption::Replayed);
        }
        if row.try_get::<i64, _>("expires")? <= seconds(now) {
            return Ok(Redemption::Unknown);
        }
        let Some(grant) = grant(&mut transaction, &grant_id).await? else { return Ok(Redemption::Unknown) };
        sqlx::query("UPDATE code SET spent = 1 WHERE id = ?").bind(code.as_bytes()).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(Redemption::Spent(Box::new(SpentCode::new(grant))))
    }

    async fn begin_refresh(&self, token: Digest256, grant_id: &str, expires: Timestamp) -> Result<(), StoreError> {
        let mut transaction = self.write().await?;
        sqlx::query("INSERT INTO refresh (id, consent, expires) VALUES (?, ?, ?)")
            .bind(token.as_bytes())
            .bind(grant_id)
            .bind(seconds(expires))
            .execute(&mut *transaction)
            .await?;
        let query = sqlx::query("UPDATE consent SET expires = ? WHERE id = ?").bind(seconds(expires)).bind(grant_id);
        query.execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(())
    }

    async fn present_refresh_token(
        &self,
        token: Digest256,
        client_id: &str,
        now: Timestamp,
    ) -> Result<Presentation, StoreError> {
        let mut transaction = self.write().await?;
        let query = sqlx::query(
            "SELECT this.consent, this.spent, this.sealed, this.expires, next.id IS NOT NULL AS successor_is_current
             FROM refresh AS this LEFT JOIN refresh AS next ON next.id = this.successor AND next.spent IS NULL
             WHERE this.id = ?",
        );
        let row = query.bind(token.as_bytes()).fetch_optional(&mut *transaction).await?;
        let Some(row) = row else { return Ok(Presentation::Unknown) };
        let grant_id: String = row.try_get("consent")?;
        let grant = grant(&mut transaction, &grant_id).await?;
        let Some(grant) = grant.filter(|grant| grant.client_id == client_id) else { return Ok(Presentation::Unknown) };
        if let Some(spent) = row.try_get::<Option<i64>, _>("spent")? {
            let is_in_time = seconds(now) < seconds(Timestamp::from_secs(spent.unsigned_abs()).plus(GRACE));
            let sealed = row.try_get::<Option<String>, _>("sealed")?;
            if let (Some(successor), true, true) = (sealed, is_in_time, row.try_get("successor_is_current")?) {
                return Ok(Presentation::Superseded { grant: Box::new(grant), successor });
            }
            ended::grant(&mut transaction, &grant_id, now).await?;
            transaction.commit().await?;
            return Ok(Presentation::Reused);
        }
        if row.try_get::<i64, _>("expires")? <= seconds(now) {
            return Ok(Presentation::Unknown);
        }
        Ok(Presentation::Current(Box::new(grant)))
    }

    async fn rotate_refresh_token(
        &self,
        token: Digest256,
        successor: &Successor,
        grant: &Grant,
        now: Timestamp,
    ) -> Result<Rotation, StoreError> {
        let mut transaction = self.write().await?;
        let spent =
            sqlx::query("UPDATE refresh SET spent = ?, successor = ?, sealed = ? WHERE id = ? AND spent IS NULL")
                .bind(seconds(now))
                .bind(successor.token.as_bytes())
                .bind(&successor.sealed)
                .bind(token.as_bytes())
                .execute(&mut *transaction)
                .await?;
        if spent.rows_affected() != 1 {
            return Ok(Rotation::Superseded);
        }
        sqlx::query("INSERT INTO refresh (id, consent, expires) VALUES (?, ?, ?)")
            .bind(successor.token.as_bytes())
            .bind(&grant.id)
            .bind(seconds(successor.expires))
            .execute(&mut *transaction)
            .await?;
        sqlx::query("UPDATE consent SET record = ?, expires = ? WHERE id = ?")
            .bind(encode(grant)?)
            .bind(seconds(successor.expires))
            .bind(&grant.id)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(Rotation::Done)
    }

    async fn grant(&self, grant_id: &str) -> Result<Option<Grant>, StoreError> {
        let query = sqlx::query_scalar::<_, String>("SELECT record FROM consent WHERE id = ?").bind(grant_id);
        query.fetch_optional(&self.pool).await?.map(|record| decode(&record)).transpose()
    }

    async fn revoke(&self, whose: &Whose, now: Timestamp) -> Result<u64, StoreError> {
        let mut transaction = self.write().await?;
        let count = ended::all(&mut transaction, whose, now).await?;
        transaction.commit().await?;
        Ok(count)
    }

    async fn revoke_refresh_token(
        &self,
        token: Digest256,
        client_id: &str,
        now: Timestamp,
    ) -> Result<Option<Grant>, StoreError> {
        let mut transaction = self.write().await?;
        let query = sqlx::query_scalar::<_, String>("SELECT consent FROM refresh WHERE id = ?").bind(token.as_bytes());
        let Some(grant_id) = query.fetch_optional(&mut *transaction).await? else { return Ok(None) };
        let grant = grant(&mut transaction, &grant_id).await?.filter(|grant| grant.client_id == client_id);
        if grant.is_some() {
            ended::grant(&mut transaction, &grant_id, now).await?;
            transaction.commit().await?;
        }
        Ok(grant)
    }

    async fn end_access_tokens(&self, grant_id: &str, now: Timestamp) -> Result<(), StoreError> {
        let mut transaction = self.write().await?;
        ended::log(&mut transaction, &Whose::Grant(grant_id.to_owned()), now, now).await?;
        transaction.commit().await?;
        Ok(())
    }

    async fn revocations(&self, after: u64) -> Result<Revocations, StoreError> {
        ended::after(&self.pool, after).await
    }

    async fn spend_assertion(&self, id: Digest256, expires: Timestamp) -> Result<bool, StoreError> {
        let query = sqlx::query("INSERT INTO assertion (id, expires) VALUES (?, ?) ON CONFLICT DO NOTHING");
        Ok(query.bind(id.as_bytes()).bind(seconds(expires)).execute(&self.pool).await?.rows_affected() == 1)
    }

    async fn key(&self, name: &str, fresh: Vec<u8>) -> Result<Vec<u8>, StoreError> {
        let query = sqlx::query("INSERT INTO key (name, sealed) VALUES (?, ?) ON CONFLICT DO NOTHING");
        query.bind(name).bind(fresh).execute(&self.pool).await?;
        self.known_key(name).await?.ok_or_else(|| StoreError::Record(format!("the key `{name}` is gone again")))
    }

    async fn known_key(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let query = sqlx::query_scalar("SELECT sealed FROM key WHERE name = ?");
        Ok(query.bind(name).fetch_optional(&self.pool).await?)
    }

    async fn replace_key(&self, name: &str, seen: &[u8], fresh: Vec<u8>) -> Result<bool, StoreError> {
        let query = sqlx::query("UPDATE key SET sealed = ? WHERE name = ? AND sealed = ?");
        Ok(query.bind(fresh).bind(name).bind(seen).execute(&self.pool).await?.rows_affected() == 1)
    }

    async fn lease(&self, of: &str, holder: Digest256, now: Timestamp, until: Timestamp) -> Result<bool, StoreError> {
        let query = sqlx::query(
            "INSERT INTO lease (name, holder, until) VALUES (?, ?, ?) ON CONFLICT (name)
             DO UPDATE SET holder = excluded.holder, until = excluded.until WHERE holder = excluded.holder OR until <= ?",
        );
        let query = query.bind(of).bind(holder.as_bytes()).bind(seconds(until)).bind(seconds(now));
        Ok(query.execute(&self.pool).await?.rows_affected() == 1)
    }

    async fn release(&self, of: &str, holder: Digest256) -> Result<(), StoreError> {
        let query = sqlx::query("DELETE FROM lease WHERE name = ? AND holder = ?").bind(of).bind(holder.as_bytes());
        query.execute(&self.pool).await?;
        Ok(())
    }

    async fn purge(&self, now: Timestamp) -> Result<u64, StoreError> {
        let mut gone = 0;
        let expired = [
            "DELETE FROM login WHERE expires <= ?",
            "DELETE FROM assertion WHERE expires <= ?",
            "DELETE FROM revocation WHERE expires <= ?",
            "DELETE FROM lease WHERE until <= ?",
            "DELETE FROM refresh WHERE expires <= ?",
            "DELETE FROM consent WHERE expires <= ?",
            "DELETE FROM code WHERE expires + 600 <= ?",
            "UPDATE refresh SET sealed = NULL WHERE sealed IS NOT NULL AND spent + 10 <= ?",
        ];
        for statement in expired {
            gone += sqlx::query(statement).bind(seconds(now)).execute(&self.sweeper).await?.rows_affected();
        }
        let before = |age: Duration| i64::try_from(now.as_secs().saturating_sub(age.as_secs())).unwrap_or(i64::MAX);
        let query = sqlx::query(
            "DELETE FROM client WHERE used = 0 AND registered <= ? OR used BETWEEN 1 AND ?
             AND NOT EXISTS (SELECT 1 FROM consent WHERE consent.client = client.id)",
        );
        let query = query.bind(before(UNUSED_CLIENT)).bind(before(IDLE_CLIENT));
        Ok(gone + query.execute(&self.sweeper).await?.rows_affected())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn a_store_that_is_made_is_nobody_elses_to_read() {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&directory.path().join("a.db")).await.unwrap();
        store.known_key("a").await.unwrap();
        let modes: Vec<u32> = std::fs::read_dir(directory.path())
            .unwrap()
            .map(|file| file.unwrap().metadata().unwrap().permissions().mode() & 0o777)
            .collect();
        assert!(!modes.is_empty() && modes.iter().all(|mode| *mode == 0o600), "{modes:?}");
    }
}
