//! A backup of what is in SQLite databases: the store and the trail, each as it is at one moment, while a gateway runs.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::state;
use crate::audit::Destination;
use crate::config::settings::State;
use crate::sqlite;

/// Bytes that stay free: what a gateway on the same disk writes meanwhile.
const RESERVE: u64 = 64 << 20;

/// A copy that is to be made.
struct Copy {
    from: PathBuf,
    to: PathBuf,
}

/// Copies what of this state and these places of the trail is in SQLite databases into files of the directory `into`, which
/// is made where it is not there: `portcullis.db`, `audit.db`.
///
/// # Errors
///
/// Returns an error, and leaves no file, when there is nothing to copy, a file is there already, there is no room for it on
/// the disk, or it cannot be read or written.
pub(crate) async fn backup(state: &State, trail: &[Destination], into: &Path) -> io::Result<Vec<PathBuf>> {
    let mut copies = Vec::new();
    if state.redis.is_none() {
        copies.push(Copy { from: state.directory.join(state::DATABASE), to: into.join(state::DATABASE) });
    }
    copies.extend(trail.iter().filter_map(|place| match place {
        Destination::Sqlite { path, .. } => Some(Copy { from: path.clone(), to: into.join("audit.db") }),
        _ => None,
    }));
    if copies.is_empty() {
        return Err(io::Error::other(
            "nothing of it is in a SQLite database; Redis and PostgreSQL have ways of their own to be backed up",
        ));
    }
    let wanted = size(&copies)? + RESERVE;
    DirBuilder::new().recursive(true).mode(0o700).create(into)?;
    room(wanted, into)?;
    let mut placed = Vec::new();
    let done = fill(&copies, &mut placed).await.and_then(|()| File::open(into)?.sync_all());
    if let Err(error) = done {
        // Half of a backup is taken for one.
        for path in &placed {
            let _ = std::fs::remove_file(path);
        }
        return Err(error);
    }
    Ok(placed)
}

async fn fill(copies: &[Copy], placed: &mut Vec<PathBuf>) -> io::Result<()> {
    let named = |path: &Path, error: io::Error| io::Error::new(error.kind(), format!("`{}`: {error}", path.display()));
    for Copy { to, .. } in copies {
        sqlite::place(to).map_err(|error| named(to, error))?;
        placed.push(to.clone());
    }
    for Copy { from, to } in copies {
        sqlite::copy(from, to).await.map_err(|error| named(from, error))?;
    }
    Ok(())
}

/// Bytes that the copies have at most.
fn size(copies: &[Copy]) -> io::Result<u64> {
    let mut size = 0;
    for Copy { from, .. } in copies {
        let missing = |error| io::Error::new(io::Error::kind(&error), format!("`{}`: {error}", from.display()));
        size += std::fs::metadata(from).map_err(missing)?.len();
        size += std::fs::metadata(sqlite::log_of(from)).map_or(0, |log| log.len());
    }
    Ok(size)
}

/// Whether there is room for so much: a disk that a backup has filled stops the gateway that writes to it.
fn room(wanted: u64, into: &Path) -> io::Result<()> {
    let disk = rustix::fs::statvfs(into)?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free < wanted {
        return Err(io::Error::other(format!(
            "`{}` has {} MiB of room, and the copies may want {}; name a directory of another disk",
            into.display(),
            free >> 20,
            wanted >> 20
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_backup_that_cannot_be_made_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        assert!(room(0, directory.path()).is_ok(), "the control");
        let full = room(1 << 60, directory.path()).unwrap_err().to_string();
        assert!(full.contains("another disk"), "{full}");
        let (state, into) = (directory.path().join("s"), directory.path().join("b"));
        let state = State { directory: state, redis: None, seal_keys: Vec::new() };
        let fault = backup(&state, &[], &into).await.unwrap_err().to_string();
        assert!(fault.contains("portcullis.db") && !into.exists(), "{fault}");
        std::fs::create_dir(&state.directory).unwrap();
        std::fs::write(state.directory.join("portcullis.db"), "no database at all").unwrap();
        assert!(backup(&state, &[], &into).await.is_err());
        assert_eq!(std::fs::read_dir(&into).unwrap().count(), 0);
    }
}
