//! `portcullis tools pin`, `approve` and `diff`: the lock files, and what is not as they say.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::app::lock_path;
use crate::backend::catalogue::{Catalogue, Field, Tool};
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
    path: PathBuf,
    lock: LockFile,
    catalogue: Catalogue,
    findings: Vec<Finding>,
}

fn differing<'c>(config: &Config, backends: &[&'c settings::Backend]) -> Result<Vec<Differing<'c>>, String> {
    let asked = ask(config, backends)?.into_iter().map(|(backend, path, catalogue)| {
        let lock = LockFile::read(path, &backend.name).map_err(|error| error.to_string())?;
        let findings = compare(&lock, &catalogue);
        Ok(Differing { backend, path: path.to_owned(), lock, catalogue, findings })
    });
    asked.collect()
}

/// Those that are not checked for drift, and keep the tags that their servers have declared.
fn importing<'c>(config: &Config, backends: &[&'c settings::Backend]) -> Result<Vec<Differing<'c>>, String> {
    let file = |backend: &settings::Backend| {
        lock_path(config, backend).filter(|path| backend.drift.is_none() && path.exists())
    };
    let of: Vec<_> = backends.iter().copied().filter(|backend| file(backend).is_some()).collect();
    let mut found = Vec::new();
    for (backend, fetched) in super::fetch(config, &of)? {
        let Some(path) = file(backend) else { continue };
        let lock = LockFile::read(&path, &backend.name).map_err(|error| error.to_string())?;
        found.push(Differing { backend, path, lock, catalogue: fetched?, findings: Vec::new() });
    }
    Ok(found)
}

impl Differing<'_> {
    /// The tags that are kept on each tool, and that its server declares no more.
    fn kept(&self, config: &Config) -> BTreeMap<String, BTreeSet<String>> {
        let tools = self.catalogue.tools().iter().map(|tool| {
            let declared = declared(config, self.backend, &self.catalogue, tool);
            let kept = self.lock.locks(tool.name()).map(str::to_owned).filter(|tag| !declared.contains(tag));
            (tool.name().to_owned(), kept.collect::<BTreeSet<_>>())
        });
        tools.filter(|(_, kept)| !kept.is_empty()).collect()
    }

    fn is_named(&self, wanted: &str, tool: &str) -> bool {
        let rest = wanted.strip_prefix(self.backend.name.as_ref()).and_then(|rest| rest.strip_prefix('/'));
        wanted == tool || rest == Some(tool)
    }
}

/// The tags that a tool declares now, with those that its annotations are imported as.
pub(super) fn declared(
    config: &Config,
    backend: &settings::Backend,
    catalogue: &Catalogue,
    tool: &Tool,
) -> BTreeSet<String> {
    let imported = config.policy.with_catalogue(&backend.name, &catalogue.for_policy(None)).imported(&backend.name);
    let imported = imported.get(tool.name()).into_iter().flatten().map(ToString::to_string);
    imported.chain(tool.tags().into_iter().map(str::to_owned)).collect()
}

/// What was approved of one tool.
enum Approved {
    /// Its definition as it is now.
    Change(Finding),
    /// That it is without these tags, which its server declares no more.
    Released(String, BTreeSet<String>),
}

/// Approves the tools of these names, or all that differ: as they are now, and without what their servers declare no more.
pub(super) fn approve(
    config: &Config,
    backends: &[&settings::Backend],
    tools: &[String],
    json: bool,
) -> Result<Answer, String> {
    let mut all = importing(config, backends)?;
    if all.is_empty() || backends.iter().any(|backend| backend.drift.is_some()) {
        all.extend(differing(config, backends)?);
    }
    let mut approved = Vec::new();
    for one in &mut all {
        let kept = one.kept(config);
        let wanted =
            |one: &Differing<'_>, tool: &str| tools.is_empty() || tools.iter().any(|wanted| one.is_named(wanted, tool));
        let changes: Vec<_> = one.findings.iter().filter(|finding| wanted(one, &finding.tool)).cloned().collect();
        let released: Vec<_> = kept.into_iter().filter(|(tool, _)| wanted(one, tool)).collect();
        for finding in changes {
            one.lock.approve(&finding.tool, one.catalogue.get(&finding.tool));
            approved.push((one.backend.name.to_string(), Approved::Change(finding)));
        }
        for (tool, tags) in released {
            let Some(now) = one.catalogue.get(&tool) else { continue };
            one.lock.release(&tool, &declared(config, one.backend, &one.catalogue, now));
            approved.push((one.backend.name.to_string(), Approved::Released(tool, tags)));
        }
    }
    let done = |wanted: &String| {
        approved.iter().any(|(backend, what)| {
            let (Approved::Change(Finding { tool, .. }) | Approved::Released(tool, _)) = what;
            all.iter().any(|one| one.backend.name.as_ref() == backend && one.is_named(wanted, tool))
        })
    };
    if let Some(idle) = tools.iter().find(|wanted| !done(wanted)) {
        return Err(format!("`{idle}` is no tool that differs from a lock file; see `portcullis tools diff`"));
    }
    for one in &all {
        one.lock.write(&one.path).map_err(|error| error.to_string())?;
    }
    Ok(Answer::Yes(if json { approved_json(&approved) } else { approved_text(&approved) }))
}

fn approved_json(approved: &[(String, Approved)]) -> String {
    let one = |(backend, what): &(String, Approved)| match what {
        Approved::Change(finding) => {
            json!({ "backend": backend, "tool": finding.tool, "change": finding.change.as_str() })
        }
        Approved::Released(tool, tags) => {
            json!({ "backend": backend, "tool": tool, "change": "released", "tags": tags })
        }
    };
    json!({ "approved": approved.iter().map(one).collect::<Vec<_>>() }).to_string()
}

fn approved_text(approved: &[(String, Approved)]) -> String {
    let mut text = String::new();
    for (backend, what) in approved {
        let _ = match what {
            Approved::Change(finding) => {
                writeln!(text, "approved: {backend}/{} {}", visible(&finding.tool), finding.change)
            }
            Approved::Released(tool, tags) => {
                let tags: Vec<_> = tags.iter().map(|tag| visible(tag)).collect();
                writeln!(text, "approved: {backend}/{} is without {}", visible(tool), tags.join(", "))
            }
        };
    }
    if text.is_empty() {
        text.push_str("every tool is as approved");
    }
    text
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
