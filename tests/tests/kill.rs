//! kill -9: the real binary, loaded from several connections, killed at random moments; every acknowledged reading is
//! there exactly once after each restart. `WEIR_KILL_CYCLES=n` sets how many.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use tests::parts::scratch;
use tests::server::Server;

const CONNECTIONS: usize = 4;
const BATCH: i64 = 50;
const START_MS: i64 = 1_700_000_000_000;

/// What one connection knows of its series: `sent` readings numbered from 0, the first `acked` of them acknowledged.
#[derive(Debug, Clone, Copy, Default)]
struct Sent {
    acked: i64,
    sent: i64,
}

#[test]
fn every_acknowledged_reading_is_there_once_after_kill_9() {
    let cycles = std::env::var("WEIR_KILL_CYCLES").ok().and_then(|v| v.parse().ok()).unwrap_or(25);
    let dir = scratch();
    let mut random = fastrand::Rng::with_seed(9);
    let mut series = [Sent::default(); CONNECTIONS];
    for cycle in 0..cycles {
        // Small epochs, so that kills meet flushes and recomputes, too.
        let server = Server::start(dir.path(), &["--seal-age", "1s", "--hot-retention", "1s"]).expect("starts");
        check(&server, &series, cycle);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for (i, sent) in series.iter_mut().enumerate() {
                let (url, stop) = (server.url.clone(), &stop);
                scope.spawn(move || load(&url, i, sent, stop));
            }
            if cycle % 3 == 2 {
                request_recompute(&server.url);
            }
            std::thread::sleep(Duration::from_millis(random.u64(20..1500)));
            server.kill().expect("killed");
            stop.store(true, Ordering::SeqCst);
        });
    }
    let server = Server::start(dir.path(), &[]).expect("starts");
    check(&server, &series, cycles);
    assert!(series.iter().all(|s| s.acked > 0), "the load ran: {series:?}");
    assert_eq!(server.stop().expect("stops"), Some(0));
}

/// Sends batches until the server dies. A batch without an answer is sent again by the next cycle: identities make
/// that harmless.
fn load(url: &str, connection: usize, sent: &mut Sent, stop: &AtomicBool) {
    let client = reqwest::blocking::Client::new();
    while !stop.load(Ordering::SeqCst) {
        let lines: String = (sent.acked..sent.acked + BATCH)
            .map(|n| format!("load,device_id=d{connection} value={n} {}\n", START_MS + n * 250))
            .collect();
        sent.sent = sent.sent.max(sent.acked + BATCH);
        match client.post(format!("{url}/api/v2/write?precision=ms")).body(lines).send() {
            Ok(answer) if answer.status().as_u16() == 204 => sent.acked += BATCH,
            Ok(answer) => panic!("refused: {} {:?}", answer.status(), answer.text()),
            Err(_) => return,
        }
    }
}

fn request_recompute(url: &str) {
    let client = reqwest::blocking::Client::new();
    // The server may be killed before it answers.
    drop(client.post(format!("{url}/v1/jobs")).json(&serde_json::json!({"kind": "recompute"})).send());
}

/// Of each series: all that was acknowledged, nothing that was never sent, nothing twice. Reading number n has value n,
/// so count and sum tell.
fn check(server: &Server, series: &[Sent], cycle: usize) {
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
        assert!(count >= sent.acked as f64, "cycle {cycle}: series {i} lost readings: {count} of {sent:?}");
        assert!(count <= sent.sent as f64, "cycle {cycle}: series {i} has too many: {count} of {sent:?}");
        assert_eq!(max, count - 1.0, "cycle {cycle}: series {i} has a hole: {sent:?}");
        assert_eq!(sum, count * (count - 1.0) / 2.0, "cycle {cycle}: series {i} counts something twice");
    }
}
