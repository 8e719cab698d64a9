//! A short life of a running server in which all is written that a server ever writes: readings, segments of the log,
//! epochs, views, compacted files, jobs; and superseded files and segments are deleted.
//!
//! Whatever is refused is tried again, as a client would, and history is asked at every step.

use std::time::{Duration, Instant};

use reqwest::blocking::{Client, RequestBuilder};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::load::{Sent, check_unless_gone};

/// Settings under which a life is short: a log segment holds few batches, nothing superseded is kept.
pub const SETTINGS: [&str; 10] = [
    "--seal-age",
    "10m",
    "--hot-retention",
    "0s",
    "--segment-bytes",
    "64KiB",
    "--file-grace",
    "0s",
    "--generation-grace",
    "0s",
];
/// Readings of a batch: two of them fill a segment.
const BATCH: i64 = 1500;
/// Whoever is refused for longer has to do with a server that does not recover.
const PATIENCE: Duration = Duration::from_secs(40);

/// The server died before the end.
#[derive(Debug)]
pub struct Gone;

/// What a life met.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Met {
    /// Statuses of batches that were refused.
    pub refused: Vec<u16>,
    /// Statuses of other requests that were refused.
    pub failed: Vec<u16>,
}

/// Lives it.
///
/// # Errors
/// The server is gone.
///
/// # Panics
/// An answer is wrong, a refusal is none of 503 and 507, or the server does not recover.
pub fn live(url: &str, series: &[Sent]) -> Result<Met, Gone> {
    let mut life = Life { url, series, client: Client::new(), met: Met::default() };
    for kind in ["recompute", "fold", "fold", "fold", "compact", "recompute"] {
        // More than a segment holds: when history takes the epoch, the log has a closed segment of it.
        life.send()?;
        life.send()?;
        life.job(kind)?;
    }
    life.send()?;
    life.wait_for_deletion()?;
    Ok(life.met)
}

struct Life<'a> {
    url: &'a str,
    series: &'a [Sent],
    client: Client,
    met: Met,
}

impl Life<'_> {
    /// A batch for each series; then all must be there.
    fn send(&mut self) -> Result<(), Gone> {
        for (i, sent) in self.series.iter().enumerate() {
            let begun = Instant::now();
            loop {
                let status = sent.send(&self.client, self.url, i, BATCH).map_err(|_| Gone)?;
                if status.is_success() {
                    break;
                }
                self.met.refused.push(status.as_u16());
                be_patient("a batch", status, begun);
            }
        }
        check_unless_gone(self.url, self.series, self.met.refused.len()).map_err(|_| Gone)
    }

    /// Queues a job, which flushes first, and waits for its end.
    fn job(&mut self, kind: &str) -> Result<(), Gone> {
        let (client, url) = (self.client.clone(), self.url);
        let ask = || client.request(Method::POST, format!("{url}/v1/jobs")).json(&json!({ "kind": kind }));
        let id = self.answer(ask)?["id"].as_i64().expect("a job has a number");
        let begun = Instant::now();
        loop {
            let job = self.answer(|| client.get(format!("{url}/v1/jobs/{id}")))?;
            match job["state"].as_str() {
                Some("succeeded") => break,
                Some("queued" | "running") => be_patient(kind, StatusCode::OK, begun),
                _ => panic!("{kind} did not succeed: {job}"),
            }
        }
        check_unless_gone(self.url, self.series, self.met.refused.len()).map_err(|_| Gone)
    }

    fn wait_for_deletion(&mut self) -> Result<(), Gone> {
        let begun = Instant::now();
        loop {
            let text = self.client.get(format!("{}/metrics", self.url)).send().and_then(|answer| answer.text());
            let text = text.map_err(|_| Gone)?;
            let deleted = text.lines().find_map(|line| line.strip_prefix("weir_batch_objects_deleted_total "));
            if deleted.is_some_and(|count| count != "0") {
                return Ok(());
            }
            be_patient("nothing is deleted", StatusCode::OK, begun);
        }
    }

    fn answer(&mut self, request: impl Fn() -> RequestBuilder) -> Result<Value, Gone> {
        let begun = Instant::now();
        loop {
            let answer = request().send().map_err(|_| Gone)?;
            let status = answer.status();
            if status.is_success() {
                return answer.json().map_err(|_| Gone);
            }
            self.met.failed.push(status.as_u16());
            be_patient("a request", status, begun);
        }
    }
}

/// Waits a little before the next attempt.
fn be_patient(what: &str, status: StatusCode, begun: Instant) {
    assert!(matches!(status.as_u16(), 200 | 503 | 507), "{what}: {status}");
    assert!(begun.elapsed() < PATIENCE, "{what}: {status} for {PATIENCE:?}");
    std::thread::sleep(Duration::from_millis(20));
}
