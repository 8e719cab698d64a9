//! Readings that arrive at a given rate while something else is measured.
//!
//! Owns the pace. A server that does not keep up gets later requests late: the rate that was reached is told.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};

use crate::connection::Target;
use crate::lines::Request;

/// What arrived.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrived {
    /// Readings acknowledged a second.
    pub(super) points_per_s: f64,
    /// Whether requests ran out before `meanwhile` was done.
    pub(super) ran_out: bool,
}

/// Sends requests at `points_per_s` over so many connections while `meanwhile` runs.
///
/// # Errors
/// The server refuses a request, or `meanwhile` fails.
pub(super) fn while_arriving<T>(
    target: Target,
    requests: &[Request],
    points_per_s: f64,
    connections: usize,
    meanwhile: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<(T, Arrived)> {
    let points = requests.first().context("there are no requests")?.points;
    let gap = Duration::from_secs_f64(points as f64 / points_per_s);
    let (next, stop, begun) = (AtomicUsize::new(0), AtomicBool::new(false), Instant::now());
    let lane = || -> anyhow::Result<(u64, Duration)> {
        let mut connection = target.connect()?;
        let mut sent = 0;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(request) = requests.get(number) else { break };
            sleep((gap * number as u32).saturating_sub(begun.elapsed()));
            if stop.load(Ordering::Relaxed) {
                break;
            }
            connection.send(&request.bytes)?;
            sent += request.points;
        }
        Ok((sent, begun.elapsed()))
    };
    std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..connections).map(|_| scope.spawn(lane)).collect();
        let done = meanwhile();
        let ran_out = next.load(Ordering::Relaxed) >= requests.len();
        stop.store(true, Ordering::Relaxed);
        let (mut sent, mut time) = (0, Duration::ZERO);
        for lane in lanes {
            let (lane_sent, lane_time) = lane.join().map_err(|_| anyhow!("a connection's thread panicked"))??;
            sent += lane_sent;
            time = time.max(lane_time);
        }
        Ok((done?, Arrived { points_per_s: sent as f64 / time.as_secs_f64(), ran_out }))
    })
}
