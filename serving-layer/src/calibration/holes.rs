//! Holes: stretches of which something is missing for reasons that no model of lateness knows.
//!
//! Owns them, and for how long they matter. Does not own what is refused, nor when a server runs.

use std::sync::{Mutex, PoisonError};

use schemas::time::SECOND;
use schemas::{ArrivalTime, EventTime, TimeRange};

/// Refused readings whose event times lie no further apart than this are one hole.
const TOGETHER: i64 = 10 * SECOND;
/// Of one batch, so many holes are kept.
const RUNS: usize = 16;
/// Sources that were refused or met nobody come back within this time.
const RETURN: i64 = 600 * SECOND;
/// So many are known; of more, the oldest is forgotten.
const HOLES: usize = 64;

/// Why something is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The server did not run, and its sources may not have sent again what they had meanwhile.
    Down,
    /// Readings were refused, because there was no room for them, and may not have been sent again.
    Shed,
}

/// A stretch of time of which something is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hole {
    /// The first nanosecond.
    pub start: i64,
    /// The first after it.
    pub end: i64,
    /// When it was there last: from then on what is missing may come.
    pub at: i64,
    /// Why.
    pub reason: Reason,
}

impl Hole {
    fn is_one_with(&self, other: &Self) -> bool {
        self.reason == other.reason
            && other.start <= self.end.saturating_add(TOGETHER)
            && self.start <= other.end.saturating_add(TOGETHER)
    }

    fn widen(&mut self, other: &Self) {
        (self.start, self.end) = (self.start.min(other.start), self.end.max(other.end));
        self.at = self.at.max(other.at);
    }

    /// Whether it touches a stretch of event time.
    pub fn touches(&self, range: TimeRange) -> bool {
        self.start < range.end.0 && range.start.0 < self.end
    }

    /// Whether what is missing may still come: for one horizon, and no less than some minutes, in which sources find their
    /// way back.
    pub fn matters(&self, now: ArrivalTime, horizon: i64) -> bool {
        now.0 < self.at.saturating_add(horizon.max(RETURN))
    }

    /// In words.
    pub fn told(&self) -> String {
        let (from, to) = (EventTime(self.start), EventTime(self.end));
        match self.reason {
            Reason::Down => format!("the server did not run for some time between {from} and {to}"),
            Reason::Shed => format!("readings were refused between {from} and {to}"),
        }
    }
}

/// The holes that are known.
#[derive(Debug, Default)]
pub struct Holes(Mutex<Vec<Hole>>);

impl Holes {
    /// The server heard nothing for this stretch.
    pub fn down(&self, from: ArrivalTime, to: ArrivalTime) {
        if from < to {
            self.add(Hole { start: from.0, end: to.0, at: to.0, reason: Reason::Down });
        }
    }

    /// Readings of these event times were refused now. What lies far apart makes holes of its own.
    pub fn shed(&self, times: &mut [i64], now: ArrivalTime) {
        times.sort_unstable();
        for run in times.chunk_by(|a, b| b.saturating_sub(*a) <= TOGETHER).take(RUNS) {
            let (start, end) = (run[0], run[run.len() - 1].saturating_add(1));
            self.add(Hole { start, end, at: now.0, reason: Reason::Shed });
        }
    }

    fn add(&self, hole: Hole) {
        let mut holes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match holes.iter_mut().rev().find(|known| known.is_one_with(&hole)) {
            Some(known) => known.widen(&hole),
            None => holes.push(hole),
        }
        if holes.len() > HOLES {
            // The oldest matters least.
            let oldest = holes.iter().enumerate().min_by_key(|(_, hole)| hole.at).map(|(i, _)| i);
            oldest.map(|i| holes.remove(i));
        }
    }

    /// Those that touch a stretch of event time and still matter, `horizon` being the greatest.
    pub fn in_range(&self, range: TimeRange, now: ArrivalTime, horizon: i64) -> Vec<Hole> {
        let holes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        holes.iter().filter(|hole| hole.touches(range) && hole.matters(now, horizon)).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_matter_where_and_while_something_may_be_missing() {
        let holes = Holes::default();
        let at = |seconds: i64| ArrivalTime(seconds * SECOND);
        let range = |from: i64, to: i64| TimeRange::new(from * SECOND, to * SECOND);
        let touching = |from: i64, to: i64, now: i64| holes.in_range(range(from, to), at(now), 1_000 * SECOND).len();
        holes.down(at(1_000), at(1_000));
        assert_eq!(touching(0, 5_000, 1_000), 0);
        holes.down(at(1_000), at(1_010));
        for (from, to, now, expected) in [
            (990, 1_000, 1_050, 0),
            (990, 1_001, 1_050, 1),
            (1_009, 1_020, 1_050, 1),
            (1_010, 1_020, 1_050, 0),
            (1_000, 1_010, 2_010, 0),
        ] {
            assert_eq!(touching(from, to, now), expected, "{from} {to} {now}");
        }
        // Refusals one after the other are one; what is old and refused now may come now.
        (2_000..2_050).for_each(|now| holes.shed(&mut [now * SECOND], at(now)));
        holes.shed(&mut [100 * SECOND, 3_050 * SECOND], at(3_000));
        holes.shed(&mut [], at(3_000));
        let told: Vec<String> =
            holes.in_range(range(0, 4_000), at(3_001), 2_000 * SECOND).iter().map(Hole::told).collect();
        assert_eq!(told.len(), 4, "{told:?}");
        assert_eq!(told[1], "readings were refused between 1970-01-01T00:33:20Z and 1970-01-01T00:34:09.000000001Z");
        assert_eq!(touching(100, 101, 3_999), 1);
    }

    #[test]
    fn they_are_bounded() {
        let holes = Holes::default();
        for i in 0..1_000 {
            let start = i * 1_000 * SECOND;
            holes.shed(&mut [start], ArrivalTime(start));
        }
        let all = holes.in_range(TimeRange::ALL, ArrivalTime(0), i64::MAX);
        assert_eq!(all.len(), HOLES);
        assert_eq!(all[HOLES - 1].end, 999_000 * SECOND + 1);
    }
}
