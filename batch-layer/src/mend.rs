//! Mending: what was counted is counted again from raw readings where its file is damaged or gone.
//!
//! Owns the cells of an epoch whose partials can't be read. Views are mended by a recompute, which writes the same bytes
//! to the same path. Raw readings and names of series exist once: a backup holds them, or nobody.

use std::collections::BTreeMap;

use futures::TryStreamExt as _;
use schemas::epoch::{Arrival, SeriesEpoch};
use schemas::history::{ReadingColumns, StoredCell};
use schemas::view::HistoryVersion;
use schemas::{Resolution, SeriesId};

use crate::catalog::EpochRow;
use crate::error::{Error, Result};
use crate::history::{Objects, Selection, read_cells, scan};

/// Whether a file is damaged or gone, so that reading it again is of no use.
pub(crate) fn is_lost(error: &Error) -> bool {
    matches!(error, Error::Corrupt { .. })
}

/// The cells of a flushed epoch; from raw readings where its partials are lost, every bucket then being disordered:
/// partials alone could tell which readings were counted before.
pub(crate) async fn epoch_cells(
    objects: &Objects,
    version: &HistoryVersion,
    epoch: &EpochRow,
    base: Resolution,
) -> Result<Vec<StoredCell>> {
    let Some(object) = &epoch.partials else { return Ok(Vec::new()) };
    match read_cells(objects, object, None, false).await {
        Err(error) if is_lost(&error) => {
            tracing::error!(%error, "partials are lost; their epoch is counted from raw readings");
            recount(objects, version, epoch, base).await
        }
        read => read,
    }
}

async fn recount(
    objects: &Objects,
    version: &HistoryVersion,
    epoch: &EpochRow,
    base: Resolution,
) -> Result<Vec<StoredCell>> {
    let mut series: BTreeMap<SeriesId, SeriesEpoch> = BTreeMap::new();
    let files = version.partitions.iter().flat_map(|p| &p.files).chain(&version.mixed);
    for file in files.filter(|f| f.positions.0 <= epoch.last && epoch.first <= f.positions.1) {
        let mut batches = scan(objects.clone(), file.clone(), Selection::ALL);
        while let Some(batch) = batches.try_next().await? {
            let columns = ReadingColumns::of(&batch)?;
            let rows = (0..columns.len()).map(|i| columns.get(i));
            for row in rows.filter(|row| (epoch.first.0..=epoch.last.0).contains(&row.position)) {
                series.entry(row.series).or_default().put(row.time, row.value, 0, base, Arrival::Corrected);
            }
        }
    }
    let cells_of = |(id, mut part): (SeriesId, SeriesEpoch)| {
        part.tidy(base);
        let stored = |cell: &schemas::cells::Cell| StoredCell { series: id, cell: cell.clone(), disordered: true };
        part.cells().iter().map(stored).collect::<Vec<_>>()
    };
    Ok(series.into_iter().flat_map(cells_of).collect())
}
