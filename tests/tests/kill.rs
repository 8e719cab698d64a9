//! kill -9: the real binary, loaded from several connections, killed at random moments; every acknowledged reading is
//! there exactly once after each restart. `WEIR_KILL_CYCLES=n` sets how many.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tests::load::{Sent, check, request_recompute};
use tests::parts::scratch;
use tests::server::Server;

const CONNECTIONS: usize = 4;

#[test]
fn every_acknowledged_reading_is_there_once_after_kill_9() {
    let cycles = std::env::var("WEIR_KILL_CYCLES").ok().and_then(|v| v.parse().ok()).unwrap_or(50);
    let dir = scratch();
    let mut random = fastrand::Rng::with_seed(9);
    let series: [Sent; CONNECTIONS] = Default::default();
    for cycle in 0..cycles {
        // Small epochs, so that kills meet flushes and recomputes, too.
        let server = Server::start(dir.path(), &["--seal-age", "1s", "--hot-retention", "1s"]).expect("starts");
        check(&server, &series, cycle);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for (i, sent) in series.iter().enumerate() {
                let (url, stop) = (server.url.clone(), &stop);
                scope.spawn(move || assert_eq!(sent.load(&url, i, stop), None, "refused"));
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
    assert!(series.iter().all(|s| s.acked() > 0), "the load ran: {series:?}");
    assert_eq!(server.stop().expect("stops"), Some(0));
}
