//! `portcullis who-can weather/delete_station`: everybody whom the policy opens it to, and on what terms.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use portcullis_policy::{BackendName, Holder, Item, ItemKind, Policy, Terms};
use serde_json::{Value, json};

use super::report::Faults;
use super::{Answer, source};

/// One item.
#[derive(Debug, Args)]
pub(super) struct Question {
    /// `backend/tool`; with `--prompt` or `--resource` the name of a prompt or a URI.
    #[arg(value_name = "BACKEND/TOOL")]
    item: String,
    /// It is a prompt.
    #[arg(long, conflicts_with = "resource")]
    prompt: bool,
    /// It is a resource.
    #[arg(long)]
    resource: bool,
    /// A policy file, or a configuration file.
    #[arg(short, long, default_value = super::DEFAULT_CONFIG)]
    config: PathBuf,
    #[command(flatten)]
    known: source::Known,
    /// Answer with JSON.
    #[arg(long)]
    json: bool,
}

/// Names everybody; `No` when it is nobody.
pub(super) fn run(question: &Question) -> Result<Answer, String> {
    answer(question).or_else(|faults| faults.answer(question.json))
}

fn answer(question: &Question) -> Result<Answer, Faults> {
    let wrong = |message: String| Faults::of_file(&question.config, message);
    let loaded = source::load(&question.config)?;
    let universe = question.known.universe(&[&loaded.document], &question.config)?;
    let policy = universe.applied(&loaded.policy);
    let (backend, name) = question
        .item
        .split_once('/')
        .ok_or_else(|| wrong(format!("`{0}` names no backend; write `backend/{0}`", question.item)))?;
    let backend = BackendName::try_from(backend).map_err(|error| wrong(error.to_string()))?;
    let kind = match (question.prompt, question.resource) {
        (true, _) => ItemKind::Prompt,
        (_, true) => ItemKind::Resource,
        _ => ItemKind::Tool,
    };
    let item = Item { backend, kind, name: name.to_owned() };
    let found = policy.who_can(&item);
    let text =
        if question.json { as_json(&policy, &item, &found).to_string() } else { as_text(&policy, &item, &found) };
    Ok(if found.is_empty() { Answer::No(text) } else { Answer::Yes(text) })
}

fn as_text(policy: &Policy, item: &Item, found: &[(Holder, Terms)]) -> String {
    let mut text = format!("{item}\n");
    if item.kind == ItemKind::Tool {
        let tags = policy.tool_tags(&item.backend, &item.name).into_iter();
        let tags: Vec<String> = tags.map(|tagged| format!("{} (by {})", tagged.tag, tagged.by.join(", "))).collect();
        let tags = if tags.is_empty() { "none, so that it opens to nobody".to_owned() } else { tags.join(", ") };
        let _ = writeln!(text, "  tags: {tags}");
    }
    for (holder, terms) in found {
        let _ = writeln!(text, "  {holder}");
        for term in terms.iter() {
            let _ = writeln!(text, "    {term}");
        }
    }
    if found.is_empty() {
        text.push_str("  nobody\n");
    }
    text
}

fn as_json(policy: &Policy, item: &Item, found: &[(Holder, Terms)]) -> Value {
    let who = |(holder, terms): &(Holder, Terms)| {
        let mut who = holder_json(holder);
        if let Some(members) = who.as_object_mut() {
            members.insert("terms".to_owned(), terms.iter().collect());
        }
        who
    };
    let tags = policy.tool_tags(&item.backend, &item.name).into_iter();
    let tags: Vec<String> = tags.filter(|_| item.kind == ItemKind::Tool).map(|tagged| tagged.tag.to_string()).collect();
    json!({ "item": item_json(item), "tags": tags, "who": found.iter().map(who).collect::<Vec<_>>() })
}

pub(super) fn item_json(item: &Item) -> Value {
    json!({ "backend": item.backend.to_string(), "kind": item.kind.as_str(), "name": item.name })
}

pub(super) fn holder_json(holder: &Holder) -> Value {
    let kind = holder.kind().as_str();
    json!({ "kind": kind, "roles": holder.roles(), "groups": holder.groups(), "tenant": holder.tenant() })
}
