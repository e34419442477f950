//! Where the lines go: a file that is set aside when it has grown, or standard output.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::chain::{Head, Line};

/// The last line of a trail is looked for in so many bytes.
const TAIL: u64 = 256 * 1024;

/// A place for lines.
#[derive(Debug)]
pub struct Sink(Out);

#[derive(Debug)]
enum Out {
    File(Trail),
    Stdout(io::Stdout),
}

/// A file, and when the next one takes over.
#[derive(Debug)]
struct Trail {
    path: PathBuf,
    out: BufWriter<File>,
    length: u64,
    rotation: Option<Rotation>,
}

/// When a file is set aside, and how many are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Bytes that a file may reach.
    pub bytes: u64,
    /// Files kept beside the one being written; the oldest goes.
    pub keep: usize,
}

impl Sink {
    /// Appends to a file, created when absent.
    ///
    /// # Errors
    ///
    /// Returns an error when the file cannot be opened for writing.
    pub fn file(path: &Path, rotation: Option<Rotation>) -> io::Result<Self> {
        let (out, length) = open(path)?;
        Ok(Self(Out::File(Trail { path: path.to_owned(), out, length, rotation })))
    }

    /// Writes to standard output.
    #[must_use]
    pub fn stdout() -> Self {
        Self(Out::Stdout(io::stdout()))
    }

    /// The last line that is there, if it can be read; a line that was cut short is ended first, so that the next one
    /// begins anew.
    pub(super) fn last(&mut self) -> io::Result<Option<Head>> {
        let Out::File(trail) = &mut self.0 else { return Ok(None) };
        let mut file = File::open(&trail.path)?;
        // A device or a pipe has no last line, and may never end.
        if !file.metadata()?.is_file() {
            return Ok(None);
        }
        file.seek(SeekFrom::Start(trail.length.saturating_sub(TAIL)))?;
        let mut text = Vec::new();
        file.take(TAIL).read_to_end(&mut text)?;
        let text = String::from_utf8_lossy(&text);
        if !text.is_empty() && !text.ends_with('\n') {
            trail.out.write_all(b"\n")?;
            trail.length += 1;
        }
        Ok(text.lines().last().and_then(Line::parse).map(|line| line.head))
    }

    /// Writes one line.
    pub(super) fn line(&mut self, json: &[u8]) -> io::Result<()> {
        match &mut self.0 {
            Out::File(trail) => trail.line(json),
            Out::Stdout(out) => {
                let mut out = out.lock();
                out.write_all(json)?;
                out.write_all(b"\n")
            }
        }
    }

    /// Hands what was written to the system; with `durably`, waits until it is on the disk.
    pub(super) fn flush(&mut self, durably: bool) -> io::Result<()> {
        match &mut self.0 {
            Out::File(trail) => {
                trail.out.flush()?;
                if durably { trail.out.get_ref().sync_data() } else { Ok(()) }
            }
            Out::Stdout(out) => out.flush(),
        }
    }
}

impl Trail {
    fn line(&mut self, json: &[u8]) -> io::Result<()> {
        let size = json.len() as u64 + 1;
        if let Some(rotation) = self.rotation.filter(|rotation| self.length > 0 && self.length + size > rotation.bytes)
        {
            self.rotate(rotation)?;
        }
        self.out.write_all(json)?;
        self.out.write_all(b"\n")?;
        self.length += size;
        Ok(())
    }

    /// `trail` becomes `trail.1`, `trail.1` becomes `trail.2`, and so on.
    fn rotate(&mut self, rotation: Rotation) -> io::Result<()> {
        self.out.flush()?;
        self.out.get_ref().sync_data()?;
        for number in (1..=rotation.keep).rev() {
            let from = if number == 1 { self.path.clone() } else { numbered(&self.path, number - 1) };
            if from.exists() {
                std::fs::rename(&from, numbered(&self.path, number))?;
            }
        }
        if rotation.keep == 0 {
            std::fs::remove_file(&self.path)?;
        }
        (self.out, self.length) = open(&self.path)?;
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<(BufWriter<File>, u64)> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let length = file.metadata()?.len();
    Ok((BufWriter::new(file), length))
}

fn numbered(path: &Path, number: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}
