//! Latencies: what became of many measured times.

use std::time::Duration;

use serde::Serialize;

/// Percentiles of measured times, milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Latency {
    /// How many were measured.
    pub(crate) n: usize,
    /// The shortest.
    pub(crate) min_ms: f64,
    /// Half took no longer.
    pub(crate) p50_ms: f64,
    /// Nine in ten took no longer.
    pub(crate) p90_ms: f64,
    /// 99 in a hundred took no longer.
    pub(crate) p99_ms: f64,
    /// The longest.
    pub(crate) max_ms: f64,
}

impl Latency {
    /// The percentiles of `times`; zeros where there are none.
    pub(crate) fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |part: f64| {
            let rank = (times.len() as f64 * part).ceil() as usize;
            times.get(rank.max(1) - 1).map_or(0.0, |time| time.as_secs_f64() * 1e3)
        };
        Self { n: times.len(), min_ms: at(0.0), p50_ms: at(0.5), p90_ms: at(0.9), p99_ms: at(0.99), max_ms: at(1.0) }
    }

    /// The two percentiles that are shown.
    pub(crate) fn show(&self) -> String {
        format!("p50 {} ms, p99 {} ms", digits(self.p50_ms), digits(self.p99_ms))
    }
}

/// A number with about three digits.
pub(crate) fn digits(value: f64) -> String {
    let decimals = match value.abs() {
        large if large >= 100.0 => 0,
        middle if middle >= 10.0 => 1,
        small if small >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_measured_values() {
        let times = (1..=200).rev().map(Duration::from_millis).collect();
        let latency = Latency::of(times);
        assert_eq!(
            latency,
            Latency { n: 200, min_ms: 1.0, p50_ms: 100.0, p90_ms: 180.0, p99_ms: 198.0, max_ms: 200.0 }
        );
        assert_eq!(Latency::of(vec![Duration::from_millis(3)]).p50_ms, 3.0);
        assert_eq!(Latency::of(Vec::new()), Latency::default());
    }

    #[test]
    fn numbers_have_three_digits() {
        let shown: Vec<String> = [1234.5, 56.78, 1.234, 0.0123, 0.0].map(digits).into();
        assert_eq!(shown, ["1234", "56.8", "1.23", "0.012", "0.000"]);
    }
}
