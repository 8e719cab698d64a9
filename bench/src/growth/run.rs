//! What is measured of one case.
//!
//! ```text
//! past ─► recompute ─► day, main ─► kill -9 ─► start ─► questions ─► recompute ─► disk ─► questions
//! ```

use std::path::Path;

use super::cases::Case;
use crate::lines::Shape;
use crate::machine::{forget_peak, peak_bytes};
use crate::measure::{
    Disk, Ingest, Queries, Recompute, Sending, count, disk, ingest, queries, recompute, settle, unflushed,
};
use crate::server::Server;

/// The figures of one case.
#[derive(Debug)]
pub(super) struct Measured {
    /// The main stretch, as it arrived.
    pub(super) ingest: Ingest,
    /// Most memory until then, since the past was recomputed; bytes.
    pub(super) ingest_peak: u64,
    /// From its start to ready, after a kill.
    pub(super) start_s: f64,
    /// Readings that were only in the log then.
    pub(super) unflushed: u64,
    /// Questions while batch views have counted the past alone.
    pub(super) fresh: Queries,
    /// Everything, made anew.
    pub(super) recompute: Recompute,
    /// What lies on disk then.
    pub(super) disk: Disk,
    /// Questions then.
    pub(super) counted: Queries,
    /// Most memory since the start, bytes.
    pub(super) batch_peak: u64,
    /// Differences between answers and what was sent.
    pub(super) wrong: Vec<String>,
}

/// Measures a case over a new directory.
///
/// # Errors
/// The server does not come up, or refuses.
pub(super) fn run(weir: &Path, dir: &Path, case: &Case, runs: usize) -> anyhow::Result<Measured> {
    let server = Server::start(weir, dir)?;
    let sending = Sending::of(Shape::Narrow.layout());
    let mut points = 0;
    if let Some(past) = case.past {
        points += ingest(server.target(), past, &sending)?.points;
        recompute(server.target())?;
        settle(server.pid())?;
        forget_peak(server.pid())?;
    }
    points += ingest(server.target(), case.day, &sending)?.points;
    let main = ingest(server.target(), case.main, &sending)?;
    points += main.points;
    let ingest_peak = peak_bytes(server.pid())?;
    let unflushed = unflushed(&server.client()?.json("/v1/status")?).unwrap_or_default();
    server.kill()?;
    let server = Server::start(weir, dir)?;
    let start_s = server.ready_in.as_secs_f64();
    let ask = || queries(&server, case.day, case.main, runs);
    let fresh = ask()?;
    let recomputed = recompute(server.target())?;
    let disk = disk(&server, dir, points)?;
    let counted = ask()?;
    let mut wrong = [fresh.wrong.as_slice(), &counted.wrong].concat();
    if let Some(past) = case.past {
        let (found, expected) = (count(&mut server.client()?, past)?, past.identities_per_metric());
        if found != expected {
            wrong.push(format!("readings of one metric in the past: {found} instead of {expected}"));
        }
    }
    let batch_peak = peak_bytes(server.pid())?;
    server.stop()?;
    let (ingest, recompute) = (main, recomputed);
    Ok(Measured { ingest, ingest_peak, start_s, unflushed, fresh, recompute, disk, counted, batch_peak, wrong })
}
