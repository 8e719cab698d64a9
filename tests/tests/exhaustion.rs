//! What is slow, stands still or runs out: syncs that take long, a process that is stopped for a while, file descriptors.
//! Nothing acknowledged is lost, nothing counts twice, and the server goes on by itself.

use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::blocking::Client;
use tests::calls::{Calls, Fault};
use tests::life::live;
use tests::load::{Sent, check};
use tests::parts::scratch;
use tests::server::{Server, serve};
use tests::skipped;

const EIO: i32 = 5;
const CONNECTIONS: usize = 4;

type Series = [Sent; CONNECTIONS];

/// Loads the server while `meanwhile` runs.
fn under_load<T>(server: &Server, series: &Series, meanwhile: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    let done = std::thread::scope(|scope| {
        for (i, sent) in series.iter().enumerate() {
            let (url, stop) = (server.url.clone(), &stop);
            scope.spawn(move || assert_eq!(sent.load(&url, i, stop), None, "refused"));
        }
        let done = catch_unwind(AssertUnwindSafe(meanwhile));
        stop.store(true, Ordering::SeqCst);
        done
    });
    done.unwrap_or_else(|panic| resume_unwind(panic))
}

#[test]
fn slow_syncs_make_senders_wait_and_nobody_else() {
    let dir = scratch();
    let calls = match Calls::build(dir.path()) {
        Ok(calls) => calls,
        Err(reason) => return skipped(format_args!("no sync was slow: {reason}")),
    };
    let (data, series) = (dir.path().join("data"), Series::default());
    let mut command = serve(&data, &["--seal-age", "500ms"]);
    calls.preload(&mut command, &data, &dir.path().join("calls"), Fault::SlowSync(400));
    let server = Server::launch(command).expect("starts");
    under_load(&server, &series, || {
        let begun = Instant::now();
        let mut asked = 0;
        while begun.elapsed() < Duration::from_secs(3) {
            check(&server, &series, asked);
            asked += 1;
        }
        // One that waited for the log would be asked seven times.
        assert!(asked > 20, "questions wait for syncs: {asked} in 3 s");
    });
    assert!(series.iter().all(|sent| sent.acked() > 0), "{series:?}");
    server.kill().expect("killed");
    check(&Server::start(&data, &[]).expect("starts"), &series, 0);
}

#[test]
fn a_sync_that_fails_breaks_no_promise_of_an_interval() {
    let dir = scratch();
    let calls = match Calls::build(dir.path()) {
        Ok(calls) => calls,
        Err(reason) => return skipped(format_args!("no sync failed: {reason}")),
    };
    // With epochs that are flushed meanwhile, segments behind a failed one are deleted, too.
    for (n, seal_age) in (1..4).flat_map(|n| [(n, "10m"), (n, "200ms")]) {
        let (data, series) = (dir.path().join(format!("{n}-{seal_age}")), Series::default());
        let mut command = serve(&data, &["--seal-age", seal_age, "--durability", "interval:50ms"]);
        calls.preload(&mut command, &data, &dir.path().join("calls"), Fault::FailSync(n, EIO));
        let server = Server::launch(command).expect("starts");
        under_load(&server, &series, || std::thread::sleep(Duration::from_millis(500)));
        check(&server, &series, n);
        assert!(server.log().contains("the log failed"), "{}", server.log());
        server.kill().expect("killed");
        let server = Server::start(&data, &[]).expect("no position is missing in the log");
        check(&server, &series, n);
    }
}

#[test]
fn a_server_that_was_stopped_for_a_while_goes_on() {
    let (dir, series) = (scratch(), Series::default());
    let server = Server::start(dir.path(), &["--seal-age", "500ms", "--hot-retention", "500ms"]).expect("starts");
    let signal = |name: &str| {
        let sent = Command::new("kill").args([name, &server.pid().to_string()]).status().expect("kill runs");
        assert!(sent.success());
    };
    under_load(&server, &series, || {
        std::thread::sleep(Duration::from_millis(700));
        signal("-STOP");
        std::thread::sleep(Duration::from_secs(2));
        let before = series[0].acked();
        signal("-CONT");
        while series[0].acked() == before {
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    check(&server, &series, 0);
    server.kill().expect("killed");
    check(&Server::start(dir.path(), &[]).expect("starts"), &series, 1);
}

#[test]
fn a_server_without_free_descriptors_goes_on_when_clients_leave() {
    let (dir, series) = (scratch(), [Sent::default(), Sent::default()]);
    let serving = serve(dir.path(), &tests::life::SETTINGS);
    // The shell lowers its own limit and becomes the server.
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 96 && exec \"$@\"", "sh"]).arg(serving.get_program()).args(serving.get_args());
    let server = Server::launch(command).expect("starts");
    let client = Client::new();
    assert!(series[0].send(&client, &server.url, 0, 100).is_ok_and(|status| status.is_success()));
    let address = server.url.trim_start_matches("http://");
    let crowd: Vec<TcpStream> = (0..200).filter_map(|_| TcpStream::connect(address).ok()).collect();
    assert!(crowd.len() > 96, "the kernel takes connections that nobody accepts");
    // Who is connected already is served, as well as it can be.
    for _ in 0..20 {
        let status = series[0].send(&client, &server.url, 0, 2000).expect("the connection lives");
        assert!(matches!(status.as_u16(), 200 | 503 | 507), "{status}");
    }
    drop(crowd);
    live(&server.url, &series).expect("it lives on");
    assert!(!server.log().contains("panicked"), "{}", server.log());
    server.kill().expect("killed");
    check(&Server::start(dir.path(), &[]).expect("starts"), &series, 1);
}
