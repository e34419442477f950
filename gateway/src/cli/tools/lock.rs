//! `portcullis tools pin`, `approve` and `diff`: the lock files, and what is not as they say.

use std::fmt::Write;
use std::path::Path;

use serde_json::{Value, json};

use crate::backend::catalogue::{Catalogue, Field};
use crate::backend::pinning::{Finding, LockFile, compare, describe, visible};
use crate::cli::Answer;
use crate::config::{Config, settings};

/// A backend with a lock file, and what it offers now.
type Asked<'c> = (&'c settings::Backend, &'c Path, Catalogue);

/// Asks the backends that have a lock file; all of them answer, or nothing is done.
fn ask<'c>(config: &Config, backends: &[&'c settings::Backend]) -> Result<Vec<Asked<'c>>, String> {
    let pinned: Vec<_> = backends.iter().copied().filter(|backend| backend.drift.is_some()).collect();
    if pinned.is_empty() {
        return Err("no backend here has a lock file; write `drift: { lock: NAME.lock.json }` under it".to_owned());
    }
    let mut asked = Vec::new();
    for (backend, fetched) in super::fetch(config, &pinned)? {
        if let Some(drift) = &backend.drift {
            asked.push((backend, drift.lock.as_path(), fetched?));
        }
    }
    Ok(asked)
}

/// Writes the lock files anew.
pub(super) fn pin(config: &Config, backends: &[&settings::Backend], json: bool) -> Result<Answer, String> {
    let mut done = Vec::new();
    for (backend, path, catalogue) in ask(config, backends)? {
        LockFile::pin(&backend.name, &catalogue).write(path).map_err(|error| error.to_string())?;
        done.push((backend.name.to_string(), path.display().to_string(), catalogue.tools().len()));
    }
    if json {
        let one = |(backend, lock, tools): &(String, String, usize)| json!({ "backend": backend, "lock": lock, "tools": tools });
        return Ok(Answer::Yes(json!({ "pinned": done.iter().map(one).collect::<Vec<_>>() }).to_string()));
    }
    let mut text = String::new();
    for (backend, lock, tools) in done {
        let _ = writeln!(text, "{backend}: {tools} tools approved in {lock}; look at the file, and commit it");
    }
    Ok(Answer::Yes(text))
}

/// One backend's differences.
struct Differing<'c> {
    backend: &'c settings::Backend,
    path: &'c Path,
    lock: LockFile,
    catalogue: Catalogue,
    findings: Vec<Finding>,
}

fn differing<'c>(config: &Config, backends: &[&'c settings::Backend]) -> Result<Vec<Differing<'c>>, String> {
    let asked = ask(config, backends)?.into_iter().map(|(backend, path, catalogue)| {
        let lock = LockFile::read(path, &backend.name).map_err(|error| error.to_string())?;
        let findings = compare(&lock, &catalogue);
        Ok(Differing { backend, path, lock, catalogue, findings })
    });
    asked.collect()
}

/// Approves the tools of these names, or all that differ.
pub(super) fn approve(
    config: &Config,
    backends: &[&settings::Backend],
    tools: &[String],
    json: bool,
) -> Result<Answer, String> {
    let mut all = differing(config, backends)?;
    let named = |wanted: &String, one: &Differing<'_>, tool: &str| {
        wanted == tool
            || wanted.strip_prefix(one.backend.name.as_ref()).and_then(|rest| rest.strip_prefix('/')) == Some(tool)
    };
    let all_findings = || all.iter().flat_map(|one| one.findings.iter().map(move |finding| (one, finding)));
    let idle = tools.iter().find(|wanted| !all_findings().any(|(one, finding)| named(wanted, one, &finding.tool)));
    if let Some(idle) = idle {
        return Err(format!("`{idle}` is no tool that differs from a lock file; see `portcullis tools diff`"));
    }
    let mut approved = Vec::new();
    for one in &mut all {
        let wanted =
            |finding: &&Finding| tools.is_empty() || tools.iter().any(|wanted| named(wanted, one, &finding.tool));
        let chosen: Vec<Finding> = one.findings.iter().filter(wanted).cloned().collect();
        for finding in chosen {
            one.lock.approve(&finding.tool, one.catalogue.get(&finding.tool));
            approved.push((one.backend.name.to_string(), finding));
        }
        one.lock.write(one.path).map_err(|error| error.to_string())?;
    }
    if json {
        let one = |(backend, finding): &(String, Finding)| json!({ "backend": backend, "tool": finding.tool, "change": finding.change.as_str() });
        return Ok(Answer::Yes(json!({ "approved": approved.iter().map(one).collect::<Vec<_>>() }).to_string()));
    }
    let mut text = String::new();
    for (backend, finding) in &approved {
        let _ = writeln!(text, "approved: {backend}/{} {}", visible(&finding.tool), finding.change);
    }
    if approved.is_empty() {
        text.push_str("every tool is as approved");
    }
    Ok(Answer::Yes(text))
}

/// Shows every difference; `No` when there is one.
pub(super) fn diff(config: &Config, backends: &[&settings::Backend], json: bool) -> Result<Answer, String> {
    let all = differing(config, backends)?;
    let differs = all.iter().any(|one| !one.findings.is_empty());
    let findings = || all.iter().flat_map(|one| one.findings.iter().map(move |finding| (one, finding)));
    let text = if json {
        json!({ "differences": findings().map(|(one, finding)| as_json(one, finding)).collect::<Vec<_>>() }).to_string()
    } else if differs {
        findings().map(|(one, finding)| as_text(one, finding)).collect()
    } else {
        "every tool is as approved".to_owned()
    };
    Ok(if differs { Answer::No(text) } else { Answer::Yes(text) })
}

fn as_text(one: &Differing<'_>, finding: &Finding) -> String {
    let (approved, live) = (one.lock.get(&finding.tool), one.catalogue.get(&finding.tool));
    let (backend, tool) = (&one.backend.name, visible(&finding.tool));
    format!("{backend}/{tool} {}\n{}", finding.change, describe(approved, live))
}

fn as_json(one: &Differing<'_>, finding: &Finding) -> Value {
    let (approved, live) = (one.lock.get(&finding.tool), one.catalogue.get(&finding.tool));
    let parts = Field::ALL.into_iter().filter_map(|field| {
        let of = |tool: Option<&crate::backend::catalogue::Tool>| tool.and_then(|tool| tool.get(field)).cloned();
        let (before, after) = (of(approved), of(live));
        (before != after).then(|| json!({ "field": field.as_str(), "approved": before, "now": after }))
    });
    json!({
        "backend": one.backend.name.to_string(), "tool": finding.tool, "change": finding.change.as_str(),
        "parts": parts.collect::<Vec<_>>(),
    })
}
