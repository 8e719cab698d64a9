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

/// Cells of one series that one layer counted and that are yet to be merged; there is one at least.
#[derive(Debug, Clone, Copy)]
struct Run<'a> {
    cells: &'a [Cell],
    layer: Layer,
    /// Buckets that raw readings must tell.
    disordered: &'a [i64],
}

impl<'a> Run<'a> {
    /// The cells inside `buckets`; `None` where there are none.
    fn new(cells: &'a [Cell], buckets: TimeRange, layer: Layer, disordered: &'a [i64]) -> Option<Self> {
        let cells = cells_in(cells, buckets);
        (!cells.is_empty()).then_some(Self { cells, layer, disordered })
    }

    fn head(&self) -> &'a Cell {
        &self.cells[0]
    }

    fn is_disordered(&self) -> bool {
        self.disordered.binary_search(&self.head().bucket).is_ok()
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
    /// Starts of the buckets that the asked range reaches into, and of those that lie inside it.
    buckets: TimeRange,
    inside: TimeRange,
    aligned: bool,
    /// Runs that begin after the bucket that is being merged; the next one is the last.
    waiting: Vec<Run<'a>>,
    /// The others.
    begun: Vec<Run<'a>>,
    /// The step of the newest cell.
    step: TimeRange,
}

impl<'a> Merge<'a> {
    pub(super) fn new(asked: Asked) -> Self {
        let Asked { range, step, base, .. } = asked;
        Self {
            asked,
            buckets: whole_buckets(range, base),
            inside: TimeRange { start: base.ceil(range.start), end: base.floor(range.end) },
            aligned: step.is_multiple_of(base),
            waiting: Vec::new(),
            begun: Vec::new(),
            step: TimeRange::new(0, 0),
        }
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
        let buckets = self.buckets;
        self.waiting.extend(view.filter_map(|cells| Run::new(cells, buckets, Layer::Batch, &[])));
        let run = |epoch: &'a SeriesEpoch| Run::new(epoch.cells(), buckets, Layer::Speed, epoch.disordered());
        self.waiting.extend(epochs.filter_map(run));
        self.waiting.sort_unstable_by_key(|run| std::cmp::Reverse(run.head().bucket));
        points.reserve(self.steps());
        while let Some(bucket) = self.begin() {
            if self.count_alone(points) {
                continue;
            }
            match self.verdict(bucket) {
                Verdict::Unasked => {}
                Verdict::Told => self.count(bucket, points),
                Verdict::Raw => raw(bucket),
            }
            self.pass(bucket);
        }
    }

    /// The next bucket, all runs with a cell in it being begun.
    fn begin(&mut self) -> Option<i64> {
        let mut next = self.begun.iter().map(|run| run.head().bucket).min();
        while let Some(run) = self.waiting.pop_if(|run| next.is_none_or(|next| run.head().bucket <= next)) {
            next = Some(run.head().bucket);
            self.begun.push(run);
        }
        next
    }

    /// Leaves a bucket behind.
    fn pass(&mut self, bucket: i64) {
        self.begun.retain_mut(|run| {
            if run.head().bucket == bucket {
                run.cells = &run.cells[1..];
            }
            !run.cells.is_empty()
        });
    }

    /// Counts the cells of the one run that has begun, as far as nobody else has a cell in their buckets and partials tell
    /// them anyway; whether there were any. Most cells are such.
    fn count_alone(&mut self, points: &mut Points) -> bool {
        let told = self.asked.told == Told::Merged && self.aligned;
        let [run] = self.begun.as_mut_slice() else { return false };
        if !told || !run.disordered.is_empty() {
            return false;
        }
        let next = self.waiting.last().map_or(i64::MAX, |run| run.head().bucket);
        let base = self.asked.base.nanos();
        let alone = |cell: &&Cell| cell.bucket < next && self.inside.contains(EventTime(cell.bucket));
        let mut counted = 0;
        for cell in run.cells.iter().take_while(alone) {
            if !self.step.contains(EventTime(cell.bucket)) {
                self.step = self.asked.step.bucket(self.asked.step.floor(EventTime(cell.bucket)));
            }
            points.add(self.step.start.0, &cell.partial, run.layer);
            let end = EventTime(cell.bucket.saturating_add(base));
            points.note_cell(points.is_final(end, run.layer == Layer::Batch));
            counted += 1;
        }
        run.cells = &run.cells[counted..];
        if run.cells.is_empty() {
            self.begun.clear();
        }
        counted > 0
    }

    /// The runs with a cell in this bucket.
    fn at(&self, bucket: i64) -> impl Iterator<Item = &Run<'a>> {
        self.begun.iter().filter(move |run| run.head().bucket == bucket)
    }

    fn verdict(&self, bucket: i64) -> Verdict {
        let (mut verdict, mut touched, mut sketched) = (Verdict::Unasked, false, true);
        for run in self.at(bucket) {
            let (lie, disordered) = (self.lie(run.head()), run.is_disordered());
            touched |= run.layer == Layer::Speed && (disordered || lie != Lie::Outside);
            sketched &= run.head().partial.sketch.is_some();
            match lie {
                _ if disordered => return Verdict::Raw,
                Lie::Across => return Verdict::Raw,
                Lie::Inside => verdict = Verdict::Told,
                Lie::Outside => {}
            }
        }
        let told = match self.asked.told {
            Told::Merged => self.aligned,
            Told::Untouched => self.aligned && !touched && sketched,
            Told::Nothing => false,
        };
        if verdict == Verdict::Told && !told { Verdict::Raw } else { verdict }
    }

    fn count(&mut self, bucket: i64, points: &mut Points) {
        let step = self.step_of(bucket);
        let mut views_alone = true;
        for run in self.at(bucket).filter(|run| self.lie(run.head()) == Lie::Inside) {
            points.add(step, &run.head().partial, run.layer);
            views_alone &= run.layer == Layer::Batch;
        }
        let end = EventTime(bucket.saturating_add(self.asked.base.nanos()));
        points.note_cell(points.is_final(end, views_alone));
    }

    fn lie(&self, cell: &Cell) -> Lie {
        if self.inside.contains(EventTime(cell.bucket)) { Lie::Inside } else { lie(&cell.partial, self.asked.range) }
    }

    /// How many steps the waiting runs make at most.
    fn steps(&self) -> usize {
        let last = |run: &Run<'_>| run.cells.last().map(|cell| cell.bucket);
        let bounds = self.waiting.last().map(|run| run.head().bucket).zip(self.waiting.iter().filter_map(last).max());
        let Some((first, last)) = bounds else { return 0 };
        let cells = self.waiting.iter().map(|run| run.cells.len()).sum::<usize>();
        let span = last.saturating_sub(first) / self.asked.step.nanos();
        usize::try_from(span).map_or(cells, |span| cells.min(span.saturating_add(2)))
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
        let (mut points, mut wanted) = (Points::with_room(0, EventTime(20)), Vec::new());
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
        let finals: Vec<_> = points.iter().map(|p| (p.cells.all, p.cells.fixed)).collect();
        assert_eq!(finals, [(1, 0), (1, 0), (1, 0), (1, 0)], "touched, no view, too young, no view");
        let alone = check(asked(TimeRange::new(0, 20), Told::Merged), &view, &[], &[(0, 1, 0, false)], &[]);
        assert_eq!(alone.iter().next().map(|p| p.cells.final_share()), Some(1.0));
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
