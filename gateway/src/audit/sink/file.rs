//! Lines in a file that is set aside when it has grown, or on standard output.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::super::chain::{Head, Line};
use super::super::encode::Format;
use super::{Entry, Sink};

/// The last line of a trail is looked for in so many bytes.
const TAIL: u64 = 256 * 1024;

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
    /// The bytes of whole batches; what lies behind them is half a batch.
    length: u64,
    rotation: Option<Rotation>,
    /// The number of the last line in a file that was set aside: no line up to it is written again.
    settled: u64,
}

impl Trail {
    /// Appends to a file, created when absent.
    pub(super) fn open(path: &Path, format: Format, rotation: Option<Rotation>) -> io::Result<Self> {
        let out = append(path)?;
        let metadata = out.metadata()?;
        let (is_file, length) = (metadata.is_file(), metadata.len());
        Ok(Self { path: path.to_owned(), format, out, is_file, length, rotation, settled: 0 })
    }

    /// Hands lines to the system; a batch that was taken in part is taken back.
    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let written = self.out.write_all(lines);
        if written.is_err() && self.is_file {
            self.take_back(lines.len())?;
        }
        written?;
        self.length += lines.len() as u64;
        Ok(())
    }

    /// Cuts off half a batch, unless another process writes here, too: its lines are not ours to cut.
    fn take_back(&mut self, batch: usize) -> io::Result<()> {
        let length = self.out.metadata()?.len();
        if length <= self.length + batch as u64 {
            return self.out.set_len(self.length);
        }
        self.length = length;
        self.out.write_all(b"\n")
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
        self.length = 0;
        Ok(())
    }
}

impl Sink for Trail {
    /// A line that was cut short is ended first, so that the next one begins anew.
    fn last(&mut self) -> io::Result<Option<Head>> {
        if !self.is_file {
            return Ok(None);
        }
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.length.saturating_sub(TAIL)))?;
        let mut text = Vec::new();
        file.take(TAIL).read_to_end(&mut text)?;
        let text = String::from_utf8_lossy(&text);
        if !text.is_empty() && !text.ends_with('\n') {
            self.append(b"\n")?;
        }
        Ok(text.lines().last().and_then(Line::parse).map(|line| line.head))
    }

    fn write(&mut self, _instance: &str, entries: &[Entry], durably: bool) -> io::Result<()> {
        let mut lines = Vec::new();
        let settled = self.settled;
        let mut last = settled;
        for entry in entries.iter().filter(|entry| entry.number > settled) {
            let line = self.format.encode(&entry.json);
            let held = self.length + lines.len() as u64;
            let full = self.rotation.filter(|rotation| held > 0 && held + line.len() as u64 + 1 > rotation.bytes);
            if let Some(rotation) = full {
                self.append(&lines)?;
                lines.clear();
                self.settled = last;
                self.rotate(rotation)?;
            }
            lines.extend_from_slice(line.as_bytes());
            lines.push(b'\n');
            last = entry.number;
        }
        let before = self.length;
        self.append(&lines)?;
        if durably
            && self.is_file
            && let Err(error) = self.out.sync_data()
        {
            // What the disk did not confirm comes again, and must not stand there twice.
            self.out.set_len(before)?;
            self.length = before;
            return Err(error);
        }
        Ok(())
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
    fn last(&mut self) -> io::Result<Option<Head>> {
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

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn numbered(path: &Path, number: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}
