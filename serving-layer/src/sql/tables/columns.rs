//! Columns of tables, made from rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringViewArray, TimestampNanosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use schemas::history::instant_type;

use crate::error::{Error, Result};

/// A column of texts.
pub(super) fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8View, true)
}

/// A column of instants.
pub(super) fn instant(name: &str) -> Field {
    Field::new(name, instant_type(), true)
}

/// A column of floating point numbers.
pub(super) fn float(name: &str) -> Field {
    Field::new(name, DataType::Float64, true)
}

/// A column of whole numbers; signed, so that differences do not overflow.
pub(super) fn whole(name: &str) -> Field {
    Field::new(name, DataType::Int64, true)
}

/// A column of truths.
pub(super) fn truth(name: &str) -> Field {
    Field::new(name, DataType::Boolean, true)
}

/// The columns of a table.
pub(super) fn schema(fields: impl IntoIterator<Item = Field>) -> SchemaRef {
    Arc::new(Schema::new(fields.into_iter().collect::<Vec<_>>()))
}

/// Texts.
pub(super) fn texts<T: AsRef<str>>(values: impl IntoIterator<Item = Option<T>>) -> ArrayRef {
    Arc::new(StringViewArray::from_iter(values))
}

/// Instants, nanoseconds.
pub(super) fn instants(values: impl IntoIterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(TimestampNanosecondArray::from_iter(values).with_timezone("UTC"))
}

/// Floating point numbers.
pub(super) fn floats(values: impl IntoIterator<Item = Option<f64>>) -> ArrayRef {
    Arc::new(Float64Array::from_iter(values))
}

/// Whole numbers.
pub(super) fn wholes(values: impl IntoIterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(Int64Array::from_iter(values))
}

/// Counts and positions.
pub(super) fn counts(values: impl IntoIterator<Item = Option<u64>>) -> ArrayRef {
    wholes(values.into_iter().map(|value| value.map(|n| i64::try_from(n).unwrap_or(i64::MAX))))
}

/// Truths.
pub(super) fn truths(values: impl IntoIterator<Item = bool>) -> ArrayRef {
    Arc::new(BooleanArray::from_iter(values.into_iter().map(Some)))
}

/// Rows of these columns; there may be no column at all (`count(*)`).
pub(super) fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
        .map_err(|e| Error::Unavailable(format!("can't make rows: {e}")))
}
