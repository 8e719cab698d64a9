//! Which readings of a frame count, by when they say they happened.
//!
//! Owns the window round an arrival and the numbers of those outside of it. Does not own where these are kept (`state`).

use std::iter::Sum;
use std::time::Duration;

use schemas::ArrivalTime;

use super::state::nanos;

/// The event times that count in a frame, nanoseconds, both ends included.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    earliest: i64,
    latest: i64,
}

impl Window {
    /// Of a frame that arrived now: what says it is much older (`past`; zero: nothing is too old) or newer is not believed.
    pub(super) fn around(arrival: ArrivalTime, past: Duration, future: Duration) -> Self {
        let earliest = if past.is_zero() { i64::MIN } else { arrival.0.saturating_sub(nanos(past)) };
        // No range of time holds the very last instant.
        Self { earliest, latest: arrival.0.saturating_add(nanos(future)).min(i64::MAX - 1) }
    }

    pub(super) fn contains(self, time: i64) -> bool {
        self.earliest <= time && time <= self.latest
    }
}

/// Readings that were quarantined, by why.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SetAside {
    pub(crate) future: u64,
    pub(crate) past: u64,
}

impl SetAside {
    /// Counts a time that lies outside of the window.
    pub(super) fn count(&mut self, window: Window, time: i64) {
        *if time > window.latest { &mut self.future } else { &mut self.past } += 1;
    }

    pub(crate) fn total(self) -> u64 {
        self.future + self.past
    }
}

impl Sum for SetAside {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |a, b| Self { future: a.future + b.future, past: a.past + b.past })
    }
}
