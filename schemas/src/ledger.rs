//! The ledger: how many readings, and a sum that tells whether they are the same ones, wherever they have got to.
//!
//! Each reading (series, event time, value, arrival time) has a number of 128 bits; a [`Tally`] is the count and the sum of
//! these numbers, in any order. What is moved, sorted, encoded or merged keeps its tally; what is lost, doubled or altered
//! does not: one altered reading always shows, several hide each other once in 2^64 or so. It guards against mistakes and
//! decay, not against somebody who makes readings on purpose whose numbers add up to the same.
//!
//! With `T(x)` the tally of all readings (arrivals, those in quarantine, repeated and corrected ones too) of `x`:
//!
//! - LED-1, always: `T(log) = T(memory, not flushed) + T(flushed)`. `T(log)` is added up frame by frame when a frame is
//!   durable, before anybody counts it, and starts at `T(flushed)` when the directory is opened; replayed frames are added.
//!   It is broken by an epoch that is forgotten, flushed twice or not dropped.
//! - LED-2, at each flush: `T(frames of the epoch) = T(rows written to its files)`. The left side is older than folding,
//!   sorting, sealing and encoding, which is what breaks it. A flush that breaks it is refused, and the log keeps its frames.
//! - LED-3, at each compaction: `T(rows read) = T(files replaced) = T(files written)`. Compaction removes no arrival. Refused
//!   where it is broken.
//! - LED-4, in every state of the catalog: `sum of T(epoch) = sum of T(file)` over all epochs ever flushed and all files of
//!   readings and quarantine. Both sums are kept as running totals, changed by the transaction that changes the files.
//! - LED-5, found by `weir check` and the scrubber, which read every file: `T(rows in it) = T(file)`, and LED-4 over the rows
//!   of the catalog as well as over the running totals.
//! - LED-6, at each recompute: rows read = readings told + arrivals replaced by a later one + rows equal to their neighbour.
//!   Deduplication is the only place where readings leave the account, and this is how many.
//!
//! That what was acknowledged is what the log holds rests on the checksums of its frames, not on the ledger. Readings that
//! were flushed before there was a ledger have no tally; when a compaction reads them, they enter both sides of LED-4.

use std::fmt;

use crate::history::StoredReading;
use crate::reading::Batch;
use crate::time::ArrivalTime;

/// Odd numbers without pattern.
const MIX: [u64; 4] = [0x9e37_79b9_7f4a_7c15, 0xe703_7ed1_a0b4_28db, 0x8ebc_6af0_9c88_c6e3, 0x5899_65cc_7537_4cc3];

/// How many readings, and the sum of their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// How many.
    pub readings: u64,
    /// Their sum, modulo 2^128.
    pub sum: u128,
}

impl Tally {
    /// Of no reading.
    pub const NONE: Self = Self { readings: 0, sum: 0 };

    /// The tally of a batch that arrived at this time.
    pub fn of_batch(batch: &Batch, arrival: ArrivalTime) -> Self {
        let keys = keys(arrival.0);
        let rows = batch.series.iter().zip(&batch.times).zip(&batch.values);
        let numbers = rows.map(|((series, time), value)| number(keys, series.0, *time, *value));
        Self { readings: batch.len() as u64, sum: numbers.fold(0, u128::wrapping_add) }
    }

    /// The tally of stored readings.
    pub fn of_stored(readings: &[StoredReading]) -> Self {
        let numbers = readings.iter().map(|r| number(keys(r.arrival), r.series.0, r.time, r.value));
        Self { readings: readings.len() as u64, sum: numbers.fold(0, u128::wrapping_add) }
    }

    /// Of these readings and those.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { readings: self.readings.wrapping_add(other.readings), sum: self.sum.wrapping_add(other.sum) }
    }

    /// Of these readings without those, which are among them.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self { readings: self.readings.wrapping_sub(other.readings), sum: self.sum.wrapping_sub(other.sum) }
    }
}

impl std::iter::Sum for Tally {
    fn sum<I: Iterator<Item = Self>>(tallies: I) -> Self {
        tallies.fold(Self::NONE, Self::plus)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} readings of sum {:032x}", self.readings, self.sum)
    }
}

/// What the catalog's ledger says: these two are equal (LED-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Of all epochs ever flushed.
    pub flushed: Tally,
    /// Of all files of readings and of quarantine.
    pub history: Tally,
}

/// What all readings of one arrival time share.
fn keys(arrival: i64) -> (u64, u64) {
    let wide = product(arrival.cast_unsigned() ^ MIX[2], MIX[3]);
    (wide as u64, (wide >> 64) as u64 ^ MIX[1])
}

/// The number of a reading: two multiplications, as each reading that arrives pays for them.
fn number((first, second): (u64, u64), series: u64, time: i64, value: f64) -> u128 {
    let identity = product(series ^ first, time.cast_unsigned() ^ MIX[0]);
    let whole = product(value.to_bits() ^ identity as u64, (identity >> 64) as u64 ^ second);
    whole ^ (identity << 64)
}

fn product(a: u64, b: u64) -> u128 {
    u128::from(a) * u128::from(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::SeriesId;

    fn reading(i: u64) -> StoredReading {
        let time = 1_700_000_000_000_000_000 + i.cast_signed() * 1_000_000;
        let arrival = 1_700_000_000_000_000_000 + (i / 7).cast_signed() * 1_000_000;
        StoredReading { series: SeriesId(i % 5), time, arrival, value: (i % 11) as f64 / 10.0, position: i }
    }

    #[test]
    fn order_does_not_matter_and_batches_tell_the_same() {
        let mut readings: Vec<StoredReading> = (0..700).map(reading).collect();
        let tally = Tally::of_stored(&readings);
        let batches = readings.chunk_by(|a, b| a.arrival == b.arrival).map(|rows| {
            let batch = Batch {
                definitions: vec![],
                series: rows.iter().map(|r| r.series).collect(),
                times: rows.iter().map(|r| r.time).collect(),
                values: rows.iter().map(|r| r.value).collect(),
            };
            Tally::of_batch(&batch, ArrivalTime(rows[0].arrival))
        });
        assert_eq!(batches.sum::<Tally>(), tally);
        readings.reverse();
        assert_eq!(Tally::of_stored(&readings), tally);
        let (left, right) = readings.split_at(300);
        let (left, right) = (Tally::of_stored(left), Tally::of_stored(right));
        assert_eq!((left.plus(right), tally.minus(right)), (tally, left));
    }

    #[test]
    fn every_flipped_bit_of_a_reading_shows() {
        let readings: Vec<StoredReading> = (0..50).map(reading).collect();
        let tally = Tally::of_stored(&readings);
        for i in 0..readings.len() {
            for bit in 0..64 {
                let flip = 1_u64 << bit;
                let mut altered = [readings.clone(), readings.clone(), readings.clone(), readings.clone()];
                altered[0][i].series.0 ^= flip;
                altered[1][i].time ^= flip.cast_signed();
                altered[2][i].value = f64::from_bits(readings[i].value.to_bits() ^ flip);
                altered[3][i].arrival ^= flip.cast_signed();
                for (what, altered) in altered.iter().enumerate() {
                    assert_ne!(Tally::of_stored(altered), tally, "reading {i}, bit {bit} of part {what}");
                }
            }
        }
    }

    #[test]
    fn exchanged_parts_show() {
        let readings: Vec<StoredReading> = (0..100).map(reading).collect();
        let tally = Tally::of_stored(&readings);
        let pairs = (0..100).flat_map(|i| (0..i).map(move |j| (i, j)));
        for (i, j) in pairs.filter(|(i, j)| readings[*i].value != readings[*j].value) {
            let mut exchanged = readings.clone();
            (exchanged[i].value, exchanged[j].value) = (readings[j].value, readings[i].value);
            assert_ne!(Tally::of_stored(&exchanged), tally, "values of {i} and {j}");
        }
        let doubled = [&readings[1..], &readings[1..2]].concat();
        assert_ne!(Tally::of_stored(&doubled), tally, "one is doubled where another is lost");
    }

    /// Sums of files are kept for ever.
    #[test]
    fn the_numbers_are_pinned() {
        let readings: Vec<StoredReading> = (0..50).map(reading).collect();
        assert_eq!(format!("{:032x}", Tally::of_stored(&readings).sum), "60a1e8d1ab7903f620e07e8d0490a9fd");
    }
}
