//! `weir import`: readings from files.
//!
//! Owns reading files in bounded memory, telling formats apart, and which column means what. Does **not** own the
//! formats themselves (`speed_layer::decode`) nor what becomes of readings.
//!
//! ```text
//! file ─► input (gzip, zstd) ─► text (chunks of lines) ─► decode ─┐
//!                           └─► mapped CSV ─► columns ────────────┼─► chunk ─► sink: engine, or HTTP
//!         Parquet (row groups) ──────────────► columns ───────────┘
//! ```

mod cells;
mod columns;
mod format;
mod input;
mod mapped;
mod parquet;
mod report;
mod rows;
mod sink;
mod text;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use schemas::time::Precision;
use tokio::sync::mpsc;

use crate::flags::Place;
use crate::logging;

pub(crate) use parquet::read as read_parquet;
pub(crate) use rows::Chunk;

use columns::Mapping;
use format::Format;
use report::{Report, progress};
use sink::Sink;

/// Chunks that wait for the sink; more would only take memory.
const CHUNKS: usize = 4;

/// What `weir import` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files to read: csv, parquet, line protocol, ndjson, also as .gz or .zst; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The format, where neither name nor content tells it
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// The metric's name, where no column holds it
    #[arg(long, value_name = "NAME")]
    metric: Option<String>,
    /// The column of the value
    #[arg(long, value_name = "COLUMN")]
    value: Option<String>,
    /// The column of the event time
    #[arg(long, value_name = "COLUMN")]
    time: Option<String>,
    /// The column of the device
    #[arg(long, value_name = "COLUMN")]
    device: Option<String>,
    /// A column that is a tag; given once or more, no other column is
    #[arg(long = "tag", value_name = "COLUMN")]
    tags: Vec<String>,
    /// Unit of numeric timestamps: s, ms, us or ns [default: ms; ns for line protocol]
    #[arg(long, value_name = "UNIT")]
    precision: Option<Precision>,
    #[command(flatten)]
    place: Place,
}

/// How files are read.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    format: Option<Format>,
    mapping: Mapping,
    precision: Option<Precision>,
    /// The event time of rows that have none.
    now: i64,
}

impl Options {
    /// Nothing said about columns.
    pub(crate) fn plain(now: i64) -> Self {
        Self { format: None, mapping: Mapping::default(), precision: None, now }
    }

    fn decode(&self, default: Precision) -> speed_layer::decode::Options {
        speed_layer::decode::Options { precision: self.precision.unwrap_or(default), now: self.now }
    }
}

/// Imports all files.
pub(crate) async fn run(args: Args, level: Option<&str>) -> anyhow::Result<ExitCode> {
    let merged = args.place.merge(level)?;
    logging::start_quiet(&merged)?;
    let sink = Sink::open(&args.place, merged.settings.engine).await?;
    let Args { files, format, metric, value, time, device, tags, precision, .. } = args;
    let mapping = Mapping { metric, value, time, arrival: None, device, tags };
    let now = schemas::Clock::now(&weir::clock::SystemClock).0;
    let options = Options { format, mapping, precision, now };
    let imported = import(files, &options, &sink).await;
    // What was kept before a failure stays kept.
    let closed = sink.close().await;
    let report = imported?;
    closed?;
    report.print()
}

async fn import(files: Vec<PathBuf>, options: &Options, sink: &Sink) -> anyhow::Result<Report> {
    let mut report = Report::new(files.len(), Instant::now());
    let bar = progress(&files);
    for file in files {
        let name = file.display().to_string();
        let (chunks, mut read) = mpsc::channel::<Chunk>(CHUNKS);
        let (options, reading) = (options.clone(), bar.clone());
        let reader = tokio::task::spawn_blocking(move || {
            let mut emit = |chunk| chunks.blocking_send(chunk).map_err(|_| anyhow::anyhow!("the import ended"));
            read_file(&file, &options, &reading, &mut emit)
        });
        while let Some(mut chunk) = read.recv().await {
            let rows = std::mem::take(&mut chunk.rows);
            report.add(&name, &chunk, &bar);
            let kept = sink.send(rows).await.with_context(|| format!("{name}: stopped after {}", report.so_far()))?;
            report.kept(&name, kept, &bar);
        }
        reader.await.with_context(|| format!("{name}: reading panicked"))?.with_context(|| name.clone())?;
    }
    bar.finish_and_clear();
    Ok(report)
}

/// Reads a file whose column `arrival_time` tells when its readings arrived.
pub(crate) fn read_with_arrivals(
    file: &std::path::Path,
    precision: Option<Precision>,
    emit: &mut Emit<'_>,
) -> anyhow::Result<()> {
    let arrival = Some("arrival_time".to_owned());
    let mapping = Mapping { arrival, tags: Vec::new(), ..Mapping::default() };
    let options = Options { mapping, precision, ..Options::plain(0) };
    read_file(file, &options, &indicatif::ProgressBar::hidden(), emit)
}

/// Takes chunks; an error ends the reading.
type Emit<'a> = dyn FnMut(Chunk) -> anyhow::Result<()> + 'a;

fn read_file(
    path: &std::path::Path,
    options: &Options,
    bar: &indicatif::ProgressBar,
    emit: &mut Emit<'_>,
) -> anyhow::Result<()> {
    let mut input = input::open(path, bar)?;
    match options.format.map_or_else(|| format::detect(path, &mut input.reader), Ok)? {
        Format::Parquet => {
            anyhow::ensure!(input.plain_file, "a Parquet file is read in place: decompress it first");
            let file = std::fs::File::open(path).context("can't open")?;
            let length = file.metadata().map_or(0, |metadata| metadata.len());
            read_parquet(file, options, &mut |chunk, part| {
                bar.set_position(input.before + (length as f64 * part) as u64);
                emit(chunk)
            })
        }
        format => text::read(format, input.reader, options, emit),
    }
}
