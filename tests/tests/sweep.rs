//! Every call that changes a file, one at a time: the real server is killed before it, after it, or in the middle of its
//! bytes; or the call fails because the disk is full or broken. Whatever happens, each acknowledged reading is there exactly
//! once, before and after a restart, and the server goes on.
//!
//! `WEIR_SWEEP=n` sets how many points are tried, `all` tries each call with each fault.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tests::calls::{Call, Calls, Fault};
use tests::life::{Gone, Met, SETTINGS, live};
use tests::load::{Sent, check};
use tests::parts::scratch;
use tests::server::{Server, faults_of, serve};
use tests::skipped;

/// Lives at once; they mostly wait.
const AT_ONCE: usize = 4;
const POINTS: usize = 40;
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

type Series = [Sent; 2];

/// A life under a fault: the calls that were made, and what the client met where the server lived to the end.
fn fallible_life(calls: &Calls, dir: &Path, fault: Fault, series: &Series) -> (Vec<Call>, Option<Met>) {
    let (data, log) = (dir.join("data"), dir.join("calls"));
    let mut command = serve(&data, &SETTINGS);
    calls.preload(&mut command, &data, &log, fault);
    let met = match Server::launch(command) {
        // Killed, or it says what it can't do and ends.
        Err(error) => {
            assert!(fault != Fault::None && !error.to_string().contains("panicked"), "{error:#}");
            None
        }
        Ok(server) => {
            let lived = live(&server.url, series);
            let told = server.log();
            assert!(!told.contains("panicked"), "{told}");
            match (lived, fault) {
                (Ok(met), Fault::Fail(n, _) | Fault::FailSync(n, _)) if n % 2 == 0 => {
                    server.kill().expect("killed");
                    Some(met)
                }
                (Ok(met), _) => stop(server, fault).then_some(met),
                (Err(Gone), _) => {
                    assert!(fault.kills(), "{fault:?} ended it: {told}");
                    None
                }
            }
        }
    };
    (Calls::made(&log), met)
}

/// Stops it; says whether it came so far. A call that fails is no reason not to.
fn stop(server: Server, fault: Fault) -> bool {
    match server.stop_and_tell() {
        Ok((Some(0), told)) => {
            assert!(!told.contains("panicked"), "{told}");
            true
        }
        ended => {
            assert!(fault.kills(), "{fault:?} kept it from stopping: {ended:?}");
            false
        }
    }
}

/// One fault, then restarts without any.
fn survive(calls: &Calls, fault: Fault) -> Vec<Call> {
    let (dir, series) = (scratch(), Series::default());
    let (made, met) = fallible_life(calls, dir.path(), fault, &series);
    if !fault.kills() {
        never_written_again(&made, met.as_ref());
    }
    let data = dir.path().join("data");
    let server = Server::start(&data, &SETTINGS).expect("it starts again");
    check(&server, &series, 0);
    assert!(live(&server.url, &series).is_ok(), "it lives on: {}", server.log());
    assert_eq!(server.stop().expect("stops"), Some(0));
    assert_eq!(faults_of(&data, &[]), [""; 0]);
    made
}

/// LOG-3: a segment whose write or sync failed is left alone for ever, and what it should have held was refused.
fn never_written_again(made: &[Call], met: Option<&Met>) {
    let Some(at) = made.iter().position(|call| call.hit && is_of_log(call)) else { return };
    let (failed, later) = (&made[at], &made[at + 1..]);
    if let Some(again) = later.iter().find(|call| call.path == failed.path && call.name != "unlink") {
        // Made anew from nothing: the number is free, as no acknowledged reading is in the file.
        assert_eq!(again.name, "open", "{failed:?} failed, then it was written again");
    }
    if failed.name == "fdatasync" {
        assert!(met.is_none_or(|met| !met.refused.is_empty()), "{failed:?} failed and nobody was refused: {met:?}");
    }
}

fn is_of_log(call: &Call) -> bool {
    call.path.ends_with(".log")
}

const KINDS: [fn(usize) -> Fault; 5] =
    [Fault::KillBefore, Fault::KillAfter, Fault::Tear, |n| Fault::Fail(n, ENOSPC), |n| Fault::Fail(n, EIO)];

/// The faults of the sweep over these calls: all, or each sync of the log that fails and so many more, in turn one of each
/// kind of call (its name and the part of the data directory).
fn faults(made: &[Call]) -> Vec<Fault> {
    let syncs = made.iter().filter(|call| is_of_log(call) && call.name == "fdatasync").count();
    let mut faults: Vec<Fault> = (1..=syncs).map(|n| Fault::FailSync(n, EIO)).collect();
    let points = match std::env::var("WEIR_SWEEP").as_deref() {
        Ok("all") => {
            faults.extend((1..=made.len()).flat_map(|n| KINDS.map(|kind| kind(n))));
            return faults;
        }
        Ok(points) => points.parse().expect("WEIR_SWEEP is a number or `all`"),
        Err(_) => POINTS,
    };
    let mut alike: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
    for (n, call) in (1..).zip(made) {
        let part = call.path.trim_start_matches('/').split('/').next().unwrap_or_default();
        alike.entry((&call.name, part)).or_default().push(n);
    }
    let (alike, mut random) = (Vec::from_iter(alike.into_values()), fastrand::Rng::with_seed(points as u64));
    let point = |i: usize, random: &mut fastrand::Rng| {
        let numbers = &alike[i % alike.len()];
        // Each round over the calls begins with another kind.
        KINDS[(i + i / alike.len()) % KINDS.len()](numbers[random.usize(..numbers.len())])
    };
    faults.extend((0..points).map(|i| point(i, &mut random)));
    faults
}

#[test]
fn what_was_acknowledged_survives_a_fault_at_any_call() {
    let tools = scratch();
    let calls = match Calls::build(tools.path()) {
        Ok(calls) => calls,
        Err(reason) => return skipped(format_args!("no call failed: {reason}")),
    };
    let dir = scratch();
    let (made, met) = fallible_life(&calls, dir.path(), Fault::None, &Series::default());
    assert_eq!(met, Some(Met::default()), "nothing fails by itself");
    for name in ["open", "mkdir", "write", "pwrite", "fsync", "fdatasync", "linkat", "unlink", "ftruncate"] {
        assert!(made.iter().any(|call| call.name == name), "no life without {name}");
    }
    let faults = faults(&made);
    let next = AtomicUsize::new(0);
    let (met, failed) = (Mutex::new(BTreeMap::<String, usize>::new()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(fault) = faults.get(next.fetch_add(1, Ordering::SeqCst)) {
                    match std::panic::catch_unwind(|| survive(&calls, *fault)) {
                        Ok(made) => *met.lock().expect("whole").entry(describe(*fault, &made)).or_default() += 1,
                        Err(_) => failed.lock().expect("whole").push(*fault),
                    }
                }
            });
        }
    });
    eprintln!("{} calls, {} faults: {:#?}", made.len(), faults.len(), met.into_inner().expect("whole"));
    assert_eq!(failed.into_inner().expect("whole"), [], "these were not survived; what was wrong is told above");
}

/// The kind of a fault and what it met.
fn describe(fault: Fault, made: &[Call]) -> String {
    let kind = match fault {
        Fault::KillBefore(_) => "killed before",
        Fault::KillAfter(_) => "killed after",
        Fault::Tear(_) => "killed within",
        Fault::Fail(_, ENOSPC) => "disk full at",
        _ => "disk broken at",
    };
    let call = made.iter().find(|call| call.hit).map_or("nothing, the life was shorter", |call| call.name.as_str());
    format!("{kind} {call}")
}
