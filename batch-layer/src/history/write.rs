//! Parquet files of readings, cells and series, made in memory from sorted rows.
//!
//! Owns encodings, sizes of row groups and what the footer says. Does not own columns (`schemas::history`) nor where the
//! bytes go (objects). Equal rows give equal bytes, so that a repeated flush or recompute puts the same object.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;
use schemas::epoch::SeriesState;
use schemas::history::{
    CELLS, READINGS, SERIES, StoredCell, StoredReading, cells_to_batch, readings_to_batch, series_to_batch,
};
use schemas::view::{FileRef, ObjectRef};
use schemas::{LogPosition, SeriesId, SeriesKey};

use crate::error::{Error, Result};
use crate::history::pieces::{CellPieces, PIECE_CELLS};

/// Rows of a row group of readings: enough to compress well, few enough to decode in a few milliseconds.
const READINGS_GROUP: usize = 128 * 1024;
/// Rows from which a row group of readings ends with its metric: who asks for one metric decodes little else.
const METRIC_GROUP: usize = 16 * 1024;
/// Rows of a row group of series.
const SERIES_GROUP: usize = 16 * 1024;
/// Distinct values of a row group, eight bytes each, at which the dictionary is given up: a quarter of its rows.
const VALUE_DICTIONARY_BYTES: usize = READINGS_GROUP / 4 * 8;
/// Rows turned into columns at a time.
pub(crate) const CHUNK: usize = 16 * 1024;
/// Version of the file formats, written into every footer.
const VERSION: &str = "1";

/// A Parquet file of readings.
///
/// # Errors
/// The encoder fails.
///
/// # Panics
/// The readings are not sorted by series, event time and position, or `key` does not know a series.
pub fn encode_readings<'a>(readings: &[StoredReading], key: impl Fn(SeriesId) -> &'a SeriesKey) -> Result<Bytes> {
    let mut writer = ReadingsWriter::new()?;
    writer.push(readings, key)?;
    Ok(writer.finish()?.0)
}

/// A Parquet file of cells: each piece a row group, encoded on as many threads as there are processors.
///
/// # Errors
/// The encoder fails.
///
/// # Panics
/// The cells are not sorted by series and bucket, each pair once.
pub fn encode_cells(cells: &CellPieces) -> Result<Bytes> {
    let order = |c: &StoredCell| (c.series, c.cell.bucket);
    assert!(cells.iter().is_sorted_by(|a, b| order(a) < order(b)), "cells are stored in order of series and bucket");
    let (mut writer, groups) = open(&CELLS, cells_properties())?.into_serialized_writer().map_err(failed)?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(cells.pieces().len());
    let encoded = std::thread::scope(|scope| {
        let encode = |first: usize| {
            let pieces = cells.pieces().iter().enumerate().skip(first).step_by(threads);
            pieces.map(|(number, piece)| encode_group(&groups, number, piece)).collect::<Result<Vec<_>>>()
        };
        let threads: Vec<_> = (0..threads).map(|first| scope.spawn(move || encode(first))).collect();
        let joined = threads.into_iter().map(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        joined.collect::<Result<Vec<_>>>()
    });
    let mut encoded: Vec<_> = encoded?.into_iter().map(Vec::into_iter).collect();
    for number in 0..cells.pieces().len() {
        let columns = encoded[number % threads].next().expect("each thread encodes its share");
        let mut group = writer.next_row_group().map_err(failed)?;
        columns.into_iter().try_for_each(|column| column.append_to_row_group(&mut group)).map_err(failed)?;
        group.close().map_err(failed)?;
    }
    writer.into_inner().map(Bytes::from).map_err(failed)
}

/// The columns of the `number`-th row group.
fn encode_group(
    groups: &ArrowRowGroupWriterFactory,
    number: usize,
    piece: &[StoredCell],
) -> Result<Vec<ArrowColumnChunk>> {
    let mut writers = groups.create_column_writers(number).map_err(failed)?;
    let batch = cells_to_batch(piece);
    for ((field, column), writer) in CELLS.fields().iter().zip(batch.columns()).zip(&mut writers) {
        // No column is nested: each has one leaf.
        for leaf in compute_leaves(field, column).map_err(failed)? {
            writer.write(&leaf).map_err(failed)?;
        }
    }
    writers.into_iter().map(|writer| writer.close().map_err(failed)).collect()
}

/// A Parquet file of series.
///
/// # Errors
/// The encoder fails.
///
/// # Panics
/// The series are not sorted by id, each once.
pub fn encode_series(states: &[SeriesState]) -> Result<Bytes> {
    assert!(states.is_sorted_by(|a, b| a.id < b.id), "series are stored in order of id");
    let mut writer = open(&SERIES, series_properties())?;
    for chunk in states.chunks(CHUNK) {
        writer.write(&series_to_batch(chunk)).map_err(failed)?;
    }
    close(writer)
}

/// Writes one file of readings piece by piece, for files whose rows should not all be in memory.
#[derive(Debug)]
pub struct ReadingsWriter {
    writer: ArrowWriter<Vec<u8>>,
    last: Option<(SeriesId, i64, u64)>,
    bounds: Option<Bounds>,
}

impl ReadingsWriter {
    /// A file without rows.
    ///
    /// # Errors
    /// The encoder fails.
    pub fn new() -> Result<Self> {
        Ok(Self { writer: open(&READINGS, readings_properties())?, last: None, bounds: None })
    }

    /// Appends readings behind all others.
    ///
    /// # Errors
    /// The encoder fails.
    ///
    /// # Panics
    /// The readings, or these and those before, are not sorted by series, event time and position, or `key` does not
    /// know a series.
    pub fn push<'a>(&mut self, readings: &[StoredReading], key: impl Fn(SeriesId) -> &'a SeriesKey) -> Result<()> {
        let order = |r: &StoredReading| (r.series, r.time, r.position);
        let Some((first, last)) = readings.first().zip(readings.last()) else { return Ok(()) };
        let sorted = self.last <= Some(order(first)) && readings.is_sorted_by_key(order);
        assert!(sorted, "readings are stored in order of series, event time and position");
        let mut metric = self.last.map_or(first.series, |(series, ..)| series).metric();
        self.last = Some(order(last));
        self.bounds = Bounds::of(readings).into_iter().chain(self.bounds.take()).reduce(Bounds::union);
        for of_metric in readings.chunk_by(|a, b| a.series.metric() == b.series.metric()) {
            let next = of_metric[0].series.metric();
            if next != metric && self.writer.in_progress_rows() >= METRIC_GROUP {
                self.writer.flush().map_err(failed)?;
            }
            metric = next;
            for chunk in of_metric.chunks(CHUNK) {
                self.writer.write(&readings_to_batch(chunk, &key)).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// How many bytes the file has so far, about.
    pub fn encoded_bytes(&self) -> usize {
        self.writer.bytes_written() + self.writer.in_progress_size()
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.bounds.is_none()
    }

    /// The file and what it holds; `None` of no rows.
    ///
    /// # Errors
    /// The encoder fails.
    pub fn finish(self) -> Result<(Bytes, Option<Bounds>)> {
        Ok((close(self.writer)?, self.bounds))
    }
}

/// What a file of readings holds, as the catalog tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Least and greatest log position.
    pub positions: (LogPosition, LogPosition),
    /// Least and greatest event time, nanoseconds.
    pub event_bounds: (i64, i64),
    /// Least and greatest series.
    pub series_bounds: (SeriesId, SeriesId),
    /// How many readings.
    pub rows: u64,
}

impl Bounds {
    /// The bounds of these readings; `None` of none.
    pub fn of(readings: &[StoredReading]) -> Option<Self> {
        readings.iter().map(Self::of_one).reduce(Self::union)
    }

    fn of_one(reading: &StoredReading) -> Self {
        let position = LogPosition(reading.position);
        Self {
            positions: (position, position),
            event_bounds: (reading.time, reading.time),
            series_bounds: (reading.series, reading.series),
            rows: 1,
        }
    }

    /// The bounds of both together.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        fn wider<T: Ord>(a: (T, T), b: (T, T)) -> (T, T) {
            (a.0.min(b.0), a.1.max(b.1))
        }
        Self {
            positions: wider(self.positions, other.positions),
            event_bounds: wider(self.event_bounds, other.event_bounds),
            series_bounds: wider(self.series_bounds, other.series_bounds),
            rows: self.rows + other.rows,
        }
    }

    /// The catalog's entry of the file that was stored as `object`.
    pub fn file(self, object: ObjectRef) -> FileRef {
        let Self { positions, event_bounds, series_bounds, rows } = self;
        FileRef { object, positions, event_bounds, series_bounds, rows }
    }
}

fn readings_properties() -> WriterProperties {
    let builder = properties("readings", READINGS_GROUP, &[0, 4, 9]);
    let builder = delta(builder, &["series_id", "event_time", "arrival_time", "decimal", "position"]);
    // `value` holds what is no decimal. Measured at zstd 3 with all values in it, bytes a value as dictionary / plain /
    // byte stream split: hourly air quality (PRSA, 2.8 M) 0.99 / 1.44 / 1.25; a random walk of two digits 2.6 / 2.6 / 4.6;
    // one of full precision 9.2 / 7.3 / 6.1. So a dictionary while values repeat, and early enough out of it where they do
    // not.
    builder
        .set_column_dictionary_page_size_limit(column("value"), VALUE_DICTIONARY_BYTES)
        .set_column_encoding(column("value"), Encoding::BYTE_STREAM_SPLIT)
        .build()
}

fn cells_properties() -> WriterProperties {
    let builder = properties("cells", PIECE_CELLS, &[0, 1]);
    let builder = delta(builder, &["series_id", "bucket", "count", "first_time", "last_time"]);
    // Sums and sketches rarely repeat; a dictionary of them would only be built to be thrown away.
    let builder = ["sum", "sum_lo", "sum_sq", "sum_sq_lo"].into_iter().fold(builder, |builder, name| {
        let builder = builder.set_column_dictionary_enabled(column(name), false);
        builder.set_column_encoding(column(name), Encoding::BYTE_STREAM_SPLIT)
    });
    builder
        .set_column_dictionary_enabled(column("sketch"), false)
        .set_column_statistics_enabled(column("sketch"), EnabledStatistics::None)
        .build()
}

fn series_properties() -> WriterProperties {
    let builder = properties("series", SERIES_GROUP, &[0]);
    delta(builder, &["series_id", "time", "arrival", "previous_time", "earliest"]).build()
}

/// What all files have in common; `sorted` are the columns that they are sorted by.
fn properties(kind: &str, group_rows: usize, sorted: &[i32]) -> WriterPropertiesBuilder {
    let ascending = |column_idx: &i32| SortingColumn { column_idx: *column_idx, descending: false, nulls_first: false };
    let said = |key: &str, value: &str| KeyValue::new(key.to_owned(), value.to_owned());
    // The compressor clears its tables anew for every page, which costs more than compressing: so few pages and, as
    // encoded columns hold little that a longer search would find, the level with the smallest tables.
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).expect("zstd has a level 1")))
        .set_max_row_group_row_count(Some(group_rows))
        .set_data_page_row_count_limit(group_rows)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_sorting_columns(Some(sorted.iter().map(ascending).collect()))
        .set_created_by("weir".to_owned())
        .set_key_value_metadata(Some(vec![said("weir.kind", kind), said("weir.version", VERSION)]))
}

/// Numbers that rise or stay: their differences are small and alike.
fn delta(builder: WriterPropertiesBuilder, names: &[&str]) -> WriterPropertiesBuilder {
    names.iter().fold(builder, |builder, name| {
        let builder = builder.set_column_dictionary_enabled(column(name), false);
        builder.set_column_encoding(column(name), Encoding::DELTA_BINARY_PACKED)
    })
}

fn column(name: &str) -> ColumnPath {
    ColumnPath::from(name)
}

fn open(schema: &SchemaRef, properties: WriterProperties) -> Result<ArrowWriter<Vec<u8>>> {
    ArrowWriter::try_new(Vec::new(), Arc::clone(schema), Some(properties)).map_err(failed)
}

fn close(writer: ArrowWriter<Vec<u8>>) -> Result<Bytes> {
    writer.into_inner().map(Bytes::from).map_err(failed)
}

fn failed(error: parquet::errors::ParquetError) -> Error {
    Error::unavailable("encode Parquet", error)
}

#[cfg(test)]
mod tests;
