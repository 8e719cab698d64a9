//! A publish of a thousand partitions in one job, under the eyes of readers.
//!
//! Every day is a partition of few readings. After a first recompute as many readings again arrive late, so that every
//! partition is dirty, and a job recomputes all of them. Meanwhile one reader asks batch views for the readings of each
//! day: every answer must be that of the generation before or of the one after as a whole. Another asks for one series
//! and one day: what it notices of the switch is the time between the last answer before and the first one after.
//!
//! ```text
//! event time   ├─ day 0 ─┼─ day 1 ─┼─ ... ─┤    first: 20 ticks a day   late: 20 more, between them
//! ```

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use chrono::{DateTime, Datelike as _};
use serde_json::Value;

use super::{Findings, Ground};
use crate::client::{Client, get};
use crate::lines::{Requests, Shape};
use crate::measure::{
    Latency, MINUTE_MS, Recompute, SECOND_MS, Sending, data_points, digits, floor, ingest, query_path, recompute,
    settle,
};
use crate::report::big;
use crate::server::Server;
use crate::workload::{METRICS, Plan};

const DAYS: i64 = 1000;
/// Days of history that the same question is asked over first.
const FEW_DAYS: i64 = 10;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;
const STEP_MS: i64 = 72 * MINUTE_MS;
const TICKS: i64 = DAY_MS / STEP_MS;
/// A burst on one day of a month: history then knows the month as too dense for a partition of its own, and makes one of
/// each day.
const BURST: Plan = Plan { seed: 51, devices: 1, start_ms: 10 * SECOND_MS, step_ms: SECOND_MS, ticks: 20 };
/// How long readers ask before and after the job.
const QUIET: Duration = Duration::from_secs(2);
/// Between an answer and the next question of a reader: without it readers would take the processors from the job.
const PAUSE: Duration = Duration::from_millis(1);
/// Around the switch.
const NEAR: Duration = Duration::from_millis(500);

/// An answer, as a reader saw it.
struct Seen {
    begun: Instant,
    ended: Instant,
    generation: u64,
    /// Readings of each day.
    counts: Vec<u64>,
}

/// Measures the publish.
///
/// # Errors
/// The server does not come up, refuses, or no reader sees the switch.
pub(super) fn measure(ground: &Ground<'_>, findings: &mut Findings) -> anyhow::Result<()> {
    let days = DAYS / i64::from(ground.divisor);
    let start_ms = floor(ground.now_ms, DAY_MS) - days * DAY_MS;
    let server = Server::start(ground.weir, &ground.dir.join("publish"))?;
    let narrow = narrow_path(start_ms + FEW_DAYS / 2 * DAY_MS);
    load(&server, start_ms, 0..FEW_DAYS)?;
    let few = alone(&server, &narrow)?;
    load(&server, start_ms, FEW_DAYS..days)?;
    let many = alone(&server, &narrow)?;
    let row = format!("one series, one day, with {FEW_DAYS} and with {days} days of history");
    findings.row(row, "the same", format!("{} and {}", few.show(), many.show()));
    let partitions = server.client()?.json("/v1/status")?["batch"]["partitions_total"].as_u64();
    findings.check("partitions", partitions.unwrap_or_default(), days.unsigned_abs());

    let late = Plan { seed: 52, ..thin(start_ms + STEP_MS / 2, days) };
    ingest(server.target(), late, &Sending::of(Shape::Narrow.layout()))?;
    let range = (start_ms, start_ms + days * DAY_MS);
    let whole = query_path(METRICS[0].name, range, "step=1d&agg=count&by=&view=batch");
    let Watched { whole, narrow, job, done } = watch(&server, &whole, &narrow)?;
    let (flush_s, job_s, cpu_s) = (digits(done.flush_s), digits(done.job_s), digits(done.spent.server_cpu_s));
    let measured =
        format!("{job_s} s, and {flush_s} s for its flush before; CPU {cpu_s} s, that of the readers included");
    findings.row(format!("job over {days} partitions"), "", measured);
    judge(&whole, start_ms, days, findings)?;
    tell("one series, one day", &narrow, job, "< 10 ms", findings)?;
    tell(&format!("one metric, {days} days, batch views alone"), &whole, job, "", findings)?;
    server.stop().map(drop)
}

/// Readings of one device, few a day.
fn thin(start_ms: i64, days: i64) -> Plan {
    Plan { seed: 50, devices: 1, start_ms, step_ms: STEP_MS, ticks: days * TICKS }
}

/// Whether a burst came on this day of history.
fn has_burst(start_ms: i64, day: i64) -> bool {
    let date = DateTime::from_timestamp_millis(start_ms + day * DAY_MS);
    day == 0 || date.is_some_and(|date| date.day() == 1)
}

/// Sends some days and recomputes them.
fn load(server: &Server, start_ms: i64, days: std::ops::Range<i64>) -> anyhow::Result<()> {
    let sending = Sending::of(Shape::Narrow.layout());
    let mut client = server.client()?;
    for day in days.clone().filter(|day| has_burst(start_ms, *day)) {
        let burst = Plan { start_ms: start_ms + day * DAY_MS + BURST.start_ms, ..BURST };
        let slices = Requests::new(burst, sending.layout, sending.lines, 1).slice(u64::MAX);
        for request in slices.into_iter().flatten().flatten() {
            client.expect(&request.bytes)?;
        }
    }
    // Flushes them: partitions are made by what one epoch holds.
    recompute(server.target())?;
    ingest(server.target(), thin(start_ms + days.start * DAY_MS, days.end - days.start), &sending)?;
    recompute(server.target())?;
    settle(server.pid())
}

fn narrow_path(day_ms: i64) -> String {
    let selector = format!("{}{{device_id=\"d000\"}}", METRICS[0].name);
    query_path(&selector, (day_ms, day_ms + DAY_MS), "step=1h&agg=avg")
}

/// A question's latency while nothing else happens.
fn alone(server: &Server, path: &str) -> anyhow::Result<Latency> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| ask(server, path, &stop));
        sleep(QUIET);
        stop.store(true, Ordering::Relaxed);
        let seen = reader.join().map_err(|_| anyhow!("a reader's thread panicked"))??;
        Ok(latency(seen.iter()))
    })
}

/// What was seen of a job.
struct Watched {
    whole: Vec<Seen>,
    narrow: Vec<Seen>,
    /// When it began and ended.
    job: (Instant, Instant),
    done: Recompute,
}

/// Both readers ask before, during and after the job.
fn watch(server: &Server, whole: &str, narrow: &str) -> anyhow::Result<Watched> {
    let stop = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers = [whole, narrow].map(|path| scope.spawn(move || ask(server, path, stop)));
        sleep(QUIET);
        let begun = Instant::now();
        let done = recompute(server.target());
        let ended = Instant::now();
        sleep(QUIET);
        stop.store(true, Ordering::Relaxed);
        let [whole, narrow] = readers.map(|reader| reader.join().map_err(|_| anyhow!("a reader's thread panicked"))?);
        Ok(Watched { whole: whole?, narrow: narrow?, job: (begun, ended), done: done? })
    })
}

fn ask(server: &Server, path: &str, stop: &AtomicBool) -> anyhow::Result<Vec<Seen>> {
    let (mut client, request, mut seen) = (server.client()?, get(path), Vec::new());
    while !stop.load(Ordering::Relaxed) {
        seen.push(once(&mut client, &request)?);
        sleep(PAUSE);
    }
    Ok(seen)
}

fn once(client: &mut Client, request: &[u8]) -> anyhow::Result<Seen> {
    let begun = Instant::now();
    let body = client.expect(request)?.body;
    let ended = Instant::now();
    let answer: Value = serde_json::from_slice(&body).context("an answer is not JSON")?;
    let generation = answer["as_of"]["generation"].as_u64().context("an answer names no generation")?;
    Ok(Seen { begun, ended, generation, counts: data_points(&answer).collect() })
}

/// Each answer must be that of its generation as a whole.
fn judge(seen: &[Seen], start_ms: i64, days: i64, findings: &mut Findings) -> anyhow::Result<()> {
    let (before, after) = generations(seen)?;
    let counts = |ticks: i64| -> Vec<u64> {
        let burst = |day| if has_burst(start_ms, day) { BURST.ticks } else { 0 };
        (0..days).map(|day| (ticks + burst(day)).unsigned_abs()).collect()
    };
    let (old, new) = (counts(TICKS), counts(2 * TICKS));
    let is_whole = |seen: &Seen| {
        (seen.generation == before && seen.counts == old) || (seen.generation == after && seen.counts == new)
    };
    let torn = seen.iter().filter(|seen| !is_whole(seen)).count();
    let measured = format!("{torn} of {}", big(seen.len() as f64));
    findings.row(format!("answers over {days} partitions that are not of one generation as a whole"), "0", measured);
    findings.check("torn answers", torn as u64, 0);
    Ok(())
}

/// The first and the last generation.
fn generations(seen: &[Seen]) -> anyhow::Result<(u64, u64)> {
    let (first, last) = seen.first().zip(seen.last()).context("a reader saw nothing")?;
    ensure!(first.generation < last.generation, "a reader saw no switch");
    Ok((first.generation, last.generation))
}

/// What a reader noticed before the job, during it and at the switch.
fn tell(
    question: &str,
    seen: &[Seen],
    job: (Instant, Instant),
    wanted: &str,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let (_, after) = generations(seen)?;
    let first = seen.iter().position(|seen| seen.generation == after).context("a reader saw no switch")?;
    let switch = seen[first].ended;
    let pause = (switch - seen[first.max(1) - 1].ended).saturating_sub(PAUSE);
    let before = latency(seen.iter().filter(|seen| seen.ended < job.0));
    let during = latency(seen.iter().filter(|seen| seen.begun >= job.0 && seen.ended <= job.1));
    let near = latency(seen.iter().filter(|seen| seen.begun <= switch + NEAR && seen.ended + NEAR >= switch));
    let measured = format!(
        "{} ms from the last answer before to the first after; longest within 0.5 s {} ms; while the job ran {}, longest \
         {} ms; before it {}, longest {} ms",
        digits(pause.as_secs_f64() * 1e3),
        digits(near.max_ms),
        during.show(),
        digits(during.max_ms),
        before.show(),
        digits(before.max_ms)
    );
    findings.row(format!("switch as seen by: {question}"), wanted, measured);
    Ok(())
}

fn latency<'a>(seen: impl Iterator<Item = &'a Seen>) -> Latency {
    Latency::of(seen.map(|seen| seen.ended - seen.begun).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2024-01-30T00:00:00Z
    const START_MS: i64 = 1_706_572_800_000;

    fn check(answers: &[(u64, [u64; 3])], torn: usize) {
        let now = Instant::now();
        let seen = |(generation, counts): &(u64, [u64; 3])| Seen {
            begun: now,
            ended: now,
            generation: *generation,
            counts: counts.to_vec(),
        };
        let seen: Vec<Seen> = answers.iter().map(seen).collect();
        let mut findings = Findings::default();
        judge(&seen, START_MS, 3, &mut findings).expect("a switch");
        assert!(findings.rows[0].2.starts_with(&format!("{torn} of ")), "{:?}", findings.rows);
    }

    #[test]
    fn answers_of_two_generations_are_torn() {
        // Day 0 and the first of the month have a burst.
        let (old, new) = ([40, 20, 40], [60, 40, 60]);
        check(&[(1, old), (1, old), (2, new)], 0);
        check(&[(1, old), (2, [60, 40, 40]), (2, new)], 1);
        check(&[(1, old), (1, new), (2, old), (2, new)], 2);
    }

    #[test]
    fn without_a_switch_there_is_nothing_to_judge() {
        assert!(generations(&[]).is_err());
    }
}
