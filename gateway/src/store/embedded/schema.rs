//! The tables of the embedded store, whose file this is, and how a file of an earlier version becomes one of this.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use sqlx::SqlitePool;

use crate::store::StoreError;

/// Marks the file as ours (`PRAGMA application_id`): "PCUL".
const APPLICATION_ID: i64 = 0x5043_554c;
const ID_BYTES: &[u8] = b"PCUL";
/// What a database begins with, and how long its header is (<https://sqlite.org/fileformat2.html>, section 1.3).
const MAGIC: &[u8] = b"SQLite format 3\0";
const HEADER: u64 = 100;
const EMPTY: &str = "is empty; restore it from a backup, or remove it to begin anew";
const FOREIGN: &str = "is another program's database; name another `state.path`";
/// The version that the tables begin with; each of the [`LATER`] steps makes it one more.
const FIRST: i64 = 4;

const TABLES: &str = "
CREATE TABLE client (id TEXT PRIMARY KEY, record TEXT NOT NULL, registered INTEGER NOT NULL, used INTEGER NOT NULL) STRICT;
CREATE TABLE login (id BLOB PRIMARY KEY, record TEXT NOT NULL, expires INTEGER NOT NULL) STRICT;
CREATE TABLE consent (id TEXT PRIMARY KEY, client TEXT NOT NULL, record TEXT NOT NULL, expires INTEGER NOT NULL) STRICT;
CREATE TABLE code (id BLOB PRIMARY KEY, consent TEXT NOT NULL, record TEXT NOT NULL, spent INTEGER NOT NULL, expires INTEGER NOT NULL) STRICT;
CREATE TABLE refresh (id BLOB PRIMARY KEY, consent TEXT NOT NULL, spent INTEGER, successor BLOB, sealed TEXT, expires INTEGER NOT NULL) STRICT;
CREATE TABLE assertion (id BLOB PRIMARY KEY, expires INTEGER NOT NULL) STRICT;
CREATE TABLE revocation (sequence INTEGER PRIMARY KEY AUTOINCREMENT, whose TEXT NOT NULL, before INTEGER NOT NULL, expires INTEGER NOT NULL) STRICT;
CREATE TABLE key (name TEXT PRIMARY KEY, sealed BLOB NOT NULL) STRICT;
CREATE INDEX client_unused ON client (used, registered);
CREATE INDEX login_expires ON login (expires);
CREATE INDEX consent_client ON consent (client);
CREATE INDEX code_consent ON code (consent);
CREATE INDEX refresh_consent ON refresh (consent);
";

/// What came later, in order; a step is never changed, and one is added for every change.
const LATER: [&str; 1] =
    ["CREATE TABLE lease (name TEXT PRIMARY KEY, holder BLOB NOT NULL, until INTEGER NOT NULL) STRICT;"];

/// Makes the tables of a new file.
pub(super) async fn create(pool: &SqlitePool) -> Result<(), StoreError> {
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::raw_sql(TABLES).execute(&mut *transaction).await?;
    let mark = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FIRST};");
    sqlx::raw_sql(sqlx::AssertSqlSafe(mark)).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(())
}

/// Whether a file that is there may be opened at all: SQLite changes even what is empty or another program's when it is told
/// to keep a log.
pub(super) fn before_opening(path: &Path) -> Result<(), &'static str> {
    let mut header = Vec::new();
    let read = File::open(path).and_then(|file| file.take(HEADER).read_to_end(&mut header));
    if read.is_err() {
        // Whoever opens it says why it cannot be.
        return Ok(());
    }
    if header.is_empty() {
        return Err(EMPTY);
    }
    // Until the log is written back, who a file belongs to may be in the log only.
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let has_log = std::fs::metadata(log).is_ok_and(|log| log.len() > 0);
    match header.get(68..72) {
        Some(id) if !has_log && header.starts_with(MAGIC) && id != ID_BYTES => Err(FOREIGN),
        _ => Ok(()),
    }
}

/// Whether the file is ours, of a version that we know, and whole.
pub(super) async fn check(pool: &SqlitePool) -> Result<(), &'static str> {
    const DAMAGED: &str = "is damaged; restore it from a backup";
    let number = async |query: &'static str| sqlx::query_scalar::<_, i64>(query).fetch_one(pool).await.ok();
    match number("SELECT count(*) FROM sqlite_schema").await {
        Some(0) => return Err(EMPTY),
        Some(_) => {}
        None => return Err(DAMAGED),
    }
    if number("PRAGMA application_id").await != Some(APPLICATION_ID) {
        return Err(FOREIGN);
    }
    let known = number("PRAGMA user_version").await.and_then(steps_made);
    if known.is_none() {
        return Err("is of another version; run the Portcullis that wrote it");
    }
    let verdict = sqlx::query_scalar::<_, String>("PRAGMA quick_check(1)").fetch_one(pool).await;
    if verdict.is_ok_and(|verdict| verdict == "ok") { Ok(()) } else { Err(DAMAGED) }
}

/// Takes the steps that the file has not taken yet, all or none; of a file that was there before it is said.
pub(super) async fn migrate(pool: &SqlitePool, is_new: bool) -> Result<(), StoreError> {
    // The version is read again once nobody else can write: another process may be at it.
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    let version = sqlx::query_scalar::<_, i64>("PRAGMA user_version").fetch_one(&mut *transaction).await?;
    let steps = steps_made(version).and_then(|made| LATER.get(made..)).unwrap_or_default();
    for step in steps {
        sqlx::raw_sql(*step).execute(&mut *transaction).await?;
    }
    if !steps.is_empty() {
        let version = version + i64::try_from(steps.len()).unwrap_or_default();
        let mark = format!("PRAGMA user_version = {version};");
        sqlx::raw_sql(sqlx::AssertSqlSafe(mark)).execute(&mut *transaction).await?;
        if !is_new {
            tracing::info!(version, "the store is of this version now; an older Portcullis does not read it any more");
        }
    }
    transaction.commit().await?;
    Ok(())
}

/// How many of the steps a file of this version has taken.
fn steps_made(version: i64) -> Option<usize> {
    let made = usize::try_from(version.checked_sub(FIRST)?).ok()?;
    (made <= LATER.len()).then_some(made)
}
