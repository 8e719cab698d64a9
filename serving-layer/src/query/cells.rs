//! From the snapshot to points per series: segments, merge, raw readings, steps.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemas::cells::CellTable;
use schemas::epoch::{Epoch, SeriesState, Snapshot};
use schemas::history::StoredReading;
use schemas::partial::{Aggregate, Partial, quantile_of_sorted};
use schemas::query::ViewKind;
use schemas::view::ViewRef;
use schemas::{EventTime, LogPosition, Resolution, TimeRange};

use super::merge::{MergedCell, epochs_after, merge, whole_buckets};
use super::raw::{Wanted, resolve};
use crate::answer::Source;
use crate::error::{Error, Result};
use crate::serving::Serving;

/// Quantiles of more readings than this come from sketches; of fewer they are exact.
const EXACT_QUANTILES_MAX: u64 = 5_000_000;
/// Most points that one query may make.
const POINTS_MAX: usize = 5_000_000;

/// What is asked of the snapshot.
#[derive(Debug, Clone)]
pub struct CellQuery {
    /// The series, as the snapshot holds them.
    pub series: Vec<SeriesState>,
    /// Event times that count.
    pub range: TimeRange,
    /// Width of the points.
    pub step: Resolution,
    /// Which layer answers.
    pub view: ViewKind,
    /// Views to ask instead of the current ones; then they alone answer.
    pub as_of: Option<Vec<(TimeRange, ViewRef)>>,
    /// Whether quantiles will be evaluated.
    pub quantiles: bool,
}

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
}

impl CellPoint {
    /// Where the numbers came from.
    pub fn source(&self) -> Source {
        match (self.batch_points > 0, self.speed_points > 0 || self.touched) {
            (true, false) => Source::Batch,
            (true, true) => Source::Merged,
            (false, _) => Source::Speed,
        }
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
        match (&mut self.values, &other.values) {
            (Some(mine), Some(theirs)) => mine.extend_from_slice(theirs),
            (mine, _) => *mine = None,
        }
    }
}

/// A stretch of the asked range that one view, or none, answers for.
struct Segment {
    range: TimeRange,
    cut: LogPosition,
    view: Option<Arc<ViewRef>>,
}

/// The points of each series that has some, in the order of `query.series`.
///
/// # Errors
/// History can't be read, or the answer would be too large.
pub async fn cells(serving: &Serving, snapshot: &Snapshot, query: &CellQuery) -> Result<Vec<SeriesCells>> {
    let mut collector = Collector::new(serving, snapshot, query);
    let segments = segments(snapshot, query);
    for segment in &segments {
        collector.segment(segment).await?;
    }
    if query.quantiles {
        collector.quantiles(&segments).await?;
    }
    let steps = query.series.iter().zip(collector.steps);
    Ok(steps
        .filter(|(_, points)| !points.is_empty())
        .map(|(series, points)| SeriesCells { series: series.clone(), points: points.into_values().collect() })
        .collect())
}

fn segments(snapshot: &Snapshot, query: &CellQuery) -> Vec<Segment> {
    if let Some(views) = &query.as_of {
        let asked = views.iter().filter(|(span, _)| span.overlaps(&query.range));
        let segment = |(span, view): &(TimeRange, ViewRef)| Segment {
            range: span.intersect(&query.range),
            cut: view.cut,
            view: Some(Arc::new(view.clone())),
        };
        return asked.map(segment).collect();
    }
    let gap = |start: EventTime, end: EventTime| Segment {
        range: TimeRange { start, end },
        cut: LogPosition::START,
        view: None,
    };
    let mut segments = Vec::new();
    let mut next = query.range.start;
    for partition in snapshot.version.partitions_in(query.range) {
        let range = partition.span.intersect(&query.range);
        segments.push(gap(next, range.start));
        segments.push(Segment { range, cut: partition.cut(), view: partition.view.clone() });
        next = range.end;
    }
    segments.push(gap(next, query.range.end));
    segments.retain(|segment| !segment.range.is_empty());
    segments
}

struct Collector<'a> {
    serving: &'a Serving,
    snapshot: &'a Snapshot,
    query: &'a CellQuery,
    base: Resolution,
    view: ViewKind,
    /// Per series the points so far.
    steps: Vec<BTreeMap<i64, CellPoint>>,
    points: usize,
}

impl<'a> Collector<'a> {
    fn new(serving: &'a Serving, snapshot: &'a Snapshot, query: &'a CellQuery) -> Self {
        let view = if query.as_of.is_some() { ViewKind::Batch } else { query.view };
        let steps = vec![BTreeMap::new(); query.series.len()];
        Self { serving, snapshot, query, base: serving.speed.settings().base, view, steps, points: 0 }
    }

    async fn segment(&mut self, segment: &Segment) -> Result<()> {
        if self.view == ViewKind::Batch && segment.view.is_none() {
            return Ok(());
        }
        let table = match &segment.view {
            Some(view) if self.view != ViewKind::Speed => self.serving.batch.view_cells(view).await?,
            _ => Arc::default(),
        };
        let wanted = self.merge_segment(segment, &table)?;
        if !wanted.cells.is_empty() {
            let readings = self.resolve(segment, &wanted).await?;
            self.add_readings(segment, &readings, false)?;
        }
        Ok(())
    }

    /// Merges all series; what partials can't tell is returned.
    fn merge_segment(&mut self, segment: &Segment, table: &CellTable) -> Result<Wanted> {
        let aligned = self.query.step.is_multiple_of(self.base);
        let buckets = whole_buckets(segment.range, self.base);
        let mut wanted = Wanted::default();
        for (i, state) in self.query.series.iter().enumerate() {
            let epochs = match self.view {
                ViewKind::Batch => Vec::new(),
                _ => epochs_after(self.epochs(), state.id, segment.cut, segment.range),
            };
            for cell in merge(table.of(state.id), &epochs, buckets, segment.range) {
                if aligned && cell.partial.is_some() {
                    self.add_cell(i, cell)?;
                } else {
                    wanted.cells.insert((state.id, cell.bucket));
                }
            }
        }
        Ok(wanted)
    }

    fn epochs(&self) -> impl Iterator<Item = &'a Epoch> {
        self.snapshot.epochs.iter().map(AsRef::as_ref)
    }

    fn add_cell(&mut self, series: usize, cell: MergedCell) -> Result<()> {
        let MergedCell { bucket, partial, batch_points, speed_points, touched } = cell;
        let partial = partial.expect("the caller asked");
        let step = self.query.step.floor(EventTime(bucket)).0;
        self.add(series, CellPoint { bucket: step, partial, values: None, batch_points, speed_points, touched })
    }

    fn add(&mut self, series: usize, point: CellPoint) -> Result<()> {
        match self.steps[series].entry(point.bucket) {
            std::collections::btree_map::Entry::Occupied(mut entry) => entry.get_mut().merge(&point),
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(point);
                self.points += 1;
            }
        }
        if self.points > POINTS_MAX {
            return Err(Error::TooLarge(format!("the answer has more than {POINTS_MAX} points; ask for a wider step")));
        }
        Ok(())
    }

    async fn resolve(&self, segment: &Segment, wanted: &Wanted) -> Result<Vec<StoredReading>> {
        resolve(self.serving, self.snapshot, wanted, segment.range, segment.cut, self.view).await
    }

    /// Adds readings one by one; they are sorted by series and event time.
    fn add_readings(&mut self, segment: &Segment, readings: &[StoredReading], values: bool) -> Result<()> {
        let index: BTreeMap<_, usize> = self.query.series.iter().enumerate().map(|(i, s)| (s.id, i)).collect();
        let step = |r: &StoredReading| (r.series, self.query.step.floor(EventTime(r.time)).0);
        let runs: Vec<&[StoredReading]> = readings.chunk_by(|a, b| step(a) == step(b)).collect();
        for run in runs {
            let (id, bucket) = step(&run[0]);
            let partial = Partial::of_all(run.iter().map(|r| (r.time, r.value))).expect("a run is not empty");
            let batch_points = run.iter().filter(|r| r.position <= segment.cut.0).count() as u64;
            let speed_points = partial.count - batch_points;
            let values = values.then(|| run.iter().map(|r| r.value).collect());
            let touched = self.view != ViewKind::Batch && !self.clean(segment, run);
            let point = CellPoint { bucket, partial, values, batch_points, speed_points, touched };
            self.add(index[&id], point)?;
        }
        Ok(())
    }

    /// Whether no epoch after the cut touches the buckets of these readings of one series.
    fn clean(&self, segment: &Segment, run: &[StoredReading]) -> bool {
        let (first, last) = (EventTime(run[0].time), EventTime(run[run.len() - 1].time));
        let range = whole_buckets(TimeRange::new(first.0, last.0.saturating_add(1)), self.base);
        let epochs = epochs_after(self.epochs(), run[0].series, segment.cut, range);
        epochs.iter().all(|e| schemas::cells::cells_in(e.cells(), range).is_empty())
    }

    /// Quantiles need the readings themselves, or sketches where those are too many.
    async fn quantiles(&mut self, segments: &[Segment]) -> Result<()> {
        let readings: u64 = self.steps.iter().flat_map(BTreeMap::values).map(|p| p.partial.count).sum();
        if readings <= EXACT_QUANTILES_MAX { self.exact_values(segments).await } else { self.sketches(segments).await }
    }

    async fn exact_values(&mut self, segments: &[Segment]) -> Result<()> {
        let mut anew = Self::new(self.serving, self.snapshot, self.query);
        for segment in segments {
            if self.view == ViewKind::Batch && segment.view.is_none() {
                continue;
            }
            let wanted = self.all_cells(segment).await?;
            if !wanted.cells.is_empty() {
                let readings = self.resolve(segment, &wanted).await?;
                anew.add_readings(segment, &readings, true)?;
            }
        }
        self.steps = anew.steps;
        Ok(())
    }

    async fn all_cells(&self, segment: &Segment) -> Result<Wanted> {
        let table = match &segment.view {
            Some(view) if self.view != ViewKind::Speed => self.serving.batch.view_cells(view).await?,
            _ => Arc::default(),
        };
        let buckets = whole_buckets(segment.range, self.base);
        let mut wanted = Wanted::default();
        for state in &self.query.series {
            let epochs = match self.view {
                ViewKind::Batch => Vec::new(),
                _ => epochs_after(self.epochs(), state.id, segment.cut, segment.range),
            };
            let merged = merge(table.of(state.id), &epochs, buckets, segment.range);
            wanted.cells.extend(merged.iter().map(|cell| (state.id, cell.bucket)));
        }
        Ok(wanted)
    }

    /// Puts sketches to the points: from the views where they alone count, from raw readings elsewhere.
    async fn sketches(&mut self, segments: &[Segment]) -> Result<()> {
        let ids: Vec<schemas::SeriesId> = {
            let mut ids: Vec<_> = self.query.series.iter().map(|s| s.id).collect();
            ids.sort_unstable();
            ids
        };
        let mut anew = Self::new(self.serving, self.snapshot, self.query);
        for segment in segments {
            if self.view == ViewKind::Batch && segment.view.is_none() {
                continue;
            }
            let mut table = CellTable::default();
            if let Some(object) =
                segment.view.as_ref().filter(|_| self.view != ViewKind::Speed).and_then(|v| v.object.as_ref())
            {
                let stored =
                    batch_layer::history::read_cells(self.serving.batch.objects(), object, Some(&ids), true).await?;
                stored.into_iter().for_each(|c| table.push(c.series, c.cell));
            }
            let wanted = anew.merge_untouched(segment, &table)?;
            if !wanted.cells.is_empty() {
                let readings = self.resolve(segment, &wanted).await?;
                anew.add_sketched(segment, &readings)?;
            }
        }
        self.steps = anew.steps;
        Ok(())
    }

    /// Adds the cells that the view alone counts; the others are returned.
    fn merge_untouched(&mut self, segment: &Segment, table: &CellTable) -> Result<Wanted> {
        let aligned = self.query.step.is_multiple_of(self.base);
        let buckets = whole_buckets(segment.range, self.base);
        let mut wanted = Wanted::default();
        for (i, state) in self.query.series.iter().enumerate() {
            let epochs = match self.view {
                ViewKind::Batch => Vec::new(),
                _ => epochs_after(self.epochs(), state.id, segment.cut, segment.range),
            };
            for cell in merge(table.of(state.id), &epochs, buckets, segment.range) {
                if aligned && !cell.touched && cell.partial.is_some() {
                    self.add_cell(i, cell)?;
                } else {
                    wanted.cells.insert((state.id, cell.bucket));
                }
            }
        }
        Ok(wanted)
    }

    fn add_sketched(&mut self, segment: &Segment, readings: &[StoredReading]) -> Result<()> {
        let mut points = Self::new(self.serving, self.snapshot, self.query);
        points.add_readings(segment, readings, true)?;
        for (i, steps) in points.steps.into_iter().enumerate() {
            for mut point in steps.into_values() {
                let values = point.values.take().expect("values were asked for");
                point.partial.sketch = Some(Box::new(schemas::partial::Sketch::of(values)));
                self.add(i, point)?;
            }
        }
        Ok(())
    }
}
