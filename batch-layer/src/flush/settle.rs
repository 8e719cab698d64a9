//! Doubts: late readings whose epochs have left memory are looked up in history once, soon after they arrived or when
//! their epoch is flushed.
//!
//! All that memory does not hold of what came before an epoch is in history, so that each doubtful reading turns out to be
//! new, repeated or a correction. Only corrections leave a bucket disordered. Without this, every query would look them
//! up, until a batch view counts the epoch.
//!
//! Owns which doubts are worth it. Does not own what becomes of them (`schemas`).

use std::sync::Arc;

use schemas::epoch::{Epoch, Sealed};
use schemas::view::{FileRef, HistoryVersion};
use schemas::{LogPosition, SeriesId, TimeRange};

use crate::error::Result;
use crate::history::{Selection, SeriesSet};
use crate::layer::Inner;
use crate::recompute::resolved;

/// Doubtful readings, sorted by series and event time, each with the last value that was counted before, if any.
pub(crate) type Found = Vec<(SeriesId, i64, Option<f64>)>;

/// For a reading as many rows are decoded as a page of a file holds, at most; opening a file costs about as much.
const PAGE_ROWS: u64 = 8_192;
/// So many rows may be read in one look-up: about a second of one processor. Beside the readings of a flush, which others
/// wait for, it is fewer: as many as there are readings, and these.
const ROWS_MAX: u64 = 16_000_000;
const ROWS_FLUSH: u64 = 2_000_000;
/// More files are not read at once.
const FILES_MAX: usize = 256;

/// The epoch without doubts; as it is where it has none, or where looking them up takes too long or fails: then queries
/// do it.
pub(crate) async fn settle(inner: &Inner, version: &HistoryVersion, sealed: &Arc<Sealed>) -> Arc<Sealed> {
    let epoch = &sealed.epoch;
    let doubts = doubts(epoch);
    if doubts.is_empty() {
        return Arc::clone(sealed);
    }
    let found = look_up(inner, version, &doubts, epoch.first, ROWS_FLUSH + epoch.readings).await;
    let Some(found) = found else { return Arc::clone(sealed) };
    let (old, base) = (Arc::clone(epoch), inner.settings.base);
    match tokio::task::spawn_blocking(move || old.settled(&found, base)).await {
        Ok(epoch) => Arc::new(Sealed { epoch: Arc::new(epoch), ..Sealed::clone(sealed) }),
        Err(error) => {
            tracing::error!(%error, "settling late readings failed: queries will look them up");
            Arc::clone(sealed)
        }
    }
}

/// What was counted of these doubtful readings (sorted by series and event time) before position `before`.
pub(crate) async fn find(
    inner: &Inner,
    version: &HistoryVersion,
    doubts: &[(SeriesId, i64)],
    before: LogPosition,
) -> Option<Found> {
    look_up(inner, version, doubts, before, ROWS_MAX).await
}

/// The same, unless more than so many rows would have to be read, or it fails.
async fn look_up(
    inner: &Inner,
    version: &HistoryVersion,
    doubts: &[(SeriesId, i64)],
    before: LogPosition,
    rows_max: u64,
) -> Option<Found> {
    let metrics = &inner.components.metrics;
    let (files, rows) = files(version, doubts);
    if files.len() > FILES_MAX || rows > rows_max {
        metrics.doubts("too_many_to_look_up", doubts.len());
        return None;
    }
    match counted_before(inner, files, doubts, before).await {
        Ok(found) => {
            let known = found.iter().filter(|(.., before)| before.is_some()).count();
            metrics.doubts("counted_before", known);
            metrics.doubts("new", found.len() - known);
            Some(found)
        }
        Err(error) => {
            tracing::warn!(%error, "can't look late readings up in history: queries will");
            metrics.doubts("history_unreadable", doubts.len());
            None
        }
    }
}

fn doubts(epoch: &Epoch) -> Vec<(SeriesId, i64)> {
    epoch.series.iter().flat_map(|(id, part)| part.doubts().map(|time| (*id, time))).collect()
}

/// The files that may hold one of them, and about how many of their rows are read at most.
fn files(version: &HistoryVersion, doubts: &[(SeriesId, i64)]) -> (Vec<Arc<FileRef>>, u64) {
    let mut times: Vec<i64> = doubts.iter().map(|(_, time)| *time).collect();
    times.sort_unstable();
    let within = |(least, greatest): (i64, i64)| {
        times.partition_point(|time| *time <= greatest) - times.partition_point(|time| *time < least)
    };
    let own = version.partitions.iter().flat_map(|partition| &partition.files);
    let (mut files, mut rows) = (Vec::new(), 0);
    for file in own.chain(&version.mixed) {
        let asked = within(file.event_bounds) as u64;
        if asked > 0 {
            rows += PAGE_ROWS + file.rows.min(PAGE_ROWS * asked);
            files.push(Arc::clone(file));
        }
    }
    (files, rows)
}

async fn counted_before(
    inner: &Inner,
    files: Vec<Arc<FileRef>>,
    doubts: &[(SeriesId, i64)],
    before: LogPosition,
) -> Result<Found> {
    let instant = |time: i64| TimeRange::new(time, time.saturating_add(1));
    let stretches = doubts.iter().map(|(id, time)| (*id, instant(*time))).collect();
    let up_to = Some(LogPosition(before.0.saturating_sub(1)));
    let selection = Selection { series: SeriesSet::Stretches(stretches), range: TimeRange::ALL, up_to };
    let tasks = Arc::clone(&inner.tasks);
    let known = resolved(&inner.objects, files, Vec::new(), selection, tasks, doubts.len()).await?;
    let mut known = known.into_iter().peekable();
    let found = doubts.iter().map(|(id, time)| {
        let same = known.next_if(|known| (known.series, known.time) == (*id, *time));
        (*id, *time, same.map(|known| known.value))
    });
    Ok(found.collect())
}
