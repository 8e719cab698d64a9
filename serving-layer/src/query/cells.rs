//! From the snapshot to points per series: segments, merge, raw readings, steps.
//!
//! Owns the passes over the segments. Does not own what counts in a segment (`segments`), how cells add up (`merge`,
//! `points`), nor where raw readings come from (`raw`).

use std::sync::atomic::{AtomicUsize, Ordering};

use batch_layer::ViewCells;
use schemas::epoch::{SeriesState, Snapshot};
use schemas::history::StoredReading;
use schemas::partial::{Partial, Sketch};
use schemas::query::ViewKind;
use schemas::view::ViewRef;
use schemas::{EventTime, Resolution, SeriesId, TimeRange};

use super::merge::{Asked, Merge, Told, outside, whole_buckets};
use super::points::{CellPoint, Cells, Points, SeriesCells};
use super::raw::{Wanted, resolve};
use super::segments::{Segment, segments};
use super::spread::spread;
use crate::error::{Error, Result};
use crate::serving::Serving;

/// Quantiles of more readings than this come from sketches; of fewer they are exact.
const EXACT_QUANTILES_MAX: u64 = 5_000_000;
/// Most points that one query may make.
const POINTS_MAX: usize = 5_000_000;

/// Fewer cells are not worth a thread, which costs as much as a thousand, and more where it must wait for a processor.
const CELLS_LEAST: usize = 30_000;
/// Points for which room is made before they are known, of all series together.
const ROOM: usize = 16_384;

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
    /// For each series, until when its cells are old enough to be final; empty where nobody asks.
    pub final_before: Vec<EventTime>,
}

/// What a pass makes of the readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Partials.
    Plain,
    /// Partials and all values.
    Values,
    /// Partials with sketches: from the views where they alone count, as epochs have none; from raw readings elsewhere.
    Sketches,
}

impl Form {
    fn told(self) -> Told {
        match self {
            Self::Plain => Told::Merged,
            Self::Values => Told::Nothing,
            Self::Sketches => Told::Untouched,
        }
    }
}

/// The points of each series that has some, in the order of `query.series`.
///
/// # Errors
/// History can't be read, or the answer would be too large.
pub async fn cells(serving: &Serving, snapshot: &Snapshot, query: CellQuery) -> Result<Vec<SeriesCells>> {
    let collector = Collector::new(serving, snapshot, &query);
    let mut points = collector.pass(Form::Plain).await?;
    if query.quantiles {
        let readings: u64 = points.iter().flat_map(Points::iter).map(|p| p.partial.count).sum();
        let form = if readings <= EXACT_QUANTILES_MAX { Form::Values } else { Form::Sketches };
        points = collector.pass(form).await?;
    }
    if query.view == ViewKind::Batch && query.as_of.is_none() {
        collector.pend(&mut points);
    }
    let points = points.into_iter().map(Points::into_points);
    let series = query.series.into_iter().zip(points).filter(|(_, points)| !points.is_empty());
    Ok(series.map(|(series, points)| SeriesCells { series, points }).collect())
}

struct Collector<'a> {
    serving: &'a Serving,
    snapshot: &'a Snapshot,
    base: Resolution,
    step: Resolution,
    view: ViewKind,
    segments: Vec<Segment<'a>>,
    /// The series in the order of the query.
    series: Vec<SeriesId>,
    /// The same by id, each with its place in the query.
    places: Vec<(SeriesId, usize)>,
    /// Points of a series for which room is made before they are known.
    room: usize,
    /// As asked.
    final_before: Vec<EventTime>,
}

impl<'a> Collector<'a> {
    fn new(serving: &'a Serving, snapshot: &'a Snapshot, query: &CellQuery) -> Self {
        let series: Vec<SeriesId> = query.series.iter().map(|state| state.id).collect();
        let mut places: Vec<(SeriesId, usize)> = series.iter().copied().zip(0..).collect();
        places.sort_unstable();
        let span = query.range.end.0.saturating_sub(query.range.start.0);
        let steps = usize::try_from(span / query.step.nanos()).unwrap_or(0).saturating_add(2);
        let room = steps.min(ROOM / series.len().max(1));
        Self {
            serving,
            snapshot,
            base: serving.speed.settings().base,
            step: query.step,
            view: if query.as_of.is_some() { ViewKind::Batch } else { query.view },
            segments: segments(snapshot, query),
            series,
            places,
            room,
            final_before: query.final_before.clone(),
        }
    }

    /// Counts all that is asked, segment by segment.
    async fn pass(&self, form: Form) -> Result<Vec<Points>> {
        let final_before = |place: usize| self.final_before.get(place).copied().unwrap_or(EventTime(i64::MIN));
        let points = (0..self.series.len()).map(|place| Points::with_room(self.room, final_before(place)));
        let mut points: Vec<Points> = points.collect();
        for segment in self.segments.iter().filter(|s| self.view != ViewKind::Batch || s.view.is_some()) {
            let cells = self.view_cells(segment, form).await?;
            let wanted = self.merge(segment, &cells, form, &mut points)?;
            if !wanted.is_empty() {
                let readings =
                    resolve(self.serving, self.snapshot, &wanted, segment.range, segment.cut, self.view).await?;
                self.add_readings(segment, &readings, form, &mut points);
            }
            bounded(points.iter().map(Points::len).sum())?;
        }
        Ok(points)
    }

    async fn view_cells(&self, segment: &Segment<'_>, form: Form) -> Result<ViewCells> {
        let Some(view) = segment.view.as_ref().filter(|_| self.view != ViewKind::Speed) else {
            return Ok(ViewCells::default());
        };
        let ids: Vec<SeriesId> = self.places.iter().map(|(id, _)| *id).collect();
        let cells = match form {
            Form::Plain | Form::Values => self.serving.batch.view_cells(view, &ids).await?,
            Form::Sketches => self.serving.batch.sketched_cells(view, &ids).await?,
        };
        Ok(cells)
    }

    /// Merges all series, on all processors where they have many cells; what partials can't tell is returned.
    fn merge(&self, segment: &Segment<'_>, cells: &ViewCells, form: Form, points: &mut [Points]) -> Result<Wanted> {
        let mut series: Vec<(SeriesId, &mut Points)> = self.series.iter().copied().zip(points).collect();
        let parts = self.serving.parts(segment.cells_about(series.len(), self.base), CELLS_LEAST);
        let made = AtomicUsize::new(series.iter().map(|(_, points)| points.len()).sum());
        let mut wanted = Wanted::new(self.base);
        for part in spread(&mut series, parts, |series| self.merge_some(segment, cells, form, series, &made)) {
            wanted.extend(part?);
        }
        Ok(wanted.sorted())
    }

    fn merge_some(
        &self,
        segment: &Segment<'_>,
        cells: &ViewCells,
        form: Form,
        series: &mut [(SeriesId, &mut Points)],
        made: &AtomicUsize,
    ) -> Result<Wanted> {
        let asked = Asked { range: segment.range, step: self.step, base: self.base, told: form.told() };
        let mut merge = Merge::new(asked);
        let mut wanted = Wanted::new(self.base);
        for (id, points) in series {
            let before = points.len();
            let epochs = segment.epochs_of(*id).filter(|_| self.view != ViewKind::Batch);
            merge.series(cells.of(*id), epochs, points, |bucket| wanted.push(*id, bucket));
            let more = points.len() - before;
            bounded(made.fetch_add(more, Ordering::Relaxed) + more)?;
        }
        Ok(wanted)
    }

    /// Adds readings one by one; they are sorted by series and event time.
    fn add_readings(&self, segment: &Segment<'_>, readings: &[StoredReading], form: Form, points: &mut [Points]) {
        let step = |r: &StoredReading| self.step.floor(EventTime(r.time)).0;
        for of_one in readings.chunk_by(|a, b| a.series == b.series) {
            let place = self.places.binary_search_by_key(&of_one[0].series, |(id, _)| *id);
            let place = place.expect("only readings of asked series were wanted");
            let points = &mut points[self.places[place].1];
            let runs = of_one.chunk_by(|a, b| step(a) == step(b));
            let point = |run: &[StoredReading]| CellPoint {
                cells: self.cells(segment, run, points),
                ..self.point(segment, step(&run[0]), run, form)
            };
            let more: Vec<CellPoint> = runs.map(point).collect();
            points.absorb(more);
        }
    }

    /// The point of the readings of one series in one step.
    fn point(&self, segment: &Segment<'_>, bucket: i64, run: &[StoredReading], form: Form) -> CellPoint {
        let mut partial = Partial::of_all(run.iter().map(|r| (r.time, r.value))).expect("a run is not empty");
        let values = || run.iter().map(|r| r.value);
        if form == Form::Sketches {
            partial.sketch = Some(Box::new(Sketch::of(values())));
        }
        let batch_points = run.iter().filter(|r| r.position <= segment.cut.0).count() as u64;
        CellPoint {
            bucket,
            values: (form == Form::Values).then(|| values().collect()),
            batch_points,
            speed_points: partial.count - batch_points,
            touched: self.view != ViewKind::Batch && self.touched(segment, run),
            pending: 0,
            cells: Cells::default(),
            partial,
        }
    }

    /// The cells of readings of one series in one step.
    fn cells(&self, segment: &Segment<'_>, run: &[StoredReading], points: &Points) -> Cells {
        let mut cells = Cells::default();
        let bucket = |r: &StoredReading| self.base.bucket(self.base.floor(EventTime(r.time)));
        for cell in run.chunk_by(|a, b| bucket(a) == bucket(b)) {
            let counted = || cell.iter().all(|r| r.position <= segment.cut.0) && !self.touched(segment, cell);
            let old_enough = points.is_final(bucket(&cell[0]).end, true);
            cells.add(old_enough && counted());
        }
        cells
    }

    /// Whether an epoch after the cut touches the buckets of these readings of one series.
    fn touched(&self, segment: &Segment<'_>, run: &[StoredReading]) -> bool {
        let (first, last) = (run[0].time, run[run.len() - 1].time);
        let buckets = whole_buckets(TimeRange::new(first, last.saturating_add(1)), self.base);
        segment.cells_after(run[0].series, buckets).next().is_some()
    }

    /// Tells the points of what the views have not counted.
    fn pend(&self, points: &mut [Points]) {
        for segment in &self.segments {
            let buckets = whole_buckets(segment.range, self.base);
            let some = self.series.iter().zip(&mut *points).filter(|(_, points)| points.len() > 0);
            for (id, points) in some {
                for cell in segment.cells_after(*id, buckets).filter(|cell| !outside(cell, segment.range)) {
                    points.pend(self.step.floor(EventTime(cell.bucket)).0, cell.partial.count);
                }
            }
        }
    }
}

fn bounded(points: usize) -> Result<()> {
    if points > POINTS_MAX {
        return Err(Error::TooLarge(format!("the answer has more than {POINTS_MAX} points; ask for a wider step")));
    }
    Ok(())
}
