//! The cases: one, four and sixteen times as many readings, series, or days of history.
//!
//! Owns the stretches of event time that each case fills. What does not grow stays the same: with series, each is read
//! more rarely, so that there are as many readings in as much time; history is as dense, however long.
//!
//! ```text
//! event time   ├── past: thin, recomputed ──┤├── day: two devices, 15 s ──┤├── main ──┤ now
//! ```

use clap::ValueEnum;

use crate::measure::{DAY_STEP_MS, DAY_TICKS, MINUTE_MS, SECOND_MS, WINDOW_MS, floor};
use crate::report::big;
use crate::workload::{METRICS, Plan};

/// How many times as much.
pub(super) const FACTORS: [u32; 3] = [1, 4, 16];
/// Ticks of the smallest main stretch: they hold the five minutes that questions are about.
const TICKS: i64 = 312;
/// Ticks of the fewest series: sixteen times as many still have enough.
const SERIES_TICKS: i64 = TICKS * 4;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;
/// A day of the past holds about this many readings: just too many for partitions of a month, so that there is one for
/// each day.
const PAST_PER_DAY: i64 = 72_000;
/// Devices that are read all day.
const DAY_DEVICES: u32 = 2;

/// What grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// Readings of the same series.
    Readings,
    /// Series, with as many readings.
    Series,
    /// Days of history before the same readings.
    History,
}

/// The size of the smallest case, and how long to ask.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    devices: u32,
    days: u32,
    /// Runs of a light question.
    pub(super) runs: usize,
}

impl Size {
    /// 4,000 series and 10 days.
    pub(super) const WHOLE: Self = Self { devices: 200, days: 10, runs: 200 };
    /// 1,000 series and 2 days.
    pub(super) const QUICK: Self = Self { devices: 50, days: 2, runs: 50 };
}

/// One case. It may be a point on the curves of several kinds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Case {
    /// Where it stands on which curve.
    points: Vec<(Kind, u32)>,
    /// Days of history, sent and recomputed before anything is measured.
    pub(super) past: Option<Plan>,
    /// A day of some devices.
    pub(super) day: Plan,
    /// What is measured.
    pub(super) main: Plan,
}

impl Case {
    /// All cases of these kinds, each once, ending before `now_ms`.
    pub(super) fn all(kinds: &[Kind], size: &Size, now_ms: i64) -> Vec<Self> {
        let mut cases: Vec<Self> = Vec::new();
        for kind in kinds.iter().copied() {
            for factor in FACTORS {
                let case = Self::new(kind, factor, size, now_ms);
                let same = |other: &&mut Self| (other.past, other.day, other.main) == (case.past, case.day, case.main);
                match cases.iter_mut().find(same) {
                    Some(other) => other.points.extend(case.points),
                    None => cases.push(case),
                }
            }
        }
        cases
    }

    fn new(kind: Kind, factor: u32, size: &Size, now_ms: i64) -> Self {
        let times = i64::from(factor);
        let (devices, ticks, step_ms) = match kind {
            Kind::Readings => (size.devices, TICKS * times, SECOND_MS),
            Kind::Series => (size.devices * factor, SERIES_TICKS / times, SECOND_MS * times),
            Kind::History => (size.devices, TICKS, SECOND_MS),
        };
        let end_ms = floor(now_ms, WINDOW_MS);
        let main = Plan { seed: 42, devices, start_ms: end_ms - ticks * step_ms, step_ms, ticks };
        let day_ms = floor(main.start_ms, MINUTE_MS) - DAY_TICKS * DAY_STEP_MS;
        let day = Plan { seed: 43, devices: DAY_DEVICES, start_ms: day_ms, step_ms: DAY_STEP_MS, ticks: DAY_TICKS };
        let past = (kind == Kind::History).then(|| past(size, times, day_ms));
        Self { points: vec![(kind, factor)], past, day, main }
    }

    /// Whether it is the point of this kind and factor.
    pub(super) fn is_point(&self, kind: Kind, factor: u32) -> bool {
        self.points.contains(&(kind, factor))
    }

    /// It in a few words.
    pub(super) fn describe(&self) -> String {
        let (series, readings) = (big(self.main.per_tick() as f64), big(self.main.identities() as f64));
        format!("{series} series, {readings} readings, {} days before", self.days())
    }

    /// Days of history before what is measured.
    pub(super) fn days(&self) -> i64 {
        self.past.map_or(0, |past| (past.end_ms() - past.start_ms) / DAY_MS)
    }
}

fn past(size: &Size, times: i64, day_ms: i64) -> Plan {
    let per_tick = i64::from(size.devices) * METRICS.len() as i64;
    let step_ms = DAY_MS / (PAST_PER_DAY / per_tick);
    let length_ms = i64::from(size.days) * times * DAY_MS;
    let start_ms = floor(day_ms, DAY_MS) - length_ms;
    Plan { seed: 41, devices: size.devices, start_ms, step_ms, ticks: length_ms / step_ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_767_571_234_567;

    fn case(kind: Kind, factor: u32, size: &Size) -> Case {
        Case::all(Kind::value_variants(), size, NOW_MS)
            .into_iter()
            .find(|case| case.is_point(kind, factor))
            .expect("a case for each point")
    }

    #[test]
    fn each_kind_grows_alone() {
        for size in [Size::WHOLE, Size::QUICK] {
            let (series, readings) = (u64::from(size.devices) * 20, u64::from(size.devices) * 20 * 312);
            for factor in FACTORS {
                let times = u64::from(factor);
                let Case { main, .. } = case(Kind::Readings, factor, &size);
                assert_eq!((main.per_tick(), main.identities()), (series, readings * times));
                let Case { main, .. } = case(Kind::Series, factor, &size);
                assert_eq!((main.per_tick(), main.identities()), (series * times, readings * 4));
                let Case { main, past, .. } = case(Kind::History, factor, &size);
                assert_eq!((main.per_tick(), main.identities()), (series, readings));
                assert_eq!(past.expect("a past").identities(), 72_000 * u64::from(size.days) * times);
            }
        }
    }

    #[test]
    fn stretches_follow_each_other_and_hold_the_window() {
        for case in Case::all(Kind::value_variants(), &Size::WHOLE, NOW_MS) {
            let Case { past, day, main, .. } = &case;
            assert!(past.is_none_or(|past| past.end_ms() <= day.start_ms), "{case:?}");
            assert!(day.end_ms() <= main.start_ms && main.end_ms() <= NOW_MS, "{case:?}");
            assert!(main.end_ms() - main.start_ms >= WINDOW_MS, "{case:?}");
        }
    }

    #[test]
    fn a_case_of_two_curves_is_measured_once() {
        assert_eq!(Case::all(Kind::value_variants(), &Size::WHOLE, NOW_MS).len(), 8);
        assert!(case(Kind::Series, 1, &Size::WHOLE).is_point(Kind::Readings, 4));
    }
}
