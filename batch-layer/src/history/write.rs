//! Parquet files of readings, cells and series, made in memory from sorted rows.
//!
//! Owns encodings, sizes of row groups and what the footer says. Does not own columns (`schemas::history`) nor where the
//! bytes go (objects). Equal rows give equal bytes, so that a repeated flush or recompute puts the same object.

mod cells;
mod readings;
mod text_runs;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;
use schemas::epoch::SeriesState;
use schemas::history::{SERIES, series_to_batch};

use crate::error::{Error, Result};

pub use cells::{CellsWriter, encode_cells};
pub use readings::{Bounds, ReadingsWriter, encode_readings};

/// Rows of a row group of series.
const SERIES_GROUP: usize = 16 * 1024;
/// Rows turned into columns at a time.
pub(crate) const CHUNK: usize = 16 * 1024;
/// The compressor clears its tables anew for every page, which costs more than compressing small ones: so, as encoded
/// columns hold little that a longer search would find, the level with the smallest tables.
const ZSTD_LEVEL: i32 = 1;
/// Version of the file formats, written into every footer.
const VERSION: &str = "1";

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

fn series_properties() -> WriterProperties {
    let builder = properties("series", SERIES_GROUP, &[0]);
    delta(builder, &["series_id", "time", "arrival", "previous_time", "earliest"]).build()
}

/// What all files have in common; `sorted` are the columns that they are sorted by.
fn properties(kind: &str, group_rows: usize, sorted: &[i32]) -> WriterPropertiesBuilder {
    let ascending = |column_idx: &i32| SortingColumn { column_idx: *column_idx, descending: false, nulls_first: false };
    let said = |key: &str, value: &str| KeyValue::new(key.to_owned(), value.to_owned());
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL).expect("zstd has this level")))
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

/// Numbers whose bytes repeat themselves one by one: each place of them is kept by itself.
fn split(builder: WriterPropertiesBuilder, names: &[&str]) -> WriterPropertiesBuilder {
    names.iter().fold(builder, |builder, name| {
        let builder = builder.set_column_dictionary_enabled(column(name), false);
        builder.set_column_encoding(column(name), Encoding::BYTE_STREAM_SPLIT)
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
