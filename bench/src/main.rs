//! `weir-bench`: starts the real `weir serve` on a real disk and measures it from outside, over HTTP.
//!
//! The client runs on the same machine, so it is made to cost little: requests are written before the clock runs and
//! sent over plain sockets. Every answer that can be checked is checked.

mod beside;
mod client;
mod columns;
mod connection;
mod export;
mod figures;
mod growth;
mod limits;
mod lines;
mod machine;
mod measure;
mod place;
mod report;
mod server;
mod session;
mod workload;

use std::path::PathBuf;

use anyhow::ensure;
use clap::{Parser, Subcommand};

use machine::Machine;
use measure::{Bench, Plans};
use place::Place;
use report::Report;

/// Measures weir: ingest, queries, recompute, disk and starts.
#[derive(Debug, Parser)]
#[command(name = "weir-bench", version, args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Fewer readings and runs
    #[arg(long)]
    quick: bool,
    /// Readings of each ingest; 10,000,000, or 2,000,000 with --quick
    #[arg(long, value_name = "N")]
    points: Option<u64>,
    /// Each connection sends the readings of its own devices, in order; otherwise batches go to whichever connection is
    /// free and overtake each other
    #[arg(long)]
    gateways: bool,
    /// Write the raw figures there as JSON
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

/// What else there is to measure.
#[derive(Debug, Subcommand)]
enum Command {
    /// Measures weir beside other servers and batch engines, those that are installed
    Beside(beside::Options),
    /// Measures how each figure grows with readings, series and history
    Growth(growth::Options),
    /// Measures memory, starts, a publish under the eyes of readers, and what dirty cells cost
    Limits(limits::Options),
    /// Writes the workload to a file
    Workload(export::Options),
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    match &args.command {
        Some(Command::Beside(options)) => beside::run(options),
        Some(Command::Growth(options)) => growth::run(options),
        Some(Command::Limits(options)) => limits::run(options),
        Some(Command::Workload(options)) => export::run(options),
        None => alone(&args),
    }
}

fn alone(args: &Args) -> anyhow::Result<()> {
    let binary = args.place.weir()?;
    let dir = args.place.dir()?;
    let mut report = Report::new(&Machine::of(dir.path())?, std::env::args().collect::<Vec<_>>().join(" "));
    let bench = bench(args, binary, dir.path().to_owned());
    let plans = Plans::new(machine::now_ms()?, bench.points);
    let measured = bench.run(&plans, &mut report);
    println!("{}", report.markdown());
    if let Some(path) = &args.out {
        place::write(path, &(serde_json::to_string_pretty(&report.json())? + "\n"))?;
    }
    measured?;
    ensure!(report.wrong_answers().is_empty(), "the server gave wrong answers");
    Ok(())
}

fn bench(args: &Args, binary: PathBuf, dir: PathBuf) -> Bench {
    let (points, singles, runs) = if args.quick { (2_000_000, 500, 50) } else { (10_000_000, 2000, 200) };
    Bench { binary, dir, points: args.points.unwrap_or(points), singles, runs, gateways: args.gateways }
}
