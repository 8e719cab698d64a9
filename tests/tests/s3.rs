//! History in a bucket: the real binary on an S3 server, and on a bad road to it. Where moto is not installed, the tests
//! say that they were skipped.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::blocking::Client;
use serde_json::{Value, json};
use tests::load::{BATCH, Sent, acked, check, check_found, found_in, question};
use tests::parts::scratch;
use tests::proxy::{Fault, Proxy, Weather};
use tests::s3::S3;
use tests::server::{Server, binary};

/// Small epochs that soon leave memory, and short graces, so that the bucket is used all the time.
const SETTINGS: [&str; 10] = [
    "--history",
    "s3://weir/plant/one",
    "--seal-age",
    "500ms",
    "--hot-retention",
    "500ms",
    "--generation-grace",
    "5s",
    "--file-grace",
    "5s",
];

/// Longest wait for what takes a moment.
const PATIENCE: Duration = Duration::from_secs(60);

fn start(dir: &Path, address: &str, more: &[&str]) -> Server {
    Server::start_in(&environment(address), dir, &[&SETTINGS, more].concat()).expect("starts")
}

/// Attempts end soon, so that one that is never answered takes a second.
fn environment(address: &str) -> Vec<(&'static str, String)> {
    let mut environment = S3::environment(address).to_vec();
    environment.push(("AWS_TIMEOUT", "1s".to_owned()));
    environment
}

/// What `weir check` finds.
fn findings(dir: &Path, address: &str) -> Vec<String> {
    let output = weir(address, &["check", "--data-dir", dir.to_str().expect("text"), SETTINGS[0], SETTINGS[1]]);
    let findings = output.lines().filter(|line| line.contains(": ") && !line.starts_with("  advice:"));
    findings.filter(|line| !line.starts_with("ok:") && !line.starts_with("note:")).map(str::to_owned).collect()
}

/// What a subcommand prints.
fn weir(address: &str, arguments: &[&str]) -> String {
    let output = Command::new(binary()).args(arguments).envs(environment(address)).output().expect("runs");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what}: not after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn get(url: &str) -> Value {
    let body = reqwest::blocking::get(url).and_then(|r| r.text()).expect("answered");
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("{url}: {error}: {body}"))
}

/// A counter of `/metrics`, zero where it does not stand there yet.
fn counter(server: &Server, name: &str) -> u64 {
    let text = reqwest::blocking::get(format!("{}/metrics", server.url)).and_then(|r| r.text()).expect("answered");
    let lines = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse::<u64>().ok());
    lines.sum()
}

fn fault_counter(server: &Server, reason: &str) -> u64 {
    counter(server, &format!("weir_batch_store_faults_total{{reason=\"{reason}\"}}"))
}

/// Queues a job over everything and waits until it has ended; how it stands then.
fn run_job(server: &Server, kind: &str) -> Value {
    let client = Client::new();
    let mut id = None;
    wait_until("a job is taken", || {
        let sent = client.post(format!("{}/v1/jobs", server.url)).json(&json!({ "kind": kind })).send();
        let answer = sent.expect("answered");
        assert!(matches!(answer.status().as_u16(), 202 | 503), "{}", answer.status());
        id = answer.json::<Value>().expect("JSON")["id"].as_i64();
        id.is_some()
    });
    let url = format!("{}/v1/jobs/{}", server.url, id.expect("taken"));
    let mut job = Value::Null;
    wait_until("the job ends", || {
        job = get(&url);
        !matches!(job["state"].as_str(), Some("queued" | "running"))
    });
    job
}

fn succeeds(server: &Server, kind: &str) {
    let job = run_job(server, kind);
    assert_eq!(job["state"], "succeeded", "{job}");
}

/// All of history in SQL: count and sum of everything that was acknowledged.
fn check_sql(server: &Server, series: &[Sent]) {
    let statement = "SELECT count(*) AS n, sum(value) AS s FROM readings";
    let request = Client::new().post(format!("{}/v1/sql", server.url)).json(&json!({ "sql": statement }));
    let answer: Value = request.send().and_then(|r| r.json()).expect("JSON");
    let sum = |n: i64| (n * (n - 1) / 2) as f64;
    let acked = acked(series);
    assert_eq!(answer[0]["n"].as_i64(), Some(acked.iter().sum()), "{answer}");
    assert_eq!(answer[0]["s"].as_f64(), Some(acked.into_iter().map(sum).sum()), "{answer}");
}

fn send_some(server: &Server, series: &[Sent], batches: usize) {
    let client = Client::new();
    for _ in 0..batches {
        for (i, sent) in series.iter().enumerate() {
            let status = sent.send(&client, &server.url, i, BATCH).expect("answered");
            assert!(status.is_success(), "{status}");
        }
    }
}

#[test]
fn a_life_in_a_bucket() {
    let Some(bucket) = S3::start() else { return };
    let dir = scratch();
    let series: [Sent; 3] = Default::default();
    let mut server = start(dir.path(), &bucket.address, &[]);
    for cycle in 0..5 {
        send_some(&server, &series, 10);
        check(&server, &series, cycle);
        // A recompute has everything flushed first.
        succeeds(&server, "recompute");
        check(&server, &series, cycle);
        let by_views = get(&format!("{}&view=batch", question(&server.url))).to_string();
        check_found(&found_in(&by_views), &acked(&series), &series, cycle);
        check_sql(&server, &series);
        send_some(&server, &series, 1);
        server.kill().expect("killed");
        server = start(dir.path(), &bucket.address, &[]);
        check(&server, &series, cycle);
    }
    for kind in ["compact", "audit", "fold"] {
        succeeds(&server, kind);
        check(&server, &series, 5);
        check_sql(&server, &series);
    }
    wait_until("files are deleted", || counter(&server, "weir_batch_objects_deleted_total") > 0);
    check(&server, &series, 6);
    check_sql(&server, &series);
    assert_eq!(server.stop().expect("stops"), Some(0));
    assert!(!dir.path().join("history").exists(), "nothing of history lies on the disk");
    assert_eq!(findings(dir.path(), &bucket.address), [""; 0]);
}

/// A query is answered with the truth, or with the admission that it can't be answered now.
fn query_in_bad_weather(server: &Server, client: &Client, series: &[Sent]) -> u16 {
    let acked = acked(series);
    let answer = client.get(question(&server.url)).send().expect("answered");
    let status = answer.status().as_u16();
    let body = answer.text().expect("a body");
    match status {
        200 => check_found(&found_in(&body), &acked, series, 0),
        429 | 503 | 504 => {}
        other => panic!("{other}: {body}"),
    }
    status
}

fn storm(seed: u64) {
    let Some(bucket) = S3::start() else { return };
    let proxy = Proxy::start(&bucket.address, seed);
    let dir = scratch();
    let series: [Sent; 2] = Default::default();
    let server = start(dir.path(), &proxy.address, &["--query-timeout", "5s"]);
    proxy.turn(Weather::Storm(30));
    let stop = AtomicBool::new(false);
    let seconds = std::env::var("WEIR_STORM_SECONDS").ok().and_then(|v| v.parse().ok()).unwrap_or(12);
    let answered = std::thread::scope(|scope| {
        for (i, sent) in series.iter().enumerate() {
            let (url, stop) = (server.url.clone(), &stop);
            scope.spawn(move || {
                let client = Client::new();
                while !stop.load(Ordering::SeqCst) {
                    let status = sent.send(&client, &url, i, BATCH).expect("answered");
                    assert!(status.is_success() || status.as_u16() == 503, "{status}");
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
        }
        let deadline = Instant::now() + Duration::from_secs(seconds);
        let client = Client::builder().timeout(PATIENCE).build().expect("a client");
        let mut answered = 0;
        while Instant::now() < deadline {
            // Not all of what is asked for succeeds now; nothing of it may leave a trace.
            let kind = ["recompute", "compact", "fold"][answered % 3];
            let jobs = format!("{}/v1/jobs", server.url);
            let status = client.post(jobs).json(&json!({ "kind": kind })).send().expect("answered").status();
            assert!(matches!(status.as_u16(), 202 | 503), "{status}");
            answered += usize::from(query_in_bad_weather(&server, &client, &series) == 200);
        }
        stop.store(true, Ordering::SeqCst);
        answered
    });
    proxy.turn(Weather::Clear);
    println!("seed {seed}: {answered} queries answered; faults {:?}", proxy.fired());
    for reason in ["slow_down", "server_error", "timeout", "interrupted"] {
        println!("{reason}: {}", fault_counter(&server, reason));
    }
    assert!(answered > 0, "some queries are answered in any weather");
    assert!(fault_counter(&server, "slow_down") > 0 && fault_counter(&server, "timeout") > 0);
    // In clear weather everything drains.
    succeeds(&server, "recompute");
    check(&server, &series, 0);
    check_sql(&server, &series);
    let status = get(&format!("{}/v1/status", server.url));
    assert_eq!(status["flushed_position"], status["position"], "{status}");
    let log = server.log();
    assert!(!log.contains("panicked"), "{log}");
    assert_eq!(server.stop().expect("stops"), Some(0));
    assert_eq!(findings(dir.path(), &proxy.address), [""; 0]);
}

#[test]
fn nothing_is_lost_in_a_storm() {
    storm(1);
}

#[test]
fn a_put_without_an_answer_counts_once() {
    let Some(bucket) = S3::start() else { return };
    let proxy = Proxy::start(&bucket.address, 2);
    let dir = scratch();
    let series: [Sent; 2] = Default::default();
    let server = start(dir.path(), &proxy.address, &[]);
    proxy.turn(Weather::PutsUnanswered);
    for _ in 0..3 {
        send_some(&server, &series, 3);
        let job = run_job(&server, "recompute");
        assert_eq!((&job["state"], &job["error"]), (&json!("succeeded"), &Value::Null), "{job}");
        check(&server, &series, 0);
    }
    assert_eq!(counter(&server, "weir_speed_flush_failures_total"), 0, "{}", server.log());
    assert!(fault_counter(&server, "lost_answer") > 0, "{:?}", proxy.fired());
    let fired = proxy.fired();
    assert!(fired[&Fault::LostAnswer] > 0 && fired[&Fault::HeldAnswer] > 0, "{fired:?}");
    proxy.turn(Weather::Clear);
    check_sql(&server, &series);
    assert_eq!(server.stop().expect("stops"), Some(0));
    let told =
        weir(&proxy.address, &["check", "--data-dir", dir.path().to_str().expect("text"), SETTINGS[0], SETTINGS[1]]);
    assert!(told.starts_with("ok:"), "{told}");
}

#[test]
fn bits_that_flip_on_the_way_are_read_again() {
    let Some(bucket) = S3::start() else { return };
    let proxy = Proxy::start(&bucket.address, 4);
    let dir = scratch();
    let series: [Sent; 2] = Default::default();
    let server = start(dir.path(), &proxy.address, &[]);
    proxy.turn(Weather::FlippedBits);
    for kind in ["recompute", "compact", "audit"] {
        send_some(&server, &series, 3);
        succeeds(&server, kind);
        check(&server, &series, 0);
        check_sql(&server, &series);
    }
    assert!(fault_counter(&server, "wrong_bytes") > 0, "{:?}", proxy.fired());
    assert_eq!(server.stop().expect("stops"), Some(0));
    assert_eq!(findings(dir.path(), &proxy.address), [""; 0]);
}

#[test]
fn ingest_goes_on_while_the_bucket_is_away() {
    let Some(bucket) = S3::start() else { return };
    let proxy = Proxy::start(&bucket.address, 3);
    let dir = scratch();
    let series: [Sent; 1] = Default::default();
    // Little memory, so that its limit is soon reached.
    let server = start(dir.path(), &proxy.address, &["--hot-bytes", "64KiB"]);
    send_some(&server, &series, 3);
    succeeds(&server, "recompute");
    proxy.turn(Weather::Outage);
    let (client, before) = (Client::new(), series[0].acked());
    let refused = loop {
        let status = series[0].send(&client, &server.url, 0, BATCH).expect("answered");
        if !status.is_success() {
            break status;
        }
    };
    assert_eq!(refused.as_u16(), 503);
    assert!(series[0].acked() > before, "it went on for a while");
    // What was counted before is in memory or read before; the rest lies in the log.
    query_in_bad_weather(&server, &Client::builder().timeout(PATIENCE).build().expect("a client"), &series);
    // Killed and started without a bucket, it says why it can't; with one, everything is there.
    server.kill().expect("killed");
    let without = Server::start_in(&environment(&proxy.address), dir.path(), &SETTINGS);
    let without = without.expect_err("there is no bucket").to_string();
    assert!(without.contains("claim s3://weir/plant/one"), "{without}");
    proxy.turn(Weather::Clear);
    let server = start(dir.path(), &proxy.address, &[]);
    check(&server, &series, 1);
    wait_until("readings are taken again", || {
        series[0].send(&client, &server.url, 0, BATCH).is_ok_and(|status| status.is_success())
    });
    succeeds(&server, "recompute");
    check(&server, &series, 2);
    check_sql(&server, &series);
    assert_eq!(server.stop().expect("stops"), Some(0));
    assert_eq!(findings(dir.path(), &proxy.address), [""; 0]);
}

#[test]
fn two_data_directories_do_not_share_a_history() {
    let Some(bucket) = S3::start() else { return };
    let (first, second) = (scratch(), scratch());
    let series: [Sent; 1] = Default::default();
    let server = start(first.path(), &bucket.address, &[]);
    send_some(&server, &series, 3);
    let refused = Server::start_in(&environment(&bucket.address), second.path(), &SETTINGS);
    let refused = refused.expect_err("the history is taken").to_string();
    assert!(refused.contains("belongs to the data directory"), "{refused}");
    succeeds(&server, "recompute");
    check(&server, &series, 0);
    server.kill().expect("killed");
    // A dead owner is an owner.
    assert!(Server::start_in(&environment(&bucket.address), second.path(), &SETTINGS).is_err());
    let server = start(first.path(), &bucket.address, &[]);
    check(&server, &series, 1);
    // Another prefix is another history.
    let other = [&["--history", "s3://weir/plant/two"], &SETTINGS[2..]].concat();
    let beside = Server::start_in(&environment(&bucket.address), second.path(), &other).expect("starts");
    assert_eq!(beside.stop().expect("stops"), Some(0));
    assert_eq!(server.stop().expect("stops"), Some(0));
    assert_eq!(findings(first.path(), &bucket.address), [""; 0]);
}

/// Of several that start on one new history at once, one gets it.
#[test]
fn of_many_who_start_at_once_one_owns_the_history() {
    let Some(bucket) = S3::start() else { return };
    let duels = std::env::var("WEIR_DUELS").ok().and_then(|v| v.parse().ok()).unwrap_or(3);
    for duel in 0..duels {
        let history = format!("s3://weir/duel/{duel}");
        let dirs = [scratch(), scratch(), scratch()];
        let started: Vec<anyhow::Result<Server>> = std::thread::scope(|scope| {
            let begun = dirs.each_ref().map(|dir| {
                let start = || Server::start_in(&environment(&bucket.address), dir.path(), &["--history", &history]);
                scope.spawn(start)
            });
            begun.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        let errors: Vec<String> = started.iter().filter_map(|s| s.as_ref().err().map(|e| format!("{e:#}"))).collect();
        assert_eq!(started.iter().filter(|s| s.is_ok()).count(), 1, "duel {duel}: {errors:?}");
        assert!(errors.iter().all(|error| error.contains("belongs to the data directory")), "{errors:?}");
    }
}
