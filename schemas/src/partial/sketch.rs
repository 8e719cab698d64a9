//! A quantile sketch of stated relative error: a histogram whose bins grow geometrically.
//!
//! The idea is DDSketch (Masson, Rim, Lee: "DDSketch: a fast and fully-mergeable quantile sketch with relative-error
//! guarantees", VLDB 2019), kept sparse and unbounded so that merging is exact integer addition: any order of updates
//! and merges gives the same sketch.

use crate::error::{Error, Result};

/// A quantile read from a sketch is within this fraction of the value that it stands for.
pub const RELATIVE_ERROR: f64 = 0.01;
/// A cell of fewer readings is kept without a sketch: the readings themselves are not larger.
pub const SKETCH_READINGS_MIN: u64 = 64;

/// Natural logarithm of the ratio between neighbouring bins, `ln((1 + e) / (1 - e))`.
const LN_GAMMA: f64 = 0.020_000_666_706_669_55;
/// Shifts bin numbers of positive values above zero; every double's bin lies within +-37,300.
const OFFSET: i32 = 40_000;

/// Counts of values by geometric bin, sorted by bin; equal for equal multisets of values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sketch {
    bins: Vec<(i32, u32)>,
}

impl Sketch {
    /// The sketch of these values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut keys: Vec<i32> = values.into_iter().map(bin_of).collect();
        keys.sort_unstable();
        let mut bins: Vec<(i32, u32)> = Vec::new();
        for key in keys {
            match bins.last_mut() {
                Some((last, n)) if *last == key => *n = n.saturating_add(1),
                _ => bins.push((key, 1)),
            }
        }
        Self { bins }
    }

    /// Counts one value more.
    pub fn update(&mut self, value: f64) {
        let key = bin_of(value);
        match self.bins.binary_search_by_key(&key, |(k, _)| *k) {
            Ok(i) => self.bins[i].1 = self.bins[i].1.saturating_add(1),
            Err(i) => self.bins.insert(i, (key, 1)),
        }
    }

    /// Counts all that `other` counted.
    pub fn merge(&mut self, other: &Self) {
        let mut merged = Vec::with_capacity(self.bins.len() + other.bins.len());
        let (mut a, mut b) = (self.bins.iter().peekable(), other.bins.iter().peekable());
        loop {
            match (a.peek(), b.peek()) {
                (Some(x), Some(y)) if x.0 == y.0 => {
                    merged.push((x.0, x.1.saturating_add(y.1)));
                    a.next();
                    b.next();
                }
                (Some(x), Some(y)) if x.0 > y.0 => {
                    merged.push(**y);
                    b.next();
                }
                (Some(x), _) => {
                    merged.push(**x);
                    a.next();
                }
                (None, Some(y)) => {
                    merged.push(**y);
                    b.next();
                }
                (None, None) => break,
            }
        }
        self.bins = merged;
    }

    /// The value of rank `ceil(q n)`, within [`RELATIVE_ERROR`]; `None` where nothing was counted.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let total: u64 = self.bins.iter().map(|(_, n)| u64::from(*n)).sum();
        let rank = (q * total as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (key, n) in &self.bins {
            seen += u64::from(*n);
            if seen >= rank {
                return Some(value_of(*key));
            }
        }
        None
    }

    /// Its bytes: a version, then key and count of each bin, little endian.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1 + 8 * self.bins.len());
        bytes.push(1);
        for (key, n) in &self.bins {
            bytes.extend_from_slice(&key.to_le_bytes());
            bytes.extend_from_slice(&n.to_le_bytes());
        }
        bytes
    }

    /// The sketch of these bytes.
    ///
    /// # Errors
    /// The version is unknown, the length is off, or bins are not in order.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let Some((1, rest)) = bytes.split_first() else { return Err(Error::corrupt("sketch", "unknown version")) };
        let (chunks, tail) = rest.as_chunks::<8>();
        let word = |c: &[u8; 8], at: usize| [c[at], c[at + 1], c[at + 2], c[at + 3]];
        let bins: Vec<(i32, u32)> =
            chunks.iter().map(|c| (i32::from_le_bytes(word(c, 0)), u32::from_le_bytes(word(c, 4)))).collect();
        if !tail.is_empty() || !bins.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(Error::corrupt("sketch", "bins are not in order"));
        }
        Ok(Self { bins })
    }
}

/// The bin of a value; bins sort as their values do.
fn bin_of(value: f64) -> i32 {
    let magnitude = |v: f64| (v.ln() / LN_GAMMA).ceil() as i32 + OFFSET;
    if value > 0.0 {
        magnitude(value)
    } else if value < 0.0 {
        -magnitude(-value)
    } else {
        0
    }
}

/// The middle of a bin, `2 gamma^i / (gamma + 1)`, from its lower edge up so that the last bin does not overflow.
fn value_of(key: i32) -> f64 {
    let gamma = LN_GAMMA.exp();
    let magnitude = |key: i32| (f64::from(key - OFFSET - 1) * LN_GAMMA).exp() * (2.0 * gamma / (gamma + 1.0));
    match key {
        0 => 0.0,
        k if k > 0 => magnitude(k),
        k => -magnitude(-k),
    }
}
