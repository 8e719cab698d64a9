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

/// Cells that are near each other.
const NEAR: usize = 64;

/// The cells inside a range of event time, of cells sorted by bucket. A bucket belongs to the range that holds its start.
pub fn cells_in(cells: &[Cell], range: TimeRange) -> &[Cell] {
    let rest = &cells[cells.partition_point(|c| c.bucket < range.start.0)..];
    // Mostly few are asked for: their end is looked for nearby first, which is in the processor's cache.
    let near = &rest[..rest.len().min(NEAR)];
    match near.last() {
        Some(last) if last.bucket < range.end.0 => &rest[..rest.partition_point(|c| c.bucket < range.end.0)],
        _ => &near[..near.partition_point(|c| c.bucket < range.end.0)],
    }
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
