//! `portcullis sessions revoke`: ends sessions in the store, beside a running gateway or without one. Every node learns
//! of it from the store, and writes into its trail from when on it obeys.

use std::path::PathBuf;

use clap::Args;

use super::{Answer, DEFAULT_CONFIG};
use crate::app;
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Environment};
use crate::store::Whose;
use crate::subject;

/// Whose sessions end.
#[derive(Debug, Args)]
pub(super) struct Question {
    /// The configuration file.
    #[arg(short, long, default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    #[command(flatten)]
    whose: Named,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Named {
    /// A person: the directory's GUID and the object's, joined by a colon; or an issuer of identity assertions and its `sub`,
    /// joined by `#`.
    #[arg(long, value_name = "TID:OID", value_parser = user)]
    user: Option<Whose>,
    /// A client, by its id.
    #[arg(long, value_name = "CLIENT_ID")]
    client: Option<String>,
    /// Everybody of a directory, by its GUID; or everybody whom an issuer of identity assertions vouches for.
    #[arg(long, value_name = "TID", value_parser = directory)]
    tenant: Option<String>,
    /// Everybody.
    #[arg(long)]
    all: bool,
}

/// Ends them.
pub(super) fn run(question: &Question) -> Result<Answer, String> {
    let whose = match &question.whose {
        Named { user: Some(user), .. } => user.clone(),
        Named { client: Some(id), .. } => Whose::Client(id.clone()),
        Named { tenant: Some(tid), .. } => Whose::Tenant(tid.clone()),
        Named { all: true, .. } => Whose::Everybody,
        Named { .. } => return Err("name `--user`, `--client`, `--tenant` or `--all`".to_owned()),
    };
    let state = config::load_state(&question.config, &Environment::process()).map_err(|faults| faults.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let ended = runtime.block_on(async {
        let store = app::existing_store(&state).await.map_err(|error| error.to_string())?;
        store.revoke(&whose, SystemClock.now()).await.map_err(|error| error.to_string())
    });
    let (ended, store) = (ended?, app::store_name(&state));
    Ok(Answer::Yes(format!(
        "{ended} grant(s) ended in {store}; gateways that run on it refuse their tokens within a second"
    )))
}

fn user(text: &str) -> Result<Whose, String> {
    let what =
        "write the GUIDs of the directory and of the person: `TID:OID`; or an issuer and its `sub`: `ISSUER#SUB`";
    let (tid, oid) = subject::parse(text).ok_or(what)?;
    Ok(Whose::User { tid, oid })
}

fn directory(text: &str) -> Result<String, String> {
    if subject::is_issuer(text) {
        return Ok(text.to_owned());
    }
    let tid = uuid::Uuid::parse_str(text);
    tid.map(|tid| tid.to_string()).map_err(|_error| "write the directory's GUID, or an issuer's URL".to_owned())
}
