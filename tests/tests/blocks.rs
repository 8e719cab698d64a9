//! Power cuts, block by block: the real server writes to a disk that remembers every write and flush; then what a cut at
//! any moment may have left (all that was flushed, any part of the rest, the last write torn) is mounted and served. What was
//! acknowledged before the cut is there exactly once. `WEIR_POWER_STATES=n` sets how many states.
//!
//! It needs root, nbdkit with its Python plugin, nbdfuse and loop devices; without them it says so and checks nothing.

use std::path::Path;
use std::time::{Duration, Instant};

use reqwest::blocking::Client;
use tests::blocks::BlockDisk;
use tests::disks::FileSystem;
use tests::load::{Sent, check, request_recompute};
use tests::parts::scratch;
use tests::server::{Server, faults_of};
use tests::skipped;

const SIZE_MIB: u64 = 64;
const BATCH: i64 = 200;
const LOADED: Duration = Duration::from_secs(3);
/// Small epochs and segments, so that cuts meet flushes, publishes and the making and deleting of segments, too.
const SETTINGS: [&str; 10] = [
    "--seal-age",
    "300ms",
    "--hot-retention",
    "0s",
    "--segment-bytes",
    "128KiB",
    "--file-grace",
    "0s",
    "--disk-reserve",
    "0",
];

type Series = [Sent; 2];

/// What was acknowledged of each series at a moment.
type Promise = (u64, [i64; 2]);

/// Loads servers on such a disk, one after the other; what was promised when, and when the load began and ended.
fn load(disk: &BlockDisk, series: &Series) -> (Vec<Promise>, (u64, u64)) {
    let (from, mut promises) = (disk.moment(), Vec::new());
    load_and_kill(disk, series, &SETTINGS, LOADED / 2, |_, promise| promises.push(promise));
    // Nothing is promised but what a restart has found: from then on it is durable, though this life never synced it.
    let lazy = [&SETTINGS[..], &["--durability", "interval:1h"]].concat();
    load_and_kill(disk, series, &lazy, LOADED / 6, |_, _| {});
    let mut recomputed = false;
    load_and_kill(disk, series, &SETTINGS, LOADED / 2, |url, promise| {
        promises.push(promise);
        if !std::mem::replace(&mut recomputed, true) {
            request_recompute(url);
        }
    });
    (promises, (from, disk.moment()))
}

/// Loads one; what is acknowledged by then is told again and again.
fn load_and_kill(
    disk: &BlockDisk,
    series: &Series,
    settings: &[&str],
    time: Duration,
    mut tell: impl FnMut(&str, Promise),
) {
    let client = Client::new();
    let server = Server::start(&disk.point.join("data"), settings).expect("starts");
    let begun = Instant::now();
    for round in 0.. {
        let status = series[round % 2].send(&client, &server.url, round % 2, BATCH).expect("the server lives");
        assert!(status.is_success(), "{status}");
        tell(&server.url, (disk.moment(), [series[0].acked(), series[1].acked()]));
        if begun.elapsed() > time {
            break;
        }
    }
    server.kill().expect("killed");
}

/// What is kept is there after a restart, and it goes on from there.
fn survives(data: &Path, kept: &Series, seen: usize) {
    let server = Server::start(data, &SETTINGS).unwrap_or_else(|error| panic!("it starts: {error:#}"));
    check(&server, kept, seen);
    for (i, sent) in kept.iter().enumerate() {
        let status = sent.send(&Client::new(), &server.url, i, BATCH).expect("the server lives");
        assert!(status.is_success(), "{status}");
    }
    server.kill().expect("killed");
    let server = Server::start(data, &SETTINGS).unwrap_or_else(|error| panic!("it starts again: {error:#}"));
    check(&server, kept, seen);
    server.kill().expect("killed");
    assert_eq!(faults_of(data, &[]), [""; 0]);
}

#[test]
fn what_was_acknowledged_survives_any_part_of_what_was_not_flushed() {
    let states = std::env::var("WEIR_POWER_STATES").ok().and_then(|v| v.parse().ok()).unwrap_or(40);
    let (dir, series) = (scratch(), Series::default());
    let (promises, moments, written) = {
        let disk = match BlockDisk::make(SIZE_MIB, dir.path()) {
            Ok(disk) => disk,
            Err(reason) => return skipped(format_args!("no state of a disk was made: {reason}")),
        };
        let (promises, moments) = load(&disk, &series);
        (promises, moments, disk.written())
    };
    let (mut seen, mut random) = (0, fastrand::Rng::with_seed(31));
    written.cuts(moments, states, dir.path(), &mut random, |image, moment| {
        let mut left = FileSystem::of_image(image, dir.path()).expect("its journal makes it whole");
        let promised = promises.iter().rev().find(|(when, _)| *when <= moment).map_or([0, 0], |(_, acked)| *acked);
        let kept = [series[0].promised(promised[0]), series[1].promised(promised[1])];
        eprintln!("cut at {moment}");
        survives(&left.point.join("data"), &kept, seen);
        left.unmount();
        seen += 1;
    });
    eprintln!("{seen} states of a disk, {} acknowledgements", promises.len());
    assert_eq!(seen, states);
}
