//! Lines in a file that is set aside when it has grown, or on standard output.
//!
//! Several processes may write to one file, as they do while one takes over from the other: each batch is written under
//! a lock of the file, and where the name has come to stand for another file (set aside by the other process, moved
//! away or removed by somebody), the trail goes on in that one.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::super::chain::Line;
use super::super::encode::Format;
use super::{Entry, Sink};

/// The last line of a trail is looked for in so many bytes at first, and then in more.
const TAIL: u64 = 256 * 1024;
/// A line is no longer than this.
const LONGEST: u64 = 16 * 1024 * 1024;
/// The owner writes, a group of its own may read (a collector), and nobody else.
const MODE: u32 = 0o640;

/// When a file is set aside, and how many are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Bytes that a file may reach.
    pub bytes: u64,
    /// Files kept beside the one being written; the oldest goes.
    pub keep: usize,
}

/// A file, and when the next one takes over.
#[derive(Debug)]
pub(super) struct Trail {
    path: PathBuf,
    format: Format,
    out: File,
    /// Whether it is a file with a length; a device or a pipe is not.
    is_file: bool,
    rotation: Option<Rotation>,
    /// The number of the last line in a file that was set aside: no line up to it is written again.
    settled: u64,
}

impl Trail {
    /// Appends to a file, created when absent.
    pub(super) fn open(path: &Path, format: Format, rotation: Option<Rotation>) -> io::Result<Self> {
        let out = append(path)?;
        let is_file = out.metadata()?.is_file();
        Ok(Self { path: path.to_owned(), format, out, is_file, rotation, settled: 0 })
    }

    /// Keeps others from writing until [`Trail::release`], and gives the length of the file that the name stands for now.
    fn hold(&mut self) -> io::Result<u64> {
        if !self.is_file {
            return Ok(0);
        }
        loop {
            lock(&self.out)?;
            let held = self.out.metadata()?;
            match std::fs::metadata(&self.path) {
                Ok(named) if (named.dev(), named.ino()) == (held.dev(), held.ino()) => {
                    return self.end_line(held.len());
                }
                Ok(named) if !named.is_file() => return Err(io::Error::other("it is not a file any more")),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            tracing::warn!(path = %self.path.display(), "the file of the audit trail is another by now (set aside, moved or removed); it goes on in that one");
            self.out = append(&self.path)?;
        }
    }

    /// Ends a line that was cut short, by a kill or a loss of power, so that the next one begins anew.
    fn end_line(&mut self, length: u64) -> io::Result<u64> {
        let Some(last) = length.checked_sub(1) else { return Ok(0) };
        let mut byte = [0];
        File::open(&self.path)?.read_exact_at(&mut byte, last)?;
        if byte == *b"\n" {
            return Ok(length);
        }
        self.out.write_all(b"\n")?;
        Ok(length + 1)
    }

    fn release(&self) {
        if self.is_file {
            // Where there are no locks there is none to let go of.
            let _ = self.out.unlock();
        }
    }

    /// Hands lines to the system; of a batch that was taken in part, that part is taken back.
    fn append(&mut self, lines: &[u8], length: u64) -> io::Result<()> {
        let written = self.out.write_all(lines);
        if written.is_err() && self.is_file {
            self.out.set_len(length)?;
        }
        written
    }

    /// `trail` becomes `trail.1`, `trail.1` becomes `trail.2`, and so on.
    fn rotate(&mut self, rotation: Rotation) -> io::Result<()> {
        self.out.sync_data()?;
        // Where it is not there, an earlier try came so far and no further: nothing is moved a second time.
        if self.path.exists() {
            for number in (1..=rotation.keep).rev() {
                let from = if number == 1 { self.path.clone() } else { numbered(&self.path, number - 1) };
                if from.exists() {
                    std::fs::rename(&from, numbered(&self.path, number))?;
                }
            }
            if rotation.keep == 0 {
                std::fs::remove_file(&self.path)?;
            }
        }
        self.out = append(&self.path)?;
        Ok(())
    }

    fn write_held(&mut self, entries: &[Entry], durably: bool) -> io::Result<()> {
        let mut length = self.hold()?;
        let mut lines = Vec::new();
        let settled = self.settled;
        let mut last = settled;
        for entry in entries.iter().filter(|entry| entry.number > settled) {
            let line = self.format.encode(&entry.json);
            let is_full = |rotation: &Rotation, held: u64| held > 0 && held + line.len() as u64 + 1 > rotation.bytes;
            // Another process may have filled the next file before this one had its lock.
            while let Some(rotation) = self.rotation.filter(|rotation| is_full(rotation, length + lines.len() as u64)) {
                self.append(&lines, length)?;
                lines.clear();
                self.settled = last;
                self.rotate(rotation)?;
                length = self.hold()?;
            }
            lines.extend_from_slice(line.as_bytes());
            lines.push(b'\n');
            last = entry.number;
        }
        self.append(&lines, length)?;
        if durably
            && self.is_file
            && let Err(error) = self.out.sync_data()
        {
            // What the disk did not confirm comes again, and must not stand there twice.
            self.out.set_len(length)?;
            return Err(error);
        }
        Ok(())
    }

    /// The last whole line, wherever it is: something else may stand behind it.
    fn last_line(&self, length: u64) -> io::Result<Option<Line>> {
        let mut room = TAIL;
        loop {
            let from = length.saturating_sub(room);
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(from))?;
            let mut text = Vec::new();
            file.take(room).read_to_end(&mut text)?;
            let text = String::from_utf8_lossy(&text);
            let found = text.lines().rev().find_map(Line::parse);
            if found.is_some() || from == 0 || room >= LONGEST {
                return Ok(found);
            }
            room *= 8;
        }
    }
}

impl Sink for Trail {
    fn last(&mut self) -> io::Result<Option<Line>> {
        if !self.is_file {
            return Ok(None);
        }
        let length = self.hold()?;
        let last = if self.format == Format::Native { self.last_line(length) } else { Ok(None) };
        self.release();
        last
    }

    fn write(&mut self, _instance: &str, entries: &[Entry], durably: bool) -> io::Result<()> {
        let written = self.write_held(entries, durably);
        self.release();
        written
    }
}

/// Standard output.
#[derive(Debug)]
pub(super) struct Stdout(Format);

impl Stdout {
    pub(super) fn new(format: Format) -> Self {
        Self(format)
    }
}

impl Sink for Stdout {
    fn last(&mut self) -> io::Result<Option<Line>> {
        Ok(None)
    }

    fn write(&mut self, _instance: &str, entries: &[Entry], _durably: bool) -> io::Result<()> {
        let mut lines = Vec::new();
        for entry in entries {
            lines.extend_from_slice(self.0.encode(&entry.json).as_bytes());
            lines.push(b'\n');
        }
        let mut out = io::stdout().lock();
        out.write_all(&lines)?;
        out.flush()
    }
}

/// Opens a file to be added to; one that is made here is there for good once this returns.
fn append(path: &Path) -> io::Result<File> {
    let is_new = !path.exists();
    let file = OpenOptions::new().create(true).append(true).mode(MODE).open(path)?;
    if is_new {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(directory)?.sync_all()?;
    }
    Ok(file)
}

/// Waits for the lock of a file; a file system that has none leaves things as they are.
fn lock(file: &File) -> io::Result<()> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => file.lock(),
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

pub(super) fn numbered(path: &Path, number: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}
