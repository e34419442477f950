//! `portcullis audit digest FILE`: the digest of arguments, to find the calls that had them in the trail.

use std::io::Read;
use std::path::PathBuf;

use clap::Args;

use super::{Answer, DEFAULT_CONFIG};
use crate::app;
use crate::audit::digest_of;
use crate::config::{self, Environment};

/// Whose digest, under which gateway's key.
#[derive(Debug, Args)]
pub(super) struct Question {
    /// The configuration file.
    #[arg(short, long, default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// A file with the arguments as JSON, or `-` for standard input.
    arguments: PathBuf,
}

/// Tells the digest.
pub(super) fn run(question: &Question) -> Result<Answer, String> {
    let state = config::load_state(&question.config, &Environment::process()).map_err(|faults| faults.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let key = runtime.block_on(async {
        let (store, sealer) = app::existing_store_and_sealer(&state).await?;
        app::digest_key(&*store, &sealer).await
    });
    let key = key.map_err(|error| error.to_string())?;
    let mut text = Vec::new();
    let named = |error: std::io::Error| format!("{}: {error}", question.arguments.display());
    if question.arguments.as_os_str() == "-" {
        std::io::stdin().read_to_end(&mut text).map_err(named)?;
    } else {
        text = std::fs::read(&question.arguments).map_err(named)?;
    }
    let digest = digest_of(&key, &text).map_err(|error| format!("the arguments are not JSON: {error}"))?;
    Ok(Answer::Yes(digest))
}
