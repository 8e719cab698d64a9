//! Cells: the partials of many series, sorted by series and bucket, as batch views and flushed epochs hold them.

use crate::partial::Partial;
use crate::series::SeriesId;
use crate::time::TimeRange;

/// The partial of one bucket of some series.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// The start of the bucket, in nanoseconds of event time.
    pub bucket: i64,
    /// What was counted in it.
    pub partial: Partial,
}

/// The cells inside a range of event time, of cells sorted by bucket. A bucket belongs to the range that holds its start.
pub fn cells_in(cells: &[Cell], range: TimeRange) -> &[Cell] {
    let rest = &cells[before(cells, range.start.0)..];
    &rest[..before(rest, range.end.0)]
}

/// How many cells lie before `time`. Buckets mostly follow each other without a gap, so that the place can be worked out
/// and is searched for from there: a search by halves would fetch lines of memory that nobody has used for long.
fn before(cells: &[Cell], time: i64) -> usize {
    let (first, last) = match cells {
        [first, .., last] if first.bucket < time && time <= last.bucket => (first.bucket, last.bucket),
        [.., last] if last.bucket < time => return cells.len(),
        _ => return 0,
    };
    let share = (time as f64 - first as f64) / (last as f64 - first as f64);
    let place = (share * (cells.len() - 1) as f64) as usize;
    let (mut low, mut high, mut step) = (place, (place + 1).min(cells.len()), 1);
    while low > 0 && time <= cells[low - 1].bucket {
        low = low.saturating_sub(step);
        step *= 2;
    }
    while high < cells.len() && cells[high].bucket < time {
        high = (high + step).min(cells.len());
        step *= 2;
    }
    low + cells[low..high].partition_point(|cell| cell.bucket < time)
}

/// Cells of many series, sorted by series, then bucket; each pair once.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CellTable {
    series: Vec<SeriesId>,
    /// The cells of `series[i]` are `cells[starts[i]..starts[i + 1]]` (to the end for the last).
    starts: Vec<usize>,
    cells: Vec<Cell>,
}

impl CellTable {
    /// No cells, and room for so many.
    pub fn with_room(cells: usize) -> Self {
        Self { cells: Vec::with_capacity(cells), ..Self::default() }
    }

    /// Appends a cell behind all others.
    ///
    /// # Panics
    /// The cell does not sort behind the last one.
    pub fn push(&mut self, series: SeriesId, cell: Cell) {
        match self.series.last() {
            Some(last) if *last == series => {
                let newest = self.cells.last().expect("a series has a cell").bucket;
                assert!(newest < cell.bucket, "cells are pushed in order of bucket");
            }
            last => {
                assert!(last.is_none_or(|last| *last < series), "cells are pushed in order of series");
                self.series.push(series);
                self.starts.push(self.cells.len());
            }
        }
        self.cells.push(cell);
    }

    /// The cells of a series, sorted by bucket.
    pub fn of(&self, series: SeriesId) -> &[Cell] {
        self.series.binary_search(&series).map_or(&[], |i| self.nth(i))
    }

    fn nth(&self, i: usize) -> &[Cell] {
        let end = self.starts.get(i + 1).copied().unwrap_or(self.cells.len());
        &self.cells[self.starts[i]..end]
    }

    /// The first and the last series; `None` where there are no cells.
    pub fn bounds(&self) -> Option<(SeriesId, SeriesId)> {
        self.series.first().copied().zip(self.series.last().copied())
    }

    /// Each series with its cells, in order.
    pub fn iter(&self) -> impl Iterator<Item = (SeriesId, &[Cell])> {
        self.series.iter().enumerate().map(|(i, series)| (*series, self.nth(i)))
    }

    /// How many cells.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// How many readings all cells count.
    pub fn readings(&self) -> u64 {
        self.cells.iter().map(|c| c.partial.count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_stretch_of_any_cells_is_found() {
        let odd: Vec<i64> = (0..40).map(|i: i64| i.pow(5)).collect();
        let even: Vec<i64> = (0..300).map(|i| i * 10).collect();
        let far = vec![i64::MIN, -3, i64::MAX - 1];
        for buckets in [vec![], vec![7], odd, even, far] {
            let cells: Vec<Cell> =
                buckets.iter().map(|&bucket| Cell { bucket, partial: Partial::of(bucket, 1.0) }).collect();
            let asked = buckets.iter().flat_map(|&b| [b.saturating_sub(1), b, b.saturating_add(1)]);
            for time in asked.chain([i64::MIN, 0, i64::MAX]) {
                assert_eq!(before(&cells, time), buckets.iter().filter(|b| **b < time).count(), "{time} {buckets:?}");
            }
        }
        let cells: Vec<Cell> = (0..5).map(|i| Cell { bucket: i * 10, partial: Partial::of(i, 1.0) }).collect();
        let found = |start, end| cells_in(&cells, TimeRange::new(start, end)).iter().map(|c| c.bucket).collect();
        let found: [Vec<i64>; 4] = [found(1, 30), found(0, 31), found(50, 90), found(20, 10)];
        assert_eq!(found, [vec![10, 20], vec![0, 10, 20, 30], vec![], vec![]]);
    }
}
