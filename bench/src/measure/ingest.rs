//! Readings in: how many per second, at what cost, and how long a request waits.
//!
//! Requests are made before the clock runs, a slice at a time; the time is that of the sending alone. While a slice is
//! made the server may do work that it put off: therefore slices are large, and what the server spends until it is
//! idle again is measured, too.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;

use super::{BATCH_LINES, CONNECTIONS, Latency};
use crate::connection::Target;
use crate::lines::{Layout, Request, Requests, Shape};
use crate::machine::{Meter, Spent, family_cpu_s, touch_memory};
use crate::server::Server;
use crate::workload::Plan;

/// Readings of a slice; narrow, they take about 600 MB.
const SLICE_POINTS: u64 = 10_000_000;
/// The server is idle if it used less than this part of a processor in each of several looks.
const IDLE_PART: f64 = 0.03;
const IDLE_LOOK: Duration = Duration::from_millis(500);
const IDLE_LOOKS: usize = 4;
const IDLE_WAIT: Duration = Duration::from_secs(120);

/// How readings are sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sending {
    /// How they are laid out.
    pub(crate) layout: Layout,
    /// Lines in a request.
    pub(crate) lines: usize,
    /// Connections, each with one request in flight.
    pub(crate) connections: usize,
    /// Whether each connection sends the readings of its own devices. If not, the next request goes to the connection
    /// that is free, and requests overtake each other.
    pub(crate) gateways: bool,
}

impl Sending {
    /// Requests of the usual size over the usual connections, whichever is free.
    pub(crate) fn of(layout: Layout) -> Self {
        Self { layout, lines: BATCH_LINES, connections: CONNECTIONS, gateways: false }
    }
}

/// What became of it.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Ingest {
    /// Readings that were acknowledged.
    pub(crate) points: u64,
    /// Bytes that were sent.
    pub(crate) bytes: u64,
    /// While sending.
    pub(crate) spent: Spent,
    /// CPU seconds of the server from the first request until it was idle.
    pub(crate) settled_cpu_s: f64,
    /// Requests that were sent again because the server was too busy.
    pub(crate) sent_again: usize,
    /// From a request's first byte to its acknowledgement, sending again included.
    pub(crate) request: Latency,
}

impl Ingest {
    /// Acknowledged readings per second.
    pub(crate) fn points_per_s(&self) -> f64 {
        self.points as f64 / self.spent.wall_s
    }

    /// What `cpu_s` is for a million readings.
    pub(crate) fn per_million(&self, cpu_s: f64) -> f64 {
        cpu_s * 1e6 / self.points as f64
    }
}

/// Sends all readings of a plan and waits until the server is idle.
///
/// # Errors
/// The server refuses readings, or keeps being too busy.
pub(crate) fn ingest(target: Target, plan: Plan, sending: &Sending) -> anyhow::Result<Ingest> {
    let lanes = if sending.gateways { sending.connections } else { 1 };
    let mut requests = Requests::new(plan, sending.layout, sending.lines, lanes);
    ingest_slices(target, sending.connections, |points| Ok(requests.slice(points)))
}

/// Sends all slices of requests and waits until the server is idle.
///
/// # Errors
/// Requests can't be made, the server refuses readings, or keeps being too busy.
pub(crate) fn ingest_slices(
    target: Target,
    connections: usize,
    mut next: impl FnMut(u64) -> anyhow::Result<Option<Vec<Vec<Request>>>>,
) -> anyhow::Result<Ingest> {
    let mut result = Ingest::default();
    let mut times = Vec::new();
    let before = family_cpu_s(target.pid)?;
    while let Some(slice) = next(SLICE_POINTS)? {
        touch_memory();
        let meter = Meter::start(target.pid)?;
        let sent = send(target, &slice, connections)?;
        result.spent.add(meter.spent()?);
        times.extend(sent.times);
        result.sent_again += sent.again;
        for request in slice.iter().flatten() {
            result.points += request.points;
            result.bytes += request.bytes.len() as u64;
        }
    }
    settle(target.pid)?;
    result.settled_cpu_s = family_cpu_s(target.pid)? - before;
    result.request = Latency::of(times);
    Ok(result)
}

/// Sends so many requests with a single reading each, one after the other.
///
/// # Errors
/// The server refuses one.
pub(crate) fn singles(server: &Server, plan: Plan, count: usize) -> anyhow::Result<Latency> {
    let slice = Requests::new(plan, Shape::Narrow.layout(), 1, 1).slice(count as u64).context("the plan is empty")?;
    let mut client = server.client()?;
    let mut times = Vec::with_capacity(count);
    for request in slice.iter().flatten().take(count) {
        let begun = Instant::now();
        client.expect(&request.bytes)?;
        times.push(begun.elapsed());
    }
    Ok(Latency::of(times))
}

/// Waits until the server does nothing any more, or for two minutes.
///
/// # Errors
/// The server has ended.
pub(crate) fn settle(pid: u32) -> anyhow::Result<()> {
    let begun = Instant::now();
    let (mut idle, mut before) = (0, family_cpu_s(pid)?);
    while idle < IDLE_LOOKS && begun.elapsed() < IDLE_WAIT {
        sleep(IDLE_LOOK);
        let now = family_cpu_s(pid)?;
        idle = if now - before < IDLE_PART * IDLE_LOOK.as_secs_f64() { idle + 1 } else { 0 };
        before = now;
    }
    Ok(())
}

/// What connections saw.
#[derive(Debug, Default)]
struct Sent {
    times: Vec<Duration>,
    again: usize,
}

fn send(target: Target, lanes: &[Vec<Request>], connections: usize) -> anyhow::Result<Sent> {
    let lanes: Vec<(&[Request], AtomicUsize)> =
        lanes.iter().map(|lane| (lane.as_slice(), AtomicUsize::new(0))).collect();
    let mut all = Sent::default();
    std::thread::scope(|scope| {
        let lane_of = |i: usize| &lanes[i % lanes.len()];
        let start = |i| scope.spawn(move || send_lane(target, lane_of(i)));
        let threads: Vec<_> = (0..connections).map(start).collect();
        for thread in threads {
            let sent = thread.join().map_err(|_| anyhow::anyhow!("a connection's thread panicked"))??;
            all.times.extend(sent.times);
            all.again += sent.again;
        }
        Ok(all)
    })
}

/// Sends the requests of a lane that no other connection took before.
fn send_lane(target: Target, (requests, next): &(&[Request], AtomicUsize)) -> anyhow::Result<Sent> {
    let mut connection = target.connect()?;
    let mut sent = Sent::default();
    while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
        let begun = Instant::now();
        sent.again += connection.send(&request.bytes)?;
        sent.times.push(begun.elapsed());
    }
    Ok(sent)
}
