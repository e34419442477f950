//! `portcullis serve`: run the gateway.

use std::path::PathBuf;
use std::sync::Arc;

use tracing_subscriber::EnvFilter;

use super::Answer;
use crate::app::{self, Options, Source};
use crate::config::{self, Environment};
use crate::log::Log;

/// Runs until told to stop.
pub(super) fn run(file: PathBuf, mut options: Options) -> Result<Answer, String> {
    let environment = Environment::process();
    let config = config::load(&file, &environment).map_err(|faults| faults.to_string())?;
    let log = Arc::new(Log::new(std::io::stderr()));
    listen(&log, &environment);
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    options.lost_lines = log.lost();
    let ended = match app::run(config, Source { file, environment }, options) {
        Ok(Ok(())) => return Ok(Answer::Yes(String::new())),
        Ok(Err(error)) => format!("the gateway has stopped; {error}"),
        Err(error) => format!("the gateway cannot start; {error}"),
    };
    // Not by the way of other commands, which would wait for a pipe that nobody reads.
    log.say(format!("{ended}\n").as_bytes());
    Err(String::new())
}

/// Structured logs; `RUST_LOG` chooses, `info` by default.
fn listen(log: &Arc<Log>, environment: &Environment) {
    let directives = environment.get("RUST_LOG").unwrap_or_else(|| "info,pingora_core=warn".to_owned());
    // A log beside the files that are watched would tell of its own lines, without end.
    let directives = if directives.contains("notify") { directives } else { directives + ",notify=warn" };
    let filter = EnvFilter::try_new(directives).unwrap_or_else(|_error| EnvFilter::new("info,pingora_core=warn"));
    tracing_subscriber::fmt().json().flatten_event(true).with_writer(Arc::clone(log)).with_env_filter(filter).init();
}
