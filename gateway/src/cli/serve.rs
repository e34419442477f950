//! `portcullis serve`: run the gateway.

use std::path::PathBuf;

use tracing_subscriber::EnvFilter;

use super::Answer;
use crate::app::{self, Options, Source};
use crate::config::{self, Environment};

/// Runs until told to stop.
pub(super) fn run(file: PathBuf, options: Options) -> Result<Answer, String> {
    let environment = Environment::process();
    let config = config::load(&file, &environment).map_err(|faults| faults.to_string())?;
    log(&environment);
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let ended = app::run(config, Source { file, environment }, options);
    let ended = ended.map_err(|error| format!("the gateway cannot start; {error}"))?;
    ended.map_err(|error| format!("the gateway has stopped; {error}"))?;
    Ok(Answer::Yes(String::new()))
}

/// Structured logs on standard error; `RUST_LOG` chooses, `info` by default.
fn log(environment: &Environment) {
    let directives = environment.get("RUST_LOG").unwrap_or_else(|| "info,pingora_core=warn".to_owned());
    let filter = EnvFilter::try_new(directives).unwrap_or_else(|_error| EnvFilter::new("info,pingora_core=warn"));
    tracing_subscriber::fmt().json().flatten_event(true).with_writer(std::io::stderr).with_env_filter(filter).init();
}
