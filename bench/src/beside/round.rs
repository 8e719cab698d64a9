//! What is measured of any server in one round: readings in, wide and narrow, questions, disk, memory.
//!
//! Owns the order. Each stage has a fresh directory. Does **not** own the figures' form (`figures`).

use std::path::Path;

use anyhow::{Context as _, ensure};

use super::peers::{Peer, Running};
use super::questions::{Patience, Question, ask};
use crate::connection::Target;
use crate::figures::Table;
use crate::lines::{Requests, Shape};
use crate::machine::{disk_bytes, mib, peak_bytes};
use crate::measure::{BATCH_LINES, CONNECTIONS, Ingest, Latency, Plans, ingest_slices};
use crate::workload::Plan;

/// A server over a fresh directory.
///
/// # Errors
/// It does not come up.
pub(super) fn fresh(peer: &dyn Peer, dir: &Path, stage: &str) -> anyhow::Result<Box<dyn Running>> {
    let dir = dir.join(format!("{}-{stage}", peer.name()));
    std::fs::create_dir_all(&dir).with_context(|| format!("can't make {}", dir.display()))?;
    peer.start(&dir).with_context(|| format!("{} does not start", peer.name()))
}

/// Wide ingest.
///
/// # Errors
/// The server does not come up or refuses.
pub(super) fn wide(peer: &dyn Peer, plans: &Plans, dir: &Path, table: &mut Table) -> anyhow::Result<()> {
    let running = fresh(peer, dir, "wide")?;
    let ingest = send(peer, running.target(), plans.main, Shape::Wide)?;
    add_ingest(table, peer.name(), "wide", &ingest);
    peer.rest(running.target())?;
    check_stored(peer, running.target(), Shape::Wide, plans.main, ingest.points)?;
    running.stop()
}

/// Narrow ingest, questions, disk and memory. Returns the server, which still runs.
///
/// # Errors
/// The server does not come up, refuses or answers less than all.
pub(super) fn narrow(
    peer: &dyn Peer,
    plans: &Plans,
    patience: Patience,
    dir: &Path,
    table: &mut Table,
) -> anyhow::Result<Box<dyn Running>> {
    let running = fresh(peer, dir, "narrow")?;
    let target = running.target();
    let day = send(peer, target, plans.day, Shape::Narrow).context("the day before")?;
    let main = send(peer, target, plans.main, Shape::Narrow)?;
    add_ingest(table, peer.name(), "narrow", &main);
    peer.rest(target)?;
    for question in Question::ALL {
        let latency = ask(peer, target, question, plans, patience)?;
        add_latency(table, peer.name(), question.name(), &latency);
    }
    table.add("peak memory by then, MiB", peer.name(), mib(peak_bytes(target.pid)?));
    check_stored(peer, target, Shape::Narrow, plans.main, main.points)?;
    peer.write_down(target)?;
    peer.rest(target)?;
    let dir = dir.join(format!("{}-narrow", peer.name()));
    let points = (day.points + main.points) as f64;
    let (all, log) = (disk_bytes(&dir)?, peer.log_dir().map_or(Ok(0), |log| disk_bytes(&dir.join(log)))?);
    table.add("disk per reading, log included, bytes", peer.name(), all as f64 / points);
    table.add("disk per reading, without the log, bytes", peer.name(), all.saturating_sub(log) as f64 / points);
    Ok(running)
}

fn send(peer: &dyn Peer, target: Target, plan: Plan, shape: Shape) -> anyhow::Result<Ingest> {
    let mut requests = Requests::new(plan, peer.layout(shape), BATCH_LINES, 1);
    ingest_slices(target, CONNECTIONS, |points| Ok(requests.slice(points)))
}

/// What was acknowledged must be there; servers differ in what they make of a reading that is sent twice.
fn check_stored(peer: &dyn Peer, target: Target, shape: Shape, plan: Plan, sent: u64) -> anyhow::Result<()> {
    let found = peer.counted(&target.connect()?.ask(&peer.count(shape, plan))?)?;
    let least = plan.identities();
    ensure!((least..=sent).contains(&found), "it holds {found} readings: not {least}, nor up to the {sent} sent");
    Ok(())
}

/// Rows of an ingest.
pub(super) fn add_ingest(table: &mut Table, column: &str, what: &str, ingest: &Ingest) {
    table.add(&format!("{what} ingest, points/s"), column, ingest.points_per_s());
    let cpu = ingest.per_million(ingest.settled_cpu_s);
    table.add(&format!("{what} ingest, server CPU s per million points, until idle"), column, cpu);
    add_latency(table, column, &format!("{what} ingest, request"), &ingest.request);
    let others = ingest.spent.others_share() * 100.0;
    table.add(&format!("{what} ingest, part of the machine that others had, %"), column, others);
}

/// Rows of latencies.
pub(super) fn add_latency(table: &mut Table, column: &str, what: &str, latency: &Latency) {
    table.add(&format!("{what}, p50 ms"), column, latency.p50_ms);
    table.add(&format!("{what}, p99 ms"), column, latency.p99_ms);
}
