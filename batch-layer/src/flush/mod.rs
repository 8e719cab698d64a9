//! Flush: a sealed epoch becomes files of history.
//!
//! ```text
//! settle doubts ─► plan (pure) ─► files of readings, partials, series, quarantine ─► FlushCommit
//! ```
//!
//! Owns which file a reading goes to. A partition with many readings of the epoch gets a file of its own; strays share
//! one, so that a late reading does not make a file. Does not own the commit (layer), nor what is in memory.

mod plan;
mod settle;

use std::collections::HashMap;
use std::sync::Arc;

use schemas::cells::Cell;
use schemas::epoch::{Epoch, HotReading, Sealed, SeriesEpoch, SeriesState};
use schemas::history::{StoredCell, StoredReading};
use schemas::partial::{SKETCH_READINGS_MIN, Sketch};
use schemas::paths::{MIXED, ObjectKind, WHOLE, partition_label};
use schemas::view::{FileRef, HistoryVersion, ObjectRef};
use schemas::{Resolution, SeriesId, SeriesKey, Tally, TimeRange};

use crate::catalog::{FlushCommit, SeriesCommit};
use crate::error::{Error, Result};
use crate::history::pieces::PIECE_CELLS;
use crate::history::write::{Bounds, CHUNK, CellsWriter, ReadingsWriter};
use crate::history::{encode_readings, encode_series};
use crate::layer::{Inner, load_series};

use plan::{FlushPlan, plan};
pub(crate) use settle::{Found, find, settle};

/// Files of series states are made into one when there are more.
const SERIES_FILES_MAX: usize = 16;

/// Writes all files of an epoch; what is returned makes them history.
pub(crate) async fn write(inner: &Inner, version: Arc<HistoryVersion>, sealed: &Arc<Sealed>) -> Result<FlushCommit> {
    let epoch = &sealed.epoch;
    let plan = plan(&version, epoch);
    let encoded = {
        let (sealed, plan, base) = (Arc::clone(sealed), plan.clone(), inner.settings.base);
        let encode = move || encode(&sealed, &plan, base);
        tokio::task::spawn_blocking(encode).await.map_err(|e| Error::unavailable("encode an epoch", e))??
    };
    check_ledger(inner, sealed, &encoded)?;
    let put = async |kind, part: &str, bytes| inner.objects.put(kind, part, epoch.last, bytes).await;
    let mut files: Vec<(Option<TimeRange>, FileRef)> = Vec::new();
    for (partition, bytes, bounds) in encoded.readings {
        let part = partition.map_or_else(|| MIXED.to_owned(), partition_label);
        files.push((partition, bounds.file(put(ObjectKind::Readings, &part, bytes).await?)));
    }
    let partials = match encoded.partials {
        Some(bytes) => Some(put(ObjectKind::Partials, WHOLE, bytes).await?),
        None => None,
    };
    let quarantine = match encoded.quarantine {
        Some((bytes, tally)) => Some((put(ObjectKind::Quarantine, WHOLE, bytes).await?, tally)),
        None => None,
    };
    Ok(FlushCommit {
        first: epoch.first,
        last: epoch.last,
        readings: epoch.readings,
        event_bounds: epoch.event_bounds,
        partials,
        files,
        new_partitions: plan.new_partitions,
        touched: plan.touched.iter().map(|(span, rows)| (span.start, *rows)).collect(),
        series: write_series(inner, sealed).await?,
        quarantine,
        tally: sealed.tally,
        lateness: sealed.lateness.iter().map(|(metric, table)| (metric.clone(), table.weights().to_vec())).collect(),
        now: inner.components.clock.now(),
    })
}

/// LED-2: what became of the frames is what they held. Nothing is flushed otherwise; the log keeps them.
fn check_ledger(inner: &Inner, sealed: &Sealed, encoded: &Encoded) -> Result<()> {
    let files = encoded.readings.iter().map(|(_, _, bounds)| Tally { readings: bounds.rows, sum: bounds.sum });
    let written: Tally = files.chain(encoded.quarantine.iter().map(|(_, tally)| *tally)).sum();
    if written == sealed.tally {
        return Ok(());
    }
    inner.components.metrics.ledger("LED-2");
    let (Epoch { first, last, .. }, held) = (&*sealed.epoch, sealed.tally);
    let reason = format!("LED-2: its frames hold {held}, its files would hold {written}");
    Err(Error::unavailable(format!("flush epoch {first}..={last}"), reason))
}

struct Encoded {
    readings: Vec<(Option<TimeRange>, bytes::Bytes, Bounds)>,
    partials: Option<bytes::Bytes>,
    quarantine: Option<(bytes::Bytes, Tally)>,
}

fn encode(sealed: &Sealed, plan: &FlushPlan, base: Resolution) -> Result<Encoded> {
    let epoch = &sealed.epoch;
    let keys: HashMap<SeriesId, &SeriesKey> = sealed.series.iter().map(|s| (s.id, &s.key)).collect();
    let key = |id: SeriesId| *keys.get(&id).expect("a sealed epoch names its series");
    let mut readings = Vec::new();
    for span in &plan.own {
        readings.extend(
            encode_file(epoch, key, |series, push| series.arrivals(*span).for_each(push))?
                .map(|(b, n)| (Some(*span), b, n)),
        );
    }
    if plan.has_strays() {
        let strays = |series: &SeriesEpoch, push: &mut dyn FnMut(HotReading)| {
            series.arrivals(TimeRange::ALL).filter(|r| !plan.owns(schemas::EventTime(r.time))).for_each(push);
        };
        readings.extend(encode_file(epoch, key, strays)?.map(|(b, n)| (None, b, n)));
    }
    let partials = encode_partials(epoch, base)?;
    let mut quarantined: Vec<StoredReading> = epoch
        .quarantine
        .iter()
        .map(|q| StoredReading {
            series: q.series,
            time: q.time,
            arrival: epoch.arrival(q.frame).0,
            value: q.value,
            position: epoch.position(q.frame).0,
        })
        .collect();
    quarantined.sort_by_key(|r| (r.series, r.time, r.position));
    let quarantine = match Tally::of_stored(&quarantined) {
        Tally::NONE => None,
        tally => Some((encode_readings(&quarantined, key)?, tally)),
    };
    Ok(Encoded { readings, partials, quarantine })
}

/// One file of readings: each series' part, in order of series.
fn encode_file<'a>(
    epoch: &Epoch,
    key: impl Fn(SeriesId) -> &'a SeriesKey,
    part: impl Fn(&SeriesEpoch, &mut dyn FnMut(HotReading)),
) -> Result<Option<(bytes::Bytes, Bounds)>> {
    let mut writer = ReadingsWriter::new()?;
    let mut rows: Vec<StoredReading> = Vec::with_capacity(CHUNK);
    for (id, series) in &epoch.series {
        part(series, &mut |r| {
            rows.push(StoredReading {
                series: *id,
                time: r.time,
                arrival: epoch.arrival(r.frame).0,
                value: r.value,
                position: epoch.position(r.frame).0,
            });
        });
        if rows.len() >= CHUNK {
            writer.push(&rows, &key)?;
            rows.clear();
        }
    }
    writer.push(&rows, &key)?;
    let (bytes, bounds) = writer.finish()?;
    Ok(bounds.map(|bounds| (bytes, bounds)))
}

/// The file of all cells; `None` where there are none.
fn encode_partials(epoch: &Epoch, base: Resolution) -> Result<Option<bytes::Bytes>> {
    let mut writer = CellsWriter::new()?;
    let mut piece: Vec<StoredCell> = Vec::new();
    for (id, series) in &epoch.series {
        for cell in series.cells() {
            if piece.len() == PIECE_CELLS {
                writer.push(&piece)?;
                piece.clear();
            }
            piece.push(stored_cell(*id, series, cell, base));
        }
    }
    if piece.is_empty() {
        return Ok(None);
    }
    writer.push(&piece)?;
    writer.finish().map(Some)
}

/// A cell of a series; one of many readings with a sketch, which memory does without while the readings are hot.
fn stored_cell(series: SeriesId, part: &SeriesEpoch, cell: &Cell, base: Resolution) -> StoredCell {
    let mut cell = cell.clone();
    if cell.partial.count >= SKETCH_READINGS_MIN {
        let readings = part.counted(base.bucket(schemas::EventTime(cell.bucket)));
        cell.partial.sketch = Some(Box::new(Sketch::of(readings.iter().map(|r| r.value))));
    }
    let disordered = part.disordered().binary_search(&cell.bucket).is_ok();
    StoredCell { series, cell, disordered }
}

/// The states of the epoch's series; with all others in one file where there are many files.
async fn write_series(inner: &Inner, sealed: &Sealed) -> Result<Option<SeriesCommit>> {
    if sealed.series.is_empty() {
        return Ok(None);
    }
    let before = inner.catalog.series_files().await?;
    let mut states = sealed.series.clone();
    let mut replaces = Vec::new();
    if before.len() >= SERIES_FILES_MAX {
        states = merge_states(load_series(&inner.catalog, &inner.objects).await?, states);
        replaces = before.into_iter().map(|object| object.path).collect();
    }
    states.sort_by_key(|s| s.id);
    let object: ObjectRef =
        inner.objects.put(ObjectKind::Series, WHOLE, sealed.epoch.last, encode_series(&states)?).await?;
    Ok(Some(SeriesCommit { object, replaces }))
}

fn merge_states(old: Vec<SeriesState>, new: Vec<SeriesState>) -> Vec<SeriesState> {
    let mut states: HashMap<SeriesId, SeriesState> = old.into_iter().map(|s| (s.id, s)).collect();
    states.extend(new.into_iter().map(|s| (s.id, s)));
    states.into_values().collect()
}
