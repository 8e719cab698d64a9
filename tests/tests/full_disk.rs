//! A full disk: readings are refused with 507, questions are answered, nothing acknowledged is lost, and once there is room
//! again the server goes on by itself. With a reserve it stops early enough to flush, publish and delete all the same.
//!
//! It needs root, for disks of its own; without it says so and checks nothing.

use std::path::Path;
use std::time::{Duration, Instant};

use reqwest::blocking::Client;
use serde_json::{Value, json};
use tests::disks::{FileSystem, text};
use tests::load::{Sent, check};
use tests::parts::scratch;
use tests::server::{Server, faults_of};
use tests::skipped;

const BATCH: i64 = 2000;
/// Whatever takes longer never comes.
const PATIENCE: Duration = Duration::from_secs(60);

type Series = [Sent; 2];

/// Sends until it is refused, or as long as it is refused; whichever is asked for.
fn send_until(refused: bool, server: &Server, series: &Series) {
    let (client, begun) = (Client::new(), Instant::now());
    for round in 0.. {
        let status = series[round % 2].send(&client, &server.url, round % 2, BATCH).expect("the server lives");
        assert!(matches!(status.as_u16(), 200 | 503 | 507), "{status}");
        if refused == (status.as_u16() == 507) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "it was to be refused: {refused}; {}", server.log());
        if !refused {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn get(server: &Server, path: &str) -> String {
    let answer = reqwest::blocking::get(format!("{}{path}", server.url)).expect("the server lives");
    assert!(answer.status().is_success(), "{path}: {}", answer.status());
    answer.text().expect("text")
}

/// A recompute, which flushes first, succeeds.
fn recompute(server: &Server) {
    let job = queue_recompute(server);
    wait_for(server, &job, |job| job["state"] == "succeeded");
}

/// Waits until history has all; the log's segments go then, too.
fn wait_for_flush(server: &Server) {
    let begun = Instant::now();
    loop {
        let status: Value = serde_json::from_str(&get(server, "/v1/status")).expect("JSON");
        if status["flushed_position"] == status["position"] {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{status}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Flushes and queues a recompute; tells its number.
fn queue_recompute(server: &Server) -> Value {
    let job = Client::new().post(format!("{}/v1/jobs", server.url)).json(&json!({ "kind": "recompute" })).send();
    let job: Value = job.and_then(|answer| answer.error_for_status()?.json()).expect("queued");
    job["id"].clone()
}

/// Waits until it is so with an unfinished job.
fn wait_for(server: &Server, job: &Value, is_so: impl Fn(&Value) -> bool) {
    let begun = Instant::now();
    loop {
        let job: Value = serde_json::from_str(&get(server, &format!("/v1/jobs/{job}"))).expect("JSON");
        match job["state"].as_str() {
            _ if is_so(&job) => return,
            Some("queued" | "running") if begun.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(20)),
            _ => panic!("{job}"),
        }
    }
}

/// Whatever comes, all is there once after a restart, and the data is sound.
fn restart_and_check(server: Server, data: &Path, series: &Series) {
    server.kill().expect("killed");
    let server = Server::start(data, &[]).expect("starts");
    check(&server, series, 1);
    assert_eq!(server.stop().expect("stops"), Some(0));
    assert_eq!(faults_of(data, &[]), [""; 0]);
}

fn settings(reserve: &str) -> [&str; 8] {
    ["--seal-age", "500ms", "--hot-retention", "0s", "--segment-bytes", "1MiB", "--disk-reserve", reserve]
}

#[test]
fn readings_are_refused_before_the_disk_is_full() {
    let (dir, series) = (scratch(), Series::default());
    let disk = match FileSystem::in_memory(32, 10_000, dir.path()) {
        Ok(disk) => disk,
        Err(reason) => return skipped(format_args!("no disk was filled: {reason}")),
    };
    let data = disk.point.join("data");
    let server = Server::start(&data, &settings("12MiB")).expect("starts");
    send_until(false, &server, &series);
    let filler = disk.fill(15 << 20);
    send_until(true, &server, &series);
    // What was in memory may have been flushed meanwhile.
    assert!(disk.free() >= 10 << 20, "{} bytes are left of the reserve", disk.free());
    check(&server, &series, 0);
    // What was refused may never come: nobody knows how far to trust these buckets, and that is said.
    let asked = get(&server, "/v1/query?match=load&from=0&to=4000000000000&step=40000d&by=&agg=count");
    let answer: Value = serde_json::from_str(&asked).expect("JSON");
    assert!(answer["missing"][0].as_str().is_some_and(|why| why.contains("refused")), "{answer}");
    assert_eq!(answer["series"][0]["points"][0]["confidence_score"], Value::Null, "{answer}");
    let status: Value = serde_json::from_str(&get(&server, "/v1/status")).expect("JSON");
    assert_eq!(status["disk"]["reserve_bytes"], 12 << 20, "{status}");
    assert!(status["shed"]["disk_full"].as_u64().is_some_and(|n| n > 0), "{status}");
    let counted = |line: &str| line.starts_with("weir_speed_readings_refused_total{reason=\"disk_full\"}");
    assert!(get(&server, "/metrics").lines().any(counted));
    // Somebody else takes of what is kept free. All else goes on: history takes what memory holds, and a job that would
    // take the room for that waits.
    wait_for_flush(&server);
    disk.fill(7 << 20);
    let waiting = queue_recompute(&server);
    let reserved = |job: &Value| job["error"].as_str().is_some_and(|why| why.contains("disk_reserve"));
    wait_for(&server, &waiting, |job| job["state"] == "queued" && reserved(job));
    let postponed = "weir_batch_jobs_total{kind=\"recompute\",outcome=\"postponed\"}";
    assert!(get(&server, "/metrics").contains(postponed));
    check(&server, &series, 0);
    wait_for_flush(&server);
    std::fs::remove_file(filler).expect("deleted");
    send_until(false, &server, &series);
    wait_for(&server, &waiting, |job| job["state"] == "succeeded");
    check(&server, &series, 0);
    restart_and_check(server, &data, &series);
}

/// What fills the disk.
#[derive(Debug, Clone, Copy)]
enum Filler {
    Bytes,
    Files,
}

/// Without a reserve somebody else may fill the disk to the last byte.
fn fill_to_the_brim(disk: Result<FileSystem, String>, filler: Filler) {
    let disk = match disk {
        Ok(disk) => disk,
        Err(reason) => return skipped(format_args!("no disk was filled: {reason}")),
    };
    let (data, series) = (disk.point.join("data"), Series::default());
    let server = Server::start(&data, &settings("0")).expect("starts");
    send_until(false, &server, &series);
    recompute(&server);
    let filler = match filler {
        Filler::Bytes => disk.fill(0),
        Filler::Files => disk.fill_with_files(),
    };
    send_until(true, &server, &series);
    check(&server, &series, 0);
    // Flushes have failed for a while.
    std::thread::sleep(Duration::from_millis(1500));
    send_until(true, &server, &series);
    check(&server, &series, 0);
    assert!(!server.log().contains("panicked"), "{}", server.log());
    for entry in data.join("log").read_dir().expect("a folder") {
        let entry = entry.expect("an entry");
        // Half a segment would take the room that deletions need.
        assert_eq!(entry.metadata().expect("readable").len(), 1 << 20, "{}", entry.path().display());
    }
    let removed = if filler.is_dir() { std::fs::remove_dir_all(&filler) } else { std::fs::remove_file(&filler) };
    removed.unwrap_or_else(|error| panic!("{}: {error}", text(&filler)));
    send_until(false, &server, &series);
    recompute(&server);
    check(&server, &series, 0);
    restart_and_check(server, &data, &series);
}

#[test]
fn a_disk_without_a_free_byte_loses_nothing() {
    let dir = scratch();
    fill_to_the_brim(FileSystem::in_memory(24, 10_000, dir.path()), Filler::Bytes);
}

#[test]
fn an_ext4_without_a_free_byte_loses_nothing() {
    let dir = scratch();
    fill_to_the_brim(FileSystem::in_file("ext4", 64, dir.path()), Filler::Bytes);
}

#[test]
fn a_disk_that_takes_no_more_files_loses_nothing() {
    let dir = scratch();
    fill_to_the_brim(FileSystem::in_memory(64, 600, dir.path()), Filler::Files);
}
