//! The oracle: keeps every identity's last value in a map and counts naively, with integers.

use std::collections::BTreeMap;

/// Values are this many times smaller than the integers that the oracle counts with.
pub const SCALE: f64 = 1024.0;

/// The last arrival of each identity: (series, event time) to the value in integer units of 1/1024.
#[derive(Debug, Clone, Default)]
pub struct Oracle {
    counted: BTreeMap<(usize, i64), i64>,
}

/// What the oracle says of one bucket of one group.
#[derive(Debug, Clone, PartialEq)]
pub struct Truth {
    units: Vec<i64>,
    /// Value of the earliest event time, the least of several.
    pub first: f64,
    /// Value of the latest event time, the greatest of several.
    pub last: f64,
}

impl Oracle {
    /// Takes an arrival in.
    pub fn arrive(&mut self, series: usize, time: i64, units: i64) {
        self.counted.insert((series, time), units);
    }

    /// Some identity that was counted.
    pub fn pick(&self, random: &mut fastrand::Rng) -> Option<(usize, i64, i64)> {
        let n = random.usize(..self.counted.len().max(1));
        self.counted.iter().nth(n).map(|((series, time), units)| (*series, *time, *units))
    }

    /// Per group and bucket what is true of event times in `[from, to)`. `group` names the group of a series, `None`
    /// where it was not asked for.
    pub fn buckets<G: Ord>(
        &self,
        (from, to): (i64, i64),
        step: i64,
        group: impl Fn(usize) -> Option<G>,
    ) -> BTreeMap<(G, i64), Truth> {
        let mut readings: BTreeMap<(G, i64), Vec<(i64, i64)>> = BTreeMap::new();
        for ((series, time), units) in &self.counted {
            if let Some(group) = group(*series).filter(|_| from <= *time && *time < to) {
                let bucket = time.div_euclid(step) * step;
                readings.entry((group, bucket)).or_default().push((*time, *units));
            }
        }
        readings.into_iter().map(|(key, readings)| (key, Truth::of(readings))).collect()
    }

    /// The shortest range of event times that holds all.
    pub fn span(&self) -> (i64, i64) {
        let times = || self.counted.keys().map(|(_, time)| *time);
        (times().min().unwrap_or(0), times().max().unwrap_or(0) + 1)
    }

    /// How many identities.
    pub fn len(&self) -> usize {
        self.counted.len()
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.counted.is_empty()
    }
}

impl Truth {
    fn of(mut readings: Vec<(i64, i64)>) -> Self {
        readings.sort_unstable();
        let (first, last) = (readings[0].1, readings[readings.len() - 1].1);
        let mut units: Vec<i64> = readings.into_iter().map(|(_, units)| units).collect();
        units.sort_unstable();
        Self { units, first: first as f64 / SCALE, last: last as f64 / SCALE }
    }

    /// The name of an aggregate to its true value; `None`: undefined.
    ///
    /// # Panics
    /// The aggregate is unknown.
    pub fn value(&self, aggregate: &str) -> Option<f64> {
        let n = self.units.len();
        let sum: i128 = self.units.iter().map(|u| i128::from(*u)).sum();
        Some(match aggregate {
            "count" => n as f64,
            "sum" => sum as f64 / SCALE,
            "avg" => sum as f64 / n as f64 / SCALE,
            "min" => self.units[0] as f64 / SCALE,
            "max" => self.units[n - 1] as f64 / SCALE,
            "first" => self.first,
            "last" => self.last,
            "stddev" if n < 2 => return None,
            "stddev" => {
                let squares: i128 = self.units.iter().map(|u| i128::from(*u) * i128::from(*u)).sum();
                let n = n as i128;
                let variance = (n * squares - sum * sum) as f64 / (n * (n - 1)) as f64;
                variance.sqrt() / SCALE
            }
            "p50" => self.quantile(50),
            "p95" => self.quantile(95),
            other => panic!("the oracle does not know {other}"),
        })
    }

    fn quantile(&self, percent: usize) -> f64 {
        let rank = (percent * self.units.len()).div_ceil(100).max(1);
        self.units[rank - 1] as f64 / SCALE
    }

    /// Whether `got` is what the law allows for the aggregate. Quantiles are exact where `exact`.
    pub fn allows(&self, aggregate: &str, got: Option<f64>, exact: bool) -> bool {
        let (Some(expected), Some(got)) = (self.value(aggregate), got) else {
            return self.value(aggregate).is_none() && got.is_none();
        };
        match aggregate {
            // The oracle itself rounds the quotient twice, the root once more.
            "sum" => ulps(expected, got) <= 1,
            "avg" => ulps(expected, got) <= 2,
            "stddev" => ulps(expected, got) <= 4,
            "p50" | "p95" if !exact => (expected - got).abs() <= 0.01 * expected.abs() * (1.0 + 1e-9),
            _ => expected == got,
        }
    }
}

fn ulps(a: f64, b: f64) -> u64 {
    let ordered = |v: f64| if v.is_sign_negative() { -(v.abs().to_bits() as i64) } else { v.to_bits() as i64 };
    ordered(a).abs_diff(ordered(b))
}
