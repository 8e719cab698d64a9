//! A simulated factory: 200 machines with 20 metrics each, a reading a second, some late, some twice.
//!
//! The same seed and the same instants make the same readings.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::f64::consts::TAU;

use schemas::time::{DAY, SECOND};
use schemas::{ArrivalTime, SeriesKey};
use speed_layer::{Rows, SeriesRef};

const MACHINES: usize = 200;
/// A metric: its name, its mean, how far it swings over a day, and its noise.
const METRICS: [(&str, f64, f64, f64); 20] = [
    ("temperature", 65.0, 8.0, 0.6),
    ("bearing_temperature", 48.0, 5.0, 0.4),
    ("oil_temperature", 55.0, 4.0, 0.3),
    ("coolant_temperature", 28.0, 3.0, 0.3),
    ("pressure", 160.0, 6.0, 1.5),
    ("oil_pressure", 4.2, 0.2, 0.05),
    ("vibration_x", 1.8, 0.3, 0.2),
    ("vibration_y", 1.7, 0.3, 0.2),
    ("vibration_z", 2.4, 0.4, 0.3),
    ("speed", 1480.0, 25.0, 4.0),
    ("torque", 210.0, 30.0, 5.0),
    ("current", 42.0, 6.0, 0.8),
    ("voltage", 400.0, 3.0, 0.7),
    ("power", 26.0, 4.0, 0.6),
    ("flow", 85.0, 9.0, 1.2),
    ("humidity", 45.0, 10.0, 0.8),
    ("noise_level", 78.0, 4.0, 0.9),
    ("cycle_time", 12.5, 0.8, 0.15),
    ("parts", 4.8, 0.9, 0.4),
    ("scrap", 0.05, 0.02, 0.01),
];
/// One reading in so many arrives late, by an exponential delay of this mean.
const LATE_ONE_IN: u32 = 100;
const LATE_MEAN_S: f64 = 30.0;
/// One reading in so many arrives twice; every other of those with a corrected value.
const TWICE_ONE_IN: u32 = 1000;

/// A reading that is still on its way: when it arrives, its series, event time and value.
type OnTheWay = Reverse<(i64, u32, i64, u64)>;

/// The factory.
#[derive(Debug)]
pub(super) struct Factory {
    keys: Vec<SeriesKey>,
    chance: fastrand::Rng,
    late: BinaryHeap<OnTheWay>,
}

impl Factory {
    /// A factory whose chance comes from this seed.
    pub(super) fn new(seed: u64) -> Result<Self, schemas::Error> {
        let mut keys = Vec::with_capacity(MACHINES * METRICS.len());
        for machine in 0..MACHINES {
            let device = format!("press-{:03}", machine + 1);
            let line = ["A", "B", "C", "D"][machine % 4];
            for (metric, ..) in METRICS {
                keys.push(SeriesKey::new(metric, &[("device_id", &device), ("line", line)])?);
            }
        }
        Ok(Self { keys, chance: fastrand::Rng::with_seed(seed), late: BinaryHeap::new() })
    }

    /// What arrives in this second.
    pub(super) fn second(&mut self, now: ArrivalTime) -> Rows {
        let mut rows = Rows { keys: self.keys.clone(), ..Rows::default() };
        while self.late.peek().is_some_and(|Reverse((arrives, ..))| *arrives <= now.0) {
            if let Some(Reverse((_, series, time, bits))) = self.late.pop() {
                push(&mut rows, series, time, f64::from_bits(bits));
            }
        }
        for (series, i) in (0..).zip(0..self.keys.len()) {
            // Machines report within the second, each at its own moment.
            let time = now.0 - (i / METRICS.len()) as i64 * (SECOND / 1000);
            let value = self.value(i, time);
            if self.chance.u32(0..LATE_ONE_IN) == 0 {
                let delay_s = -LATE_MEAN_S * (1.0 - self.chance.f64()).ln();
                let arrives = now.0.saturating_add((delay_s * SECOND as f64) as i64);
                self.late.push(Reverse((arrives, series, time, value.to_bits())));
                continue;
            }
            push(&mut rows, series, time, value);
            if self.chance.u32(0..TWICE_ONE_IN) == 0 {
                let corrected = if self.chance.bool() { value * 1.01 } else { value };
                push(&mut rows, series, time, corrected);
            }
        }
        rows
    }

    fn value(&mut self, i: usize, time: i64) -> f64 {
        let (machine, (_, mean, swing, noise)) = (i / METRICS.len(), METRICS[i % METRICS.len()]);
        let phase = machine as f64 / MACHINES as f64;
        let day = time.rem_euclid(DAY) as f64 / DAY as f64;
        // The sum of four even chances is close enough to a bell.
        let bell: f64 = (0..4).map(|_| self.chance.f64() - 0.5).sum();
        mean + swing * (TAU * (day + phase)).sin() + noise * bell
    }
}

fn push(rows: &mut Rows, series: u32, time: i64, value: f64) {
    rows.series.push(SeriesRef::new(series));
    rows.times.push(time);
    rows.values.push(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seed: u64, count: i64) -> Vec<Rows> {
        let mut factory = Factory::new(seed).expect("valid names");
        (0..count).map(|s| factory.second(ArrivalTime(1_700_000_000 * SECOND + s * SECOND))).collect()
    }

    #[test]
    fn the_same_seed_makes_the_same_readings() {
        let told = |all: &[Rows]| {
            all.iter().map(|r| (r.series.clone(), r.times.clone(), r.values.clone())).collect::<Vec<_>>()
        };
        let (a, b, c) = (seconds(1, 3), seconds(1, 3), seconds(2, 3));
        assert!(told(&a) == told(&b) && told(&a) != told(&c));
    }

    #[test]
    fn some_are_late_and_some_come_twice() {
        let all = seconds(7, 120);
        let total: usize = all.iter().map(|rows| rows.series.len()).sum();
        let made = 120 * MACHINES * METRICS.len();
        // Of the 1 % that are late about a quarter is still on its way at the end; 0.1 % came twice.
        assert!((made * 990 / 1000..made * 1003 / 1000).contains(&total), "{total} of {made}");
        let (now, rows) = (1_700_000_000 * SECOND + 119 * SECOND, &all[119]);
        let late = rows.times.iter().filter(|t| now - **t > SECOND).count();
        assert!((10..100).contains(&late), "{late}");
        assert!(rows.values.iter().all(|v| v.is_finite()) && rows.times.iter().all(|t| *t <= now));
    }
}
