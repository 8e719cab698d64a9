//! The merge: a view's cells and the cells of the epochs that it has not counted, for one series. Pure.

use schemas::cells::{Cell, cells_in};
use schemas::epoch::{Epoch, SeriesEpoch};
use schemas::partial::Partial;
use schemas::{EventTime, LogPosition, Resolution, SeriesId, TimeRange};

/// A base bucket after the merge.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct MergedCell {
    /// Start of the bucket.
    pub(super) bucket: i64,
    /// All that counts; `None` where only raw readings can tell.
    pub(super) partial: Option<Partial>,
    /// Readings that the view counted.
    pub(super) batch_points: u64,
    /// Readings that epochs counted.
    pub(super) speed_points: u64,
    /// Whether an epoch after the cut touches it.
    pub(super) touched: bool,
}

/// How a cell lies to the asked range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lie {
    Inside,
    Outside,
    /// Some of its readings count, some don't: raw readings must tell which.
    Across,
}

fn lie(partial: &Partial, range: TimeRange) -> Lie {
    let (first, last) = (EventTime(partial.first.time), EventTime(partial.last.time));
    if range.contains(first) && range.contains(last) {
        Lie::Inside
    } else if last < range.start || range.end <= first {
        Lie::Outside
    } else {
        Lie::Across
    }
}

/// The cells of one series in one segment.
///
/// `view` are the view's cells, `epochs` the parts of the series in epochs after the view's cut; `range` is what was
/// asked; `buckets` the part of the segment that it reaches into, in whole buckets.
pub(super) fn merge(view: &[Cell], epochs: &[&SeriesEpoch], buckets: TimeRange, range: TimeRange) -> Vec<MergedCell> {
    let mut merged: Vec<MergedCell> = Vec::new();
    for cell in cells_in(view, buckets) {
        let mut next = MergedCell::blank(cell.bucket);
        next.count(&cell.partial, range, false);
        merged.push(next);
    }
    for epoch in epochs {
        for cell in cells_in(epoch.cells(), buckets) {
            let slot = slot(&mut merged, cell.bucket);
            if epoch.disordered().binary_search(&cell.bucket).is_ok() {
                slot.touched = true;
                slot.give_up();
            } else {
                slot.count(&cell.partial, range, true);
            }
        }
    }
    merged.retain(|cell| cell.is_asked());
    merged
}

/// The merged cell of a bucket, made where there is none. Buckets mostly come in order, so the search is mostly short.
fn slot(merged: &mut Vec<MergedCell>, bucket: i64) -> &mut MergedCell {
    let at = match merged.last() {
        Some(last) if last.bucket < bucket => merged.len(),
        _ => merged.partition_point(|c| c.bucket < bucket),
    };
    if merged.get(at).is_none_or(|c| c.bucket != bucket) {
        merged.insert(at, MergedCell::blank(bucket));
    }
    &mut merged[at]
}

impl MergedCell {
    /// Counts nothing yet. Told apart from "raw readings must tell" by the number of points.
    fn blank(bucket: i64) -> Self {
        Self { bucket, partial: None, batch_points: 0, speed_points: 0, touched: false }
    }

    fn needs_raw(&self) -> bool {
        self.speed_points == u64::MAX
    }

    fn is_asked(&self) -> bool {
        self.partial.is_some() || self.needs_raw()
    }

    fn give_up(&mut self) {
        self.partial = None;
        self.speed_points = u64::MAX;
    }

    fn count(&mut self, partial: &Partial, range: TimeRange, speed: bool) {
        let lie = lie(partial, range);
        self.touched |= speed && lie != Lie::Outside;
        match lie {
            Lie::Outside => return,
            Lie::Across => return self.give_up(),
            Lie::Inside if self.needs_raw() => return,
            Lie::Inside => {}
        }
        *(if speed { &mut self.speed_points } else { &mut self.batch_points }) += partial.count;
        match &mut self.partial {
            Some(all) => all.merge(partial),
            None => self.partial = Some(partial.clone()),
        }
    }
}

/// The parts of a series in the epochs that `cut` does not cover and that reach into `range`.
pub(super) fn epochs_after<'a>(
    epochs: impl Iterator<Item = &'a Epoch>,
    series: SeriesId,
    cut: LogPosition,
    range: TimeRange,
) -> Vec<&'a SeriesEpoch> {
    epochs.filter(|e| e.last > cut && e.touches(range)).filter_map(|e| e.of(series)).map(AsRef::as_ref).collect()
}

/// The whole buckets that `range` reaches into.
pub(super) fn whole_buckets(range: TimeRange, base: Resolution) -> TimeRange {
    TimeRange { start: base.floor(range.start), end: base.ceil(range.end) }
}

#[cfg(test)]
mod tests {
    use schemas::epoch::Arrival;

    use super::*;

    fn base() -> Resolution {
        Resolution::from_nanos(10).expect("positive")
    }

    fn cell(bucket: i64, readings: &[(i64, f64)]) -> Cell {
        Cell { bucket, partial: Partial::of_all(readings.iter().copied()).expect("not empty") }
    }

    fn epoch(readings: &[(i64, f64, Arrival)]) -> SeriesEpoch {
        let mut epoch = SeriesEpoch::default();
        readings.iter().for_each(|(t, v, a)| epoch.insert(*t, *v, 0, base(), *a));
        epoch
    }

    #[test]
    fn view_and_epochs_add_up() {
        let view = [cell(0, &[(1, 1.0)]), cell(20, &[(21, 2.0)])];
        let late = epoch(&[(5, 3.0, Arrival::OutOfOrder), (15, 4.0, Arrival::OutOfOrder)]);
        let newer = epoch(&[(31, 5.0, Arrival::Newest)]);
        let merged = merge(&view, &[&late, &newer], TimeRange::new(0, 40), TimeRange::new(0, 40));
        let told: Vec<_> = merged.iter().map(|c| (c.bucket, c.batch_points, c.speed_points, c.touched)).collect();
        assert_eq!(told, [(0, 1, 1, true), (10, 0, 1, true), (20, 1, 0, false), (30, 0, 1, true)]);
        assert_eq!(merged[0].partial.as_ref().map(|p| p.sum.value()), Some(4.0));
    }

    #[test]
    fn disordered_cells_and_cells_across_an_edge_need_raw_readings() {
        let view = [cell(0, &[(1, 1.0), (8, 1.0)]), cell(10, &[(11, 2.0)])];
        let doubtful = epoch(&[(11, 3.0, Arrival::Doubtful)]);
        let merged = merge(&view, &[&doubtful], TimeRange::new(0, 20), TimeRange::new(5, 20));
        assert!(merged.iter().all(|c| c.partial.is_none()));
        assert_eq!(merged.len(), 2);
        let outside = merge(&view, &[], TimeRange::new(0, 20), TimeRange::new(9, 20));
        assert_eq!(outside.iter().map(|c| c.bucket).collect::<Vec<_>>(), [10]);
        let inside = merge(&view, &[], TimeRange::new(0, 10), TimeRange::new(1, 9));
        assert_eq!(inside[0].batch_points, 2, "the edges cut the bucket but no reading");
    }
}
