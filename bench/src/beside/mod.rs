//! Weir beside its peers: the same readings and questions for all, in one run on one machine.
//!
//! Owns the order and the command. Does **not** own what is measured of a server (`round`, `own`) or of a batch engine
//! (`batch`). The order turns round every other round, so that what changes with time favours nobody. A peer that is
//! not there, or fails, is told; the others are measured all the same.
//!
//! ```text
//! a round: each server: wide ingest ─► fresh: a day, narrow ingest ─► questions ─► disk
//!          weir alone:  ─► questions, also while readings arrive ─► fresh: single readings, Arrow, recompute, SQL
//!          each batch engine: one process per question over one Parquet file of the same readings
//! ```

mod batch;
mod columns;
mod lines;
mod own;
mod pace;
mod peers;
mod process;
mod questions;
mod report;
mod round;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;

use batch::{ENGINES, Python};
use peers::{Peer, WEIR, Weir, others};
use questions::Patience;
use report::Report;

use crate::machine::{Machine, now_ms};
use crate::measure::{Plans, progress};
use crate::place::{self, Place, target_dir};

/// Runs of a question, at most; and how long one is asked.
const PATIENCE: Patience = Patience { runs: 200, time: Duration::from_secs(30) };

/// Measures weir beside its peers.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Times that everything is measured
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Readings of each ingest
    #[arg(long, value_name = "N", default_value_t = 20_000_000)]
    points: u64,
    /// Who stands beside weir
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "NAMES",
        default_value = "victoria-metrics,influxdb,postgresql,timescaledb,duckdb,polars,datafusion,chdb"
    )]
    peers: Vec<String>,
    /// Write the tables there, too
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
    /// A Python with the batch engines; default: one is made in the target directory
    #[arg(long, value_name = "FILE")]
    python: Option<PathBuf>,
}

/// How batch engines run.
const ENGINE_SETTINGS: &str = "its own defaults (polars: its streaming engine), all processors; nothing is synced";

/// Who takes part.
struct Field {
    weir: Weir,
    servers: Vec<Box<dyn Peer>>,
    engines: Vec<&'static str>,
    python: Option<Python>,
}

/// Measures everything, prints the tables and writes them down.
///
/// # Errors
/// Weir can't be found, or something failed; what was measured is shown all the same.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let weir = Weir { binary: options.place.weir()? };
    let dir = options.place.dir()?;
    // Servers that run as other users must get through.
    std::fs::set_permissions(dir.path(), Permissions::from_mode(0o711))?;
    let mut report = Report::new(&Machine::of(dir.path())?, std::env::args().collect::<Vec<_>>().join(" "), options);
    let field = field(options, weir, &mut report)?;
    let plans = Plans::new(now_ms()?, options.points);
    let readings = dir.path().join("readings.parquet");
    if !field.engines.is_empty() {
        progress("writing the readings as Parquet");
        columns::write_parquet(&readings, &[plans.day, plans.main])?;
    }
    for number in 1..=options.rounds {
        let dir = dir.path().join(format!("round-{number}"));
        std::fs::create_dir(&dir)?;
        round(&field, number, &plans, &readings, &dir, &mut report);
        std::fs::remove_dir_all(&dir).with_context(|| format!("can't remove {}", dir.display()))?;
    }
    println!("{}", report.markdown());
    if let Some(path) = &options.out {
        place::write(path, &report.markdown())?;
    }
    ensure!(!report.has_failures(), "something failed");
    Ok(())
}

/// Who of those that were asked for is there.
fn field(options: &Options, weir: Weir, report: &mut Report) -> anyhow::Result<Field> {
    let servers = others();
    let known = |name: &str| servers.iter().any(|peer| peer.name() == name) || ENGINES.contains(&name);
    for name in &options.peers {
        ensure!(known(name), "there is no peer {name:?}");
    }
    let wanted = |name: &str| options.peers.iter().any(|peer| peer == name);
    report.present(WEIR, weir.version(), weir.settings());
    let here = |peer: &dyn Peer, report: &mut Report| report.present(peer.name(), peer.version(), peer.settings());
    let servers = servers.into_iter().filter(|peer| wanted(peer.name()) && here(&**peer, report)).collect();
    let mut engines: Vec<&'static str> = ENGINES.into_iter().filter(|engine| wanted(engine)).collect();
    let mut python = None;
    if !engines.is_empty() {
        let made = Python::new(options.python.as_deref(), &target_dir()?);
        let version = |engine: &str| match &made {
            Ok(python) => python.version(engine),
            Err(error) => Err(anyhow::anyhow!("{error:#}")),
        };
        engines.retain(|engine| report.present(engine, version(engine), ENGINE_SETTINGS));
        python = made.ok();
    }
    Ok(Field { weir, servers, engines, python })
}

/// Measures everybody once. What fails is told, and leaves its cells empty.
fn round(field: &Field, number: usize, plans: &Plans, readings: &Path, dir: &Path, report: &mut Report) {
    let mut servers: Vec<Option<&dyn Peer>> = vec![None];
    servers.extend(field.servers.iter().map(|peer| Some(&**peer)));
    let mut engines = field.engines.clone();
    if number.is_multiple_of(2) {
        servers.reverse();
        engines.reverse();
    }
    for server in servers {
        let name = server.map_or(WEIR, Peer::name);
        progress(&format!("round {number}: {name}"));
        match server {
            Some(peer) => other(peer, number, plans, dir, report),
            None => weir(&field.weir, number, plans, dir, report),
        }
    }
    if let Some(python) = &field.python {
        progress(&format!("round {number}: batch engines"));
        batch::round(python, &engines, readings, dir, number, report);
    }
}

fn other(peer: &dyn Peer, number: usize, plans: &Plans, dir: &Path, report: &mut Report) {
    let wide = round::wide(peer, plans, dir, &mut report.servers);
    report.check(number, peer.name(), "wide", wide);
    let narrow = round::narrow(peer, plans, PATIENCE, dir, &mut report.servers).and_then(|running| running.stop());
    report.check(number, peer.name(), "narrow", narrow);
}

fn weir(weir: &Weir, number: usize, plans: &Plans, dir: &Path, report: &mut Report) {
    let wide = round::wide(weir, plans, dir, &mut report.servers);
    report.check(number, WEIR, "wide", wide);
    let narrow = round::narrow(weir, plans, PATIENCE, dir, &mut report.servers).and_then(|running| {
        own::questions(weir, running.target(), plans, PATIENCE, &mut report.own)?;
        running.stop()
    });
    report.check(number, WEIR, "narrow", narrow);
    let columns = own::columns(weir, plans, dir, report);
    report.check(number, WEIR, "columns", columns);
}
