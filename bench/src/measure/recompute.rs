//! History made anew: how fast, and how many bytes a reading takes then.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use chrono::DateTime;
use serde::Serialize;
use serde_json::{Value, json};

use super::ingest::settle;
use crate::client::{Client, post};
use crate::connection::Target;
use crate::machine::{Meter, Spent, disk_bytes};
use crate::server::Server;

const POLL: Duration = Duration::from_millis(20);
/// A job that takes longer is an error.
const JOB_TIME: Duration = Duration::from_secs(1800);

/// A recompute of all of history.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Recompute {
    /// Until the job was accepted: what was in memory is flushed before.
    pub(crate) flush_s: f64,
    /// From its start to its end, as the job tells.
    pub(crate) job_s: f64,
    /// Readings it read.
    pub(crate) rows: u64,
    /// Cells it wrote.
    pub(crate) cells: u64,
    /// While it ran.
    pub(crate) spent: Spent,
}

impl Recompute {
    /// Readings read per second.
    pub(crate) fn rows_per_s(&self) -> f64 {
        self.rows as f64 / self.job_s
    }
}

/// What lies on disk.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Disk {
    /// Readings that were acknowledged.
    pub(crate) points: u64,
    /// Bytes of the raw readings in history.
    pub(crate) readings_bytes: u64,
    /// Bytes of all that is kept for them: readings, views, series, catalog, what waits to be deleted.
    pub(crate) kept_bytes: u64,
    /// Bytes of the log: its files have a fixed size, and are reused or deleted behind the flush.
    pub(crate) log_bytes: u64,
}

/// Recomputes everything and waits for it.
///
/// # Errors
/// The job fails or takes too long.
pub(crate) fn recompute(target: Target) -> anyhow::Result<Recompute> {
    let mut client = Client::connect(target.address)?;
    let body = json!({"kind": "recompute", "reason": "weir-bench"}).to_string();
    let begun = Instant::now();
    let response = client.expect(&post("/v1/jobs", "application/json", body.as_bytes()))?;
    let flush_s = begun.elapsed().as_secs_f64();
    let queued: Value = serde_json::from_slice(&response.body).context("the job's number is not JSON")?;
    let path = format!("/v1/jobs/{}", queued["id"]);
    let meter = Meter::start(target.pid)?;
    while begun.elapsed() < JOB_TIME {
        let job = client.json(&path)?;
        match job["state"].as_str() {
            Some("succeeded") => return finished(&job, flush_s, meter.spent()?),
            Some("queued" | "running") => sleep(POLL),
            _ => bail!("the recompute did not succeed: {job}"),
        }
    }
    bail!("the recompute takes longer than {JOB_TIME:?}")
}

fn finished(job: &Value, flush_s: f64, spent: Spent) -> anyhow::Result<Recompute> {
    let number = |name: &str| job[name].as_u64().with_context(|| format!("the job tells no {name}: {job}"));
    let job_s = time(job, "finished_at")? - time(job, "started_at")?;
    ensure!(job_s > 0.0, "the job ended before it started: {job}");
    Ok(Recompute { flush_s, job_s, rows: number("rows_read")?, cells: number("cells_written")?, spent })
}

fn time(job: &Value, name: &str) -> anyhow::Result<f64> {
    let text = job[name].as_str().with_context(|| format!("the job tells no {name}: {job}"))?;
    let time = DateTime::parse_from_rfc3339(text).with_context(|| format!("{name} of the job is {text:?}"))?;
    Ok(time.timestamp_micros() as f64 / 1e6)
}

/// What lies in the data directory once the server is idle.
///
/// # Errors
/// It can't be read.
pub(crate) fn disk(server: &Server, dir: &Path, points: u64) -> anyhow::Result<Disk> {
    settle(server.pid())?;
    let readings_bytes = disk_bytes(&dir.join("history").join("readings"))?;
    let log_bytes = disk_bytes(&dir.join("log"))?;
    Ok(Disk { points, readings_bytes, kept_bytes: disk_bytes(dir)?.saturating_sub(log_bytes), log_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_tells_its_rate() {
        let job = json!({"started_at": "2026-01-01T00:00:01.500Z", "finished_at": "2026-01-01T00:00:03Z",
            "rows_read": 3000, "cells_written": 10});
        let done = finished(&job, 0.5, Spent::default()).expect("whole");
        assert_eq!((done.job_s, done.rows_per_s(), done.cells), (1.5, 2000.0, 10));
        assert!(finished(&json!({}), 0.0, Spent::default()).is_err());
    }
}
