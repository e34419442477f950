//! What a call costs through the gateway, against a bare Pingora pass-through measured in the same run.
//!
//! Both stand in front of the same backend, on one core with one thread; load and backend share another. Rounds
//! alternate, so that what else the machine does falls on both. The figure is processor time (user and system) of the
//! proxy process per request, the median over the rounds: wall-clock figures of a shared machine say little.

mod load;
mod process;
mod setup;

use std::io;
use std::time::Duration;

use clap::Parser;

use load::Load;
use process::Process;
use setup::{Setup, Target};

#[derive(Parser)]
#[command(about = "Measures what a call costs through the gateway, against a bare Pingora pass-through")]
struct Arguments {
    /// The gateway's program; by default the one that was built beside this.
    #[arg(long)]
    gateway: Option<String>,
    /// Rounds of each measurement.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of one measurement.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Connections that ask at once.
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// The revision of MCP that is spoken.
    #[arg(long, default_value = "2025-11-25")]
    revision: String,
}

/// One target's figures for one kind of request.
struct Figures {
    microseconds: Vec<f64>,
    per_second: Vec<f64>,
}

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_station_042","arguments":{"query":"select 1","limit":10}}}"#;
const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    setup::stay_on_the_load_core();
    let setup = Setup::start(arguments.gateway.clone()).await?;
    let title = ["", "pass-through", "gateway", "ratio", "answers/s"];
    row(&title.map(str::to_owned));
    for (name, body) in [("tools/call, 130 bytes", CALL), ("tools/list, 100 tools, half of them hidden", LIST)] {
        let [bare, gateway] = measure(&arguments, &setup, body).await?;
        let ratio = median(&gateway.microseconds) / median(&bare.microseconds);
        let rates = format!("{:.0} / {:.0}", median(&bare.per_second), median(&gateway.per_second));
        row(&[name.to_owned(), spread(&bare), spread(&gateway), format!("{ratio:.2}"), rates]);
    }
    Ok(())
}

/// Rounds of both targets, in changing order.
async fn measure(arguments: &Arguments, setup: &Setup, body: &str) -> io::Result<[Figures; 2]> {
    let mut figures = [(); 2].map(|()| Figures { microseconds: Vec::new(), per_second: Vec::new() });
    for round in 0..arguments.rounds {
        let mut both: Vec<(&mut Figures, &Target)> = figures.iter_mut().zip(&setup.targets).collect();
        if !round.is_multiple_of(2) {
            both.reverse();
        }
        for (figures, target) in both {
            let request = setup.request(&arguments.revision, body);
            let load = Load { target: target.address, request, connections: arguments.connections };
            let (microseconds, per_second) = once(&target.process, &load, arguments.seconds).await?;
            figures.microseconds.push(microseconds);
            figures.per_second.push(per_second);
        }
    }
    Ok(figures)
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52 requests")]
async fn once(process: &Process, load: &Load, seconds: u64) -> io::Result<(f64, f64)> {
    load.run(Duration::from_millis(500)).await?;
    let before = process.processor_time()?;
    let answered = load.run(Duration::from_secs(seconds)).await? as f64;
    Ok(((process.processor_time()? - before) / answered, answered / seconds as f64))
}

fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn spread(figures: &Figures) -> String {
    let least = figures.microseconds.iter().copied().fold(f64::INFINITY, f64::min);
    let most = figures.microseconds.iter().copied().fold(0.0, f64::max);
    format!("{:.1} µs [{least:.1}-{most:.1}]", median(&figures.microseconds))
}

#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
fn row(cells: &[String; 5]) {
    let [name, bare, gateway, ratio, rates] = cells;
    println!("{name:<44} {bare:<24} {gateway:<24} {ratio:<6} {rates}");
}
