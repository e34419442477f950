//! The log: lines on standard error, which nobody waits for longer than a moment.
//!
//! A pipe that is full, for nobody reads it, would hold up whoever has something to say: requests, and the end of the
//! process. It is waited for a moment once, and from then on not at all until it takes lines again. What it does not take is
//! lost, and counted; the next line that it takes says so.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;

use crate::clock::{Clock, SystemClock};

/// A reader may be slow, and a burst is no reason to lose anything.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };
const NONE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
/// A pipe that takes anything takes so much (`PIPE_BUF` of `pipe(7)`).
const PIECE: usize = 4096;

/// Takes lines.
#[derive(Debug)]
pub struct Log<W = io::Stderr> {
    out: Mutex<Out<W>>,
    lost: Arc<AtomicU64>,
}

/// Where lines go.
#[derive(Debug)]
struct Out<W> {
    to: W,
    /// It took nothing when it was last tried.
    stuck: bool,
    /// The last line was written in part.
    cut: bool,
    /// Lines that are lost, which nobody was told yet.
    untold: u64,
}

impl<W: Write + AsFd> Log<W> {
    /// A log that is written there.
    #[must_use]
    pub fn new(to: W) -> Self {
        Self { out: Mutex::new(Out { to, stuck: false, cut: false, untold: 0 }), lost: Arc::default() }
    }

    /// How many lines are lost, now and later.
    #[must_use]
    pub fn lost(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.lost)
    }

    /// Writes a text that has its line break, or loses it.
    pub fn say(&self, line: &[u8]) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        if out.tell_lost() && out.line(line) {
            return;
        }
        out.untold += 1;
        self.lost.fetch_add(1, Ordering::Relaxed);
    }
}

impl<W: Write + AsFd> Out<W> {
    /// Whether nothing is lost that nobody was told.
    fn tell_lost(&mut self) -> bool {
        if self.untold == 0 {
            return true;
        }
        let now = std::time::UNIX_EPOCH + std::time::Duration::from_secs(SystemClock.now().as_secs());
        let line = serde_json::json!({
            "timestamp": humantime::format_rfc3339_seconds(now).to_string(),
            "level": "WARN",
            "message": "lines of the log are lost; see that standard error is read",
            "lost": self.untold,
        });
        let told = self.line(format!("{line}\n").as_bytes());
        if told {
            self.untold = 0;
        }
        told
    }

    /// Whether all of it is written.
    fn line(&mut self, line: &[u8]) -> bool {
        if self.cut && !self.piece(b"\n") {
            return false;
        }
        self.cut = false;
        for piece in line.chunks(PIECE) {
            if !self.piece(piece) {
                return false;
            }
            self.cut = true;
        }
        self.cut = false;
        true
    }

    fn piece(&mut self, piece: &[u8]) -> bool {
        let patience = if self.stuck { NONE } else { PATIENCE };
        let ready = retry_on_intr(|| poll(&mut [PollFd::new(&self.to, PollFlags::OUT)], Some(&patience)));
        self.stuck = matches!(ready, Ok(0));
        !self.stuck && self.to.write_all(piece).is_ok()
    }
}

/// What `tracing` writes to: one line at a time.
impl<W: Write + AsFd> Write for &Log<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.say(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, Read};

    use super::*;

    fn line(number: usize) -> Vec<u8> {
        format!("{number} {}\n", "x".repeat(300)).into_bytes()
    }

    fn long() -> Vec<u8> {
        [b"y".repeat(100_000), b"\n".to_vec()].concat()
    }

    /// Everything that comes out of a pipe.
    fn read(mut reader: PipeReader) -> std::thread::JoinHandle<String> {
        std::thread::spawn(move || {
            let mut all = String::new();
            reader.read_to_string(&mut all).unwrap();
            all
        })
    }

    /// Says something until it is taken, ends the log, and gives what was lost before.
    fn until_taken<W: Write + AsFd>(log: Log<W>) -> u64 {
        let lost = loop {
            let lost = log.lost.load(Ordering::Relaxed);
            log.say(b"again\n");
            if log.lost.load(Ordering::Relaxed) == lost {
                break lost;
            }
            std::thread::yield_now();
        };
        drop(log);
        lost
    }

    fn told(line: &str) -> u64 {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["message"].as_str().unwrap().contains("are lost"), "{line}");
        line["lost"].as_u64().unwrap()
    }

    #[test]
    fn a_pipe_that_nobody_reads_holds_nobody_up_and_what_it_lost_is_told() {
        let (reader, writer) = io::pipe().unwrap();
        let log = Log::new(writer);
        for number in 0..10_000 {
            log.say(&line(number));
        }
        assert!((5_000..10_000).contains(&log.lost().load(Ordering::Relaxed)));
        let all = read(reader);
        let lost = until_taken(log);
        let all = all.join().unwrap();
        let (last, lines) =
            all.lines().collect::<Vec<_>>().split_last().map(|(last, rest)| (*last, rest.to_vec())).unwrap();
        let (notice, lines) = lines.split_last().unwrap();
        assert_eq!((told(notice), last), (lost, "again"));
        assert!(lines.iter().enumerate().all(|(number, of)| of.as_bytes() == line(number).trim_ascii_end()));
        assert!(lines.len() > 5, "{}", lines.len());
    }

    #[test]
    fn a_line_that_was_cut_short_is_ended_before_the_next() {
        let (reader, writer) = io::pipe().unwrap();
        let log = Log::new(writer);
        log.say(&long());
        let all = read(reader);
        let lost = until_taken(log);
        let all = all.join().unwrap();
        let lines: Vec<&str> = all.lines().collect();
        assert_eq!((lines.len(), told(lines[1]), lines[2]), (3, lost, "again"));
        assert!(lines[0].len() < 100_000 && lines[0].bytes().all(|byte| byte == b'y'));
    }

    #[test]
    fn a_pipe_that_is_read_loses_nothing_however_long_lines_are() {
        let (reader, writer) = io::pipe().unwrap();
        let read = read(reader);
        let log = Log::new(writer);
        let mut expected = Vec::new();
        for number in 0..10_000 {
            log.say(&line(number));
            expected.extend(line(number));
        }
        (&log).write_all(&long()).unwrap();
        expected.extend(long());
        assert_eq!(log.lost().load(Ordering::Relaxed), 0);
        drop(log);
        assert!(read.join().unwrap().into_bytes() == expected);
    }

    #[test]
    fn a_pipe_whose_reader_is_gone_holds_nobody_up_either() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let log = Log::new(writer);
        log.say(b"a line\n");
        log.say(b"another\n");
        assert_eq!(log.lost().load(Ordering::Relaxed), 2);
    }
}
