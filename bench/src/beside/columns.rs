//! All readings in one Parquet file in order of arrival, as batch engines read it.
//!
//! Owns its schema. Does **not** own which readings there are (`workload`).

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use arrow::array::{ArrayRef, Float64Array, Int16Array, Int64Array, RecordBatch, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use parquet::arrow::ArrowWriter;

use crate::columns::parquet_properties;
use crate::workload::{Factory, METRICS, Plan, Reading};

/// Writes the readings of plans, one after the other, in order of arrival: seq, series, ts, value. Returns how many.
///
/// # Errors
/// The file can't be written.
pub(super) fn write_parquet(path: &Path, plans: &[Plan]) -> anyhow::Result<u64> {
    let file = File::create(path).with_context(|| format!("can't make {}", path.display()))?;
    let schema = parquet_schema();
    let mut writer = ArrowWriter::try_new(file, Arc::clone(&schema), Some(parquet_properties()?))?;
    let mut seq = 0;
    for plan in plans {
        Factory::new(*plan).for_each(|arrivals| {
            writer.write(&parquet_batch(&schema, seq, arrivals)?)?;
            seq += arrivals.len() as i64;
            Ok(())
        })?;
    }
    writer.close().with_context(|| format!("can't write {}", path.display()))?;
    Ok(seq.unsigned_abs())
}

fn parquet_schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    let columns = [("seq", DataType::Int64), ("series", DataType::Int16), ("ts", time), ("value", DataType::Float64)];
    Arc::new(Schema::new(columns.map(|(name, kind)| Field::new(name, kind, false)).to_vec()))
}

fn parquet_batch(schema: &SchemaRef, seq: i64, readings: &[Reading]) -> anyhow::Result<RecordBatch> {
    let series = |r: &Reading| (r.device as usize * METRICS.len() + r.metric) as i16;
    let times = TimestampMillisecondArray::from_iter_values(readings.iter().map(|r| r.time_ms));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(seq..seq + readings.len() as i64)),
        Arc::new(Int16Array::from_iter_values(readings.iter().map(series))),
        Arc::new(times.with_timezone("UTC")),
        Arc::new(Float64Array::from_iter_values(readings.iter().map(|r| r.value))),
    ];
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

#[cfg(test)]
mod tests {
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;

    const PLAN: Plan = Plan { seed: 1, devices: 8, start_ms: 1_700_000_000_000, step_ms: 1000, ticks: 50 };

    #[test]
    fn the_file_holds_every_reading() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("x.parquet");
        let written = write_parquet(&path, &[PLAN, PLAN]).expect("a file");
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).expect("there")).expect("a file");
        assert_eq!(reader.metadata().file_metadata().num_rows().unsigned_abs(), written);
        assert_eq!(written, 2 * Factory::new(PLAN).for_each(|_| Ok(())).expect("nothing fails"));
    }
}
