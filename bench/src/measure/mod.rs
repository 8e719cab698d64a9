//! What is measured, and in which order.
//!
//! Owns the order of the measurements and the stretches of event time they fill. Does **not** own how each is taken (one
//! file per measurement) or shown (`report`).
//!
//! ```text
//! server 1: single readings ─► wide ingest
//! server 2: a day, thinly ─► narrow ingest ─► queries ─► recompute ─► disk ─► queries
//!           ─► a tail ─► kill -9 ─► start, count ─► stop ─► start ─► stop
//! server 3: JSON ingest    server 4: Arrow ingest    weir import: Parquet ─► a server, count
//!
//! event time   ├── day: few devices, 15 s ──┤├── main: all devices, 1 s ──┤├── tail ──┤ now
//! ```

mod import;
mod ingest;
mod latency;
mod query;
mod recompute;
mod start;

use std::path::{Path, PathBuf};

use anyhow::Context as _;

pub(crate) use import::Import;
pub(crate) use ingest::{Ingest, Sending, ingest, ingest_slices, settle, singles};
pub(crate) use latency::{Latency, digits};
pub(crate) use query::{Asked, Queries, count, data_points, queries, query_path, questions, total};
pub(crate) use recompute::{Disk, Recompute, disk, recompute};
pub(crate) use start::{Starts, unflushed};

use crate::columns::ArrowRequests;
use crate::lines::{Layout, Shape, json};
use crate::report::Report;
use crate::server::Server;
use crate::workload::{DEVICES, METRICS, Plan};

/// Lines in a batch.
pub(crate) const BATCH_LINES: usize = 5000;
/// Connections that send batches.
pub(crate) const CONNECTIONS: usize = 4;
/// Milliseconds of a second.
pub(crate) const SECOND_MS: i64 = 1000;
/// Milliseconds of a minute.
pub(crate) const MINUTE_MS: i64 = 60 * SECOND_MS;
/// The window of the query for the last minutes; the main plan ends where one ends.
pub(crate) const WINDOW_MS: i64 = 5 * MINUTE_MS;
/// Cadence and ticks of the day.
pub(crate) const DAY_STEP_MS: i64 = 15 * SECOND_MS;
/// See [`DAY_STEP_MS`].
pub(crate) const DAY_TICKS: i64 = 24 * 60 * MINUTE_MS / DAY_STEP_MS;
/// The day holds one reading for so many of the main plan.
const DAY_PART: u64 = 4;
/// The tail holds one reading for so many of the main plan.
const TAIL_PART: i64 = 10;

/// What to measure.
#[derive(Debug)]
pub(crate) struct Bench {
    /// The server's program.
    pub(crate) binary: PathBuf,
    /// Where data directories are made.
    pub(crate) dir: PathBuf,
    /// Readings of the main plan.
    pub(crate) points: u64,
    /// Requests with a single reading.
    pub(crate) singles: usize,
    /// Runs of each query.
    pub(crate) runs: usize,
    /// Whether each connection sends the readings of its own devices.
    pub(crate) gateways: bool,
}

/// The stretches of event time that are filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plans {
    /// A whole day of some devices.
    pub(crate) day: Plan,
    /// Every device, each second.
    pub(crate) main: Plan,
    /// The same, right after: what is not flushed when the server is killed.
    pub(crate) tail: Plan,
}

impl Plans {
    /// Plans that end at `now_ms` or up to five minutes before.
    pub(crate) fn new(now_ms: i64, points: u64) -> Self {
        let per_tick = u64::from(DEVICES) * METRICS.len() as u64;
        let ticks = i64::try_from(points / per_tick).unwrap_or(i64::MAX / DAY_STEP_MS).max(1);
        let tail_ticks = (ticks / TAIL_PART).max(1);
        let end_ms = floor(floor(now_ms, WINDOW_MS) - tail_ticks * SECOND_MS, WINDOW_MS);
        let main_ms = end_ms - ticks * SECOND_MS;
        let per_device = METRICS.len() as u64 * DAY_TICKS.unsigned_abs();
        let devices = (points / DAY_PART / per_device).clamp(1, u64::from(DEVICES)) as u32;
        let day_ms = floor(main_ms, MINUTE_MS) - DAY_TICKS * DAY_STEP_MS;
        let main = Plan { seed: 42, devices: DEVICES, start_ms: main_ms, step_ms: SECOND_MS, ticks };
        Self {
            day: Plan { seed: 43, devices, start_ms: day_ms, step_ms: DAY_STEP_MS, ticks: DAY_TICKS },
            main,
            tail: Plan { seed: 44, start_ms: end_ms, ticks: tail_ticks, ..main },
        }
    }
}

/// The last multiple of `step_ms` up to then.
pub(crate) fn floor(time_ms: i64, step_ms: i64) -> i64 {
    time_ms - time_ms.rem_euclid(step_ms)
}

impl Bench {
    /// Takes all measurements.
    ///
    /// # Errors
    /// The server can't be started or spoken to. That it answers wrongly is no error but told in the report.
    pub(crate) fn run(&self, plans: &Plans, report: &mut Report) -> anyhow::Result<()> {
        self.wide(plans, report).context("on the first server")?;
        self.narrow(plans, report).context("on the second server")?;
        self.forms(plans, report).context("in other forms")
    }

    fn wide(&self, plans: &Plans, report: &mut Report) -> anyhow::Result<()> {
        let server = self.server("first")?;
        progress("single readings");
        report.single(&singles(&server, plans.day, self.singles)?);
        progress("wide ingest");
        report.ingest("wide", &ingest(server.target(), plans.main, &self.sending(Shape::Wide.layout()))?);
        server.stop().map(drop)
    }

    fn narrow(&self, plans: &Plans, report: &mut Report) -> anyhow::Result<()> {
        let dir = self.dir.join("second");
        let server = self.server("second")?;
        report.version(&server.client()?.json("/health")?);
        let sending = self.sending(Shape::Narrow.layout());
        progress("a day before");
        let day = ingest(server.target(), plans.day, &sending)?;
        progress("narrow ingest");
        let main = ingest(server.target(), plans.main, &sending)?;
        report.ingest("narrow", &main);
        progress("queries before the recompute");
        report.queries("before recompute", &self.queries(&server, plans)?);
        progress("recompute");
        report.recompute(&recompute(server.target())?);
        report.disk(disk(&server, &dir, day.points + main.points)?);
        progress("queries after the recompute");
        report.queries("after recompute", &self.queries(&server, plans)?);
        progress("starts");
        report.starts(&start::starts(server, self, &dir, plans.tail)?);
        Ok(())
    }

    fn forms(&self, plans: &Plans, report: &mut Report) -> anyhow::Result<()> {
        let server = self.server("third")?;
        progress("JSON ingest");
        report.ingest("JSON", &ingest(server.target(), plans.main, &self.sending(json()))?);
        stop_counted(server, "JSON", plans.main, report)?;
        let server = self.server("fourth")?;
        progress("Arrow ingest");
        let mut requests = ArrowRequests::new(plans.main, BATCH_LINES, CONNECTIONS);
        report.ingest("Arrow IPC", &ingest_slices(server.target(), CONNECTIONS, |points| requests.slice(points))?);
        stop_counted(server, "Arrow IPC", plans.main, report)?;
        progress("import of Parquet");
        report.import("Parquet", &import::import(&self.binary, &self.dir, plans.main)?);
        Ok(())
    }

    fn queries(&self, server: &Server, plans: &Plans) -> anyhow::Result<Queries> {
        queries(server, plans.day, plans.main, self.runs)
    }

    fn server(&self, name: &str) -> anyhow::Result<Server> {
        self.server_over(&self.dir.join(name))
    }

    fn server_over(&self, dir: &Path) -> anyhow::Result<Server> {
        Server::start(&self.binary, dir)
    }

    fn sending(&self, layout: Layout) -> Sending {
        Sending { gateways: self.gateways, ..Sending::of(layout) }
    }
}

/// Counts what a server holds of a plan, then stops it.
fn stop_counted(server: Server, form: &str, plan: Plan, report: &mut Report) -> anyhow::Result<()> {
    let (found, expected) = (count(&mut server.client()?, plan)?, plan.identities_per_metric());
    report.counted(&format!("{form}: readings of one metric"), found, expected);
    server.stop().map(drop)
}

/// Tells what begins.
pub(crate) fn progress(what: &str) {
    eprintln!("weir-bench: {what}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_follow_each_other_and_end_before_now() {
        for (now_ms, points) in
            [(1_767_571_234_567, 10_000_000), (1_767_571_200_000, 1), (1_767_571_499_999, 500_000_000)]
        {
            let Plans { day, main, tail } = Plans::new(now_ms, points);
            assert!(day.end_ms() <= main.start_ms && main.start_ms - day.end_ms() < MINUTE_MS, "{points}");
            assert_eq!((main.end_ms(), main.end_ms() % WINDOW_MS), (tail.start_ms, 0), "{points}");
            assert!(tail.end_ms() <= now_ms && now_ms - tail.end_ms() < 2 * WINDOW_MS, "{points}");
            assert_eq!((day.end_ms() - day.start_ms, day.start_ms % MINUTE_MS), (86_400_000, 0), "{points}");
        }
        assert_eq!(Plans::new(0, 10_000_000).main.ticks, 2500);
        assert_eq!(Plans::new(0, 10_000_000).day.devices, 21);
    }
}
