//! Power cuts, block by block: the real server writes to a disk that remembers every write and flush; then what a cut at
//! any moment may have left (all that was flushed, any part of the rest, the last write torn) is mounted and served. What was
//! acknowledged before the cut is there exactly once. `WEIR_POWER_STATES=n` sets how many states.
//!
//! It needs root, nbdkit with its Python plugin, nbdfuse and loop devices; without them it says so and checks nothing.

use std::time::{Duration, Instant};

use reqwest::blocking::Client;
use tests::blocks::BlockDisk;
use tests::disks::FileSystem;
use tests::load::{Sent, check, request_recompute};
use tests::parts::scratch;
use tests::server::{Server, faults_of};

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

/// Loads a server on such a disk; what was promised when, and when the load began and ended.
fn load(disk: &BlockDisk, series: &Series) -> (Vec<Promise>, (u64, u64)) {
    let (client, from) = (Client::new(), disk.moment());
    let server = Server::start(&disk.point.join("data"), &SETTINGS).expect("starts");
    let (begun, mut promises) = (Instant::now(), Vec::new());
    let mut recomputed = false;
    for round in 0.. {
        let status = series[round % 2].send(&client, &server.url, round % 2, BATCH).expect("the server lives");
        assert!(status.is_success(), "{status}");
        promises.push((disk.moment(), [series[0].acked(), series[1].acked()]));
        if begun.elapsed() > LOADED / 2 && !std::mem::replace(&mut recomputed, true) {
            request_recompute(&server.url);
        }
        if begun.elapsed() > LOADED {
            break;
        }
    }
    server.kill().expect("killed");
    (promises, (from, disk.moment()))
}

#[test]
fn what_was_acknowledged_survives_any_part_of_what_was_not_flushed() {
    let states = std::env::var("WEIR_POWER_STATES").ok().and_then(|v| v.parse().ok()).unwrap_or(40);
    let (dir, series) = (scratch(), Series::default());
    let (promises, moments, written) = {
        let disk = match BlockDisk::make(SIZE_MIB, dir.path()) {
            Ok(disk) => disk,
            Err(reason) => return eprintln!("SKIPPED: no state of a disk was made: {reason}"),
        };
        let (promises, moments) = load(&disk, &series);
        (promises, moments, disk.written())
    };
    let (mut seen, mut random) = (0, fastrand::Rng::with_seed(31));
    written.cuts(moments, states, dir.path(), &mut random, |image, moment| {
        let mut left = FileSystem::of_image(image, dir.path()).expect("its journal makes it whole");
        let promised = promises.iter().rev().find(|(when, _)| *when <= moment).map_or([0, 0], |(_, acked)| *acked);
        let kept = [series[0].promised(promised[0]), series[1].promised(promised[1])];
        let data = left.point.join("data");
        let server = Server::start(&data, &SETTINGS).unwrap_or_else(|error| panic!("cut at {moment}: {error:#}"));
        check(&server, &kept, seen);
        server.kill().expect("killed");
        assert_eq!(faults_of(&data, &[]), [""; 0], "cut at {moment}");
        left.unmount();
        seen += 1;
    });
    eprintln!("{seen} states of a disk, {} acknowledgements", promises.len());
    assert_eq!(seen, states);
}
