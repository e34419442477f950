//! A trail read back from where it is kept: files with those that were set aside, a SQLite database, a table.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::super::encode::Format;
use super::file::numbered;
use super::rows::Rows;
use super::table::Table;
use super::{Destination, Rotation};
use crate::sqlite;

/// What is looked for, as far as a database finds it by itself: of what it gives, the lines have to be looked at still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The lines of this request alone.
    pub request_id: Option<String>,
    /// None of before, in seconds since the Unix epoch.
    pub from: i64,
    /// None of later.
    pub to: i64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { request_id: None, from: 0, to: i64::MAX }
    }
}

/// Lines, oldest first, and what is to be known of where they are from.
pub struct Kept {
    /// The lines, each with a line break.
    pub lines: Box<dyn Read>,
    /// A word on what may be missing, for the operator.
    pub note: Option<String>,
}

impl Kept {
    fn of(lines: impl Read + 'static) -> Self {
        Self { lines: Box::new(lines), note: None }
    }

    /// The lines of a file, be it text or a SQLite database.
    ///
    /// # Errors
    ///
    /// Returns an error when it cannot be opened.
    pub fn file(path: &Path, bounds: &Bounds) -> io::Result<Self> {
        if !sqlite::is_database(path)? {
            return Ok(Self::of(File::open(path)?));
        }
        let rows =
            if *bounds == Bounds::default() { Rows::open(path)? } else { Rows::open_within(path, bounds.clone())? };
        let note = rows.note(path);
        Ok(Self { lines: Box::new(rows), note })
    }
}

impl Destination {
    /// Whether what is written there can be waited for, and found again: a pipe or a device confirms nothing.
    #[must_use]
    pub fn is_on_a_disk(&self) -> bool {
        match self {
            // Standard output is what somebody makes of it, and another thing at the next start.
            Self::File { path, .. } if path.starts_with("/dev") || path.starts_with("/proc") => false,
            Self::File { path, .. } => std::fs::metadata(path).is_ok_and(|it| it.is_file()) || !path.exists(),
            Self::Sqlite { .. } | Self::Postgres { .. } => true,
            Self::Stdout(_) | Self::Otlp(_) => false,
        }
    }

    /// Whether lines that went here can be read back as they were written.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.is_on_a_disk() && !matches!(self, Self::File { format, .. } if *format != Format::Native)
    }

    /// The lines that are here; of a place that keeps none, none.
    ///
    /// # Errors
    ///
    /// Returns an error when it cannot be opened.
    pub fn read_back(&self, bounds: &Bounds) -> io::Result<Kept> {
        let named =
            |path: &Path, error: io::Error| io::Error::new(error.kind(), format!("`{}`: {error}", path.display()));
        match self {
            Self::File { path, rotation, .. } => {
                files(path, *rotation).map(Kept::of).map_err(|error| named(path, error))
            }
            Self::Sqlite { path, .. } => Kept::file(path, bounds).map_err(|error| named(path, error)),
            Self::Postgres { url } => Ok(Kept::of(Table::open(url, bounds.clone())?)),
            Self::Stdout(_) | Self::Otlp(_) => Ok(Kept::of(io::empty())),
        }
    }
}

/// A file and those that were set aside before it, oldest first.
fn files(path: &Path, rotation: Option<Rotation>) -> io::Result<Box<dyn Read>> {
    let mut names: Vec<PathBuf> = vec![path.to_owned()];
    names.extend((1..=rotation.map_or(0, |rotation| rotation.keep)).map(|number| numbered(path, number)));
    let (mut known, mut open) = (BTreeSet::new(), Vec::new());
    // The newest first: one that is set aside meanwhile is met a second time then, and not missed.
    for name in names {
        match File::open(&name) {
            Ok(file) => {
                let metadata = file.metadata()?;
                if known.insert((metadata.dev(), metadata.ino())) {
                    open.push(file);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && name != path => break,
            Err(error) => return Err(error),
        }
    }
    let mut all: Box<dyn Read> = Box::new(io::empty());
    for file in open.into_iter().rev() {
        // Each is whole lines, but for one that was cut short where the next was begun by hand.
        all = Box::new(all.chain(file).chain(Cursor::new(b"\n")));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_else_reads_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let to = |path: &Path, format| Destination::File { path: path.to_owned(), rotation: None, format };
        let file = directory.path().join("a.jsonl");
        std::fs::write(&file, "").unwrap();
        assert!(to(&file, Format::Native).is_kept(), "the control");
        assert!(!to(&file, Format::Ocsf).is_kept(), "in another form it is no trail");
        for other in ["/dev/stdout", "/dev/null", "/proc/self/fd/1"] {
            assert!(!to(Path::new(other), Format::Native).is_kept(), "{other}");
        }
        assert!(!to(directory.path(), Format::Native).is_kept());
    }

    #[test]
    fn files_are_read_in_the_order_in_which_they_were_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.jsonl");
        let rotation = Some(Rotation { bytes: 1, keep: 3 });
        assert!(files(&path, rotation).is_err(), "there is none");
        std::fs::write(&path, "3\n").unwrap();
        std::fs::write(numbered(&path, 1), "2\n").unwrap();
        std::fs::write(numbered(&path, 2), "1\n").unwrap();
        let read = |rotation| {
            let text = io::read_to_string(files(&path, rotation).unwrap()).unwrap();
            text.split_whitespace().collect::<String>()
        };
        assert_eq!((read(rotation), read(None)), ("123".to_owned(), "3".to_owned()));
        // It was set aside between two looks.
        std::fs::remove_file(numbered(&path, 2)).unwrap();
        std::fs::remove_file(numbered(&path, 1)).unwrap();
        std::fs::hard_link(&path, numbered(&path, 1)).unwrap();
        assert_eq!(read(rotation), "3");
    }
}
