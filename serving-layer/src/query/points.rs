//! Points: what counts in each step of one series or group. Pure.
//!
//! Owns adding up. Does not own which cells and readings count (`merge`, `raw`).

use schemas::EventTime;
use schemas::epoch::SeriesState;
use schemas::partial::{Aggregate, Partial, quantile_of_sorted};

use crate::answer::Source;

/// The points of one series, sorted by bucket.
#[derive(Debug, Clone)]
pub struct SeriesCells {
    /// The series.
    pub series: SeriesState,
    /// Its points.
    pub points: Vec<CellPoint>,
}

/// One step of one series or group.
#[derive(Debug, Clone)]
pub struct CellPoint {
    /// Start of the step.
    pub bucket: i64,
    /// All that counts in it.
    pub partial: Partial,
    /// Its values, where quantiles are to be exact; unsorted.
    pub values: Option<Vec<f64>>,
    /// Readings that views count.
    pub batch_points: u64,
    /// Readings that only the speed layer counts.
    pub speed_points: u64,
    /// Whether an epoch that no view counts touches it.
    pub touched: bool,
    /// Readings of epochs that the asked view has not counted. They don't count here, as it answers alone.
    pub pending: u64,
    /// Cells of the base resolution that it is made of, and those of them that are final.
    pub cells: Cells,
}

/// How many cells there are, and how many of them are final: old enough, and counted by views alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cells {
    /// All.
    pub all: u32,
    /// Those that are final.
    pub fixed: u32,
}

impl Cells {
    /// Counts one more.
    pub(super) fn add(&mut self, is_final: bool) {
        self.all = self.all.saturating_add(1);
        self.fixed = self.fixed.saturating_add(u32::from(is_final));
    }

    fn merge(&mut self, other: Self) {
        self.all = self.all.saturating_add(other.all);
        self.fixed = self.fixed.saturating_add(other.fixed);
    }

    /// The part of them that is final.
    pub fn final_share(self) -> f64 {
        if self.all == 0 { 0.0 } else { f64::from(self.fixed) / f64::from(self.all) }
    }
}

impl CellPoint {
    /// A point that counts these readings, as a view's or an epoch's.
    pub(super) fn of(bucket: i64, partial: Partial, layer: Layer) -> Self {
        let (values, cells) = (None, Cells::default());
        let mut point =
            Self { bucket, partial, values, batch_points: 0, speed_points: 0, touched: false, pending: 0, cells };
        point.note(point.partial.count, layer);
        point
    }

    /// Counts a cell more.
    fn add(&mut self, partial: &Partial, layer: Layer) {
        self.partial.merge(partial);
        self.note(partial.count, layer);
    }

    fn note(&mut self, count: u64, layer: Layer) {
        match layer {
            Layer::Batch => self.batch_points += count,
            Layer::Speed => {
                self.speed_points += count;
                self.touched = true;
            }
        }
    }

    /// Where the numbers came from.
    pub fn source(&self) -> Source {
        match (self.batch_points > 0, self.speed_points > 0 || self.touched) {
            (true, false) => Source::Batch,
            (true, true) => Source::Merged,
            (false, _) => Source::Speed,
        }
    }

    /// Whether batch views counted all that is known.
    pub fn covered(&self) -> bool {
        self.source() == Source::Batch && self.pending == 0
    }

    /// The value of an aggregate.
    pub fn evaluate(&self, aggregate: Aggregate) -> Option<f64> {
        match (aggregate.quantile(), &self.values) {
            (Some(q), Some(values)) => {
                let mut sorted = values.clone();
                sorted.sort_unstable_by(f64::total_cmp);
                quantile_of_sorted(&sorted, q)
            }
            _ => self.partial.evaluate(aggregate),
        }
    }

    /// Counts what `other` counts as well.
    pub fn merge(&mut self, other: &Self) {
        self.partial.merge(&other.partial);
        self.batch_points += other.batch_points;
        self.speed_points += other.speed_points;
        self.touched |= other.touched;
        self.pending += other.pending;
        self.cells.merge(other.cells);
        match (&mut self.values, &other.values) {
            (Some(mine), Some(theirs)) => mine.extend_from_slice(theirs),
            (mine, _) => *mine = None,
        }
    }
}

/// Who counted a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layer {
    /// A view.
    Batch,
    /// An epoch that the view has not counted.
    Speed,
}

/// The points of one series as they come, sorted by bucket.
#[derive(Debug)]
pub(super) struct Points {
    points: Vec<CellPoint>,
    /// Cells that end by then are old enough to be final.
    final_before: EventTime,
}

impl Points {
    /// None yet, but room for so many.
    pub(super) fn with_room(points: usize, final_before: EventTime) -> Self {
        Self { points: Vec::with_capacity(points), final_before }
    }

    /// Makes room for so many points more.
    pub(super) fn reserve(&mut self, points: usize) {
        self.points.reserve(points);
    }

    /// Whether a cell that ends then, and that views alone counted or not, is final.
    pub(super) fn is_final(&self, end: EventTime, views_alone: bool) -> bool {
        views_alone && end <= self.final_before
    }

    /// Notes that the newest point has a cell more.
    pub(super) fn note_cell(&mut self, is_final: bool) {
        if let Some(point) = self.points.last_mut() {
            point.cells.add(is_final);
        }
    }

    /// Counts a cell in the step that starts at `bucket`, which is not before that of any point.
    pub(super) fn add(&mut self, bucket: i64, partial: &Partial, layer: Layer) {
        match self.points.last_mut() {
            Some(last) if last.bucket == bucket => last.add(partial, layer),
            last => {
                debug_assert!(last.is_none_or(|last| last.bucket < bucket), "cells come in order of time");
                self.points.push(CellPoint::of(bucket, partial.clone(), layer));
            }
        }
    }

    /// Tells the point of the step that starts at `bucket`, if there is one, of readings that don't count in it.
    pub(super) fn pend(&mut self, bucket: i64, count: u64) {
        if let Ok(i) = self.points.binary_search_by_key(&bucket, |point| point.bucket) {
            let point = &mut self.points[i];
            point.pending += count;
            // The cell that they belong to is not final, if it is one of these.
            point.cells.fixed = point.cells.fixed.saturating_sub(1);
        }
    }

    /// Counts all that `others` count, sorted by bucket.
    pub(super) fn absorb(&mut self, others: Vec<CellPoint>) {
        let apart = |last: &CellPoint| others.first().is_none_or(|first| last.bucket < first.bucket);
        if self.points.last().is_none_or(apart) {
            self.points.extend(others);
            return;
        }
        let mine = std::mem::take(&mut self.points);
        self.points.reserve(mine.len() + others.len());
        let (mut mine, mut others) = (mine.into_iter().peekable(), others.into_iter().peekable());
        while let Some(bucket) = mine.peek().into_iter().chain(others.peek()).map(|p| p.bucket).min() {
            let (ours, theirs) = (mine.next_if(|p| p.bucket == bucket), others.next_if(|p| p.bucket == bucket));
            self.points.extend(ours.into_iter().chain(theirs).reduce(|mut all, other| {
                all.merge(&other);
                all
            }));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.points.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &CellPoint> {
        self.points.iter()
    }

    pub(super) fn into_points(self) -> Vec<CellPoint> {
        self.points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(bucket: i64) -> CellPoint {
        CellPoint::of(bucket, Partial::of(bucket, 1.0), Layer::Batch)
    }

    fn some(buckets: &[i64]) -> Points {
        Points { points: buckets.iter().copied().map(point).collect(), final_before: EventTime(0) }
    }

    #[test]
    fn points_stay_sorted_and_each_step_is_one() {
        for (mine, others, expected) in [
            (&[][..], &[1][..], &[(1, 1)][..]),
            (&[1, 2], &[], &[(1, 1), (2, 1)]),
            (&[1, 2], &[3], &[(1, 1), (2, 1), (3, 1)]),
            (&[1, 3], &[3, 4], &[(1, 1), (3, 2), (4, 1)]),
            (&[5], &[1, 5, 9], &[(1, 1), (5, 2), (9, 1)]),
            (&[5, 6, 7], &[1], &[(1, 1), (5, 1), (6, 1), (7, 1)]),
        ] {
            let mut points = some(mine);
            points.absorb(others.iter().copied().map(point).collect());
            let found: Vec<_> = points.points.iter().map(|p| (p.bucket, p.batch_points)).collect();
            assert_eq!(found, expected, "{mine:?} {others:?}");
        }
    }

    #[test]
    fn a_point_that_a_view_has_not_counted_wholly_is_not_covered() {
        let mut points = some(&[]);
        points.add(0, &Partial::of(1, 1.0), Layer::Batch);
        points.pend(10, 1);
        assert!(points.points[0].covered());
        points.pend(0, 2);
        assert_eq!((points.points[0].source(), points.points[0].covered()), (Source::Batch, false));
        points.add(0, &Partial::of(2, 1.0), Layer::Speed);
        assert_eq!((points.points[0].source(), points.points[0].batch_points), (Source::Merged, 1));
    }
}
