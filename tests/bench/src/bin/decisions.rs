//! What a decision costs by itself: policies of 10 and of 10 000 tools, callers whose keys are known, and callers who
//! are all new, each with another set of roles than any before.
//!
//! `decisions [seconds]`: how long each line is measured; 1 by default.

use std::fmt::Write;
use std::hint::black_box;
use std::time::Duration;

use portcullis_policy::{Act, Action, BackendName, Kind, Policy, Subject};
use tokio::time::Instant;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const TAGS: usize = 40;
const ROLES: usize = 60;

/// A call of one tool.
struct Call<'a> {
    backend: &'a BackendName,
    tool: &'a str,
}

impl Act for Call<'_> {
    fn backend(&self) -> &BackendName {
        self.backend
    }

    fn action(&self) -> Action<'_> {
        Action::CallTool { name: self.tool }
    }
}

/// A policy whose tools are named one by one, but for a tenth that a pattern names.
fn policy(tools: usize, backend: &BackendName) -> Policy {
    let mut text = String::from("roles:\n");
    for role in 0..ROLES {
        let tags: Vec<String> = (0..3).map(|step| format!("t{}", (role * 7 + step * 11) % TAGS)).collect();
        let _ = writeln!(text, "  R{role}: {{ opens: [{}] }}", tags.join(", "));
    }
    text += "tools:\n  bench:\n";
    for tag in 0..TAGS {
        let named = (0..tools).filter(|tool| tool % TAGS == tag).map(|tool| format!("tool_{tool}"));
        let names: Vec<String> = named.chain([format!("\"group_{tag}_*\"")]).collect();
        let _ = writeln!(text, "    t{tag}: [{}]", names.join(", "));
    }
    Policy::from_yaml(&text, std::slice::from_ref(backend)).unwrap_or_else(|faults| unreachable!("{faults}"))
}

/// Another set of roles for every number, up to 2^60.
fn caller(number: usize) -> Subject {
    let held = (0..ROLES).filter(|role| (number.wrapping_mul(2_654_435_761) >> (role % 60)) & 1 == 1);
    Subject::new(Kind::User, "t", "o").with_roles(held.map(|role| format!("R{role}")).collect())
}

/// Nanoseconds of one round, on average, while `seconds` last.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52 rounds")]
fn measure(seconds: Duration, mut round: impl FnMut(usize)) -> f64 {
    let started = Instant::now();
    let mut rounds = 0;
    while started.elapsed() < seconds {
        for _ in 0..64 {
            round(rounds);
            rounds += 1;
        }
    }
    started.elapsed().as_secs_f64() * 1e9 / rounds as f64
}

#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seconds = std::env::args().nth(1).map_or(Ok(1.0), |text| text.parse::<f64>())?;
    let seconds = Duration::from_secs_f64(seconds);
    let backend = BackendName::try_from("bench")?;
    println!("{:<44} {:<14} {:<14}", "a decision, alone", "10 tools", "10 000 tools");
    let policies = [10, 10_000].map(|tools| (tools, policy(tools, &backend)));
    let known = policies.each_ref().map(|(tools, policy)| {
        let (subject, names) = (caller(1), (0..256).map(|n| format!("tool_{}", n * 37 % tools)).collect::<Vec<_>>());
        measure(seconds, |round| {
            let tool = names.get(round % names.len()).map_or("", String::as_str);
            let _ = black_box(policy.authorize(&subject, Call { backend: &backend, tool }));
        })
    });
    let by_pattern = policies.each_ref().map(|(_, policy)| {
        let (subject, tool) = (caller(1), "group_17_of_many");
        measure(seconds, |_| {
            let _ = black_box(policy.authorize(&subject, Call { backend: &backend, tool }));
        })
    });
    let new = policies.each_ref().map(|(_, policy)| {
        measure(seconds, |round| {
            let _ = black_box(policy.authorize(&caller(round), Call { backend: &backend, tool: "tool_7" }));
        })
    });
    for (name, [few, many]) in [
        ("a known caller, a tool by name", known),
        ("a known caller, a tool by pattern", by_pattern),
        ("a new caller with a new set of roles", new),
    ] {
        println!("{name:<44} {:<14} {:<14}", format!("{few:.0} ns"), format!("{many:.0} ns"));
    }
    Ok(())
}
