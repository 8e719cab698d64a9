//! Streams of stored readings, pruned before they are fetched and filtered after they are decoded; cells and series whole.
//!
//! Owns which row groups of a file are read, and that whatever a file holds is decoded or refused. Does not own what is
//! asked for (selection) nor the order between files (merge).

use std::any::Any;
use std::collections::VecDeque;
use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{TimestampNanosecondType, UInt64Type};
use arrow::record_batch::RecordBatch;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, RowSelection};
use parquet::arrow::async_reader::{ParquetRecordBatchStream, ParquetRecordBatchStreamBuilder};
use schemas::cells::CellTable;
use schemas::epoch::SeriesState;
use schemas::history::{READINGS, SCANNED, StoredCell, batch_to_cells, batch_to_series, scanned};
use schemas::view::{FileRef, ObjectRef};
use schemas::{LogPosition, SeriesId};

use crate::error::{Error, Result};
use crate::history::from_parquet;
use crate::history::objects::{ObjectReader, Objects};
use crate::history::selection::{Extent, Fit, Selection, any_within, asked_rows, keep};

/// Rows of a batch of readings.
const BATCH_ROWS: usize = 8192;
/// Most cells that room is set aside for because a file says that it holds so many.
const CELLS_FORESEEN: usize = 1 << 20;

/// The readings of one file that match, in the file's order, in batches of columns [`schemas::history::SCAN`].
///
/// Errors come as items: the file is missing or corrupt, or the store fails. Nothing follows an error.
pub fn scan(objects: Objects, file: Arc<FileRef>, selection: Selection) -> BoxStream<'static, Result<RecordBatch>> {
    let opened = async move { guarded(&file.object.path, Scan::open(&objects, &file, selection)).await };
    let read = |scan: Scan| {
        futures::stream::try_unfold(scan, |mut scan| async move {
            let path = scan.path.clone();
            Ok(guarded(&path, scan.next()).await?.map(|batch| (batch, scan)))
        })
    };
    futures::stream::once(opened).map_ok(read).try_flatten().boxed()
}

/// What decoding the file at `path` yields. Decoders panic at some files that are no Parquet of ours although their
/// checksums fit; then the file is as good as damaged.
async fn guarded<T>(path: &str, decode: impl Future<Output = Result<T>>) -> Result<T> {
    // Nothing is decoded on after a panic.
    let decoded = AssertUnwindSafe(decode).catch_unwind().await;
    decoded.unwrap_or_else(|panic| Err(Error::corrupt(path, format!("it can't be decoded: {}", reason(&*panic)))))
}

/// What a panic says.
fn reason(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("the decoder panicked")
}

/// A file that is being read, row group by row group.
struct Scan {
    path: String,
    selection: Selection,
    groups: ParquetRecordBatchStream<ObjectReader>,
    /// How the rows of each row group still to come match.
    fits: VecDeque<Fit>,
    current: Option<(ParquetRecordBatchReader, Fit)>,
}

impl Scan {
    async fn open(objects: &Objects, file: &FileRef, selection: Selection) -> Result<Self> {
        let path = file.object.path.clone();
        let builder = open(objects, &file.object).await?;
        let rows = builder.metadata().file_metadata().num_rows();
        if u64::try_from(rows) != Ok(file.rows) {
            return Err(Error::corrupt(path, format!("it holds {rows} readings instead of {}", file.rows)));
        }
        let Wanted { groups, fits, rows } = Wanted::of(&builder, &path, &selection)?;
        let columns = ProjectionMask::columns(builder.parquet_schema(), SCANNED);
        let mut builder = builder.with_projection(columns).with_row_groups(groups).with_batch_size(BATCH_ROWS);
        if let Some(rows) = rows.selection() {
            builder = builder.with_row_selection(rows);
        }
        let groups = builder.build().map_err(|e| from_parquet(&path, e))?;
        Ok(Self { path, selection, groups, fits, current: None })
    }

    /// The next batch with matching rows.
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let Some((reader, fit)) = &mut self.current else {
                let group = self.groups.next_row_group().await.map_err(|e| from_parquet(&self.path, e))?;
                let Some(group) = group else { return Ok(None) };
                let fit = self.fits.pop_front().expect("one for each row group that was asked for");
                self.current = Some((group, fit));
                continue;
            };
            match (reader.next().transpose(), *fit) {
                (Err(e), _) => return Err(Error::corrupt(&self.path, e)),
                (Ok(None), _) => self.current = None,
                (Ok(Some(batch)), Fit::All) => return Ok(Some(scanned(&batch)?)),
                (Ok(Some(batch)), _) => {
                    let batch = self.selection.filter(batch)?;
                    if batch.num_rows() > 0 {
                        return Ok(Some(scanned(&batch)?));
                    }
                }
            }
        }
    }
}

/// What is read of a file.
#[derive(Default)]
struct Wanted {
    groups: Vec<usize>,
    /// How the rows of each of these row groups match.
    fits: VecDeque<Fit>,
    rows: RowRanges,
}

impl Wanted {
    fn of(builder: &Builder, path: &str, selection: &Selection) -> Result<Self> {
        let mut wanted = Self::default();
        for (group, extent) in extents(builder, path)?.into_iter().enumerate() {
            let all = usize::try_from(builder.metadata().row_group(group).num_rows()).unwrap_or(0);
            let pages = match selection.fit(&extent) {
                Fit::None => continue,
                Fit::All => None,
                Fit::Some => pages_matching(builder, path, (group, &extent), selection)?,
            };
            if wanted.rows.push_group(all, pages.unwrap_or_else(|| std::iter::once(0..all).collect())) {
                wanted.groups.push(group);
                wanted.fits.push_back(selection.fit(&extent));
            }
        }
        Ok(wanted)
    }
}

/// Rows of the row groups that are read, counted through all of them.
#[derive(Default)]
struct RowRanges {
    ranges: Vec<Range<usize>>,
    total: usize,
}

impl RowRanges {
    /// Appends a row group of which these rows are read; says whether there are any.
    fn push_group(&mut self, rows: usize, read: Vec<Range<usize>>) -> bool {
        if read.iter().all(Range::is_empty) {
            return false;
        }
        self.ranges.extend(read.into_iter().map(|range| self.total + range.start..self.total + range.end));
        self.total += rows;
        true
    }

    /// What to read; `None`: all.
    fn selection(self) -> Option<RowSelection> {
        let read: usize = self.ranges.iter().map(Range::len).sum();
        (read < self.total).then(|| RowSelection::from_consecutive_ranges(self.ranges.into_iter(), self.total))
    }
}

/// The rows of a row group that may match, as far as its pages tell; `None` of a file that does not tell of pages.
fn pages_matching(
    builder: &Builder,
    path: &str,
    (group, whole): (usize, &Extent),
    selection: &Selection,
) -> Result<Option<Vec<Range<usize>>>> {
    let metadata = builder.metadata();
    let Some((columns, offsets)) = metadata.column_index().zip(metadata.offset_index()) else { return Ok(None) };
    let pages = |name: &str| {
        let converter = StatisticsConverter::try_new(name, builder.schema(), builder.parquet_schema())?;
        let least = converter.data_page_mins(columns, offsets, [&group])?;
        let greatest = converter.data_page_maxes(columns, offsets, [&group])?;
        Ok((converter.data_page_row_counts(offsets, metadata.row_groups(), [&group])?, least, greatest))
    };
    let (rows, first, last) = pages("series_id").map_err(|e| from_parquet(path, e))?;
    let (rows_too, earliest, latest) = pages("event_time").map_err(|e| from_parquet(path, e))?;
    let untold: usize = [&first, &last, &earliest, &latest].iter().map(|bounds| bounds.null_count()).sum();
    // Pages of both columns are looked at together: they must have the same rows.
    let Some(rows) = rows.filter(|rows| untold == 0 && rows_too.as_ref() == Some(rows)) else { return Ok(None) };
    let id = |bounds: &ArrayRef, page: usize| SeriesId(bounds.as_primitive::<UInt64Type>().value(page));
    let instant = |bounds: &ArrayRef, page: usize| bounds.as_primitive::<TimestampNanosecondType>().value(page);
    let (mut matching, mut start) = (Vec::new(), 0);
    for page in 0..rows.len() {
        let end = start + rows.value(page) as usize;
        let extent = Extent {
            series: (id(&first, page), id(&last, page)),
            times: (instant(&earliest, page), instant(&latest, page)),
            positions: whole.positions,
        };
        if selection.fit(&extent) != Fit::None {
            matching.push(start..end);
        }
        start = end;
    }
    Ok(Some(matching))
}

/// The first and the last series of each row group of a file of readings, and how many rows it has.
///
/// # Errors
/// The file is missing or corrupt, or the store fails.
pub async fn outline(objects: &Objects, file: &FileRef) -> Result<Vec<((SeriesId, SeriesId), u64)>> {
    guarded(&file.object.path, async {
        let builder = open(objects, &file.object).await?;
        let bounds = numbers(&builder, &file.object.path, "series_id")?.into_iter();
        let rows = builder.metadata().row_groups().iter().map(|group| group.num_rows().unsigned_abs());
        Ok(bounds.map(|(first, last)| (SeriesId(first), SeriesId(last))).zip(rows).collect())
    })
    .await
}

/// What a file of cells holds, row group by row group.
#[derive(Debug)]
pub struct CellGroups {
    /// The first and the last series of each row group.
    pub outline: Vec<(SeriesId, SeriesId)>,
    /// The cells, without sketches, of the row groups that were picked.
    pub picked: Vec<(usize, CellTable)>,
}

/// Cells of an object, of those row groups that `pick` takes, given the first and the last series of each.
///
/// # Errors
/// The object is missing or corrupt, or the store fails.
pub async fn read_groups(
    objects: &Objects,
    object: &ObjectRef,
    pick: impl FnOnce(&[(SeriesId, SeriesId)]) -> Vec<usize>,
) -> Result<CellGroups> {
    guarded(&object.path, async {
        let builder = open(objects, object).await?;
        let bounds = numbers(&builder, &object.path, "series_id")?.into_iter();
        let outline: Vec<_> = bounds.map(|(first, last)| (SeriesId(first), SeriesId(last))).collect();
        let wanted = pick(&outline);
        let builder = without_sketches(builder).with_row_groups(wanted.clone()).with_batch_size(BATCH_ROWS);
        let mut groups = builder.build().map_err(|e| from_parquet(&object.path, e))?;
        let mut picked = Vec::with_capacity(wanted.len());
        for group in wanted {
            let batches = groups.next_row_group().await.map_err(|e| from_parquet(&object.path, e))?;
            let mut table = CellTable::default();
            for batch in batches.into_iter().flatten() {
                let batch = batch.map_err(|e| Error::corrupt(&object.path, e))?;
                batch_to_cells(&batch)?.into_iter().for_each(|stored| table.push(stored.series, stored.cell));
            }
            picked.push((group, table));
        }
        Ok(CellGroups { outline, picked })
    })
    .await
}

/// The cells of an object, of these series (sorted by id) or of all. Sketches are large: they are read only if asked for.
///
/// # Errors
/// The object is missing or corrupt, or the store fails.
pub async fn read_cells(
    objects: &Objects,
    object: &ObjectRef,
    series: Option<&[SeriesId]>,
    with_sketch: bool,
) -> Result<Vec<StoredCell>> {
    guarded(&object.path, async {
        let mut builder = open(objects, object).await?;
        let all = usize::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0);
        if let Some(asked) = series {
            let ids = numbers(&builder, &object.path, "series_id")?;
            let wanted = ids
                .iter()
                .enumerate()
                .filter(|(_, (first, last))| any_within(asked, SeriesId(*first), SeriesId(*last)));
            let wanted = wanted.map(|(i, _)| i).collect();
            builder = builder.with_row_groups(wanted);
        }
        if !with_sketch {
            builder = without_sketches(builder);
        }
        let mut batches = builder.with_batch_size(BATCH_ROWS).build().map_err(|e| from_parquet(&object.path, e))?;
        let mut cells = Vec::with_capacity(if series.is_none() { all.min(CELLS_FORESEEN) } else { 0 });
        while let Some(batch) = batches.try_next().await.map_err(|e| from_parquet(&object.path, e))? {
            cells.extend(batch_to_cells(&of_series(batch, series, &object.path)?)?);
        }
        Ok(cells)
    })
    .await
}

fn without_sketches(builder: Builder) -> Builder {
    let names: Vec<String> =
        builder.schema().fields().iter().map(|f| f.name().clone()).filter(|n| n != "sketch").collect();
    let mask = ProjectionMask::columns(builder.parquet_schema(), names.iter().map(String::as_str));
    builder.with_projection(mask)
}

/// The series of an object.
///
/// # Errors
/// The object is missing or corrupt, or the store fails.
pub async fn read_series(objects: &Objects, object: &ObjectRef) -> Result<Vec<SeriesState>> {
    guarded(&object.path, async {
        let mut batches = open(objects, object).await?.build().map_err(|e| from_parquet(&object.path, e))?;
        let mut states = Vec::new();
        while let Some(batch) = batches.try_next().await.map_err(|e| from_parquet(&object.path, e))? {
            states.extend(batch_to_series(&batch)?);
        }
        Ok(states)
    })
    .await
}

type Builder = ParquetRecordBatchStreamBuilder<ObjectReader>;

async fn open(objects: &Objects, object: &ObjectRef) -> Result<Builder> {
    Builder::new(objects.reader(object)).await.map_err(|e| from_parquet(&object.path, e))
}

/// What the statistics tell of each row group.
fn extents(builder: &Builder, path: &str) -> Result<Vec<Extent>> {
    let series = numbers(builder, path, "series_id")?;
    let positions = numbers(builder, path, "position")?;
    let (first, last) = statistics(builder, path, "event_time")?;
    let instant = |array: &ArrayRef, i: usize| array.as_primitive::<TimestampNanosecondType>().value(i);
    let extent = |i: usize| Extent {
        series: (SeriesId(series[i].0), SeriesId(series[i].1)),
        times: (instant(&first, i), instant(&last, i)),
        positions: (LogPosition(positions[i].0), LogPosition(positions[i].1)),
    };
    Ok((0..series.len()).map(extent).collect())
}

/// Least and greatest of a column of numbers in each row group.
fn numbers(builder: &Builder, path: &str, column: &str) -> Result<Vec<(u64, u64)>> {
    let (least, greatest) = statistics(builder, path, column)?;
    let (least, greatest) =
        (least.as_primitive::<UInt64Type>().values(), greatest.as_primitive::<UInt64Type>().values());
    Ok(least.iter().copied().zip(greatest.iter().copied()).collect())
}

fn statistics(builder: &Builder, path: &str, column: &str) -> Result<(ArrayRef, ArrayRef)> {
    let read = || {
        let converter = StatisticsConverter::try_new(column, builder.schema(), builder.parquet_schema())?;
        let groups = builder.metadata().row_groups();
        Ok((converter.row_group_mins(groups)?, converter.row_group_maxes(groups)?))
    };
    let (least, greatest) = read().map_err(|e| from_parquet(path, e))?;
    let right = READINGS.field_with_name(column).is_ok_and(|f| f.data_type() == least.data_type());
    if !right || least.null_count() + greatest.null_count() > 0 {
        return Err(Error::corrupt(path, format!("column {column} has no statistics of its type")));
    }
    Ok((least, greatest))
}

fn of_series(batch: RecordBatch, series: Option<&[SeriesId]>, path: &str) -> Result<RecordBatch> {
    let Some(asked) = series else { return Ok(batch) };
    let ids = batch.column_by_name("series_id").and_then(|c| c.as_primitive_opt::<UInt64Type>());
    let ids = ids.ok_or_else(|| Error::corrupt(path, "it has no column series_id"))?;
    let mask = asked_rows(ids.values(), asked);
    keep(batch, mask)
}

#[cfg(test)]
mod tests;
