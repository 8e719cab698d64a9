//! Memory: with many readings of some series, and with many series of some readings.

use super::{Findings, Ground};
use crate::lines::Shape;
use crate::machine::{mib, peak_bytes, resident_bytes};
use crate::measure::{SECOND_MS, Sending, WINDOW_MS, count, digits, floor, ingest, recompute, settle};
use crate::report::big;
use crate::server::Server;
use crate::workload::{DEVICES, METRICS, Plan};

const READINGS: i64 = 20_000_000;
const SERIES: u32 = 1_000_000;
/// Readings of each of the many series.
const SERIES_TICKS: i64 = 2;

/// Measures both, each on a server of its own.
///
/// # Errors
/// The server does not come up, or refuses.
pub(super) fn measure(ground: &Ground<'_>, findings: &mut Findings) -> anyhow::Result<()> {
    let divisor = i64::from(ground.divisor);
    let end_ms = floor(ground.now_ms, WINDOW_MS);
    let ticks = READINGS / divisor / (i64::from(DEVICES) * METRICS.len() as i64);
    let readings = Plan { seed: 42, devices: DEVICES, start_ms: end_ms - ticks * SECOND_MS, step_ms: SECOND_MS, ticks };
    hold(ground, "readings", readings, "1 GiB", findings)?;
    let devices = SERIES / ground.divisor / METRICS.len() as u32;
    let ticks = SERIES_TICKS;
    let series = Plan { devices, start_ms: end_ms - ticks * SECOND_MS, ticks, ..readings };
    hold(ground, "series", series, "2 GiB", findings)
}

fn hold(ground: &Ground<'_>, name: &str, plan: Plan, wanted: &str, findings: &mut Findings) -> anyhow::Result<()> {
    let server = Server::start(ground.weir, &ground.dir.join(name))?;
    let sent = ingest(server.target(), plan, &Sending::of(Shape::Narrow.layout()))?;
    let what = format!("{} readings of {} series", big(sent.points as f64), big(plan.per_tick() as f64));
    let mut row = |when: &str| -> anyhow::Result<()> {
        let (peak, now) = (peak_bytes(server.pid())?, resident_bytes(server.pid())?);
        let measured = format!("peak {} MiB, then {} MiB", digits(mib(peak)), digits(mib(now)));
        findings.row(format!("memory, {what}, {when}"), wanted, measured);
        Ok(())
    };
    row("as they arrive and when idle")?;
    let found = count(&mut server.client()?, plan)?;
    row("and after one question about a metric")?;
    let done = recompute(server.target())?;
    settle(server.pid())?;
    row("and after a recompute")?;
    findings.row(format!("ingest, {what}"), "", format!("{} points/s", big(sent.points_per_s())));
    findings.row(format!("recompute, {what}"), "", format!("{} readings/s", big(done.rows_per_s())));
    findings.check(&format!("readings of one metric, {what}"), found, plan.identities_per_metric());
    server.stop().map(drop)
}
