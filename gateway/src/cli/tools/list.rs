//! `portcullis tools`: each tool, its tags, where each came from, and which roles open it.

use std::collections::BTreeSet;
use std::fmt::Write;

use portcullis_policy::Policy;
use serde_json::{Value, json};

use super::lock::declared;
use crate::app::lock_path;
use crate::backend::catalogue::Tool;
use crate::backend::pinning::{Change, LockFile, compare, visible};
use crate::cli::Answer;
use crate::config::{Config, settings};

/// Lists what the backends offer; `No` when one of them cannot be asked.
pub(super) fn run(config: &Config, backends: &[&settings::Backend], json: bool) -> Result<Answer, String> {
    let mut rows = Vec::new();
    let mut faults = Vec::new();
    for (backend, fetched) in super::fetch(config, backends)? {
        let catalogue = match fetched {
            Ok(catalogue) => catalogue,
            Err(fault) => {
                faults.push(fault);
                continue;
            }
        };
        // Where tags are only imported, the file is made when the gateway starts.
        let path = lock_path(config, backend).filter(|path| backend.drift.is_some() || path.exists());
        let lock = path.map(|path| LockFile::read(&path, &backend.name));
        let lock = lock.transpose().unwrap_or_else(|fault| {
            faults.push(fault.to_string());
            None
        });
        let pinned = lock.as_ref().filter(|_| backend.drift.is_some());
        let findings = pinned.map(|lock| compare(lock, &catalogue)).unwrap_or_default();
        let policy = config.policy.with_catalogue(&backend.name, &catalogue.for_policy(lock.as_ref()));
        for tool in catalogue.tools() {
            let finding = findings.iter().find(|finding| finding.tool == tool.name());
            let now = declared(config, backend, &catalogue, tool);
            rows.push(row(&policy, backend, (tool, &now), finding.map(|finding| &finding.change)));
        }
    }
    let text = if json {
        json!({ "tools": rows.iter().map(Row::json).collect::<Vec<_>>(), "faults": faults }).to_string()
    } else {
        human(&rows, &faults)
    };
    Ok(if faults.is_empty() { Answer::Yes(text) } else { Answer::No(text) })
}

struct Row {
    backend: String,
    tool: String,
    /// A tag, the entries of the policy that put it there, and who said so.
    tags: Vec<(String, Vec<String>, Source)>,
    /// What the server says of its tags.
    server_tags: Vec<String>,
    roles: Vec<String>,
    /// How it differs from the lock file, and what is done about it.
    drift: Option<(Change, &'static str)>,
}

/// Who put a tag on a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Policy,
    /// The server declares it.
    Import,
    /// The server did, and does no more.
    Kept,
}

fn row(
    policy: &Policy,
    backend: &settings::Backend,
    (tool, declared): (&Tool, &BTreeSet<String>),
    change: Option<&Change>,
) -> Row {
    let name = &backend.name;
    let tags = policy.tool_tags(name, tool.name()).into_iter().map(|tagged| {
        let tag = tagged.tag.to_string();
        let source = match tagged.by.as_slice() {
            [only] if only == "import" && declared.contains(&tag) => Source::Import,
            [only] if only == "import" => Source::Kept,
            _ => Source::Policy,
        };
        (tag, tagged.by, source)
    });
    let rule = backend.drift.as_ref().map(|drift| drift.rule).unwrap_or_default();
    let mode = rule.mode(policy.names_tool(name, tool.name()));
    Row {
        backend: name.to_string(),
        tool: tool.name().to_owned(),
        tags: tags.collect(),
        server_tags: tool.tags().into_iter().map(str::to_owned).collect(),
        roles: policy.tool_openers(name, tool.name()).iter().map(ToString::to_string).collect(),
        drift: change.map(|change| (change.clone(), mode.as_str())),
    }
}

impl Row {
    fn json(&self) -> Value {
        let tag = |(tag, by, source): &(String, Vec<String>, Source)| match source {
            Source::Policy => json!({ "tag": tag, "from": "policy", "by": by }),
            Source::Import => json!({ "tag": tag, "from": "import", "by": [] }),
            Source::Kept => json!({ "tag": tag, "from": "kept", "by": [] }),
        };
        let drift = self.drift.as_ref().map(|(change, action)| {
            let fields: Vec<_> = change.fields().iter().map(|field| field.as_str()).collect();
            json!({ "change": change.as_str(), "fields": fields, "action": action })
        });
        json!({
            "backend": self.backend, "tool": self.tool, "tags": self.tags.iter().map(tag).collect::<Vec<_>>(),
            "server_tags": self.server_tags, "opened_by": self.roles, "drift": drift,
        })
    }
}

fn human(rows: &[Row], faults: &[String]) -> String {
    let mut text = String::new();
    for row in rows {
        let _ = writeln!(text, "{}/{}", row.backend, visible(&row.tool));
        let tag = |(tag, by, source): &(String, Vec<String>, Source)| match source {
            Source::Policy => format!("{tag} (by {})", by.join(", ")),
            Source::Import => format!("{tag} (import)"),
            Source::Kept => format!("{tag} (kept: the server declares it no more; `tools approve` takes it off)"),
        };
        let tags: Vec<_> = row.tags.iter().map(tag).collect();
        let tags = if tags.is_empty() { "none, so that it opens to nobody".to_owned() } else { tags.join(", ") };
        let _ = writeln!(text, "  tags: {tags}");
        if !row.server_tags.is_empty() {
            let said: Vec<_> = row.server_tags.iter().map(|tag| visible(tag)).collect();
            let _ = writeln!(text, "  the server says: {}", said.join(", "));
        }
        if !row.tags.is_empty() {
            let roles = if row.roles.is_empty() { "none alone".to_owned() } else { row.roles.join(", ") };
            let _ = writeln!(text, "  opened by: {roles}");
        }
        if let Some((change, action)) = &row.drift {
            let _ = writeln!(text, "  drift: it {change}; {action}");
        }
    }
    for fault in faults {
        let _ = writeln!(text, "{fault}");
    }
    text
}
