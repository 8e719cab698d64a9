//! kill -9: the real binary, loaded from several connections, killed at random moments; every acknowledged reading is
//! there exactly once after each restart. `WEIR_KILL_CYCLES=n` sets how many; `WEIR_KILL_CHAINS=n` how many times the
//! restart itself is killed five times in a row.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tests::calls::{Calls, Fault};
use tests::load::{Sent, check, found, request_recompute};
use tests::parts::scratch;
use tests::server::{Server, faults_of, serve};
use tests::skipped;

const CONNECTIONS: usize = 4;
/// Kills of one restart after the other.
const DEPTH: usize = 5;
/// Small epochs, so that kills meet flushes and recomputes, too.
const SETTINGS: [&str; 6] = ["--seal-age", "1s", "--hot-retention", "1s", "--segment-bytes", "256KiB"];

fn times(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// Loads a server for a while and kills it.
fn load_and_kill(server: Server, series: &[Sent], recompute: bool, after: Duration) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for (i, sent) in series.iter().enumerate() {
            let (url, stop) = (server.url.clone(), &stop);
            scope.spawn(move || assert_eq!(sent.load(&url, i, stop), None, "refused"));
        }
        if recompute {
            request_recompute(&server.url);
        }
        std::thread::sleep(after);
        server.kill().expect("killed");
        stop.store(true, Ordering::SeqCst);
    });
}

#[test]
fn every_acknowledged_reading_is_there_once_after_kill_9() {
    let cycles = times("WEIR_KILL_CYCLES", 50);
    let dir = scratch();
    let mut random = fastrand::Rng::with_seed(9);
    let series: [Sent; CONNECTIONS] = Default::default();
    for cycle in 0..cycles {
        let server = Server::start(dir.path(), &SETTINGS).expect("starts");
        check(&server, &series, cycle);
        load_and_kill(server, &series, cycle % 3 == 2, Duration::from_millis(random.u64(20..1500)));
    }
    let server = Server::start(dir.path(), &[]).expect("starts");
    check(&server, &series, cycles);
    assert!(series.iter().all(|s| s.acked() > 0), "the load ran: {series:?}");
    assert_eq!(server.stop().expect("stops"), Some(0));
}

/// Starts a server that is killed at one of its first calls, or a little later.
fn start_and_kill(calls: &Calls, data: &Path, random: &mut fastrand::Rng) {
    // A start makes some forty calls; later ones are those of flushes and deletions.
    let n = random.usize(1..80);
    let fault = [Fault::KillBefore(n), Fault::KillAfter(n), Fault::Tear(n)][random.usize(..3)];
    let mut command = serve(data, &SETTINGS);
    calls.preload(&mut command, data, &data.with_extension("calls"), fault);
    match Server::launch(command) {
        Ok(server) => {
            std::thread::sleep(Duration::from_millis(random.u64(0..800)));
            server.kill().expect("killed, or dead already");
        }
        Err(error) => assert!(!error.to_string().contains("panicked"), "{error:#}"),
    }
}

#[test]
fn a_restart_may_be_killed_again_and_again() {
    let dir = scratch();
    let calls = match Calls::build(dir.path()) {
        Ok(calls) => calls,
        Err(reason) => return skipped(format_args!("no restart was killed: {reason}")),
    };
    let (data, copy) = (dir.path().join("data"), dir.path().join("copy"));
    let mut random = fastrand::Rng::with_seed(7);
    let series: [Sent; CONNECTIONS] = Default::default();
    for chain in 0..times("WEIR_KILL_CHAINS", 4) {
        let server = Server::start(&data, &SETTINGS).expect("starts");
        load_and_kill(server, &series, chain % 2 == 1, Duration::from_millis(random.u64(300..1300)));
        let copied = Command::new("cp").arg("-a").args([&data, &copy]).status().expect("cp runs");
        assert!(copied.success());
        (0..DEPTH).for_each(|_| start_and_kill(&calls, &data, &mut random));
        // What a restart that nobody disturbs makes of the same files.
        let undisturbed = Server::start(&copy, &SETTINGS).expect("starts");
        let server = Server::start(&data, &SETTINGS).expect("starts after so many kills");
        check(&server, &series, chain);
        assert_eq!(found(&server.url).expect("answers"), found(&undisturbed.url).expect("answers"), "chain {chain}");
        undisturbed.kill().expect("killed");
        assert_eq!(server.stop().expect("stops"), Some(0));
        assert_eq!(faults_of(&data, &[]), [""; 0], "chain {chain}");
        std::fs::remove_dir_all(&copy).expect("deleted");
    }
}
