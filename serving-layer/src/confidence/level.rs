//! The level of a class: what its series' values are lately, taken together.
//!
//! Owns that mean, and which readings may be held against it. Does not own what sets a series apart (`habit`).

use serde::{Deserialize, Serialize};

/// The newest readings of a class that are its level.
const NEWEST: f64 = 64.0;

/// The mean of the newest values of a class, of whichever series.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Level {
    mean: f64,
    /// Mean time between arrivals, nanoseconds.
    pace: f64,
    readings: f64,
}

impl Level {
    /// Takes a reading into account that came `passed` nanoseconds after the one before; by how much it differs from those
    /// of the same time, where it is as new as they are.
    pub(super) fn compare(&mut self, value: f64, lateness: f64, passed: f64) -> Option<f64> {
        let value = value.clamp(-1e150, 1e150);
        self.readings += 1.0;
        let weight = (1.0 / NEWEST).max(1.0 / self.readings);
        self.pace += weight * (passed - self.pace);
        if lateness > NEWEST * self.pace {
            return None;
        }
        let apart = value - self.mean;
        self.mean += weight * apart;
        (self.readings > NEWEST).then_some(apart)
    }
}
