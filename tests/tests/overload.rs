//! More than the server can take: it takes what it can, tells the others when to come again, needs no more memory, and is as it
//! was once they have gone.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reqwest::blocking::Client;
use tests::parts::scratch;
use tests::server::Server;

/// Readings of one request.
const READINGS: u64 = 5_000;
/// Clients that a machine of two processors is busy with, and ten times as many.
const FEW: usize = 4;
const MANY: usize = 40;
/// How long each of them goes on.
const TIME: Duration = Duration::from_secs(6);
/// The first instant, milliseconds; all have as many digits.
const FIRST: u64 = 1_700_000_000_000;
const DIGITS: usize = 13;
/// Memory of the server, MiB.
const MEMORY_MIB: u64 = 2_048;

/// What came of a storm of requests.
#[derive(Debug, Default)]
struct Storm {
    taken: AtomicU64,
    refused: AtomicU64,
}

/// Lines that differ in their times only: clients should take little of the processors that they share with the server.
struct Lines {
    text: Vec<u8>,
    /// Where each time stands.
    times: Vec<usize>,
}

impl Lines {
    fn of(device: u64) -> Self {
        let (mut text, mut times) = (Vec::new(), Vec::new());
        for i in 0..READINGS {
            text.extend_from_slice(format!("load,device_id=d{device} value={} ", i % 100).as_bytes());
            times.push(text.len());
            text.extend_from_slice(format!("{FIRST}\n").as_bytes());
        }
        Self { text, times }
    }

    /// With times from this one on.
    fn at(&mut self, first: u64) -> Vec<u8> {
        for (time, at) in (first..).zip(&self.times) {
            let mut rest = time;
            for digit in self.text[*at..*at + DIGITS].iter_mut().rev() {
                (*digit, rest) = (b'0' + (rest % 10) as u8, rest / 10);
            }
        }
        self.text.clone()
    }
}

/// Sends without a pause from so many clients; what is refused is not sent again.
fn storm(server: &Server, clients: usize, first: u64) -> Storm {
    let (storm, stop) = (Storm::default(), AtomicBool::new(false));
    let client = |number: u64| {
        let http = Client::builder().timeout(Duration::from_secs(30)).build().expect("a client");
        let mut lines = Lines::of(number);
        let mut time = FIRST + first * 1_000_000 + number * 1_000_000_000;
        while !stop.load(Ordering::Relaxed) {
            let lines = lines.at(time);
            time += READINGS;
            let answer = http.post(format!("{}/api/v2/write?precision=ms", server.url)).body(lines).send();
            let answer = answer.expect("nobody is left without an answer");
            match answer.status().as_u16() {
                204 => storm.taken.fetch_add(READINGS, Ordering::Relaxed),
                429 | 503 | 507 => {
                    assert!(answer.headers().contains_key("retry-after"), "{answer:?}");
                    storm.refused.fetch_add(1, Ordering::Relaxed)
                }
                other => panic!("{other}: {:?}", answer.text()),
            };
        }
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..clients as u64).map(|number| scope.spawn(move || client(number))).collect();
        std::thread::sleep(TIME);
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().for_each(|client| client.join().expect("every answer was as it should be"));
    });
    storm
}

/// The time that one reading takes, in the middle of fifty.
fn calm(server: &Server) -> Duration {
    let http = Client::new();
    let mut times: Vec<Duration> = (0..50)
        .map(|i| {
            let begun = Instant::now();
            let line = format!("calm value=1 {}", 1_700_000_000_000_u64 + i);
            let answer = http.post(format!("{}/api/v2/write?precision=ms", server.url)).body(line).send();
            assert_eq!(answer.expect("an answer").status().as_u16(), 204);
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2]
}

fn peak_mib(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM")).expect("Linux tells it");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") / 1024
}

#[test]
fn a_storm_is_weathered() {
    let dir = scratch();
    let server = Server::start(dir.path(), &["--seal-age", "2s"]).expect("starts");
    let before = calm(&server);
    let few = storm(&server, FEW, 1);
    let many = storm(&server, MANY, 100);
    let ended = Instant::now();
    let mut after = calm(&server);
    while after > before * 3 && ended.elapsed() < Duration::from_secs(10) {
        after = calm(&server);
    }
    let (least, most) = (few.taken.load(Ordering::Relaxed), many.taken.load(Ordering::Relaxed));
    let refused = few.refused.load(Ordering::Relaxed) + many.refused.load(Ordering::Relaxed);
    println!(
        "{FEW} clients: {least} readings, {MANY}: {most}, {refused} requests refused; one reading {before:?}, then {after:?}"
    );
    println!("peak {} MiB, as before after {:?}", peak_mib(&server), ended.elapsed());
    assert!(after <= before * 3, "{before:?} {after:?}");
    assert!(most as f64 >= 0.9 * least as f64, "{least} {most}");
    assert!(peak_mib(&server) < MEMORY_MIB, "{} MiB", peak_mib(&server));
    let count = format!("{}/v1/query?match=load&from=0&to=4000000000000&step=40000d&by=&agg=count", server.url);
    let answer: serde_json::Value = reqwest::blocking::get(count).and_then(|r| r.json()).expect("answers");
    let counted = answer["series"][0]["points"][0]["count"].as_f64().expect("a count");
    assert_eq!(counted as u64, least + most, "what was acknowledged counts, and nothing else");
    assert_eq!(server.stop().expect("stops"), Some(0));
}
