//! What a call costs through the gateway, against a bare Pingora pass-through measured in the same run.
//!
//! nginx, `HAProxy`, Envoy and `FastMCP`'s proxy stand beside them where they are installed. All have the same backend, one core and one thread;
//! load and backend share another core. Rounds alternate, so that what else the machine does falls on all. The figure is processor time (user and system) of the
//! proxy process per request, the median over the rounds: wall-clock figures of a shared machine say little.

mod envoy;
mod load;
mod peers;
mod process;
mod setup;

use std::io;
use std::time::Duration;

use clap::Parser;

use load::Load;
use process::Process;
use setup::{BARE, Programs, Setup, Target};

#[derive(Parser)]
#[command(about = "Measures what a call costs through the gateway, against a bare Pingora pass-through")]
struct Arguments {
    /// The gateway's program; by default the one that was built beside this.
    #[arg(long)]
    gateway: Option<String>,
    /// Envoy's program; left out of the tables without it.
    #[arg(long)]
    envoy: Option<String>,
    /// A Python that has `FastMCP`; left out of the tables without it.
    #[arg(long)]
    python: Option<String>,
    /// Only the targets of which the name begins so (may be repeated); the pass-through is always there.
    #[arg(long)]
    only: Vec<String>,
    /// Only one table.
    #[arg(long, value_enum)]
    table: Option<Table>,
    /// Rounds of each measurement.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of one measurement.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Connections that ask at once.
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Event streams held open at once.
    #[arg(long, default_value_t = 2000)]
    streams: usize,
    /// The revision of MCP that is spoken.
    #[arg(long, default_value = "2025-11-25")]
    revision: String,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Table {
    Calls,
    Lists,
    Streams,
}

/// One target's figures for one kind of request.
#[derive(Default)]
struct Figures {
    microseconds: Vec<f64>,
    per_second: Vec<f64>,
}

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_station_042","arguments":{"query":"select 1","limit":10}}}"#;
const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
const WATCH: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_watch","arguments":{}}}"#;

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    setup::stay_on_the_load_core();
    let (gateway, envoy, python) = (arguments.gateway.clone(), arguments.envoy.clone(), arguments.python.clone());
    let mut setup = Setup::start(Programs { gateway, envoy, python }).await?;
    setup.keep_only(&arguments.only);
    let tables = [
        (Table::Calls, "tools/call, 130 bytes", CALL),
        (Table::Lists, "tools/list, 100 tools, half of them hidden", LIST),
    ];
    let wanted = |table: Table| arguments.table.is_none_or(|only| only == table);
    for (_, name, body) in tables.into_iter().filter(|(table, ..)| wanted(*table)) {
        let figures = measure(&arguments, &setup, body).await?;
        row([name, "CPU a request", "to the pass-through", "answers/s"]);
        let bare = figures.get(BARE).map_or(f64::NAN, |figures| median(&figures.microseconds));
        for (target, figures) in setup.targets.iter().zip(&figures) {
            let ratio = format!("{:.2}", median(&figures.microseconds) / bare);
            row([target.name, &spread(figures), &ratio, &format!("{:.0}", median(&figures.per_second))]);
        }
    }
    if wanted(Table::Streams) { idle_streams(&arguments, &setup).await } else { Ok(()) }
}

/// Rounds of every target, in changing order.
async fn measure(arguments: &Arguments, setup: &Setup, body: &str) -> io::Result<Vec<Figures>> {
    let mut figures: Vec<Figures> = setup.targets.iter().map(|_| Figures::default()).collect();
    let request = setup.request(&arguments.revision, body);
    for round in 0..arguments.rounds {
        let mut all: Vec<(&mut Figures, &Target)> = figures.iter_mut().zip(&setup.targets).collect();
        let places = all.len();
        all.rotate_left(round % places);
        for (figures, target) in all {
            let load = Load { target: target.address, request: request.clone(), connections: arguments.connections };
            let (microseconds, per_second) = once(&target.process, &load, arguments.seconds).await?;
            figures.microseconds.push(microseconds);
            figures.per_second.push(per_second);
        }
    }
    Ok(figures)
}

/// What an event stream costs that says nothing.
#[expect(clippy::cast_precision_loss, reason = "a few thousand")]
async fn idle_streams(arguments: &Arguments, setup: &Setup) -> io::Result<()> {
    let request = setup.request(&arguments.revision, WATCH);
    let mut sizes = Vec::new();
    let holders: Vec<&Target> = setup.targets.iter().filter(|target| target.streams).collect();
    for target in &holders {
        let before = target.process.memory()?;
        let streams = load::open_streams(target.address, &request, arguments.streams).await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        sizes.push((target.process.memory()? - before) / streams.len() as f64 / 1024.0);
    }
    row(["an idle event stream", "memory", "to the pass-through", ""]);
    let bare = sizes.get(BARE).copied().unwrap_or(f64::NAN);
    for (target, size) in holders.iter().zip(sizes) {
        row([target.name, &format!("{size:.1} KiB"), &format!("{:.2}", size / bare), ""]);
    }
    Ok(())
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
fn row([name, figure, ratio, rate]: [&str; 4]) {
    println!("{name:<44} {figure:<26} {ratio:<20} {rate}");
}
