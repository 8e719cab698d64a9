//! Power cuts: the real binary on a file system of its own, which is shut down under it without its journal being written,
//! as if the power failed. Unlike a kill, this loses whatever was not synced. Every reading that was acknowledged before the
//! cut is there exactly once after the file system was mounted again. `WEIR_POWER_CYCLES=n` sets how many cuts.
//!
//! It needs root, loop devices and `xfs_io` (Debian: xfsprogs); without them it says so and checks nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tests::disks::{FileSystem, run, text};
use tests::load::{Sent, check, request_recompute};
use tests::parts::scratch;
use tests::server::{Server, faults_of};
use tests::skipped;

const CONNECTIONS: usize = 4;
/// XFS makes no smaller file system.
const SIZE_MIB: u64 = 512;

/// What lies on the disk that loses its power. The rest lies in a folder that survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lost {
    /// Log, catalog and history: a sync of one of them syncs names of the others, too.
    All,
    /// History alone, which must be as durable by itself as the catalog believes.
    History,
}

fn cut_power_again_and_again(kind: &str, lost: Lost) {
    let dir = scratch();
    let made = run("xfs_io", &["-V"]).and_then(|()| FileSystem::in_file(kind, SIZE_MIB, dir.path()));
    let mut disk = match made {
        Ok(disk) => disk,
        Err(reason) => return skipped(format_args!("no power was cut on {kind}: {reason}")),
    };
    let cycles = std::env::var("WEIR_POWER_CYCLES").ok().and_then(|v| v.parse().ok()).unwrap_or(50);
    let history = disk.point.join("history");
    let (data, more) = match lost {
        Lost::All => (disk.point.join("data"), vec![]),
        Lost::History => (dir.path().join("data"), vec!["--history", text(&history)]),
    };
    let mut random = fastrand::Rng::with_seed(17);
    let series: [Sent; CONNECTIONS] = Default::default();
    for cycle in 0..cycles {
        // Small epochs and segments, so that cuts meet flushes, publishes and the making and deleting of segments, too.
        let settings =
            [&["--seal-age", "500ms", "--hot-retention", "500ms", "--segment-bytes", "1MiB"][..], &more].concat();
        let server = Server::start(&data, &settings).unwrap_or_else(|error| panic!("cycle {cycle}: {error}"));
        check(&server, &series, cycle);
        let stop = AtomicBool::new(false);
        let promised = std::thread::scope(|scope| {
            for (i, sent) in series.iter().enumerate() {
                let (url, stop) = (server.url.clone(), &stop);
                // Once it can't write any more, it says so.
                scope.spawn(move || {
                    let refused = sent.load(&url, i, stop);
                    assert!(refused.is_none_or(|status| status.is_server_error()), "{refused:?}");
                });
            }
            if cycle % 3 == 2 {
                request_recompute(&server.url);
            }
            std::thread::sleep(Duration::from_millis(random.u64(10..1000)));
            // What is acknowledged while the power goes may have been synced just after it was gone.
            let promised: Vec<i64> = series.iter().map(Sent::acked).collect();
            disk.cut();
            stop.store(true, Ordering::SeqCst);
            server.kill().expect("killed");
            promised
        });
        series.iter().zip(promised).for_each(|(sent, acked)| sent.promise(acked));
        disk.unmount();
        disk.mount().expect("mounted again");
    }
    let server = Server::start(&data, &more).expect("starts");
    check(&server, &series, cycles);
    assert!(series.iter().all(|s| s.acked() > 0), "the load ran: {series:?}");
    assert_eq!(server.stop().expect("stops"), Some(0));
    assert_eq!(faults_of(&data, &more), [""; 0]);
    disk.unmount();
}

#[test]
fn what_was_acknowledged_survives_power_cuts_on_ext4() {
    cut_power_again_and_again("ext4", Lost::All);
}

#[test]
fn what_was_acknowledged_survives_power_cuts_on_xfs() {
    cut_power_again_and_again("xfs", Lost::All);
}

#[test]
fn what_the_catalog_names_survives_power_cuts_of_the_disk_of_history() {
    cut_power_again_and_again("xfs", Lost::History);
}
