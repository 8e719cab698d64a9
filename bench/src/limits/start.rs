//! Starts after a kill: with every reading in the log alone, and with every reading in history.

use super::{Findings, Ground};
use crate::lines::Shape;
use crate::measure::{SECOND_MS, Sending, WINDOW_MS, count, digits, floor, ingest, recompute, unflushed};
use crate::report::big;
use crate::server::Server;
use crate::workload::{DEVICES, METRICS, Plan};

const READINGS: i64 = 10_000_000;
/// Nothing is sealed by age or size, so that nothing is flushed.
const UNFLUSHED: [(&str, &str); 3] = [("seal-age", "1d"), ("seal-bytes", "64GiB"), ("hot-bytes", "64GiB")];

/// Measures both starts over the same readings.
///
/// # Errors
/// The server does not come up, or refuses.
pub(super) fn measure(ground: &Ground<'_>, findings: &mut Findings) -> anyhow::Result<()> {
    let dir = ground.dir.join("start");
    let ticks = READINGS / i64::from(ground.divisor) / (i64::from(DEVICES) * METRICS.len() as i64);
    let start_ms = floor(ground.now_ms, WINDOW_MS) - ticks * SECOND_MS;
    let plan = Plan { seed: 42, devices: DEVICES, start_ms, step_ms: SECOND_MS, ticks };
    let server = Server::start_with(ground.weir, &dir, &UNFLUSHED)?;
    let sent = ingest(server.target(), plan, &Sending::of(Shape::Narrow.layout()))?;
    let server = again(server, ground, &UNFLUSHED, "5 s", findings)?;
    let check = |server: &Server, findings: &mut Findings| -> anyhow::Result<()> {
        let found = count(&mut server.client()?, plan)?;
        findings.check("readings of one metric after a start", found, plan.identities_per_metric());
        Ok(())
    };
    check(&server, findings)?;
    let done = recompute(server.target())?;
    findings.row(
        format!("flush of {} readings at once", big(sent.points as f64)),
        "",
        format!("{} s", digits(done.flush_s)),
    );
    let server = again(server, ground, &[], "1 s", findings)?;
    check(&server, findings)?;
    server.stop().map(drop)
}

/// Kills the server and starts it over the same directory.
fn again(
    server: Server,
    ground: &Ground<'_>,
    settings: &[(&str, &str)],
    wanted: &str,
    findings: &mut Findings,
) -> anyhow::Result<Server> {
    let left = unflushed(&server.client()?.json("/v1/status")?).unwrap_or_default();
    server.kill()?;
    let server = Server::start_with(ground.weir, &ground.dir.join("start"), settings)?;
    let seconds = digits(server.ready_in.as_secs_f64());
    let what = format!("start after kill -9, {} readings in the log alone", big(left as f64));
    findings.row(what, wanted, format!("{seconds} s"));
    Ok(server)
}
