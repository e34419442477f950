//! `portcullis explain`: what would the policy say, and why?

use std::path::PathBuf;

use clap::Args;
use portcullis_policy::{Action, BackendName, Kind, Scopes, Subject};

use super::{Answer, policy_test};

/// One caller and one act.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("act").required(true))]
pub(super) struct Question {
    /// A policy file, or a configuration file.
    #[arg(short, long, default_value = super::DEFAULT_CONFIG)]
    config: PathBuf,
    /// An Entra app-role value of the caller; may be repeated.
    #[arg(short, long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// The caller is an application, not a person.
    #[arg(long)]
    app: bool,
    /// The caller's tenant (`tid`).
    #[arg(long, default_value = "")]
    tenant: String,
    /// Group object IDs of the caller; may be repeated.
    #[arg(long = "group", value_name = "GUID")]
    groups: Vec<String>,
    /// Granted OAuth scopes; all when left out. May be repeated.
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// A tool: `backend/tool`.
    #[arg(long, group = "act", value_name = "BACKEND/TOOL")]
    call: Option<String>,
    /// A prompt: `backend/prompt`.
    #[arg(long, group = "act", value_name = "BACKEND/PROMPT")]
    prompt: Option<String>,
    /// A resource: `backend/uri`.
    #[arg(long, group = "act", value_name = "BACKEND/URI")]
    resource: Option<String>,
}

/// Answers a question; `Yes` when the act would be allowed.
pub(super) fn run(question: &Question) -> Result<Answer, String> {
    let (policy, _) = policy_test::load(&question.config)?;
    let (target, action): (&str, fn(&str) -> Action<'_>) = match (&question.call, &question.prompt, &question.resource)
    {
        (Some(target), _, _) => (target, |name| Action::CallTool { name }),
        (_, Some(target), _) => (target, |name| Action::GetPrompt { name }),
        (_, _, Some(target)) => (target, |uri| Action::ReadResource { uri }),
        (None, None, None) => return Err("nothing to explain; add `--call backend/tool`".to_owned()),
    };
    let (backend, name) =
        target.split_once('/').ok_or_else(|| format!("`{target}` names no backend; write `backend/{target}`"))?;
    let backend = BackendName::try_from(backend).map_err(|error| error.to_string())?;
    let explanation = policy.explain(&subject(question), &backend, &action(name));
    let text = explanation.to_string();
    Ok(if explanation.is_allowed() { Answer::Yes(text) } else { Answer::No(text) })
}

fn subject(question: &Question) -> Subject {
    let kind = if question.app { Kind::App } else { Kind::User };
    let scopes = if question.scopes.is_empty() {
        Scopes::Unlimited
    } else {
        Scopes::Granted(question.scopes.iter().cloned().collect())
    };
    Subject::new(kind, question.tenant.clone(), String::new())
        .with_roles(question.roles.clone())
        .with_groups(question.groups.clone())
        .with_scopes(scopes)
}
