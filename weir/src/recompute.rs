//! `weir recompute`: views made anew from raw history, and how far that is.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;

use crate::client::{Door, instant};
use crate::flags::Place;
use crate::logging;
use crate::output::grouped;

/// How often a job is asked how far it is.
const PAUSE: Duration = Duration::from_millis(150);

/// What `weir recompute` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// First event time: RFC 3339, a date, epoch milliseconds, or now-1h [default: the oldest]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<String>,
    /// First event time after [default: after the newest]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    to: Option<String>,
    /// Only partitions that can hold these series
    #[arg(long = "match", short, value_name = "SELECTOR")]
    selector: Option<String>,
    /// Wait until it is done, and show how far it is; without a running server it always waits
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    place: Place,
}

/// A job, as far as it is shown.
#[derive(Debug, Deserialize)]
struct Job {
    state: String,
    progress: f64,
    rows_read: u64,
    cells_written: u64,
    error: Option<String>,
}

impl Job {
    fn finished(&self) -> bool {
        matches!(self.state.as_str(), "succeeded" | "failed" | "cancelled")
    }
}

/// Queues the job, and waits for it.
pub(crate) async fn run(args: Args, level: Option<&str>) -> anyhow::Result<ExitCode> {
    let merged = args.place.merge(level)?;
    logging::start_quiet(&merged)?;
    let door = Door::open(&args.place, merged.settings, true).await?;
    let outcome = recompute(&door, &args).await;
    door.close().await;
    outcome
}

async fn recompute(door: &Door, args: &Args) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let (from, to) = (args.from.as_deref().map(instant), args.to.as_deref().map(instant));
    let request = serde_json::json!({
        "kind": "recompute", "from": from, "to": to, "match": args.selector, "reason": "weir recompute",
    });
    let answer: serde_json::Value = door.post("/v1/jobs", &request).await?.json().await.context("no JSON came back")?;
    let id = answer["id"].as_i64().context("the answer names no job")?;
    if !args.wait && !door.is_own() {
        writeln!(std::io::stdout(), "job {id} is queued")?;
        return Ok(ExitCode::SUCCESS);
    }
    let job = follow(door, id).await?;
    if job.state != "succeeded" {
        eprintln!("error: job {id} {}: {}", job.state, job.error.as_deref().unwrap_or("no reason was given"));
        return Ok(ExitCode::FAILURE);
    }
    let (rows, cells) = (grouped(job.rows_read), grouped(job.cells_written));
    let seconds = started.elapsed().as_secs_f64();
    writeln!(std::io::stdout(), "job {id} succeeded: {rows} readings read, {cells} cells written in {seconds:.1} s")?;
    Ok(ExitCode::SUCCESS)
}

async fn follow(door: &Door, id: i64) -> anyhow::Result<Job> {
    const STEPS: u64 = 1000;
    let bar = ProgressBar::new(STEPS);
    if let Ok(style) = ProgressStyle::with_template("recompute {wide_bar} {percent}% {msg}") {
        bar.set_style(style);
    }
    loop {
        let job: Job = door.get(&format!("/v1/jobs/{id}"), &[]).await?.json().await.context("no JSON came back")?;
        bar.set_position((job.progress * STEPS as f64) as u64);
        bar.set_message(format!("{} readings", grouped(job.rows_read)));
        if job.finished() {
            bar.finish_and_clear();
            return Ok(job);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
