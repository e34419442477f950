//! Where the lines go: a file, or standard output.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use super::Event;

/// How long the first line of a batch waits for others.
const BATCH: Duration = Duration::from_millis(2);

/// A place for JSON lines.
#[derive(Debug)]
pub struct Sink(Out);

#[derive(Debug)]
enum Out {
    File(BufWriter<File>),
    Stdout(io::Stdout),
}

impl Sink {
    /// Appends to a file, created when absent.
    ///
    /// # Errors
    ///
    /// Returns an error when the file cannot be opened for writing.
    pub fn file(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self(Out::File(BufWriter::new(file))))
    }

    /// Writes to standard output.
    #[must_use]
    pub fn stdout() -> Self {
        Self(Out::Stdout(io::stdout()))
    }

    /// Writes until every sender is gone. A burst is written in one go and flushed when nothing more waits.
    pub(super) fn write_all(mut self, events: &Receiver<Event>) {
        while let Ok(event) = events.recv() {
            let mut result = self.line(&event);
            // Waking and flushing for every line would cost a call more than deciding it.
            std::thread::sleep(BATCH);
            while let Ok(event) = events.try_recv() {
                result = result.and_then(|()| self.line(&event));
            }
            if let Err(error) = result.and_then(|()| self.flush()) {
                // INVARIANT: a trail with a hole ends: the receiver goes, and every further request is refused.
                tracing::error!(%error, "the audit trail cannot be written; free its disk and restart the gateway");
                return;
            }
        }
    }

    fn line(&mut self, event: &Event) -> io::Result<()> {
        match &mut self.0 {
            Out::File(out) => line(out, event),
            Out::Stdout(out) => line(&mut out.lock(), event),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Out::File(out) => out.flush(),
            Out::Stdout(out) => out.flush(),
        }
    }
}

fn line(out: &mut impl Write, event: &Event) -> io::Result<()> {
    serde_json::to_writer(&mut *out, event)?;
    out.write_all(b"\n")
}
