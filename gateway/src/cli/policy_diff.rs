//! `portcullis policy diff OLD NEW`: who gains what, and who loses what.

use std::fmt::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use portcullis_policy::{Change, Difference, Terms, differences};
use serde_json::{Value, json};

use super::report::Faults;
use super::who_can::{holder_json, item_json};
use super::{Answer, source};

/// Two policies.
#[derive(Debug, Args)]
pub(super) struct Question {
    /// The policy as it was: a policy file, or a configuration file.
    old: PathBuf,
    /// The policy as it is to be; where it is a configuration, its lock files and backends count.
    new: PathBuf,
    #[command(flatten)]
    known: source::Known,
    /// What makes the exit code 1: any difference, one by which somebody can do more, or none.
    #[arg(long, value_name = "WHAT", default_value = "any")]
    fail_on: FailOn,
    /// Answer with JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FailOn {
    Any,
    Gains,
    Never,
}

/// Compares; `No` where a difference is one that the question fails on.
pub(super) fn run(question: &Question) -> Result<Answer, String> {
    answer(question).or_else(|faults| faults.answer(question.json))
}

fn answer(question: &Question) -> Result<Answer, Faults> {
    let (old, new) = (source::load(&question.old)?, source::load(&question.new)?);
    let universe = question.known.universe(&[&old.document, &new.document], &question.new)?;
    let (was, is) = (universe.applied(&old.policy), universe.applied(&new.policy));
    let found = differences(&was, &is, &universe.items());
    let fails = match question.fail_on {
        FailOn::Any => !found.is_empty(),
        FailOn::Gains => found.iter().any(Difference::widens),
        FailOn::Never => false,
    };
    let note = source::guesses(&universe);
    let text = if question.json {
        let differences: Vec<Value> = found.iter().map(as_json).collect();
        json!({ "ok": !fails, "old": **was.hash(), "new": **is.hash(), "differences": differences, "note": note })
            .to_string()
    } else {
        as_text(&found, note)
    };
    Ok(if fails { Answer::No(text) } else { Answer::Yes(text) })
}

/// By caller, each item with what has become of it.
fn as_text(found: &[Difference], note: Option<String>) -> String {
    let mut text = note.map(|note| format!("note: {note}\n")).unwrap_or_default();
    let mut of = None;
    for difference in found {
        if of != Some(&difference.holder) {
            let _ = writeln!(text, "{}", difference.holder);
            of = Some(&difference.holder);
        }
        let _ = writeln!(text, "  {:<12}{}", difference.change().as_str(), difference.item);
        match difference.change() {
            Change::Gains => tell(&mut text, "", difference.after.as_ref(), None),
            Change::Loses => {}
            Change::OtherTerms => {
                tell(&mut text, "now: ", difference.after.as_ref(), difference.before.as_ref());
                tell(&mut text, "no longer: ", difference.before.as_ref(), difference.after.as_ref());
            }
        }
    }
    if found.is_empty() {
        text.push_str("nobody gains or loses anything\n");
    } else {
        let count = |change| found.iter().filter(|difference| difference.change() == change).count();
        let (gains, losses, others) = (count(Change::Gains), count(Change::Loses), count(Change::OtherTerms));
        let _ = writeln!(text, "{gains} gained, {losses} lost, {others} on other terms");
    }
    text
}

/// The terms that are not among others.
fn tell(text: &mut String, word: &str, terms: Option<&Terms>, others: Option<&Terms>) {
    for term in terms.into_iter().flat_map(Terms::iter) {
        if !others.into_iter().flat_map(Terms::iter).any(|other| other == term) {
            let _ = writeln!(text, "{:14}{word}{term}", "");
        }
    }
}

fn as_json(difference: &Difference) -> Value {
    let terms = |terms: &Option<Terms>| terms.as_ref().map(|terms| terms.iter().map(str::to_owned).collect::<Vec<_>>());
    json!({
        "who": holder_json(&difference.holder), "item": item_json(&difference.item),
        "change": difference.change().as_str(), "widens": difference.widens(),
        "before": terms(&difference.before), "after": terms(&difference.after),
    })
}
