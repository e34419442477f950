//! SQLite databases that a gateway may have open, read and copied by somebody else: nothing of them is changed.
//!
//! A database in WAL mode is two files: what was written last is in its `-wal`, which goes when the last who had it open
//! closes it in order. One that has none is read as it lies there, for SQLite would have to write beside it to read it another
//! way, and who looks at evidence may not, and should not.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, SqliteConnection};

/// What a database begins with; the two bytes behind the first eighteen say how it is written and read, 2 for WAL
/// (<https://sqlite.org/fileformat2.html>, section 1.3).
const MAGIC: &[u8] = b"SQLite format 3\0";
const READ_VERSION: usize = 19;
const WAL: u8 = 2;

/// How a database is opened to be read.
#[derive(Debug)]
pub(crate) struct Reading {
    /// For the connection.
    pub(crate) options: SqliteConnectOptions,
    /// Where its log would be, when it has none though it is in WAL mode.
    without: Option<PathBuf>,
}

impl Reading {
    /// Looks how it lies there.
    ///
    /// # Errors
    ///
    /// Returns an error when it cannot be read.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let log = log_of(path);
        let without = (is_in_wal_mode(path)? && !log.exists()).then_some(log);
        let options = SqliteConnectOptions::new().filename(path).read_only(true).immutable(without.is_some());
        Ok(Self { options, without })
    }

    /// Whether its log is missing: nobody has it open, or it is a copy that lacks what was in there.
    pub(crate) fn is_without_log(&self) -> bool {
        self.without.is_some()
    }

    /// Says so when somebody has begun to write to what was read as nobody's.
    ///
    /// # Errors
    ///
    /// Returns an error then: what was read may be of several times.
    pub(crate) fn check(&self) -> io::Result<()> {
        match &self.without {
            Some(log) if log.exists() => Err(io::Error::other("somebody began to write to it meanwhile; try it again")),
            _ => Ok(()),
        }
    }
}

/// Whether a file is a database. A pipe is none, and is not read to find out.
///
/// # Errors
///
/// Returns an error when it cannot be read.
pub(crate) fn is_database(path: &Path) -> io::Result<bool> {
    Ok(std::fs::metadata(path)?.is_file() && header(path)?.starts_with(MAGIC))
}

/// The file beside a database that has what was written to it last: beside the file itself, not beside a link to it.
pub(crate) fn log_of(path: &Path) -> PathBuf {
    let mut name = std::fs::canonicalize(path).map_or_else(|_missing| OsString::from(path), OsString::from);
    name.push("-wal");
    PathBuf::from(name)
}

fn is_in_wal_mode(path: &Path) -> io::Result<bool> {
    let header = header(path)?;
    Ok(header.starts_with(MAGIC) && header.get(READ_VERSION) == Some(&WAL))
}

fn header(path: &Path) -> io::Result<Vec<u8>> {
    let mut header = Vec::new();
    File::open(path)?.take(READ_VERSION as u64 + 1).read_to_end(&mut header)?;
    Ok(header)
}

/// Makes a file of its owner's alone for a copy, where none is.
///
/// # Errors
///
/// Returns an error when there is one, or none can be made.
pub(crate) fn place(to: &Path) -> io::Result<()> {
    let made = OpenOptions::new().create_new(true).write(true).mode(0o600).open(to);
    made.map(drop).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => io::Error::new(error.kind(), "it is there already; name another directory"),
        _ => error,
    })
}

/// Copies a database as it is at one moment into the empty file `to`, while others write to it. The copy is whole by
/// itself, without a `-wal`, and on the disk when this returns.
///
/// # Errors
///
/// Returns an error when it cannot be read or written; what is in `to` then is nothing.
pub(crate) async fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let reading = Reading::of(from)?;
    let mut connection = SqliteConnection::connect_with(&reading.options).await.map_err(io::Error::other)?;
    let name = to.to_str().ok_or_else(|| io::Error::other("its name is not UTF-8"))?.to_owned();
    // SQLite fills a file that is there and empty, and so leaves its mode alone.
    let copied = sqlx::query("VACUUM INTO ?").bind(name).execute(&mut connection).await;
    copied.map_err(io::Error::other)?;
    connection.close().await.map_err(io::Error::other)?;
    reading.check()?;
    File::open(to)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    async fn open(path: &Path) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
        let options = options.journal_mode(sqlx::sqlite::SqliteJournalMode::Wal);
        SqliteConnection::connect_with(&options).await.unwrap()
    }

    async fn count(path: &Path) -> i64 {
        let reading = Reading::of(path).unwrap();
        let mut connection = SqliteConnection::connect_with(&reading.options).await.unwrap();
        sqlx::query_scalar("SELECT count(*) FROM a").fetch_one(&mut connection).await.unwrap()
    }

    #[tokio::test]
    async fn a_copy_has_what_was_written_and_is_its_owners_alone() {
        let directory = tempfile::tempdir().unwrap();
        let (path, to, cp) = (directory.path().join("a"), directory.path().join("b"), directory.path().join("cp"));
        let mut writer = open(&path).await;
        sqlx::raw_sql("PRAGMA application_id = 7; CREATE TABLE a (b); INSERT INTO a VALUES (1), (2)")
            .execute(&mut writer)
            .await
            .unwrap();
        place(&to).unwrap();
        copy(&path, &to).await.unwrap();
        assert_eq!(count(&to).await, 2);
        assert_eq!(std::fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!Reading::of(&to).unwrap().is_without_log() && is_database(&to).unwrap());
        let mut copied = open(&to).await;
        let id: i64 = sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut copied).await.unwrap();
        assert_eq!(id, 7, "it is a database of the same program");
        // By another name it is the same.
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!((count(&link).await, Reading::of(&link).unwrap().is_without_log()), (2, false));
        // What `cp` would give.
        std::fs::copy(&path, &cp).unwrap();
        assert_eq!((count(&path).await, Reading::of(&path).unwrap().is_without_log()), (2, false), "the control");
        assert!(place(&to).is_err(), "nothing is written over");
    }

    #[tokio::test]
    async fn one_that_nobody_has_open_is_read_and_nothing_is_put_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let mut writer = open(&path).await;
        sqlx::raw_sql("CREATE TABLE a (b); INSERT INTO a VALUES (1)").execute(&mut writer).await.unwrap();
        writer.close().await.unwrap();
        let before = std::fs::read(&path).unwrap();
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o500)).unwrap();
        assert_eq!(count(&path).await, 1);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        assert_eq!(std::fs::read(&path).unwrap(), before);
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o700)).unwrap();
        let reading = Reading::of(&path).unwrap();
        assert!(reading.is_without_log() && reading.check().is_ok());
        let _writer = open(&path).await;
        sqlx::raw_sql("INSERT INTO a VALUES (1)").execute(&mut open(&path).await).await.unwrap();
        assert!(reading.check().is_err(), "somebody writes now");
    }
}
