//! Rows as bytes: JSON, NDJSON, CSV, Arrow streams and Parquet.
//!
//! Owns how a value is written. In text, instants are RFC 3339 in UTC and numbers that are none are null (JSON);
//! columns in dictionaries are written as their values. Does not own where the bytes go.

use std::str::FromStr;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StringBuilder};
use arrow::compute::cast;
use arrow::csv;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use arrow::json::writer::{EncoderOptions, JsonArray, JsonFormat, LineDelimited, WriterBuilder, make_encoder};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use schemas::time::clip;

use super::error::{Problem, Result};

/// Rows of a Parquet row group: they are in memory until it is full.
const ROW_GROUP: usize = 64 << 10;

/// The form of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Ndjson,
    Csv,
    Arrow,
    Parquet,
}

/// Writes rows, batch after batch.
pub(super) trait Encode: Send {
    /// Appends the bytes of a batch, as far as they are ready.
    fn batch(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()>;
    /// Appends what is left; nothing may follow.
    fn finish(&mut self, out: &mut Vec<u8>) -> Result<()>;
}

impl FromStr for Format {
    type Err = Problem;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "json" => Ok(Self::Json),
            "ndjson" => Ok(Self::Ndjson),
            "csv" => Ok(Self::Csv),
            "arrow" => Ok(Self::Arrow),
            "parquet" => Ok(Self::Parquet),
            other => {
                Err(Problem::bad(format!("format: {:?} is none of json, ndjson, csv, arrow, parquet", clip(other))))
            }
        }
    }
}

impl Format {
    /// What it is called over HTTP.
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Arrow => "application/vnd.apache.arrow.stream",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }

    /// What writes rows of this schema.
    pub(super) fn encoder(self, schema: &SchemaRef) -> Result<Box<dyn Encode>> {
        Ok(match self {
            Self::Json => Box::new(Json::<JsonArray>::new(schema)),
            Self::Ndjson => Box::new(Json::<LineDelimited>::new(schema)),
            Self::Csv => Box::new(Csv::new(schema)?),
            Self::Arrow => Box::new(Stream(StreamWriter::try_new(Vec::new(), schema)?)),
            Self::Parquet => Box::new(File::new(schema)?),
        })
    }
}

impl From<ArrowError> for Problem {
    fn from(error: ArrowError) -> Self {
        Self::bad(format!("the rows can't be written in this format: {error}"))
    }
}

impl From<ParquetError> for Problem {
    fn from(error: ParquetError) -> Self {
        Self::bad(format!("the rows can't be written in this format: {error}"))
    }
}

struct Json<F: JsonFormat> {
    schema: SchemaRef,
    writer: arrow::json::Writer<Vec<u8>, F>,
}

impl<F: JsonFormat> Json<F> {
    fn new(schema: &Schema) -> Self {
        // A row shows all of its columns, empty ones as null.
        let writer = WriterBuilder::new().with_explicit_nulls(true).build(Vec::new());
        Self { schema: in_utc(schema), writer }
    }
}

impl<F: JsonFormat + Send> Encode for Json<F> {
    fn batch(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        self.writer.write(&converted(batch, &self.schema)?)?;
        out.append(self.writer.get_mut());
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.writer.finish()?;
        out.append(self.writer.get_mut());
        Ok(())
    }
}

struct Csv {
    schema: SchemaRef,
    flat: SchemaRef,
    /// The header, until it is written.
    header: Vec<u8>,
}

impl Csv {
    fn new(schema: &Schema) -> Result<Self> {
        let schema = in_utc(schema);
        let flat = |field: &FieldRef| match field.data_type().is_nested() {
            true => Arc::new(Field::new(field.name(), DataType::Utf8, true)),
            false => Arc::clone(field),
        };
        let flat = Arc::new(Schema::new(schema.fields().iter().map(flat).collect::<Fields>()));
        let mut header = Vec::new();
        csv::WriterBuilder::new()
            .with_header(true)
            .build(&mut header)
            .write(&RecordBatch::new_empty(Arc::clone(&flat)))?;
        Ok(Self { schema, flat, header })
    }
}

impl Encode for Csv {
    fn batch(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        out.append(&mut self.header);
        let batch = converted(batch, &self.schema)?;
        let fields = batch.schema_ref().fields().iter();
        let columns = fields.zip(batch.columns()).map(|(field, column)| flattened(field, column));
        let batch = RecordBatch::try_new(Arc::clone(&self.flat), columns.collect::<Result<_>>()?)?;
        Ok(csv::WriterBuilder::new().with_header(false).build(out).write(&batch)?)
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<()> {
        out.append(&mut self.header);
        Ok(())
    }
}

/// A column of lists or maps as JSON texts, as CSV has no other form for them.
fn flattened(field: &FieldRef, column: &ArrayRef) -> Result<ArrayRef> {
    if !column.data_type().is_nested() {
        return Ok(Arc::clone(column));
    }
    let options = EncoderOptions::default().with_explicit_nulls(true);
    let mut encoder = make_encoder(field, column.as_ref(), &options)?;
    let (mut texts, mut text) = (StringBuilder::new(), Vec::new());
    for row in 0..column.len() {
        if encoder.is_null(row) {
            texts.append_null();
            continue;
        }
        text.clear();
        encoder.encode(row, &mut text);
        texts.append_value(String::from_utf8_lossy(&text));
    }
    Ok(Arc::new(texts.finish()))
}

struct Stream(StreamWriter<Vec<u8>>);

impl Encode for Stream {
    fn batch(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        self.0.write(batch)?;
        out.append(self.0.get_mut());
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.0.finish()?;
        out.append(self.0.get_mut());
        Ok(())
    }
}

struct File(ArrowWriter<Vec<u8>>);

impl File {
    fn new(schema: &SchemaRef) -> Result<Self> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_max_row_group_row_count(Some(ROW_GROUP))
            .build();
        Ok(Self(ArrowWriter::try_new(Vec::new(), Arc::clone(schema), Some(properties))?))
    }
}

impl Encode for File {
    fn batch(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        self.0.write(batch)?;
        // The writer counts what it wrote by itself, so taking it away is no harm.
        out.append(self.0.inner_mut());
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.0.finish()?;
        self.0.sync().map_err(|error| Problem::bad(error.to_string()))?;
        out.append(self.0.inner_mut());
        Ok(())
    }
}

/// The schema with all instants in UTC, so that their texts say so.
fn in_utc(schema: &Schema) -> SchemaRef {
    Arc::new(Schema::new(schema.fields().iter().map(utc_field).collect::<Fields>()))
}

fn utc_field(field: &FieldRef) -> FieldRef {
    Arc::new(field.as_ref().clone().with_data_type(utc_type(field.data_type())))
}

fn utc_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Timestamp(unit, _) => DataType::Timestamp(*unit, Some("UTC".into())),
        DataType::Dictionary(_, values) if matches!(**values, DataType::Timestamp(..)) => utc_type(values),
        DataType::List(field) => DataType::List(utc_field(field)),
        DataType::LargeList(field) => DataType::LargeList(utc_field(field)),
        DataType::FixedSizeList(field, n) => DataType::FixedSizeList(utc_field(field), *n),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(utc_field).collect()),
        other => other.clone(),
    }
}

fn converted(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| match column.data_type() {
        same if same == field.data_type() => Ok(Arc::clone(column)),
        _ => cast(column, field.data_type()),
    });
    let columns = columns.collect::<Result<Vec<_>, ArrowError>>()?;
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

#[cfg(test)]
mod tests;
