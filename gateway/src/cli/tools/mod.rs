//! `portcullis tools`: what the backends offer now, and the lock files of what was approved.

mod list;
mod lock;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Answer;
use crate::app::client_of;
use crate::backend::catalogue::Catalogue;
use crate::config::{self, Config, Environment, settings};

/// What is asked, of which backends.
#[derive(Debug, Args)]
pub(super) struct Question {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    scope: Scope,
}

#[derive(Debug, Args)]
struct Scope {
    /// The configuration file.
    #[arg(short, long, global = true, default_value = super::DEFAULT_CONFIG)]
    config: PathBuf,
    /// Only this backend; may be repeated.
    #[arg(short, long = "backend", value_name = "NAME", global = true)]
    backends: Vec<String>,
    /// Answer with JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write the lock files: every tool, as it is now, is approved.
    Pin,
    /// Approve tools as they are now; everything that differs when none is named.
    Approve {
        /// `tool` or `backend/tool`.
        #[arg(value_name = "TOOL")]
        tools: Vec<String>,
    },
    /// Show in what the tools differ from the lock files; exit code 1 when anything does.
    Diff,
}

/// Asks the backends, and answers.
pub(super) fn run(question: &Question) -> Result<Answer, String> {
    let scope = &question.scope;
    let config = config::load(&scope.config, &Environment::process()).map_err(|faults| faults.to_string())?;
    let backends = scope.chosen(&config)?;
    match &question.command {
        None => list::run(&config, &backends, scope.json),
        Some(Command::Pin) => lock::pin(&config, &backends, scope.json),
        Some(Command::Approve { tools }) => lock::approve(&config, &backends, tools, scope.json),
        Some(Command::Diff) => lock::diff(&config, &backends, scope.json),
    }
}

impl Scope {
    /// The backends that are named; all when none is.
    fn chosen<'c>(&self, config: &'c Config) -> Result<Vec<&'c settings::Backend>, String> {
        if self.backends.is_empty() {
            return Ok(config.backends.iter().collect());
        }
        let find = |name: &String| {
            let found = config.backends.iter().find(|backend| backend.name.as_ref() == name);
            found.ok_or_else(|| format!("the configuration has no backend `{name}`"))
        };
        self.backends.iter().map(find).collect()
    }
}

/// A backend, and what it offers now, or why that is not known.
pub(super) type Offer<'c> = (&'c settings::Backend, Result<Catalogue, String>);

/// What each backend offers now, or why that is not known.
pub(super) fn fetch<'c>(config: &Config, backends: &[&'c settings::Backend]) -> Result<Vec<Offer<'c>>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("the runtime: {error}"))?;
    let ask = |backend: &&'c settings::Backend| {
        let client = client_of(config, backend).map_err(|error| error.to_string());
        let fetched = client.and_then(|client| {
            let fetched = runtime.block_on(client.fetch());
            fetched.map(|fetched| fetched.catalogue).map_err(|error| error.to_string())
        });
        (*backend, fetched.map_err(|error| format!("backend `{}`: {error}", backend.name)))
    };
    Ok(backends.iter().map(ask).collect())
}
