//! `weir check`: whether a data directory holds what it should.
//!
//! Two looks, so that one failure does not hide the other: history and catalog by themselves, then the whole engine,
//! which replays the log.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use batch_layer::{BatchLayer, Finding};
use indicatif::{ProgressBar, ProgressStyle};
use prometheus_client::registry::Registry;
use schemas::gap::NoGaps;
use weir::clock::SystemClock;
use weir::engine::Lock;
use weir::{Engine, EngineComponents, EngineSettings, Settings};

use crate::cli::one_line;
use crate::flags::SettingFlags;
use crate::logging;

/// The exit status where a server has the data directory.
const IN_USE: u8 = 2;

/// What `weir check` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    settings: SettingFlags,
}

/// What was seen of a data directory.
#[derive(Debug, Default)]
struct Seen {
    objects: usize,
    partitions: usize,
    generation: u64,
    position: u64,
    findings: Vec<Finding>,
    left_behind: Vec<String>,
}

/// Checks and tells.
pub(crate) async fn run(args: Args, level: Option<&str>) -> anyhow::Result<ExitCode> {
    let merged = args.settings.merge(level)?;
    logging::start_quiet(&merged)?;
    run_on(merged.settings).await
}

/// The same of a directory of which all settings are known.
pub(crate) async fn run_on(settings: Settings) -> anyhow::Result<ExitCode> {
    let settings = settings.engine;
    let dir = settings.data_dir.clone();
    anyhow::ensure!(dir.is_dir(), "there is no data directory {}", dir.display());
    if Lock::is_held(&dir) {
        eprintln!("error: a weir process is running on {}: stop it first, then check", dir.display());
        return Ok(ExitCode::from(IN_USE));
    }
    let seen = look(settings).await?;
    tell(&seen, &dir)?;
    Ok(if seen.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn look(settings: EngineSettings) -> anyhow::Result<Seen> {
    let mut seen = Seen::default();
    let lock = Lock::take(&settings.data_dir)?;
    look_at_history(&settings, &mut seen).await;
    look_at_log(settings, lock, &mut seen).await;
    Ok(seen)
}

async fn look_at_history(settings: &EngineSettings, seen: &mut Seen) {
    let components = batch_layer::Components {
        clock: Arc::new(SystemClock),
        metrics: batch_layer::Metrics::new(&mut Registry::default()),
        gaps: Arc::new(NoGaps),
    };
    let opened = match BatchLayer::open(settings.batch.clone(), components).await {
        Ok(opened) => opened,
        Err(error) => return seen.findings.push(finding(&settings.batch.history, &error.into())),
    };
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("checking {wide_bar} {pos}/{len} objects") {
        bar.set_style(style);
    }
    let told = bar.clone();
    let checked = opened.layer.check(|done, all| {
        told.set_length(all as u64);
        told.set_position(done as u64);
        seen.objects = all;
    });
    match checked.await {
        Ok(checked) => {
            seen.findings.extend(checked.findings);
            seen.left_behind = checked.left_behind;
        }
        Err(error) => seen.findings.push(finding("catalog", &error.into())),
    }
    bar.finish_and_clear();
    seen.partitions = opened.version.partitions.len();
    seen.generation = opened.version.generation;
    opened.layer.close().await;
}

async fn look_at_log(settings: EngineSettings, lock: Lock, seen: &mut Seen) {
    let log = settings.data_dir.join("log").display().to_string();
    match Engine::open_locked(lock, settings, EngineComponents::default()).await {
        Ok(engine) => {
            seen.position = engine.serving.speed.status().position.0;
            engine.abandon().await;
        }
        // What history alone refuses was found before.
        Err(error) if error.downcast_ref::<batch_layer::Error>().is_some() && !seen.findings.is_empty() => {}
        Err(error) => seen.findings.push(finding(&log, &error)),
    }
}

/// An error on opening, as a finding at the place that it names.
fn finding(place: &str, error: &anyhow::Error) -> Finding {
    if let Some(error) = error.downcast_ref::<batch_layer::Error>() {
        return BatchLayer::finding_of(error, place);
    }
    let (place, advice) = match error.downcast_ref::<speed_layer::Error>() {
        Some(speed_layer::Error::Corrupt { file, .. }) => (
            file.display().to_string(),
            "restore the data directory from a backup (`weir restore`); keep this one: readings after the backup may be \
             read out of it",
        ),
        _ => (place.to_owned(), "see whether the directory is complete and readable; else restore it from a backup"),
    };
    Finding { place, reason: one_line(error), advice }
}

fn tell(seen: &Seen, dir: &Path) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for finding in &seen.findings {
        writeln!(out, "{}: {}\n  advice: {}", finding.place, finding.reason, finding.advice)?;
    }
    for path in &seen.left_behind {
        writeln!(out, "note: {path} is no part of history: a crash left it behind, and it may be deleted")?;
    }
    let Seen { objects, partitions, generation, position, .. } = seen;
    match seen.findings.len() {
        0 => writeln!(
            out,
            "ok: {objects} objects, {partitions} partitions, generation {generation}, log position {position}"
        )?,
        1 => writeln!(out, "1 finding in {}", dir.display())?,
        n => writeln!(out, "{n} findings in {}", dir.display())?,
    }
    Ok(())
}
