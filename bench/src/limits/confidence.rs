//! What confidence costs: each question with it and without it, in turns, so that what changes with time favours neither.

use std::time::{Duration, Instant};

use super::{Findings, Ground};
use crate::client::{Client, get};
use crate::lines::Shape;
use crate::measure::{Latency, Plans, Sending, digits, ingest, questions, recompute, settle, total};
use crate::server::Server;

/// Readings of the main plan.
const POINTS: u64 = 10_000_000;
/// Times that each question is asked each way.
const RUNS: usize = 200;
/// Leaves confidence out.
const WITHOUT: &str = "&confidence=false";

/// Asks every question both ways, before and after a recompute.
///
/// # Errors
/// The server does not come up, refuses, or answers differently than it must.
pub(super) fn measure(ground: &Ground<'_>, findings: &mut Findings) -> anyhow::Result<()> {
    let plans = Plans::new(ground.now_ms, POINTS / u64::from(ground.divisor));
    let server = Server::start(ground.weir, &ground.dir.join("confidence"))?;
    let sending = Sending::of(Shape::Narrow.layout());
    ingest(server.target(), plans.day, &sending)?;
    ingest(server.target(), plans.main, &sending)?;
    settle(server.pid())?;
    compare(&server, &plans, "before a recompute", findings)?;
    recompute(server.target())?;
    settle(server.pid())?;
    compare(&server, &plans, "after a recompute", findings)?;
    server.stop().map(drop)
}

fn compare(server: &Server, plans: &Plans, state: &str, findings: &mut Findings) -> anyhow::Result<()> {
    let mut client = server.client()?;
    for (question, paths) in questions(plans) {
        let [with, without] = in_turns(&mut client, &paths)?;
        let cost = (with.p50_ms / without.p50_ms - 1.0) * 100.0;
        let measured = format!("{} %: {}; without {}", digits(cost), with.show(), without.show());
        findings.row(format!("confidence, {state}: {question}"), "<= 5 %", measured);
        let counted = |client: &mut Client, rest: &str| -> anyhow::Result<u64> {
            Ok(total(&client.json(&format!("{}{rest}", paths[0]))?, "data_points"))
        };
        let (found, expected) = (counted(&mut client, WITHOUT)?, counted(&mut client, "")?);
        findings.check(&format!("readings without confidence, {state}: {question}"), found, expected);
    }
    Ok(())
}

/// How long answers take with confidence and without.
fn in_turns(client: &mut Client, paths: &[String]) -> anyhow::Result<[Latency; 2]> {
    let mut times: [Vec<Duration>; 2] = [Vec::new(), Vec::new()];
    // The first round warms up.
    for (run, path) in paths.iter().cycle().take(paths.len() + RUNS).enumerate() {
        // Who comes second finds warmer caches: each way is second as often.
        let ways = if run % 2 == 0 { [0, 1] } else { [1, 0] };
        for way in ways {
            let request = get(&format!("{path}{}", ["", WITHOUT][way]));
            let begun = Instant::now();
            client.expect(&request)?;
            if run >= paths.len() {
                times[way].push(begun.elapsed());
            }
        }
    }
    Ok(times.map(Latency::of))
}
