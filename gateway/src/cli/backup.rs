//! `portcullis backup DIR`: copies of the databases that the configuration names, made while the gateway runs.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;

use super::{Answer, DEFAULT_CONFIG};
use crate::app;
use crate::config::{self, Environment};

/// What is backed up, and where to.
#[derive(Debug, Args)]
pub(super) struct Question {
    /// The configuration file.
    #[arg(short, long, default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// Leave the audit trail out: it may be large, and `portcullis audit show` writes it to a pipe.
    #[arg(long)]
    state_only: bool,
    /// The directory for the copies; it is made, for you alone, where it is not there. No file in it is written over.
    directory: PathBuf,
}

/// Makes the copies.
pub(super) fn run(question: &Question) -> Result<Answer, String> {
    let (state, trail) = if question.state_only {
        (config::load_state(&question.config, &Environment::process()), Vec::new())
    } else {
        match config::load_places(&question.config, &Environment::process()) {
            Ok((state, trail)) => (Ok(state), trail),
            Err(error) => (Err(error), Vec::new()),
        }
    };
    let state = state.map_err(|faults| faults.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let copied = runtime.block_on(app::backup(&state, &trail, &question.directory));
    let copied = copied.map_err(|error| format!("there is no backup: {error}"))?;
    let mut text = String::new();
    for path in &copied {
        let bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        let _ = writeln!(text, "{}: {bytes} bytes", path.display());
    }
    if state.redis.is_none() {
        let key = state.seal_keys.first().cloned().unwrap_or_else(|| state.directory.join("seal.key"));
        let _ = writeln!(
            text,
            "the sealing key is not in it, and it cannot be opened without: keep a copy of {} elsewhere",
            key.display()
        );
    }
    Ok(Answer::Yes(text))
}
