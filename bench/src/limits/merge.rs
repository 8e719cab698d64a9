//! What merging costs: answers of batch views and epochs together, beside answers of batch views alone.
//!
//! Three states of one day of history: every cell counted; one cell in a hundred touched by a late reading; the same part
//! again after the end of what was counted. Both ways are asked in turns, so that what changes with time favours none.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use fastrand::Rng;

use super::{Findings, Ground};
use crate::client::{Client, get};
use crate::lines::Shape;
use crate::measure::{
    BATCH_LINES, DAY_STEP_MS, DAY_TICKS, Latency, Sending, WINDOW_MS, digits, floor, ingest, query_path, recompute,
    settle, total,
};
use crate::server::Server;
use crate::workload::{Factory, METRICS, Plan, Reading};

const DEVICES: u32 = 20;
/// One cell in so many is dirty.
const DIRTY_ONE_IN: u32 = 100;
/// Times that each question is asked each way.
const RUNS: usize = 100;
/// Which device and metric the question for one series is about.
const SERIES: (u32, usize) = (1, 0);

/// A day of history, and what is asked about it.
struct Day {
    plan: Plan,
    end_ms: i64,
}

/// Measures the three states.
///
/// # Errors
/// The server does not come up, refuses, or answers differently than it must.
pub(super) fn measure(ground: &Ground<'_>, findings: &mut Findings) -> anyhow::Result<()> {
    let devices = (DEVICES / ground.divisor).max(SERIES.0 + 1);
    let start_ms = floor(ground.now_ms, WINDOW_MS) - 2 * DAY_TICKS * DAY_STEP_MS;
    let plan = Plan { seed: 47, devices, start_ms, step_ms: DAY_STEP_MS, ticks: DAY_TICKS };
    let server = Server::start(ground.weir, &ground.dir.join("merge"))?;
    let sending = Sending::of(Shape::Narrow.layout());
    ingest(server.target(), plan, &sending)?;
    recompute(server.target())?;
    settle(server.pid())?;
    let mut client = server.client()?;
    let day = Day { plan, end_ms: plan.end_ms() };
    day.compare(&mut client, "every cell counted", "<= 1.2 x", (0, 0), findings)?;

    let late = late(plan)?;
    send(&mut client, &late)?;
    settle(server.pid())?;
    let more = late.iter().filter(|reading| reading.metric == SERIES.1).count() as u64;
    day.compare(&mut client, "1 % of cells touched by late readings", "<= 2 x", (0, more), findings)?;

    recompute(server.target())?;
    let ticks = plan.ticks / i64::from(DIRTY_ONE_IN);
    let next = Plan { seed: 48, start_ms: plan.end_ms(), ticks, ..plan };
    ingest(server.target(), next, &sending)?;
    let day = Day { plan, end_ms: next.end_ms() };
    let after = (more, next.identities_per_metric());
    day.compare(&mut client, "1 % of cells after those counted", "<= 2 x", after, findings)?;
    server.stop().map(drop)
}

impl Day {
    /// Asks both questions both ways. Besides the plan's, batch views have counted so many readings of the metric, and not
    /// yet counted so many.
    fn compare(
        &self,
        client: &mut Client,
        state: &str,
        wanted: &str,
        (counted, dirty): (u64, u64),
        findings: &mut Findings,
    ) -> anyhow::Result<()> {
        let metric = METRICS[SERIES.1].name;
        let series = format!("{metric}{{device_id=\"d{:03}\"}}", SERIES.0);
        let questions = [
            ("one series, one day, 1-minute buckets", series.as_str(), "step=1m&agg=avg"),
            ("one metric, one day, hourly per device", metric, "step=1h&agg=avg&by=device_id"),
        ];
        for (question, selector, rest) in questions {
            let path =
                |view: &str| query_path(selector, (self.plan.start_ms, self.end_ms), &format!("{rest}&view={view}"));
            let [unified, batch] = in_turns(client, &[path("unified"), path("batch")])?;
            let times = digits(unified.p50_ms / batch.p50_ms);
            let measured = format!("{times} x: {}; batch alone {}", unified.show(), batch.show());
            findings.row(format!("unified beside batch, {state}: {question}"), wanted, measured);
        }
        let counted = self.plan.identities_per_metric() + counted;
        for (view, expected) in [("batch", counted), ("unified", counted + dirty)] {
            let rest = format!("step=1d&agg=count&by=&view={view}");
            let found =
                total(&client.json(&query_path(metric, (self.plan.start_ms, self.end_ms), &rest))?, "data_points");
            findings.check(&format!("readings of one metric, {state}, {view}"), found, expected);
        }
        Ok(())
    }
}

fn in_turns(client: &mut Client, paths: &[String; 2]) -> anyhow::Result<[Latency; 2]> {
    let requests = [get(&paths[0]), get(&paths[1])];
    let mut times: [Vec<Duration>; 2] = [Vec::new(), Vec::new()];
    for run in 0..=RUNS {
        for (request, times) in requests.iter().zip(&mut times) {
            let begun = Instant::now();
            client.expect(request)?;
            // The first run warms up.
            if run > 0 {
                times.push(begun.elapsed());
            }
        }
    }
    Ok(times.map(Latency::of))
}

/// New readings a millisecond after some of the plan's, each in the cell of one.
fn late(plan: Plan) -> anyhow::Result<Vec<Reading>> {
    let (mut rng, mut late) = (Rng::with_seed(49), Vec::new());
    Factory::new(plan).for_each(|arrivals| {
        let some = arrivals.iter().filter(|_| rng.u32(0..DIRTY_ONE_IN) == 0);
        late.extend(some.map(|reading| Reading { time_ms: reading.time_ms + 1, ..*reading }));
        Ok(())
    })?;
    // What is sent twice would be twice here as well.
    late.sort_by_key(|reading| (reading.time_ms, reading.device, reading.metric));
    late.dedup_by_key(|reading| (reading.time_ms, reading.device, reading.metric));
    Ok(late)
}

fn send(client: &mut Client, readings: &[Reading]) -> anyhow::Result<()> {
    let layout = Shape::Narrow.layout();
    for some in readings.chunks(BATCH_LINES) {
        let mut lines = Vec::new();
        some.chunks(1).for_each(|one| (layout.push)(&mut lines, one));
        client.expect(&(layout.wrap)(&lines)).context("late readings")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_cell_in_a_hundred_is_late() {
        let plan = Plan { seed: 1, devices: 5, start_ms: 1_700_000_000_000, step_ms: 15_000, ticks: 1000 };
        let late = late(plan).expect("nothing fails");
        assert!((800..1200).contains(&late.len()), "{}", late.len());
        assert!(late.iter().all(|reading| (reading.time_ms - plan.start_ms) % plan.step_ms == 1));
        let mut places: Vec<_> = late.iter().map(|r| (r.time_ms, r.device, r.metric)).collect();
        places.dedup();
        assert_eq!(places.len(), late.len());
    }
}
