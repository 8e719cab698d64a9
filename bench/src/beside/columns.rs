//! The factory's readings as columns: requests of Arrow IPC, and one Parquet file in order of arrival.
//!
//! Owns the schemas of both. Does **not** own which readings there are (`workload`).

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use arrow::array::{
    ArrayRef, DictionaryArray, Float64Array, Int16Array, Int64Array, PrimitiveArray, RecordBatch, StringArray,
    TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, Field, Int16Type, Schema, SchemaRef, TimeUnit};
use arrow::ipc::writer::StreamWriter;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::client::post;
use crate::lines::Request;
use crate::workload::{Factory, METRICS, Plan, Reading};

/// Rows of a group of the file.
const GROUP_ROWS: usize = 1_000_000;

/// Makes requests of Arrow IPC from a plan, a slice at a time. Readings of one device stay in one lane, in order: which
/// of two arrivals is the last must not depend on which request overtakes which.
pub(super) struct ArrowRequests {
    factory: Factory,
    rows_per_request: usize,
    lanes: Vec<Vec<Reading>>,
    metrics: ArrayRef,
    devices: ArrayRef,
}

impl ArrowRequests {
    /// The requests of `plan`, with so many readings each, in so many lanes.
    pub(super) fn new(plan: Plan, rows_per_request: usize, lanes: usize) -> Self {
        let metrics = StringArray::from_iter_values(METRICS.iter().map(|metric| metric.name));
        let devices = StringArray::from_iter_values((0..plan.devices).map(|device| format!("d{device:03}")));
        let (metrics, devices) = (Arc::new(metrics), Arc::new(devices));
        Self { factory: Factory::new(plan), rows_per_request, lanes: vec![Vec::new(); lanes.max(1)], metrics, devices }
    }

    /// The next requests of each lane, with about `points_max` readings in all; `None` after the last.
    ///
    /// # Errors
    /// The Arrow library refuses the columns.
    pub(super) fn slice(&mut self, points_max: u64) -> anyhow::Result<Option<Vec<Vec<Request>>>> {
        let mut slice: Vec<Vec<Request>> = self.lanes.iter().map(|_| Vec::new()).collect();
        let (mut points, mut more, mut arrivals) = (0, true, Vec::new());
        while more && points < points_max {
            more = self.factory.next_arrivals(&mut arrivals);
            points += arrivals.len() as u64;
            let lanes = self.lanes.len();
            arrivals.drain(..).for_each(|reading| self.lanes[reading.device as usize % lanes].push(reading));
            for (lane, requests) in slice.iter_mut().enumerate() {
                requests.extend(self.requests(lane, more)?);
            }
        }
        Ok((more || slice.iter().any(|requests| !requests.is_empty())).then_some(slice))
    }

    /// The whole requests of a lane; what is left, too, if no more comes.
    fn requests(&mut self, lane: usize, more: bool) -> anyhow::Result<Vec<Request>> {
        let waiting = std::mem::take(&mut self.lanes[lane]);
        let chunks = waiting.chunks(self.rows_per_request);
        let whole = |chunk: &&[Reading]| !more || chunk.len() == self.rows_per_request;
        let requests = chunks.clone().filter(whole).map(|chunk| self.request(chunk)).collect();
        let left = chunks.last().filter(|chunk| !whole(chunk)).unwrap_or_default();
        self.lanes[lane] = left.to_vec();
        requests
    }

    fn request(&self, readings: &[Reading]) -> anyhow::Result<Request> {
        let text = |numbers: Vec<i16>, values: &ArrayRef| -> anyhow::Result<ArrayRef> {
            let keys = PrimitiveArray::<Int16Type>::from(numbers);
            Ok(Arc::new(DictionaryArray::try_new(keys, Arc::clone(values))?))
        };
        let times = TimestampMillisecondArray::from_iter_values(readings.iter().map(|r| r.time_ms));
        let batch = RecordBatch::try_from_iter([
            ("metric", text(readings.iter().map(|r| r.metric as i16).collect(), &self.metrics)?),
            ("device_id", text(readings.iter().map(|r| r.device as i16).collect(), &self.devices)?),
            ("timestamp", Arc::new(times) as ArrayRef),
            ("value", Arc::new(Float64Array::from_iter_values(readings.iter().map(|r| r.value)))),
        ])?;
        let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema())?;
        writer.write(&batch)?;
        let body = writer.into_inner()?;
        let bytes = post("/v1/readings", "application/vnd.apache.arrow.stream", &body);
        Ok(Request { bytes, points: readings.len() as u64 })
    }
}

/// Writes the readings of plans, one after the other, in order of arrival: seq, series, ts, value. Returns how many.
///
/// # Errors
/// The file can't be written.
pub(super) fn write_parquet(path: &Path, plans: &[Plan]) -> anyhow::Result<u64> {
    let file = File::create(path).with_context(|| format!("can't make {}", path.display()))?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_max_row_group_row_count(Some(GROUP_ROWS));
    let schema = parquet_schema();
    let mut writer = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties.build()))?;
    let (mut seq, mut arrivals) = (0, Vec::new());
    for plan in plans {
        let mut factory = Factory::new(*plan);
        while factory.next_arrivals(&mut arrivals) {
            writer.write(&parquet_batch(&schema, seq, &arrivals)?)?;
            seq += arrivals.len() as i64;
        }
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
    use arrow::ipc::reader::StreamReader;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;

    const PLAN: Plan = Plan { seed: 1, devices: 8, start_ms: 1_700_000_000_000, step_ms: 1000, ticks: 50 };

    fn readings() -> usize {
        let (mut factory, mut arrivals, mut all) = (Factory::new(PLAN), Vec::new(), 0);
        while factory.next_arrivals(&mut arrivals) {
            all += arrivals.len();
        }
        all
    }

    #[test]
    fn requests_hold_every_reading() {
        let mut requests = ArrowRequests::new(PLAN, 300, 3);
        let mut rows = 0;
        while let Some(slice) = requests.slice(100).expect("columns") {
            for request in slice.into_iter().flatten() {
                let head = request.bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
                let reader = StreamReader::try_new(&request.bytes[head + 4..], None).expect("a stream");
                let read: usize = reader.map(|batch| batch.expect("a batch").num_rows()).sum();
                assert_eq!(read as u64, request.points);
                rows += read;
            }
        }
        assert_eq!(rows, readings());
    }

    #[test]
    fn the_file_holds_every_reading() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("x.parquet");
        let written = write_parquet(&path, &[PLAN, PLAN]).expect("a file");
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).expect("there")).expect("a file");
        assert_eq!(reader.metadata().file_metadata().num_rows().unsigned_abs(), written);
        assert_eq!(written as usize, 2 * readings());
    }
}
