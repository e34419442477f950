//! A change of a definition, for people: line by line, as version control shows it.

use std::fmt::Write;

use serde_json::Value;

use crate::backend::catalogue::{Field, Tool};

/// Lines beyond this are compared as one block: the time of a comparison grows with their product.
const MAX_LINES: usize = 2000;

/// How the tool that was approved became the one that is there: the fields that differ, with `-` and `+` lines.
#[must_use]
pub fn describe(approved: Option<&Tool>, live: Option<&Tool>) -> String {
    let mut text = String::new();
    for field in Field::ALL {
        let (before, after) = (approved.and_then(|tool| tool.get(field)), live.and_then(|tool| tool.get(field)));
        if before == after {
            continue;
        }
        let _ = writeln!(text, "    {}:", field.as_str());
        for (sign, line) in lines(&shown(before), &shown(after)) {
            let _ = writeln!(text, "    {sign} {line}");
        }
    }
    text
}

/// Texts as their lines, everything else as JSON. Control characters are shown as escapes: this goes to a terminal,
/// and its author is the server.
fn shown(value: Option<&Value>) -> Vec<String> {
    let text = match value {
        None => return Vec::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => serde_json::to_string_pretty(other).unwrap_or_default(),
    };
    text.split('\n').map(visible).collect()
}

/// A line without what a terminal would act on, or an eye not see.
#[must_use]
pub fn visible(line: &str) -> String {
    let is_plain = |c: char| c == ' ' || !(c.is_control() || c.is_whitespace() || portcullis_policy::is_ignorable(c));
    line.chars().fold(String::with_capacity(line.len()), |mut out, c| {
        if is_plain(c) {
            out.push(c);
        } else {
            out.extend(c.escape_unicode());
        }
        out
    })
}

/// The lines of both, by the longest common subsequence of them.
fn lines(before: &[String], after: &[String]) -> Vec<(char, String)> {
    if before.len() > MAX_LINES || after.len() > MAX_LINES {
        let gone = before.iter().map(|line| ('-', line.clone()));
        return gone.chain(after.iter().map(|line| ('+', line.clone()))).collect();
    }
    let lengths = common(before, after);
    let length = |i: usize, j: usize| lengths.get(i).and_then(|row| row.get(j)).copied().unwrap_or(0);
    let (mut i, mut j) = (0, 0);
    let mut out = Vec::new();
    loop {
        match (before.get(i), after.get(j)) {
            (Some(a), Some(b)) if a == b => {
                out.push((' ', a.clone()));
                (i, j) = (i + 1, j + 1);
            }
            (Some(a), b) if b.is_none() || length(i + 1, j) >= length(i, j + 1) => {
                out.push(('-', a.clone()));
                i += 1;
            }
            (_, Some(b)) => {
                out.push(('+', b.clone()));
                j += 1;
            }
            (_, None) => return out,
        }
    }
}

/// `[i][j]`: how many lines `before[i..]` and `after[j..]` have in common, in order.
fn common(before: &[String], after: &[String]) -> Vec<Vec<u16>> {
    let mut rows = vec![vec![0_u16; after.len() + 1]];
    for a in before.iter().rev() {
        let below = rows.last().cloned().unwrap_or_default();
        let mut row = vec![0_u16];
        // From the last line of `after` to the first.
        for (at, b) in after.iter().rev().enumerate() {
            let column = after.len() - 1 - at;
            let right = row.last().copied().unwrap_or(0);
            let of_below = |column: usize| below.get(column).copied().unwrap_or(0);
            row.push(if a == b { of_below(column + 1) + 1 } else { right.max(of_below(column)) });
        }
        row.reverse();
        rows.push(row);
    }
    rows.reverse();
    rows
}
