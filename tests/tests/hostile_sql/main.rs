//! Hostile SQL against the real server: it lives, answers each statement within its deadline, bounds its memory, leaves no
//! thread behind, and takes readings meanwhile.

mod corpus;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::parts::scratch;
use tests::server::Server;

/// Longest time of a statement.
const DEADLINE: Duration = Duration::from_millis(400);
/// A statement is answered this long after its deadline at the latest, on a machine that does other things as well.
const PATIENCE: Duration = Duration::from_secs(5);
/// Clients that send statements at once.
const CLIENTS: usize = 4;
/// Readings that the statements work on.
const READINGS: usize = 100_000;
/// Of a hundred readings that come one by one meanwhile, no more than one waits longer, on a machine that does other things
/// as well.
const STALL: Duration = Duration::from_millis(250);
/// Memory that the process may have taken at its peak.
const MEMORY_MIB: u64 = 1536;

/// What came of the statements: how many were answered with each status.
type Tally = BTreeMap<u16, usize>;

fn fill(server: &Server) {
    let client = reqwest::blocking::Client::new();
    for part in 0..READINGS / 5_000 {
        let lines: String = (0..5_000)
            .map(|i| part * 5_000 + i)
            .map(|i| {
                format!(
                    "m{},device_id=d{},site=north value={} {}\n",
                    i % 5,
                    i % 40,
                    i % 1_000,
                    1_700_000_000_000 + i * 100
                )
            })
            .collect();
        let answer = client.post(format!("{}/api/v2/write?precision=ms", server.url)).body(lines).send();
        assert_eq!(answer.expect("an answer").status().as_u16(), 204);
    }
}

/// Sends every statement; panics where one is not answered as it should be.
fn attack(server: &Server, statements: &[String]) -> Tally {
    let next = AtomicUsize::new(0);
    let client = || {
        let client = reqwest::blocking::Client::builder().timeout(DEADLINE + PATIENCE).build().expect("a client");
        let mut tally = Tally::new();
        while let Some(sql) = statements.get(next.fetch_add(1, Ordering::Relaxed)) {
            *tally.entry(ask(&client, server, sql)).or_default() += 1;
        }
        tally
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        clients.into_iter().map(|c| c.join().expect("no statement went wrong")).fold(Tally::new(), |mut all, some| {
            some.into_iter().for_each(|(status, n)| *all.entry(status).or_default() += n);
            all
        })
    })
}

/// The status that a statement gets. An answer that was begun may be broken off.
fn ask(client: &reqwest::blocking::Client, server: &Server, sql: &str) -> u16 {
    let shown: String = sql.chars().take(120).collect();
    let begun = Instant::now();
    let answer = client.post(format!("{}/v1/sql", server.url)).json(&json!({"sql": sql, "format": "ndjson"})).send();
    let answer = answer.unwrap_or_else(|error| panic!("no answer to {shown}: {error}"));
    let status = answer.status().as_u16();
    let body = answer.text();
    assert!(begun.elapsed() < DEADLINE + PATIENCE, "{shown} took {:?}", begun.elapsed());
    assert!(matches!(status, 200 | 400 | 413 | 422 | 429 | 503 | 504), "{status} for {shown}: {body:?}");
    // A panic is told as 503.
    assert!(!body.is_ok_and(|body| body.contains("panicked")), "{shown} panicked");
    status
}

/// Sends one reading after the other until told to stop; the time that each took.
fn trickle(server: &Server, stop: &AtomicBool) -> Vec<Duration> {
    let client = reqwest::blocking::Client::new();
    let mut times = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let line = format!("trickle,device_id=t value={} {}", times.len(), 1_700_000_000_000 + times.len());
        let answer = client.post(format!("{}/api/v2/write?precision=ms", server.url)).body(line).send();
        assert_eq!(answer.expect("an answer").status().as_u16(), 204);
        times.push(begun.elapsed());
        std::thread::sleep(Duration::from_millis(1));
    }
    times.sort();
    times
}

fn quantile(sorted: &[Duration], q: f64) -> Duration {
    sorted[((sorted.len() - 1) as f64 * q) as usize]
}

/// The niceness of each of the server's threads that work on statements.
fn threads(server: &Server) -> Vec<i64> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).expect("it runs");
    // `number (name) state ...`: niceness is the seventeenth after the name. A thread may end while it is looked at.
    let nice = |task: std::fs::DirEntry| {
        let stat = std::fs::read_to_string(task.path().join("stat")).ok()?;
        let (start, rest) = stat.split_once(')')?;
        let working = start.ends_with("(sql") || start.ends_with("(sql-work");
        working.then(|| rest.split_whitespace().nth(16)?.parse().ok())?
    };
    tasks.flatten().filter_map(nice).collect()
}

/// What was seen of the threads' niceness until told to stop.
fn watch(server: &Server, stop: &AtomicBool) -> BTreeSet<i64> {
    let mut seen = BTreeSet::new();
    while !stop.load(Ordering::Relaxed) {
        seen.extend(threads(server));
        std::thread::sleep(Duration::from_millis(50));
    }
    seen
}

/// The most memory that the server had, MiB.
fn peak_mib(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM")).expect("Linux tells it");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") / 1024
}

#[test]
fn hostile_statements_stop_nothing() {
    let statements = corpus::corpus();
    assert!(statements.len() >= 500, "{}", statements.len());
    let dir = scratch();
    let settings = ["--query-timeout", "400ms", "--sql-memory", "64MiB"];
    let server = Server::start(dir.path(), &settings).expect("starts");
    fill(&server);
    let quiet = Instant::now() + Duration::from_secs(3);
    let stop = AtomicBool::new(false);
    let (before, during, tally) = std::thread::scope(|scope| {
        let trickling = scope.spawn(|| trickle(&server, &stop));
        std::thread::sleep(quiet - Instant::now());
        stop.store(true, Ordering::Relaxed);
        let before = trickling.join().expect("all were taken");
        stop.store(false, Ordering::Relaxed);
        let trickling = scope.spawn(|| trickle(&server, &stop));
        let watching = scope.spawn(|| watch(&server, &stop));
        let tally = attack(&server, &statements);
        stop.store(true, Ordering::Relaxed);
        // A new thread has that of its parent for an instant.
        assert!(watching.join().expect("watched").contains(&15), "statements stand back");
        (before, trickling.join().expect("all were taken"), tally)
    });
    let both = |q| (quantile(&before, q), quantile(&during, q));
    println!("{} statements: {tally:?}; peak {} MiB", statements.len(), peak_mib(&server));
    println!("one reading, before and during: p50 {:?}, p99 {:?}, p999 {:?}", both(0.5), both(0.99), both(0.999));
    assert!(quantile(&during, 0.99) < STALL, "readings waited {:?}", quantile(&during, 0.99));
    let client = reqwest::blocking::Client::new();
    for sql in corpus::forbidden() {
        let status = ask(&client, &server, &sql);
        assert!((400..500).contains(&status), "{status} for {sql}");
    }
    assert!(!server.log().contains("panicked"), "{}", server.log());
    let deadline = Instant::now() + Duration::from_secs(20);
    while !threads(&server).is_empty() {
        assert!(Instant::now() < deadline, "threads that nobody waits for: {:?}", threads(&server));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(peak_mib(&server) < MEMORY_MIB, "{} MiB", peak_mib(&server));
    let query =
        format!("{}/v1/query?match=m0&from=1700000000000&to=1800000000000&step=10000d&by=&agg=count", server.url);
    let answer: Value = reqwest::blocking::get(query).and_then(|r| r.json()).expect("answers");
    assert_eq!(answer["series"][0]["points"][0]["count"], json!(READINGS as f64 / 5.0), "{answer}");
    assert_eq!(server.stop().expect("stops"), Some(0));
}
