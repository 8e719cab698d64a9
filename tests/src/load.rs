//! A load of which every reading can be told apart, and the check that the server holds all that it acknowledged.
//!
//! Each connection writes one series. Reading number n has value n and its own event time, so that count, sum and maximum
//! tell whether something is missing, doubled or from nowhere.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use serde_json::Value;

use crate::server::Server;

const BATCH: i64 = 50;
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

    /// The same series, of which so many readings were acknowledged at some moment and all that were sent by now may be there.
    pub fn as_promised(&self, acked: i64) -> Self {
        Self { acked: AtomicI64::new(acked), sent: AtomicI64::new(self.sent.load(Ordering::SeqCst)) }
    }

    /// Sends batches until `stop` is set or the server is gone or refuses one; then why. A batch without an answer is sent
    /// again by the next load: identities make that harmless.
    pub fn load(&self, url: &str, series: usize, stop: &AtomicBool) -> Option<reqwest::StatusCode> {
        let client = reqwest::blocking::Client::new();
        while !stop.load(Ordering::SeqCst) {
            let acked = self.acked();
            let lines: String = (acked..acked + BATCH)
                .map(|n| format!("load,device_id=d{series} value={n} {}\n", START_MS + n * 250))
                .collect();
            self.sent.fetch_max(acked + BATCH, Ordering::SeqCst);
            match client.post(format!("{url}/api/v2/write?precision=ms")).body(lines).send() {
                Ok(answer) if answer.status().as_u16() == 204 => {
                    self.acked.fetch_add(BATCH, Ordering::SeqCst);
                }
                Ok(answer) => return Some(answer.status()),
                Err(_) => return None,
            }
        }
        None
    }
}

/// Asks for a recompute of everything.
pub fn request_recompute(url: &str) {
    let client = reqwest::blocking::Client::new();
    // The server may be gone before it answers.
    drop(client.post(format!("{url}/v1/jobs")).json(&serde_json::json!({"kind": "recompute"})).send());
}

/// Of each series: all that was acknowledged, nothing that was never sent, nothing twice.
///
/// # Panics
/// Something is missing or doubled.
pub fn check(server: &Server, series: &[Sent], cycle: usize) {
    let query = format!("{}/v1/query?match=load&from=0&to=now-1d&step=1000d&agg=count,sum,max", server.url);
    let body = reqwest::blocking::get(query).and_then(|r| r.text()).expect("answered");
    let answer: Value = serde_json::from_str(&body).expect("JSON");
    let mut found: BTreeMap<String, (f64, f64, f64)> = BTreeMap::new();
    for entry in answer["series"].as_array().unwrap_or_else(|| panic!("{body}")) {
        let points = entry["points"].as_array().expect("points");
        assert_eq!(points.len(), 1, "one bucket holds all");
        let number = |name: &str| points[0][name].as_f64().expect("a number");
        let device = entry["tags"]["device_id"].as_str().expect("a device").to_owned();
        found.insert(device, (number("count"), number("sum"), number("max")));
    }
    for (i, sent) in series.iter().enumerate() {
        let (count, sum, max) = found.get(&format!("d{i}")).copied().unwrap_or((0.0, 0.0, -1.0));
        assert!(count >= sent.acked() as f64, "cycle {cycle}: series {i} lost readings: {count} of {sent:?}");
        let most = sent.sent.load(Ordering::SeqCst);
        assert!(count <= most as f64, "cycle {cycle}: series {i} has too many: {count} of {sent:?}");
        assert_eq!(max, count - 1.0, "cycle {cycle}: series {i} has a hole: {sent:?}");
        assert_eq!(sum, count * (count - 1.0) / 2.0, "cycle {cycle}: series {i} counts something twice");
    }
}
