//! Ends of grants, and the log of them, as SQL. One writer at a time makes the numbers of the log the order in which its
//! lines become visible; `AUTOINCREMENT` never gives a number twice.

use sqlx::{Row, Sqlite, SqlitePool, Transaction};

use super::super::revocation::{issued_before, kept_until};
use super::super::{Grant, Revocation, Revocations, StoreError, Whose};
use super::{decode, seconds};
use crate::clock::Timestamp;

type Writing = Transaction<'static, Sqlite>;

/// Ends one grant.
pub(super) async fn grant(transaction: &mut Writing, grant_id: &str, now: Timestamp) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM refresh WHERE consent = ?").bind(grant_id).execute(&mut **transaction).await?;
    sqlx::query("DELETE FROM consent WHERE id = ?").bind(grant_id).execute(&mut **transaction).await?;
    let whose = Whose::Grant(grant_id.to_owned());
    log(transaction, &whose, issued_before(&whose, now), now).await
}

/// Ends every grant of whomever is named; gives their number.
pub(super) async fn all(transaction: &mut Writing, whose: &Whose, now: Timestamp) -> Result<u64, StoreError> {
    if let Whose::Grant(id) = whose {
        let query = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM consent WHERE id = ?").bind(id);
        let count = query.fetch_one(&mut **transaction).await?;
        grant(transaction, id, now).await?;
        return Ok(count.unsigned_abs());
    }
    let records = sqlx::query_scalar::<_, String>("SELECT record FROM consent").fetch_all(&mut **transaction).await?;
    let mut count = 0;
    for record in records {
        let found: Grant = decode(&record)?;
        if whose.covers(&found) {
            grant(transaction, &found.id, now).await?;
            count += 1;
        }
    }
    // Grants that are not kept any more may have left tokens behind.
    log(transaction, whose, issued_before(whose, now), now).await?;
    Ok(count)
}

/// Adds a line to the log.
pub(super) async fn log(
    transaction: &mut Writing,
    whose: &Whose,
    before: Timestamp,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO revocation (whose, before, expires) VALUES (?, ?, ?)")
        .bind(whose.key())
        .bind(seconds(before))
        .bind(seconds(kept_until(whose, now)))
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

/// The lines after this one.
pub(super) async fn after(pool: &SqlitePool, after: u64) -> Result<Revocations, StoreError> {
    // The number first: a line that comes between the two readings is seen, or is read the next time.
    let query = sqlx::query_scalar::<_, i64>("SELECT seq FROM sqlite_sequence WHERE name = 'revocation'");
    let newest = query.fetch_optional(pool).await?.unwrap_or_default().unsigned_abs();
    let query =
        sqlx::query("SELECT sequence, whose, before, expires FROM revocation WHERE sequence > ? ORDER BY sequence");
    let rows = query.bind(i64::try_from(after).unwrap_or(i64::MAX)).fetch_all(pool).await?;
    let number = |row: &sqlx::sqlite::SqliteRow, name| row.try_get::<i64, _>(name).map(i64::unsigned_abs);
    let line = |row: &sqlx::sqlite::SqliteRow| {
        Ok::<_, sqlx::Error>(Revocation {
            sequence: number(row, "sequence")?,
            key: row.try_get("whose")?,
            issued_before: Timestamp::from_secs(number(row, "before")?),
            kept_until: Timestamp::from_secs(number(row, "expires")?),
        })
    };
    let lines = rows.iter().map(line).collect::<Result<Vec<_>, _>>()?;
    Ok(Revocations { newest: lines.last().map_or(newest, |last| newest.max(last.sequence)), lines })
}
