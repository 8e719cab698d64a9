//! The factory: what its sensors read, in the order in which it arrives.
//!
//! 200 devices with 20 metrics each: a daily sine per series, noise, and as many decimals as a sensor of that kind has.
//! 1 % of the readings are late (exponential delay, mean 30 s). 0.1 % are sent twice (mean delay 10 s); half of the
//! second ones are identical, half bring a corrected value. Deterministic by seed.
//!
//! Owns which readings there are and their order. Does **not** own how they are written down (`lines`).
//! Invariant: each series has exactly one identity per tick, however late it arrives and however often it is sent.

use std::collections::BTreeMap;
use std::f64::consts::TAU;

use fastrand::Rng;

/// Metrics of a device.
pub(crate) const METRICS: [Metric; 20] = [
    metric("temperature", 65.0, 8.0, 0.6, 2),
    metric("pressure", 6.2, 0.4, 0.05, 3),
    metric("vibration", 2.1, 0.3, 0.25, 3),
    metric("rpm", 1480.0, 20.0, 4.0, 0),
    metric("current", 14.5, 2.5, 0.3, 2),
    metric("voltage", 399.0, 3.0, 0.8, 1),
    metric("power", 7.4, 1.4, 0.2, 3),
    metric("torque", 48.0, 6.0, 1.1, 2),
    metric("humidity", 42.0, 9.0, 0.7, 1),
    metric("flow", 18.2, 2.2, 0.25, 2),
    metric("level", 73.0, 12.0, 0.3, 1),
    metric("speed", 1.25, 0.1, 0.02, 3),
    metric("position", 512.0, 200.0, 25.0, 1),
    metric("force", 2200.0, 150.0, 30.0, 0),
    metric("noise", 78.0, 4.0, 1.2, 1),
    metric("oil_temp", 54.0, 6.0, 0.4, 2),
    metric("coolant_temp", 31.0, 4.0, 0.3, 2),
    metric("cycle_time", 41.0, 3.0, 0.9, 2),
    metric("part_count", 700.0, 650.0, 1.0, 0),
    metric("error_rate", 0.6, 0.3, 0.12, 3),
];
/// Devices of the factory.
pub(crate) const DEVICES: u32 = 200;

const DAY_MS: f64 = 86_400_000.0;
/// One reading in so many is late.
const LATE_ONE_IN: u32 = 100;
const LATE_MEAN_MS: f64 = 30_000.0;
/// One reading in so many is sent twice.
const TWICE_ONE_IN: u32 = 1000;
const TWICE_MEAN_MS: f64 = 10_000.0;
/// A corrected value lies so many deviations of the noise above the first.
const CORRECTION: f64 = 5.0;

/// What a sensor measures.
#[derive(Debug)]
pub(crate) struct Metric {
    /// Its name.
    pub(crate) name: &'static str,
    base: f64,
    amplitude: f64,
    noise: f64,
    /// Decimals of its readings.
    pub(crate) decimals: u32,
}

const fn metric(name: &'static str, base: f64, amplitude: f64, noise: f64, decimals: u32) -> Metric {
    Metric { name, base, amplitude, noise, decimals }
}

impl Metric {
    fn round(&self, value: f64) -> f64 {
        let scale = 10_f64.powi(self.decimals as i32);
        (value * scale).round() / scale
    }
}

/// Which stretch of the factory's life to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Makes the run what it is.
    pub(crate) seed: u64,
    /// How many devices read.
    pub(crate) devices: u32,
    /// Event time of the first tick, milliseconds since 1970.
    pub(crate) start_ms: i64,
    /// Milliseconds between the readings of a series.
    pub(crate) step_ms: i64,
    /// How many times each series is read.
    pub(crate) ticks: i64,
}

impl Plan {
    /// The first event time after.
    pub(crate) fn end_ms(&self) -> i64 {
        self.start_ms + self.ticks * self.step_ms
    }

    /// How many series there are: each is read once a tick.
    pub(crate) fn per_tick(&self) -> u64 {
        u64::from(self.devices) * METRICS.len() as u64
    }

    /// How many different (series, event time) there are.
    pub(crate) fn identities(&self) -> u64 {
        self.per_tick() * self.ticks.unsigned_abs()
    }

    /// How many different (series, event time) there are in one metric.
    pub(crate) fn identities_per_metric(&self) -> u64 {
        u64::from(self.devices) * self.ticks.unsigned_abs()
    }
}

/// Why a reading arrives when it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// At its tick.
    OnTime,
    /// Some time after it.
    Late,
    /// Sent before, and now again.
    Again,
}

/// One reading.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Reading {
    /// Event time, milliseconds since 1970.
    pub(crate) time_ms: i64,
    /// Number of the device.
    pub(crate) device: u32,
    /// Index into [`METRICS`].
    pub(crate) metric: usize,
    /// What was read, rounded as the sensor rounds.
    pub(crate) value: f64,
    /// How it arrives.
    pub(crate) arrival: Arrival,
}

/// Makes the readings of a plan, tick by tick.
#[derive(Debug)]
pub(crate) struct Factory {
    plan: Plan,
    rng: Rng,
    /// Phase of the daily sine of each series.
    phases: Vec<f64>,
    /// Readings under way, by time of arrival and a number that makes it unique.
    delayed: BTreeMap<(i64, u64), Reading>,
    delays: u64,
    tick: i64,
}

impl Factory {
    /// A factory at the start of its plan.
    pub(crate) fn new(plan: Plan) -> Self {
        let mut rng = Rng::with_seed(plan.seed);
        let phases = (0..plan.devices as usize * METRICS.len()).map(|_| rng.f64()).collect();
        Self { plan, rng, phases, delayed: BTreeMap::new(), delays: 0, tick: 0 }
    }

    /// Puts what arrives next into `out`, which is cleared first: what was delayed until the next tick, and the tick.
    /// After the last tick comes all that is still under way; then nothing, and false is returned.
    pub(crate) fn next_arrivals(&mut self, out: &mut Vec<Reading>) -> bool {
        out.clear();
        if self.tick == self.plan.ticks {
            out.extend(std::mem::take(&mut self.delayed).into_values());
            return !out.is_empty();
        }
        let time_ms = self.plan.start_ms + self.tick * self.plan.step_ms;
        self.tick += 1;
        while let Some(first) = self.delayed.first_entry().filter(|e| e.key().0 <= time_ms) {
            out.push(first.remove());
        }
        for device in 0..self.plan.devices {
            for metric in 0..METRICS.len() {
                self.read(time_ms, device, metric, out);
            }
        }
        true
    }

    /// Gives all that arrives to `take`, a tick at a time. Returns how many readings there were.
    ///
    /// # Errors
    /// `take` fails.
    pub(crate) fn for_each(mut self, mut take: impl FnMut(&[Reading]) -> anyhow::Result<()>) -> anyhow::Result<u64> {
        let (mut arrivals, mut readings) = (Vec::new(), 0);
        while self.next_arrivals(&mut arrivals) {
            take(&arrivals)?;
            readings += arrivals.len() as u64;
        }
        Ok(readings)
    }

    fn read(&mut self, time_ms: i64, device: u32, metric: usize, out: &mut Vec<Reading>) {
        let kind = &METRICS[metric];
        let phase = self.phases[device as usize * METRICS.len() + metric];
        let wave = ((time_ms as f64 / DAY_MS + phase) * TAU).sin();
        let raw = kind.base + kind.amplitude * wave + kind.noise * near_normal(&mut self.rng);
        let value = kind.round(raw.max(0.0));
        let reading = Reading { time_ms, device, metric, value, arrival: Arrival::OnTime };
        if self.rng.u32(0..TWICE_ONE_IN) == 0 {
            let corrected = if self.rng.bool() { kind.round(value + CORRECTION * kind.noise) } else { value };
            self.delay(Reading { value: corrected, arrival: Arrival::Again, ..reading }, TWICE_MEAN_MS);
        }
        if self.rng.u32(0..LATE_ONE_IN) == 0 {
            self.delay(Reading { arrival: Arrival::Late, ..reading }, LATE_MEAN_MS);
        } else {
            out.push(reading);
        }
    }

    fn delay(&mut self, reading: Reading, mean_ms: f64) {
        let delay = -mean_ms * (1.0 - self.rng.f64()).ln();
        self.delays += 1;
        self.delayed.insert((reading.time_ms + 1 + delay as i64, self.delays), reading);
    }
}

/// Nearly normal with unit variance: the sum of four uniform numbers.
fn near_normal(rng: &mut Rng) -> f64 {
    let bits = rng.u64(..);
    let sum: u64 = (0..4).map(|i| (bits >> (16 * i)) & 0xffff).sum();
    (sum as f64 / 65_536.0 - 2.0) * 3_f64.sqrt()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const PLAN: Plan = Plan { seed: 42, devices: 200, start_ms: 1_767_571_200_000, step_ms: 1000, ticks: 100 };

    fn all(plan: Plan) -> Vec<Reading> {
        let (mut factory, mut batch, mut all) = (Factory::new(plan), Vec::new(), Vec::new());
        while factory.next_arrivals(&mut batch) {
            all.extend_from_slice(&batch);
        }
        all
    }

    fn share(readings: &[Reading], arrival: Arrival) -> f64 {
        readings.iter().filter(|r| r.arrival == arrival).count() as f64 / readings.len() as f64
    }

    #[test]
    fn a_seed_makes_one_run_and_another_seed_another() {
        assert_eq!(all(PLAN), all(PLAN));
        assert_ne!(all(PLAN), all(Plan { seed: 43, ..PLAN }));
    }

    #[test]
    fn one_percent_is_late_and_one_in_a_thousand_sent_twice() {
        // Enough for ten percent to be more than four standard deviations of the rarer ones.
        let readings = all(Plan { ticks: 500, ..PLAN });
        let (late, again) = (share(&readings, Arrival::Late), share(&readings, Arrival::Again));
        assert!((0.0095..0.0105).contains(&late), "{late}");
        assert!((0.0009..0.0011).contains(&again), "{again}");
    }

    #[test]
    fn each_series_has_one_identity_per_tick() {
        let readings = all(PLAN);
        let identities: HashSet<_> = readings.iter().map(|r| (r.device, r.metric, r.time_ms)).collect();
        assert_eq!(identities.len() as u64, PLAN.identities_per_metric() * METRICS.len() as u64);
        let again = readings.iter().filter(|r| r.arrival == Arrival::Again).count();
        assert_eq!(identities.len() + again, readings.len());
        assert!(readings.iter().all(|r| (PLAN.start_ms..PLAN.end_ms()).contains(&r.time_ms)));
    }

    #[test]
    fn half_of_the_second_ones_are_corrections() {
        let readings = all(PLAN);
        let again: Vec<_> = readings.iter().filter(|r| r.arrival == Arrival::Again).collect();
        let firsts: HashSet<_> = readings.iter().filter(|r| r.arrival != Arrival::Again).map(whole).collect();
        let same = again.iter().filter(|r| firsts.contains(&whole(r))).count() as f64 / again.len() as f64;
        assert!((0.4..0.6).contains(&same), "{same}");
    }

    fn whole(r: &Reading) -> (u32, usize, i64, u64) {
        (r.device, r.metric, r.time_ms, r.value.to_bits())
    }

    #[test]
    fn late_readings_come_after_their_tick_in_order_of_arrival() {
        let readings = all(PLAN);
        let delay_ms = |i: usize| {
            let newest = readings[..i].iter().rev().find(|r| r.arrival == Arrival::OnTime);
            newest.map_or(0, |n| n.time_ms - readings[i].time_ms)
        };
        let late: Vec<i64> =
            (0..readings.len() * 2 / 3).filter(|i| readings[*i].arrival == Arrival::Late).map(delay_ms).collect();
        assert!(late.iter().all(|delay| *delay >= 0));
        let mean = late.iter().sum::<i64>() as f64 / late.len() as f64;
        // The plan ends before the longest delays do.
        assert!((10_000.0..32_000.0).contains(&mean), "{mean}");
    }
}
