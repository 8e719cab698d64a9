//! The merge: a view's cells and the cells of the epochs that it has not counted, for one series. Pure.
//!
//! Owns which cells partials can tell. Does not own how they add up (`points`).

use schemas::cells::{Cell, cells_in};
use schemas::epoch::SeriesEpoch;
use schemas::partial::Partial;
use schemas::{EventTime, Resolution, TimeRange};

use super::points::{Layer, Points};

/// What is asked of every series in one segment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// Event times that count.
    pub(super) range: TimeRange,
    /// Width of the points.
    pub(super) step: Resolution,
    /// Width of the cells.
    pub(super) base: Resolution,
    /// Which cells may be told from partials.
    pub(super) told: Told,
}

/// Which cells may be told from partials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// All that can.
    Merged,
    /// Those that the view alone counts, with a sketch.
    Untouched,
    /// None.
    Nothing,
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

/// A cell of a series, and who counted it.
#[derive(Debug, Clone, Copy)]
struct Found<'a> {
    cell: &'a Cell,
    layer: Layer,
    lie: Lie,
    disordered: bool,
}

impl<'a> Found<'a> {
    fn new(cell: &'a Cell, range: TimeRange, layer: Layer, disordered: bool) -> Self {
        Self { cell, layer, lie: lie(&cell.partial, range), disordered }
    }
}

/// What is known of one bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Nothing in it was asked for.
    Unasked,
    /// Partials tell it.
    Told,
    /// Raw readings must.
    Raw,
}

/// Merges one series after another, in one piece of memory.
pub(super) struct Merge<'a> {
    asked: Asked,
    buckets: TimeRange,
    aligned: bool,
    found: Vec<Found<'a>>,
    /// The step of the newest cell.
    step: TimeRange,
}

impl<'a> Merge<'a> {
    pub(super) fn new(asked: Asked) -> Self {
        let aligned = asked.step.is_multiple_of(asked.base);
        let buckets = whole_buckets(asked.range, asked.base);
        Self { asked, buckets, aligned, found: Vec::new(), step: TimeRange::new(0, 0) }
    }

    /// Adds the cells of one series to `points`. `view` are the view's cells, in pieces, `epochs` the parts of the
    /// series in epochs after its cut; `raw` is told the buckets that only raw readings can tell.
    pub(super) fn series(
        &mut self,
        view: impl Iterator<Item = &'a [Cell]>,
        epochs: impl Iterator<Item = &'a SeriesEpoch>,
        points: &mut Points,
        mut raw: impl FnMut(i64),
    ) {
        let mut found = std::mem::take(&mut self.found);
        found.clear();
        self.find(view, epochs, &mut found);
        points.reserve(self.steps(&found));
        for cells in found.chunk_by(|a, b| a.cell.bucket == b.cell.bucket) {
            match self.verdict(cells) {
                Verdict::Unasked => {}
                Verdict::Told => self.count(cells, points),
                Verdict::Raw => raw(cells[0].cell.bucket),
            }
        }
        self.found = found;
    }

    /// The cells by bucket; of one bucket the view's first.
    fn find(
        &self,
        view: impl Iterator<Item = &'a [Cell]>,
        epochs: impl Iterator<Item = &'a SeriesEpoch>,
        found: &mut Vec<Found<'a>>,
    ) {
        let range = self.asked.range;
        for cells in view {
            let cells = cells_in(cells, self.buckets).iter();
            found.extend(cells.map(|cell| Found::new(cell, range, Layer::Batch, false)));
        }
        let alone = found.len();
        for epoch in epochs {
            let disordered = |cell: &Cell| epoch.disordered().binary_search(&cell.bucket).is_ok();
            let cells = cells_in(epoch.cells(), self.buckets).iter();
            found.extend(cells.map(|cell| Found::new(cell, range, Layer::Speed, disordered(cell))));
        }
        if found.len() > alone {
            // Stable, and quick where few runs interleave.
            found.sort_by_key(|f| f.cell.bucket);
        }
    }

    fn verdict(&self, cells: &[Found<'_>]) -> Verdict {
        let (mut verdict, mut touched) = (Verdict::Unasked, false);
        for found in cells {
            touched |= found.layer == Layer::Speed && (found.disordered || found.lie != Lie::Outside);
            match found.lie {
                _ if found.disordered => return Verdict::Raw,
                Lie::Across => return Verdict::Raw,
                Lie::Inside => verdict = Verdict::Told,
                Lie::Outside => {}
            }
        }
        let told = match self.asked.told {
            Told::Merged => self.aligned,
            Told::Untouched => self.aligned && !touched && cells.iter().all(|f| f.cell.partial.sketch.is_some()),
            Told::Nothing => false,
        };
        if verdict == Verdict::Told && !told { Verdict::Raw } else { verdict }
    }

    fn count(&mut self, cells: &[Found<'_>], points: &mut Points) {
        let step = self.step_of(cells[0].cell.bucket);
        for Found { cell, layer, .. } in cells.iter().filter(|f| f.lie == Lie::Inside) {
            points.add(step, &cell.partial, *layer);
        }
    }

    /// How many steps these cells make at most.
    fn steps(&self, found: &[Found<'_>]) -> usize {
        let (Some(first), Some(last)) = (found.first(), found.last()) else { return 0 };
        let span = last.cell.bucket.saturating_sub(first.cell.bucket) / self.asked.step.nanos();
        usize::try_from(span).map_or(found.len(), |span| found.len().min(span.saturating_add(2)))
    }

    /// The start of the step that holds a bucket; mostly the same as of the one before.
    fn step_of(&mut self, bucket: i64) -> i64 {
        let bucket = EventTime(bucket);
        if !self.step.contains(bucket) {
            self.step = self.asked.step.bucket(self.asked.step.floor(bucket));
        }
        self.step.start.0
    }
}

/// Whether no reading of a cell was asked for.
pub(super) fn outside(cell: &Cell, range: TimeRange) -> bool {
    lie(&cell.partial, range) == Lie::Outside
}

/// The whole buckets that `range` reaches into.
pub(super) fn whole_buckets(range: TimeRange, base: Resolution) -> TimeRange {
    TimeRange { start: base.floor(range.start), end: base.ceil(range.end) }
}

#[cfg(test)]
mod tests {
    use schemas::epoch::Arrival;
    use schemas::partial::Sketch;

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

    fn asked(range: TimeRange, told: Told) -> Asked {
        Asked { range, step: base(), base: base(), told }
    }

    /// The points (bucket, of the view, of epochs, touched) and the buckets that raw readings must tell.
    #[track_caller]
    fn check(
        asked: Asked,
        view: &[Cell],
        epochs: &[&SeriesEpoch],
        expected: &[(i64, u64, u64, bool)],
        raw: &[i64],
    ) -> Points {
        let (mut points, mut wanted) = (Points::default(), Vec::new());
        let epochs = epochs.iter().copied();
        Merge::new(asked).series([view].into_iter(), epochs, &mut points, |bucket| wanted.push(bucket));
        let told: Vec<_> = points.iter().map(|p| (p.bucket, p.batch_points, p.speed_points, p.touched)).collect();
        assert_eq!((told.as_slice(), wanted.as_slice()), (expected, raw));
        points
    }

    #[test]
    fn view_and_epochs_add_up() {
        let view = [cell(0, &[(1, 1.0)]), cell(20, &[(21, 2.0)])];
        let late = epoch(&[(5, 3.0, Arrival::OutOfOrder), (15, 4.0, Arrival::OutOfOrder)]);
        let newer = epoch(&[(31, 5.0, Arrival::Newest)]);
        let (epochs, range) = ([&late, &newer], TimeRange::new(0, 40));
        let all = [(0, 1, 1, true), (10, 0, 1, true), (20, 1, 0, false), (30, 0, 1, true)];
        let points = check(asked(range, Told::Merged), &view, &epochs, &all, &[]);
        assert_eq!(points.iter().next().map(|p| p.partial.sum.value()), Some(4.0));
        check(asked(range, Told::Untouched), &view, &epochs, &[], &[0, 10, 20, 30]);
        let mut sketched = view.clone();
        sketched[1].partial.sketch = Some(Box::new(Sketch::of([2.0])));
        check(asked(range, Told::Untouched), &sketched, &epochs, &[(20, 1, 0, false)], &[0, 10, 30]);
        check(asked(range, Told::Nothing), &view, &epochs, &[], &[0, 10, 20, 30]);
        let wide = Asked { step: Resolution::from_nanos(20).expect("positive"), ..asked(range, Told::Merged) };
        check(wide, &view, &epochs, &[(0, 1, 2, true), (20, 1, 1, true)], &[]);
    }

    #[test]
    fn disordered_cells_and_cells_across_an_edge_need_raw_readings() {
        let view = [cell(0, &[(1, 1.0), (8, 1.0)]), cell(10, &[(11, 2.0)])];
        let doubtful = epoch(&[(11, 3.0, Arrival::Doubtful)]);
        let asked = |start, end| asked(TimeRange::new(start, end), Told::Merged);
        check(asked(5, 20), &view, &[&doubtful], &[], &[0, 10]);
        check(asked(9, 20), &view, &[], &[(10, 1, 0, false)], &[]);
        // The edges cut the bucket but no reading.
        check(asked(1, 9), &view, &[], &[(0, 2, 0, false)], &[]);
    }
}
