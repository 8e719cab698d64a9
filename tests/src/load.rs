//! A load of which every reading can be told apart, and the check that the server holds all that it acknowledged.
//!
//! Each connection writes one series. Reading number n has value n and its own event time, so that count, sum and maximum
//! tell whether something is missing, doubled or from nowhere.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use reqwest::StatusCode;
use reqwest::blocking::Client;
use serde_json::Value;

use crate::server::Server;

/// Readings of a batch.
pub const BATCH: i64 = 50;
const START_MS: i64 = 1_700_000_000_000;

/// What one connection knows of its series: `sent` readings numbered from 0, the first `acked` of them acknowledged.
#[derive(Debug, Default)]
pub struct Sent {
    acked: AtomicI64,
    sent: AtomicI64,
}

impl Sent {
    /// How many readings were acknowledged.
    pub fn acked(&self) -> i64 {
        self.acked.load(Ordering::SeqCst)
    }

    /// Acknowledgements after these count for nothing: what was promised at this moment is what must be kept.
    pub fn promise(&self, acked: i64) {
        self.acked.store(acked, Ordering::SeqCst);
    }

    /// The same where no more than so many acknowledgements count.
    pub fn promised(&self, acked: i64) -> Self {
        Self { acked: AtomicI64::new(acked), sent: AtomicI64::new(self.sent.load(Ordering::SeqCst)) }
    }

    /// Sends the next `readings` after those that were acknowledged: acknowledged, or the status that refused them. What
    /// has no answer is sent again by the next call: identities make that harmless.
    ///
    /// # Errors
    /// The server is gone.
    ///
    /// # Panics
    /// A refusal has not the form that clients are promised.
    pub fn send(&self, client: &Client, url: &str, series: usize, readings: i64) -> reqwest::Result<StatusCode> {
        let acked = self.acked();
        let rows: String =
            (acked..acked + readings).map(|n| format!("load,d{series},{},{n}\n", START_MS + n * 250)).collect();
        self.sent.fetch_max(acked + readings, Ordering::SeqCst);
        let request = client.post(format!("{url}/v1/readings")).header("content-type", "text/csv");
        let answer = request.body(format!("metric,device_id,timestamp,value\n{rows}")).send()?;
        let status = answer.status();
        if status.is_success() {
            self.acked.fetch_add(readings, Ordering::SeqCst);
        } else if status.is_server_error() {
            let header = |name: &str| answer.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
            assert_eq!(header("content-type").as_deref(), Some("application/problem+json"), "{status}");
            // Damage is not mended by waiting; a disk that is gone looks like it.
            let retry = header("retry-after").is_some();
            let detail = answer.text()?;
            assert!(retry || detail.contains("weir check"), "{status} without Retry-After: {detail}");
        }
        Ok(status)
    }

    /// Sends batches until `stop` is set or the server is gone or refuses one; then why.
    pub fn load(&self, url: &str, series: usize, stop: &AtomicBool) -> Option<StatusCode> {
        let client = Client::new();
        while !stop.load(Ordering::SeqCst) {
            match self.send(&client, url, series, BATCH) {
                Ok(status) if status.is_success() => {}
                Ok(status) => return Some(status),
                Err(_) => return None,
            }
        }
        None
    }
}

/// Asks for a recompute of everything.
pub fn request_recompute(url: &str) {
    let client = Client::new();
    // The server may be gone before it answers.
    drop(client.post(format!("{url}/v1/jobs")).json(&serde_json::json!({"kind": "recompute"})).send());
}

/// What [`check`] asks.
pub fn question(url: &str) -> String {
    format!("{url}/v1/query?match=load&from=0&to=now-1d&step=1000d&agg=count,sum,max")
}

/// Of each series: all that was acknowledged, nothing that was never sent, nothing twice.
///
/// # Panics
/// Something is missing or doubled, or there is no answer.
pub fn check(server: &Server, series: &[Sent], cycle: usize) {
    check_unless_gone(&server.url, series, cycle).expect("answered");
}

/// The same where the server may be gone.
///
/// # Errors
/// It is.
///
/// # Panics
/// Something is missing or doubled, or the server answers with an error.
pub fn check_unless_gone(url: &str, series: &[Sent], cycle: usize) -> reqwest::Result<()> {
    let promised = acked(series);
    check_found(&found(url)?, &promised, series, cycle);
    Ok(())
}

/// How many readings of each series were acknowledged. Asked before a question, it says what the answer must hold: what is
/// acknowledged while the server answers need not be in it.
pub fn acked(series: &[Sent]) -> Vec<i64> {
    series.iter().map(Sent::acked).collect()
}

/// Count, sum and maximum of a series.
pub type Found = (f64, f64, f64);

/// An answer holds all that was `promised`, nothing that was never sent, nothing twice.
///
/// # Panics
/// Something is missing or doubled.
pub fn check_found(found: &BTreeMap<String, Found>, promised: &[i64], series: &[Sent], cycle: usize) {
    for (i, sent) in series.iter().enumerate() {
        let (count, sum, max) = found.get(&format!("d{i}")).copied().unwrap_or((0.0, 0.0, -1.0));
        assert!(count >= promised[i] as f64, "cycle {cycle}: series {i} lost readings: {count} of {sent:?}");
        let most = sent.sent.load(Ordering::SeqCst);
        assert!(count <= most as f64, "cycle {cycle}: series {i} has too many: {count} of {sent:?}");
        assert_eq!(max, count - 1.0, "cycle {cycle}: series {i} has a hole: {sent:?}");
        assert_eq!(sum, count * (count - 1.0) / 2.0, "cycle {cycle}: series {i} counts something twice");
    }
}

/// What the server holds of each series, by device.
///
/// # Errors
/// The server is gone.
///
/// # Panics
/// It answers with an error.
pub fn found(url: &str) -> reqwest::Result<BTreeMap<String, Found>> {
    let answer = reqwest::blocking::get(question(url))?;
    let (status, body) = (answer.status(), answer.text()?);
    assert_eq!(status, StatusCode::OK, "{body}");
    Ok(found_in(&body))
}

/// What an answer to [`question`] holds of each series, by device.
///
/// # Panics
/// It is none.
pub fn found_in(body: &str) -> BTreeMap<String, Found> {
    let answer: Value = serde_json::from_str(body).expect("JSON");
    let entry = |entry: &Value| {
        let points = entry["points"].as_array().expect("points");
        assert_eq!(points.len(), 1, "one bucket holds all");
        let number = |name: &str| points[0][name].as_f64().expect("a number");
        let device = entry["tags"]["device_id"].as_str().expect("a device").to_owned();
        (device, (number("count"), number("sum"), number("max")))
    };
    answer["series"].as_array().unwrap_or_else(|| panic!("{body}")).iter().map(entry).collect()
}
