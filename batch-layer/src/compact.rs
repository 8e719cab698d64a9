//! Compaction: many files of readings become few. Every arrival is kept; only its file changes.
//!
//! Owns which files are merged. Does not own deduplication: history keeps every arrival, recompute counts each once.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::TryStreamExt as _;
use schemas::history::{ReadingColumns, StoredReading};
use schemas::paths::{MIXED, ObjectKind, partition_label};
use schemas::view::{FileRef, HistoryVersion};
use schemas::{EventTime, SeriesId, SeriesKey, Tally, TimeRange};

use crate::catalog::JobRow;
use crate::error::{Error, Result};
use crate::history::write::ReadingsWriter;
use crate::history::{Selection, scan};
use crate::layer::{BatchLayer, load_series};

/// Files are merged when there are this many of one partition, or of strays.
const FILES_MIN: usize = 4;
/// Most readings that are merged at once, so that they fit in memory (about 40 bytes each).
const ROWS_MAX: u64 = 4_000_000;
/// A partition with fewer stray readings leaves them with the strays.
const OWN_FILE_READINGS: usize = 8_192;

impl BatchLayer {
    /// Merges the files of each partition in `range` that has many, and the files of strays.
    pub(crate) async fn compact(&self, job: &JobRow, version: &HistoryVersion, range: TimeRange) -> Result<()> {
        let series = load_series(&self.inner.catalog, &self.inner.objects).await?;
        let keys: BTreeMap<SeriesId, SeriesKey> = series.into_iter().map(|s| (s.id, s.key)).collect();
        let keys = Arc::new(keys);
        for partition in version.partitions_in(range) {
            if self.inner.catalog.cancel_requested(job.id).await? {
                return Err(Error::Cancelled);
            }
            for files in merges(&partition.files) {
                let rows = self.rows_of(&files).await?;
                let added = self.write_file(Some(partition.span), rows, &keys).await?;
                self.replace(&files, vec![added]).await?;
            }
        }
        for files in merges(&version.mixed) {
            let rows = self.rows_of(&files).await?;
            let mut added = Vec::new();
            for (partition, rows) in split(version, rows) {
                added.push(self.write_file(partition, rows, &keys).await?);
            }
            self.replace(&files, added).await?;
        }
        Ok(())
    }

    async fn rows_of(&self, files: &[Arc<FileRef>]) -> Result<Vec<StoredReading>> {
        let mut rows = Vec::new();
        for file in files {
            let mut batches = scan(self.inner.objects.clone(), Arc::clone(file), Selection::ALL);
            while let Some(batch) = batches.try_next().await? {
                let columns = ReadingColumns::of(&batch)?;
                rows.extend((0..columns.len()).map(|i| columns.get(i)));
            }
        }
        let (read, told) = (Tally::of_stored(&rows), files.iter().map(|file| file.tally()).sum::<Option<Tally>>());
        if told.is_some_and(|told| told != read) {
            self.inner.components.metrics.ledger("LED-3");
            return Err(Error::corrupt("history", format!("LED-3: files to compact hold {read}, not {told:?}")));
        }
        // Stable: rows of one frame keep their order, in which a later one replaces an earlier.
        rows.sort_by_key(|r| (r.series, r.time, r.position));
        Ok(rows)
    }

    async fn write_file(
        &self,
        partition: Option<TimeRange>,
        rows: Vec<StoredReading>,
        keys: &Arc<BTreeMap<SeriesId, SeriesKey>>,
    ) -> Result<(Option<TimeRange>, FileRef)> {
        let keys = Arc::clone(keys);
        let encode = move || {
            if let Some(row) = rows.iter().find(|r| !keys.contains_key(&r.series)) {
                return Err(Error::corrupt("history", format!("series {} has no name", row.series.0)));
            }
            let mut writer = ReadingsWriter::new()?;
            writer.push(&rows, |id| &keys[&id])?;
            let (bytes, bounds) = writer.finish()?;
            Ok((bytes, bounds.ok_or_else(|| Error::corrupt("history", "a file without readings"))?))
        };
        let (bytes, bounds) =
            tokio::task::spawn_blocking(encode).await.map_err(|e| Error::unavailable("encode a file", e))??;
        self.check_reserve(bytes.len() as u64)?;
        let part = partition.map_or_else(|| MIXED.to_owned(), partition_label);
        let object = self.inner.objects.put(ObjectKind::Readings, &part, bounds.positions.1, bytes).await?;
        Ok((partition, bounds.file(object)))
    }

    async fn replace(&self, files: &[Arc<FileRef>], added: Vec<(Option<TimeRange>, FileRef)>) -> Result<()> {
        let same = |a: &(Option<TimeRange>, FileRef)| files.iter().any(|f| f.object.path == a.1.object.path);
        if added.iter().any(same) {
            return Ok(());
        }
        self.replace_files(files.iter().map(|f| f.object.path.clone()).collect(), added).await
    }
}

/// Groups of files that are worth merging and fit in memory, smallest files first.
fn merges(files: &[Arc<FileRef>]) -> Vec<Vec<Arc<FileRef>>> {
    let mut files: Vec<Arc<FileRef>> = files.iter().filter(|f| f.rows < ROWS_MAX / 2).cloned().collect();
    if files.len() < FILES_MIN {
        return Vec::new();
    }
    files.sort_by_key(|f| f.rows);
    let mut groups: Vec<Vec<Arc<FileRef>>> = vec![Vec::new()];
    let mut rows = 0;
    for file in files {
        if rows + file.rows > ROWS_MAX {
            groups.push(Vec::new());
            rows = 0;
        }
        rows += file.rows;
        groups.last_mut().expect("there is a group").push(file);
    }
    groups.retain(|group| group.len() > 1);
    groups
}

/// Strays by partition where there are many, the rest together.
fn split(version: &HistoryVersion, rows: Vec<StoredReading>) -> Vec<(Option<TimeRange>, Vec<StoredReading>)> {
    let mut by_partition: BTreeMap<TimeRange, Vec<StoredReading>> = BTreeMap::new();
    let mut strays = Vec::new();
    for row in rows {
        match version.partition_of(EventTime(row.time)) {
            Some(partition) => by_partition.entry(partition.span).or_default().push(row),
            None => strays.push(row),
        }
    }
    let mut parts = Vec::new();
    for (span, rows) in by_partition {
        if rows.len() >= OWN_FILE_READINGS { parts.push((Some(span), rows)) } else { strays.extend(rows) }
    }
    if !strays.is_empty() {
        strays.sort_by_key(|r| (r.series, r.time, r.position));
        parts.push((None, strays));
    }
    parts
}

#[cfg(test)]
mod tests {
    use schemas::LogPosition;
    use schemas::view::ObjectRef;

    use super::*;

    fn file(rows: u64) -> Arc<FileRef> {
        Arc::new(FileRef {
            object: ObjectRef { path: rows.to_string(), bytes: 1, block_sums: Arc::default() },
            positions: (LogPosition(1), LogPosition(1)),
            event_bounds: (0, 0),
            series_bounds: (SeriesId(0), SeriesId(0)),
            rows,
            sum: None,
        })
    }

    #[test]
    fn few_files_and_large_ones_stay() {
        assert!(merges(&[file(1), file(2), file(3)]).is_empty());
        assert_eq!(merges(&[file(1), file(2), file(3), file(4)])[0].len(), 4);
        assert!(merges(&[file(1), file(ROWS_MAX), file(ROWS_MAX), file(ROWS_MAX)]).is_empty());
        let groups = merges(&vec![file(ROWS_MAX / 3); 5]);
        assert_eq!(groups.iter().map(Vec::len).collect::<Vec<_>>(), [3, 2]);
    }
}
