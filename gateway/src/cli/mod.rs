//! The operator's commands: one file each, one exit code each.
//!
//! `0`: done. `1`: the file or the policy has faults, or a question was answered with no. `2`: the command line is
//! wrong (clap's own code). Answers go to standard output, faults to standard error.

mod audit_digest;
mod audit_show;
mod audit_verify;
mod backup;
mod check;
mod explain;
mod keys;
mod login;
mod policy_diff;
mod policy_test;
mod report;
mod schema;
mod serve;
mod sessions;
mod source;
mod tools;
mod who_can;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::app::Options;

const DEFAULT_CONFIG: &str = "gateway.yaml";

/// An authorization gateway for MCP servers behind Microsoft Entra ID.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway.
    Serve {
        /// The configuration file.
        #[arg(short, long, default_value = DEFAULT_CONFIG)]
        config: PathBuf,
        /// Take over from the gateway that runs on the same state; then send it SIGQUIT.
        #[arg(long)]
        upgrade: bool,
        /// Speak TLS with a certificate of its own, kept in the state directory; for a laptop.
        #[arg(long)]
        dev_tls: bool,
    },
    /// Read a configuration or policy file, run the policy's tests, and report every fault.
    Check {
        /// The file.
        #[arg(default_value = DEFAULT_CONFIG)]
        file: PathBuf,
        /// Answer with JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say what the policy decides about one call, and why.
    Explain(Box<explain::Question>),
    /// Say who can reach a tool, a prompt or a resource, and on what terms.
    WhoCan(who_can::Question),
    /// Work on a policy file.
    Policy {
        #[command(subcommand)]
        command: PolicyCommand,
    },
    /// Ask the backends for their tools: tags, where each comes from, and the roles that open it.
    Tools(tools::Question),
    /// Work on the sessions of people and clients.
    Sessions {
        #[command(subcommand)]
        command: SessionsCommand,
    },
    /// Work on the gateway's signing keys.
    Keys {
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// Sign in by a browser and print an access token, for a script.
    Login(login::Question),
    /// Write the JSON Schema of a configuration file, for editors.
    Schema {
        /// Of a policy file instead.
        #[arg(long)]
        policy: bool,
    },
    /// Copy the databases of the store and of the trail, while the gateway runs.
    Backup(backup::Question),
    /// Work on an audit trail.
    Audit {
        #[command(subcommand)]
        command: AuditCommand,
    },
}

#[derive(Debug, Subcommand)]
enum SessionsCommand {
    /// End the sessions of a person, a client or a directory: every node refuses their tokens within a second.
    Revoke(sessions::Question),
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Have the next signing keys take over, now instead of when the present ones are old.
    Rotate(keys::Question),
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Say whether every line is the one that was written, and how much of the trail the gateway has signed.
    Verify(audit_verify::Question),
    /// Write the lines of a trail, of one request, person, kind or time.
    Show(audit_show::Question),
    /// Tell the digest of a call's arguments, as the trail has it.
    Digest(audit_digest::Question),
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Run the tests that the policy file contains.
    Test {
        /// A policy file, or a configuration file.
        #[arg(default_value = DEFAULT_CONFIG)]
        file: PathBuf,
        /// Answer with JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say who gains and who loses what between two policies; exit code 1 when anybody does.
    Diff(policy_diff::Question),
}

/// Runs the command of this process's arguments.
#[must_use]
pub fn run() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Serve { config, upgrade, dev_tls } => {
            serve::run(config, Options { upgrade, dev_tls, ..Options::default() })
        }
        Command::Check { file, json } => check::run(&file, json),
        Command::Explain(question) => explain::run(&question),
        Command::WhoCan(question) => who_can::run(&question),
        Command::Login(question) => login::run(&question),
        Command::Schema { policy } => schema::run(policy),
        Command::Policy { command: PolicyCommand::Test { file, json } } => policy_test::run(&file, json),
        Command::Policy { command: PolicyCommand::Diff(question) } => policy_diff::run(&question),
        Command::Tools(question) => tools::run(&question),
        Command::Sessions { command: SessionsCommand::Revoke(question) } => sessions::run(&question),
        Command::Keys { command: KeysCommand::Rotate(question) } => keys::run(&question),
        Command::Backup(question) => backup::run(&question),
        Command::Audit { command: AuditCommand::Show(question) } => audit_show::run(&question),
        Command::Audit { command: AuditCommand::Verify(question) } => audit_verify::run(&question),
        Command::Audit { command: AuditCommand::Digest(question) } => audit_digest::run(&question),
    };
    match result {
        Ok(Answer::Yes(text)) => {
            say(&mut std::io::stdout(), &text);
            ExitCode::SUCCESS
        }
        Ok(Answer::No(text)) => {
            say(&mut std::io::stdout(), &text);
            ExitCode::FAILURE
        }
        Err(fault) => {
            say(&mut std::io::stderr(), &fault);
            ExitCode::FAILURE
        }
    }
}

/// What a command found out.
enum Answer {
    Yes(String),
    No(String),
}

/// Writes a line; a closed pipe is the reader's choice, not an error of ours.
fn say(out: &mut impl Write, text: &str) {
    if !text.is_empty() {
        let _ = writeln!(out, "{}", text.trim_end());
    }
}
