//! The factory's readings as columns: requests of Arrow IPC, and files.
//!
//! Owns the columns' names, which are those that Weir knows, and their types. Does **not** own which readings there are
//! (`workload`).

use std::io::Write;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, DictionaryArray, Float64Array, PrimitiveArray, RecordBatch, StringArray, TimestampMillisecondArray,
};
use arrow::datatypes::{Int32Type, SchemaRef};
use arrow::ipc::writer::StreamWriter;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::client::post;
use crate::lines::Request;
use crate::workload::{Factory, METRICS, Plan, Reading};

/// Rows of a group of a Parquet file.
const GROUP_ROWS: usize = 1_000_000;

/// Makes readings columns: metric, device_id, timestamp, value.
#[derive(Debug, Clone)]
pub(crate) struct Columns {
    metrics: ArrayRef,
    devices: ArrayRef,
}

impl Columns {
    /// The columns of so many devices' readings.
    pub(crate) fn new(devices: u32) -> Self {
        let metrics = StringArray::from_iter_values(METRICS.iter().map(|metric| metric.name));
        let devices = StringArray::from_iter_values((0..devices).map(|device| format!("d{device:03}")));
        Self { metrics: Arc::new(metrics), devices: Arc::new(devices) }
    }

    /// The names and types of the columns.
    ///
    /// # Errors
    /// The Arrow library refuses the columns.
    pub(crate) fn schema(&self) -> anyhow::Result<SchemaRef> {
        Ok(self.batch(&[])?.schema())
    }

    /// Readings as columns.
    ///
    /// # Errors
    /// The Arrow library refuses the columns.
    pub(crate) fn batch(&self, readings: &[Reading]) -> anyhow::Result<RecordBatch> {
        let text = |numbers: Vec<i32>, values: &ArrayRef| -> anyhow::Result<ArrayRef> {
            let keys = PrimitiveArray::<Int32Type>::from(numbers);
            Ok(Arc::new(DictionaryArray::try_new(keys, Arc::clone(values))?))
        };
        let times = TimestampMillisecondArray::from_iter_values(readings.iter().map(|r| r.time_ms));
        Ok(RecordBatch::try_from_iter([
            ("metric", text(readings.iter().map(|r| r.metric as i32).collect(), &self.metrics)?),
            ("device_id", text(readings.iter().map(|r| r.device as i32).collect(), &self.devices)?),
            ("timestamp", Arc::new(times.with_timezone("UTC")) as ArrayRef),
            ("value", Arc::new(Float64Array::from_iter_values(readings.iter().map(|r| r.value)))),
        ])?)
    }
}

/// Makes requests of Arrow IPC from a plan, a slice at a time. Readings of one device stay in one lane, in order: which
/// of two arrivals is the last must not depend on which request overtakes which.
#[derive(Debug)]
pub(crate) struct ArrowRequests {
    factory: Factory,
    rows_per_request: usize,
    lanes: Vec<Vec<Reading>>,
    columns: Columns,
}

impl ArrowRequests {
    /// The requests of `plan`, with so many readings each, in so many lanes.
    pub(crate) fn new(plan: Plan, rows_per_request: usize, lanes: usize) -> Self {
        Self {
            factory: Factory::new(plan),
            rows_per_request,
            lanes: vec![Vec::new(); lanes.max(1)],
            columns: Columns::new(plan.devices),
        }
    }

    /// The next requests of each lane, with about `points_max` readings in all; `None` after the last.
    ///
    /// # Errors
    /// The Arrow library refuses the columns.
    pub(crate) fn slice(&mut self, points_max: u64) -> anyhow::Result<Option<Vec<Vec<Request>>>> {
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
        let batch = self.columns.batch(readings)?;
        let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema())?;
        writer.write(&batch)?;
        let body = writer.into_inner()?;
        let bytes = post("/v1/readings", "application/vnd.apache.arrow.stream", &body);
        Ok(Request { bytes, points: readings.len() as u64 })
    }
}

/// How columns are written to Parquet files.
///
/// # Errors
/// The Parquet library refuses it.
pub(crate) fn parquet_properties() -> anyhow::Result<WriterProperties> {
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?));
    Ok(properties.set_max_row_group_row_count(Some(GROUP_ROWS)).build())
}

/// Writes the readings of a plan as Parquet, in order of arrival. Returns how many.
///
/// # Errors
/// It can't be written.
pub(crate) fn write_parquet(out: impl Write + Send, plan: Plan) -> anyhow::Result<u64> {
    let columns = Columns::new(plan.devices);
    let mut writer = ArrowWriter::try_new(out, columns.schema()?, Some(parquet_properties()?))?;
    let written = Factory::new(plan).for_each(|arrivals| Ok(writer.write(&columns.batch(arrivals)?)?))?;
    writer.close()?;
    Ok(written)
}

/// Writes the readings of a plan as an Arrow IPC stream, in order of arrival. Returns how many.
///
/// # Errors
/// It can't be written.
pub(crate) fn write_arrow(out: impl Write, plan: Plan) -> anyhow::Result<u64> {
    let columns = Columns::new(plan.devices);
    let mut writer = StreamWriter::try_new(out, &*columns.schema()?)?;
    let written = Factory::new(plan).for_each(|arrivals| Ok(writer.write(&columns.batch(arrivals)?)?))?;
    writer.finish()?;
    Ok(written)
}

#[cfg(test)]
mod tests {
    use arrow::ipc::reader::StreamReader;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;

    const PLAN: Plan = Plan { seed: 1, devices: 8, start_ms: 1_700_000_000_000, step_ms: 1000, ticks: 50 };

    fn readings() -> u64 {
        Factory::new(PLAN).for_each(|_| Ok(())).expect("nothing fails")
    }

    fn rows(stream: &[u8]) -> u64 {
        let reader = StreamReader::try_new(stream, None).expect("a stream");
        reader.map(|batch| batch.expect("a batch").num_rows() as u64).sum()
    }

    #[test]
    fn requests_hold_every_reading() {
        let mut requests = ArrowRequests::new(PLAN, 300, 3);
        let mut all = 0;
        while let Some(slice) = requests.slice(100).expect("columns") {
            for request in slice.into_iter().flatten() {
                let head = request.bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
                assert_eq!(rows(&request.bytes[head + 4..]), request.points);
                all += request.points;
            }
        }
        assert_eq!(all, readings());
    }

    #[test]
    fn files_hold_every_reading() {
        let (mut stream, mut file) = (Vec::new(), tempfile::tempfile().expect("a file"));
        assert_eq!(write_arrow(&mut stream, PLAN).expect("written"), readings());
        assert_eq!(rows(&stream), readings());
        assert_eq!(write_parquet(&mut file, PLAN).expect("written"), readings());
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("a Parquet file");
        assert_eq!(reader.metadata().file_metadata().num_rows().unsigned_abs(), readings());
    }
}
