//! `portcullis explain`: what would the policy say, and why?

use std::path::PathBuf;

use clap::Args;
use portcullis_policy::{Action, BackendName, DenialKind, Explanation, Kind, Policy, Scopes, Subject};
use serde_json::{Value, json};

use super::report::Faults;
use super::{Answer, source};

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
    /// The caller brings no token, to a backend with `access: public`.
    #[arg(long, conflicts_with_all = ["app", "roles", "groups"])]
    public: bool,
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
    /// The arguments of the call or the prompt, a JSON object.
    #[arg(long, value_name = "JSON", conflicts_with = "resource")]
    args: Option<String>,
    /// The caller's object in the tenant (`oid`).
    #[arg(long, default_value = "")]
    object: String,
    /// The OAuth client.
    #[arg(long)]
    client: Option<String>,
    /// An authentication context of a fresh sign-in (`acrs`); may be repeated.
    #[arg(long = "acr", value_name = "ACR")]
    acrs: Vec<String>,
    /// A further claim of the token, its value as JSON or as a text; may be repeated.
    #[arg(long = "claim", value_name = "NAME=VALUE")]
    claims: Vec<String>,
    #[command(flatten)]
    known: source::Known,
    /// Answer with JSON.
    #[arg(long)]
    json: bool,
}

/// The time of the question, and of a sign-in that is fresh.
const NOW: u64 = 0;

/// Answers a question; `Yes` when the act would be allowed.
pub(super) fn run(question: &Question) -> Result<Answer, String> {
    answer(question).or_else(|faults| faults.answer(question.json))
}

fn answer(question: &Question) -> Result<Answer, Faults> {
    let wrong = |message: String| Faults::of_file(&question.config, message);
    let loaded = source::load(&question.config)?;
    let policy = question.known.universe(&[&loaded.document], &question.config)?.applied(&loaded.policy);
    let (target, action): (&str, fn(&str) -> Action<'_>) = match (&question.call, &question.prompt, &question.resource)
    {
        (Some(target), _, _) => (target, |name| Action::CallTool { name }),
        (_, Some(target), _) => (target, |name| Action::GetPrompt { name }),
        (_, _, Some(target)) => (target, |uri| Action::ReadResource { uri }),
        (None, None, None) => return Err(wrong("nothing to explain; add `--call backend/tool`".to_owned())),
    };
    let (backend, name) = target
        .split_once('/')
        .ok_or_else(|| wrong(format!("`{target}` names no backend; write `backend/{target}`")))?;
    let backend = BackendName::try_from(backend).map_err(|error| wrong(error.to_string()))?;
    let arguments = question.args.as_deref();
    if arguments.is_some_and(|text| !serde_json::from_str::<Value>(text).is_ok_and(|value| value.is_object())) {
        return Err(wrong("the arguments are no JSON object; write `--args '{\"env\": \"dev\"}'`".to_owned()));
    }
    let subject = subject(question).map_err(wrong)?;
    let explanation = policy.explain_call(&subject, &backend, &action(name), arguments, NOW);
    let idle = idle(&policy, question);
    let text = if question.json {
        as_json(target, &explanation, &idle).to_string()
    } else {
        let notes =
            idle.iter().map(|value| format!("\n  note: `{value}` gives no role to such a caller; names match exactly"));
        let sends = explanation.verdict().ok().and_then(|permit| permit.arguments());
        let sends = sends.map(|arguments| format!("\n  sends the arguments {arguments}"));
        sends.into_iter().chain(notes).fold(explanation.to_string(), |text, note| text + &note)
    };
    Ok(if explanation.is_allowed() { Answer::Yes(text) } else { Answer::No(text) })
}

/// The values of the question that give nobody of this kind a role, and that no condition reads: misspelt ones, as a
/// rule.
fn idle<'q>(policy: &Policy, question: &'q Question) -> Vec<&'q str> {
    let kind = if question.app { Kind::App } else { Kind::User };
    let holders = policy.holders();
    let gives = |value: &&String| holders.iter().any(|holder| holder.kind() == kind && holder.roles().contains(value));
    let idle = question.roles.iter().filter(|value| !gives(value) && !policy.conditions_name(value));
    idle.map(String::as_str).collect()
}

fn as_json(target: &str, explanation: &Explanation, idle: &[&str]) -> Value {
    let (verdict, because, reasons, sends, hash) = match explanation.verdict() {
        Ok(permit) => ("allow", permit.to_string(), Vec::new(), permit.arguments(), permit.policy_hash()),
        Err(denial) => {
            let challenged = matches!(denial.kind(), DenialKind::ScopeMissing { .. });
            let reasons = denial.reasons().iter().map(ToString::to_string).collect();
            (if challenged { "challenge" } else { "deny" }, denial.to_string(), reasons, None, denial.policy_hash())
        }
    };
    let sends: Option<Value> = sends.and_then(|text| serde_json::from_str(text).ok());
    json!({
        "verdict": verdict, "target": target, "because": because, "reasons": reasons, "sends": sends,
        "roles": explanation.roles(), "idle": idle, "policy": **hash,
    })
}

fn subject(question: &Question) -> Result<Subject, String> {
    let kind = match (question.public, question.app) {
        (true, _) => Kind::Public,
        (false, true) => Kind::App,
        (false, false) => Kind::User,
    };
    let scopes = if question.scopes.is_empty() {
        Scopes::Unlimited
    } else {
        Scopes::Granted(question.scopes.iter().cloned().collect())
    };
    let claim = |text: &String| {
        let (name, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is no claim; write `NAME=VALUE`"))?;
        let value = serde_json::from_str(value).unwrap_or_else(|_error| Value::from(value));
        Ok::<_, String>((name.to_owned(), value))
    };
    let claims = question.claims.iter().map(claim).collect::<Result<_, _>>()?;
    let signed_in = (!question.acrs.is_empty()).then_some(NOW);
    let subject = Subject::new(kind, question.tenant.clone(), question.object.clone())
        .with_roles(question.roles.clone())
        .with_groups(question.groups.clone())
        .with_scopes(scopes)
        .with_sign_in(question.acrs.clone(), signed_in)
        .with_claims(claims);
    Ok(question.client.iter().cloned().fold(subject, Subject::with_client))
}
