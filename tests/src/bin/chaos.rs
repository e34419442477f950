//! `make chaos`: tries the faults of `tests/faults.yaml`, prints a table of what each cost, and keeps it in
//! `docs/reliability.md`. With numbers as arguments it tries those rows only, and keeps what is known of the others.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitCode, Stdio};

use portcullis_tests::process::file;
use portcullis_tests::reliability::{Found, Printed, Row, found, parts, rows, table, with_table};

/// What came of one test.
struct Run {
    passed: bool,
    printed: Vec<Printed>,
}

fn main() -> ExitCode {
    let wanted: Vec<u32> = std::env::args().skip(1).map(|word| word.parse().expect("the number of a row")).collect();
    let rows = rows();
    let document = std::fs::read_to_string(file("../docs/reliability.md")).expect("docs/reliability.md");
    let mut known = found(parts(&document).1);
    let mut runs = BTreeMap::new();
    for row in rows.iter().filter(|row| wanted.is_empty() || wanted.contains(&row.row)) {
        for test in &row.tests {
            if !runs.contains_key(test) {
                runs.insert(test.clone(), run(test));
            }
        }
        if row.reason.is_none() {
            known.insert(row.row, judge(row, &runs));
        }
    }
    known.retain(|number, _| rows.iter().any(|row| row.row == *number && row.reason.is_none()));
    std::fs::write(file("../docs/reliability.md"), with_table(&document, &table(&rows, &known)))
        .expect("it is written");
    print(&rows, &known);
    let held = known.values().filter(|found| found.verdict == "held").count();
    let elsewhere = rows.iter().filter(|row| row.reason.is_some()).count();
    println!("\n{held} of {} rows held, {elsewhere} cannot be run here; see docs/reliability.md", rows.len());
    if held + elsewhere == rows.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs one test with everything that it needs, and takes its lines.
fn run(test: &str) -> Run {
    let (suite, name) = test.split_once("::").expect("a test is `suite::test`");
    let place: &[&str] = match suite {
        "lib" => &["--package", "portcullis", "--lib"],
        "forward_path" => &["--package", "portcullis", "--test", "forward_path"],
        _ => &["--package", "portcullis-tests", "--test", suite],
    };
    eprintln!("{test}");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["test", "--quiet"]).args(place);
    command.args(["--", "--include-ignored", "--nocapture", "--test-threads", "1", name]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("cargo");
    let (mut printed, mut passes) = (Vec::new(), 0);
    for line in BufReader::new(child.stdout.take().expect("its output")).lines().map_while(Result::ok) {
        if let Some(line) = Printed::read(&line) {
            eprintln!("  {}", line.figure);
            printed.push(line);
        }
        let result = line.split_once("test result: ok. ").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
        passes += result.unwrap_or(0_u32);
    }
    let ended = child.wait().expect("its end");
    // A name that is none's passes, too, and proves nothing.
    Run { passed: ended.success() && passes > 0, printed }
}

fn judge(row: &Row, runs: &BTreeMap<String, Run>) -> Found {
    let of = || row.tests.iter().filter_map(|test| runs.get(test));
    let printed: Vec<&Printed> = of().flat_map(|run| &run.printed).filter(|line| line.row == row.row).collect();
    let verdict = match (of().all(|run| run.passed), printed.iter().all(|line| line.is_met)) {
        (false, _) => "FAILED",
        (true, false) => "missed",
        (true, true) => "held",
    };
    let figures: Vec<&str> = printed.iter().map(|line| line.figure.as_str()).collect();
    let figure = if figures.is_empty() { "as asserted".to_owned() } else { figures.join("; ") };
    Found { figure, verdict: verdict.to_owned() }
}

fn print(rows: &[Row], known: &BTreeMap<u32, Found>) {
    let mut out = std::io::stdout().lock();
    for row in rows {
        let (figure, verdict) = match (&row.reason, known.get(&row.row)) {
            (Some(reason), _) => (reason.as_str(), "not run here"),
            (None, Some(found)) => (found.figure.as_str(), found.verdict.as_str()),
            (None, None) => ("not tried", "open"),
        };
        let _ = writeln!(out, "{:>2}  {:<12} {}", row.row, verdict, row.fault);
        let _ = writeln!(out, "      must hold: {}; pass: {}\n      figure:    {figure}", row.required, row.pass);
    }
}
