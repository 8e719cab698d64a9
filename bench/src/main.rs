//! `weir-bench`: starts the real `weir serve` on a real disk and measures it from outside, over HTTP.
//!
//! The client runs on the same machine, so it is made to cost little: requests are written before the clock runs and
//! sent over plain sockets. Every answer that can be checked is checked.

mod beside;
mod client;
mod connection;
mod lines;
mod machine;
mod measure;
mod report;
mod server;
mod session;
mod workload;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::{Parser, Subcommand};
use tempfile::TempDir;

use machine::Machine;
use measure::{Bench, Plans};
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
    /// Make the data directories here, on the disk to be measured; default: this build's target directory
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The server's program; default: weir of this build's release profile
    #[arg(long, value_name = "FILE")]
    weir: Option<PathBuf>,
}

/// What else there is to measure.
#[derive(Debug, Subcommand)]
enum Command {
    /// Measures weir beside other servers and batch engines, those that are installed
    Beside(beside::Options),
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    match &args.command {
        Some(Command::Beside(options)) => beside::run(options),
        None => alone(&args),
    }
}

fn alone(args: &Args) -> anyhow::Result<()> {
    let binary = weir_binary(args.weir.as_deref())?;
    let dir = bench_dir(args.dir.as_deref())?;
    let mut report = Report::new(&Machine::of(dir.path())?, std::env::args().collect::<Vec<_>>().join(" "));
    let bench = bench(args, binary, dir.path().to_owned());
    let plans = Plans::new(machine::now_ms()?, bench.points);
    let measured = bench.run(&plans, &mut report);
    println!("{}", report.markdown());
    if let Some(path) = &args.out {
        let text = serde_json::to_string_pretty(&report.json())? + "\n";
        std::fs::write(path, text).with_context(|| format!("can't write {}", path.display()))?;
    }
    measured?;
    ensure!(report.wrong_answers().is_empty(), "the server gave wrong answers");
    Ok(())
}

fn bench(args: &Args, binary: PathBuf, dir: PathBuf) -> Bench {
    let (points, singles, runs) = if args.quick { (2_000_000, 500, 50) } else { (10_000_000, 2000, 200) };
    Bench { binary, dir, points: args.points.unwrap_or(points), singles, runs, gateways: args.gateways }
}

/// The server's program: the one given, or that of this build.
fn weir_binary(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    match given {
        Some(binary) => binary.canonicalize().with_context(|| format!("can't find {}", binary.display())),
        None => server::release_binary(),
    }
}

/// A new directory in the one given, or where this program was built; removed when it is dropped.
fn bench_dir(parent: Option<&Path>) -> anyhow::Result<TempDir> {
    let parent = parent.map_or_else(target_dir, |dir| Ok(dir.to_owned()))?;
    let parent = parent.canonicalize().with_context(|| format!("can't find {}", parent.display()))?;
    let made = tempfile::Builder::new().prefix("weir-bench-").tempdir_in(&parent);
    made.with_context(|| format!("can't make a directory in {}", parent.display()))
}

/// The directory that this program was built in.
fn target_dir() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("can't find this program")?;
    Ok(own.ancestors().nth(2).context("this program lies in no directory")?.to_owned())
}
