//! What a line says of its place: which others it found there, and how many of them are missing.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::super::chain::{Head, Line};

/// What a line says, as far as it matters for where it stands.
#[derive(Default, Deserialize)]
pub(super) struct Content {
    #[serde(rename = "type", default)]
    pub(super) kind: String,
    /// In seconds, whole or not.
    #[serde(default)]
    pub(super) time: f64,
    pub(super) signature: Option<String>,
    #[serde(default)]
    pub(super) after: BTreeMap<String, Head>,
    sink: Option<String>,
    lost: Option<u64>,
    behind: Option<String>,
}

impl Content {
    pub(super) fn of(line: &Line) -> Self {
        serde_json::from_str(&line.json).unwrap_or_default()
    }

    /// The lines that a start says to have found in this place, one of which has to be there.
    pub(super) fn found(&self, place: Option<&str>) -> Vec<Head> {
        if self.kind != "audit.started" {
            return Vec::new();
        }
        let is_asked = |label: &str| place.is_none_or(|place| place == label);
        self.after.iter().filter(|(label, _)| is_asked(label)).map(|(_, head)| head.clone()).collect()
    }

    /// How many lines are missing before it in this place, at most, when it says so. Where it is not known which place it
    /// is, the word for another would do.
    pub(super) fn told_lost(&self, place: Option<&str>) -> Option<u64> {
        self.lost.filter(|_| self.kind == "audit.gap" && place.is_some() && self.sink.as_deref() == place)
    }

    /// The line before it in the chain, where a place may lack that.
    pub(super) fn behind(&self, line: &Line) -> Option<Head> {
        let hash = self.behind.clone().filter(|_| self.kind == "audit.gap")?;
        Some(Head { instance: line.head.instance.clone(), number: line.head.number.checked_sub(1)?, hash })
    }
}
