//! A disk that is slow, a machine that loses its power, a resolver that fails: `tests/fixtures/unlucky.c`, put before the
//! gateway.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::WorldBuilder;
use crate::process::file;

/// The library, made once for each directory.
///
/// # Panics
///
/// Panics where there is no C compiler, which building needs, too.
#[must_use]
pub fn library(directory: &Path) -> PathBuf {
    let library = directory.join("unlucky.so");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(file("fixtures/unlucky.c")).arg("-ldl");
    let made = cc.output().unwrap_or_else(|error| panic!("cc: {error}; run `tests/setup.sh build`"));
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    library
}

impl WorldBuilder {
    /// With that library before the gateway; `setting` is one of its variables, and `file` what it names.
    #[must_use]
    pub fn unlucky(self, directory: &Path, setting: &str, file: &Path) -> Self {
        self.environment("LD_PRELOAD", &library(directory).display().to_string())
            .environment(setting, &file.display().to_string())
    }
}
