//! `portcullis keys rotate`: replaces the signing keys in the store, beside running gateways or without one.

use std::path::PathBuf;

use clap::Args;

use super::{Answer, DEFAULT_CONFIG};
use crate::app::{self, Turn};
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Environment};
use crate::store::Whose;

/// How they are replaced.
#[derive(Debug, Args)]
pub(super) struct Question {
    /// The configuration file.
    #[arg(short, long, default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// Drop the old keys and end every session: for a key that somebody else may have.
    #[arg(long)]
    at_once: bool,
}

/// Replaces them.
pub(super) fn run(question: &Question) -> Result<Answer, String> {
    let state = config::load_state(&question.config, &Environment::process()).map_err(|faults| faults.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let of = app::store_name(&state);
    let told = runtime.block_on(async {
        let opened = app::existing_store_and_sealer(&state).await;
        let (store, sealer) = opened.map_err(|error| error.to_string())?;
        let now = SystemClock.now();
        let turn = if question.at_once { Turn::AtOnce } else { Turn::Next };
        app::replace_keys(&*store, &sealer, now, turn).await.map_err(|error| error.to_string())?;
        if !question.at_once {
            let minutes = app::KEY_LEAD.as_secs() / 60;
            return Ok(format!(
                "the next keys are published from {of}, and sign {minutes} minutes later; what the present ones signed stays \
                 good"
            ));
        }
        let ended = store.revoke(&Whose::Everybody, now).await.map_err(|error| error.to_string())?;
        Ok::<_, String>(format!("new keys of {of} sign from now on; {ended} grant(s) ended, and everybody signs in anew"))
    });
    Ok(Answer::Yes(told?))
}
