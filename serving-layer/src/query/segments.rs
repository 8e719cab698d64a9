//! Segments: the asked range cut so that in each piece one view, or none, answers up to one cut. Pure.
//!
//! Owns which view and which epochs count in a segment. Does not own how their cells add up (`merge`).

use std::sync::Arc;

use schemas::cells::{Cell, cells_in};
use schemas::epoch::{Epoch, SeriesEpoch, Snapshot};
use schemas::view::ViewRef;
use schemas::{LogPosition, Resolution, SeriesId, TimeRange};

use super::cells::CellQuery;

/// A stretch of the asked range that one view, or none, answers for.
pub(super) struct Segment<'a> {
    pub(super) range: TimeRange,
    /// The view counts up to here.
    pub(super) cut: LogPosition,
    pub(super) view: Option<Arc<ViewRef>>,
    /// The epochs that the cut does not cover.
    epochs: Vec<&'a Epoch>,
}

/// The segments of the asked range, in order of time.
pub(super) fn segments<'a>(snapshot: &'a Snapshot, query: &CellQuery) -> Vec<Segment<'a>> {
    if let Some(views) = &query.as_of {
        let asked = views.iter().filter(|(span, _)| span.overlaps(&query.range));
        let segment = |(span, view): &(TimeRange, ViewRef)| Segment {
            range: span.intersect(&query.range),
            cut: view.cut,
            view: Some(Arc::new(view.clone())),
            // The views of that generation answer alone.
            epochs: Vec::new(),
        };
        return asked.map(segment).collect();
    }
    let segment = |range, cut, view| Segment { range, cut, view, epochs: epochs_after(snapshot, cut) };
    let gap = |start, end| segment(TimeRange { start, end }, LogPosition::START, None);
    let mut segments = Vec::new();
    let mut next = query.range.start;
    for partition in snapshot.version.partitions_in(query.range) {
        let range = partition.span.intersect(&query.range);
        segments.push(gap(next, range.start));
        segments.push(segment(range, partition.cut(), partition.view.clone()));
        next = range.end;
    }
    segments.push(gap(next, query.range.end));
    segments.retain(|segment| !segment.range.is_empty());
    segments
}

fn epochs_after(snapshot: &Snapshot, cut: LogPosition) -> Vec<&Epoch> {
    snapshot.epochs.iter().map(AsRef::as_ref).filter(|e| e.last > cut).collect()
}

impl<'a> Segment<'a> {
    /// The parts of a series in the epochs that the cut does not cover and that reach into the range.
    pub(super) fn epochs_of(&self, series: SeriesId) -> impl Iterator<Item = &'a SeriesEpoch> {
        let epochs = self.epochs.iter().filter(|e| e.touches(self.range));
        epochs.filter_map(move |e| e.of(series)).map(AsRef::as_ref)
    }

    /// How many cells so many series have in it, about: a bucket counts once, though view and epochs may each have a cell.
    pub(super) fn cells_about(&self, series: usize, base: Resolution) -> usize {
        let span = self.range.end.0.saturating_sub(self.range.start.0) / base.nanos();
        let buckets = usize::try_from(span).unwrap_or(usize::MAX).saturating_add(2);
        let counted =
            self.view.as_ref().map_or(0, |view| view.cells) + self.epochs.iter().map(|e| e.readings).sum::<u64>();
        series.saturating_mul(buckets).min(usize::try_from(counted).unwrap_or(usize::MAX))
    }

    /// The cells of a series in epochs that the cut does not cover, of buckets in `buckets`.
    pub(super) fn cells_after(&self, series: SeriesId, buckets: TimeRange) -> impl Iterator<Item = &'a Cell> {
        let parts = self.epochs.iter().filter_map(move |e| e.of(series));
        parts.flat_map(move |part| cells_in(part.cells(), buckets))
    }
}
