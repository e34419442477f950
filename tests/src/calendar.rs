//! A calendar of a gateway's own, by `libfaketime`: it is set forward and back while the gateway runs.

use std::path::PathBuf;

use tempfile::TempDir;

/// What a gateway believes that the time is.
#[derive(Debug)]
pub struct Calendar {
    directory: TempDir,
}

impl Calendar {
    /// One that is right.
    #[must_use]
    pub fn new() -> Self {
        let calendar = Self { directory: TempDir::new().unwrap() };
        calendar.set(0);
        calendar
    }

    /// Sets it ahead by so many seconds, or behind.
    pub fn set(&self, offset: i64) {
        // Moved into its place: a reader between two writes would see an empty file.
        let aside = self.directory.path().join("aside");
        std::fs::write(&aside, format!("{offset:+}\n")).unwrap();
        std::fs::rename(aside, self.file()).unwrap();
    }

    /// The environment of a process that goes by it.
    pub(crate) fn environment(&self) -> [(&'static str, String); 4] {
        [
            ("LD_PRELOAD", library().to_string_lossy().into_owned()),
            ("FAKETIME_TIMESTAMP_FILE", self.file().to_string_lossy().into_owned()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            // Only the calendar moves: deadlines are on the monotonic clock.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("offset")
    }
}

impl Default for Calendar {
    fn default() -> Self {
        Self::new()
    }
}

/// The library that `tests/setup.sh` installs.
fn library() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    let found = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).find(|path| path.exists());
    found.expect("libfaketime is missing; run `tests/setup.sh all`")
}
