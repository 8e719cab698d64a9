//! Arrow IPC streams: columns are found by name, every row is a reading.
//!
//! Owns turning record batches into rows. Whether the bytes may be given to the Arrow library at all is decided by
//! `arrow_check`, how a column is read by `arrow_columns`. A stream that is no stream is refused whole; a row with a
//! missing or impossible cell is one bad row.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::ipc::reader::StreamDecoder;
use schemas::Error;

use super::arrow_columns::{Tags, Text, Times, Values};
use super::fields::Columns;
use super::rows::{Rows, Tag};
use super::{Decoded, Options, RowError, arrow_check};
use crate::spellings::SeriesRef;

/// Decodes an Arrow IPC stream.
pub(super) fn decode(body: &[u8], options: &Options, rows: Rows<'_>) -> Result<Decoded, Error> {
    // The Arrow library asserts some of what a stream claims about itself. `arrow_check` refuses what would cost
    // memory or time; what is left can only panic in safe code, and a stranger's bytes must not end our task.
    match catch_unwind(AssertUnwindSafe(|| read(body, options, rows))) {
        Ok(Ok(decoded)) => Ok(decoded),
        Ok(Err(reason)) => Err(Error::invalid(format!("body is not a readable Arrow stream: {reason}"))),
        Err(_) => Err(Error::invalid("body is not a readable Arrow stream: it contradicts itself")),
    }
}

fn read(body: &[u8], options: &Options, mut rows: Rows<'_>) -> Result<Decoded, String> {
    let end = arrow_check::check(body)?;
    let mut buffer = Buffer::from_slice_ref(&body[..end]);
    let mut decoder = StreamDecoder::new();
    let mut index = 0;
    while let Some(batch) = decoder.decode(&mut buffer).map_err(|e| e.to_string())? {
        add_batch(&mut rows, &batch, index, options)?;
        index += batch.num_rows() as u64;
    }
    // A stream without batches is still refused if its columns are none of ours.
    if let (0, Some(schema)) = (index, decoder.schema()) {
        Columns::find(schema.fields().iter().map(|field| field.name().as_str()))?;
    }
    Ok(rows.finish())
}

fn add_batch(rows: &mut Rows<'_>, batch: &RecordBatch, first: u64, options: &Options) -> Result<(), String> {
    let readings = Readings::of(batch)?;
    let mut pairs = Pairs::of(&readings);
    for (row, index) in (0..batch.num_rows()).zip(first..) {
        if let Err(reason) = readings.add(rows, row, &mut pairs, options) {
            rows.reject(|| RowError { index, line: None, reason, text: None });
        }
    }
    Ok(())
}

/// The columns of one record batch by what they hold.
struct Readings<'a> {
    metric: Text,
    value: Values,
    timestamp: Option<Times>,
    device: Option<Text>,
    tags: Option<Tags>,
    tag_columns: Vec<(&'a str, Text)>,
}

impl<'a> Readings<'a> {
    fn of(batch: &'a RecordBatch) -> Result<Self, String> {
        let schema = batch.schema_ref();
        let columns = Columns::find(schema.fields().iter().map(|field| field.name().as_str()))?;
        let named = |i: usize| (schema.field(i).name().as_str(), batch.column(i));
        let tag_columns = columns.tag_columns.iter().map(|&i| named(i));
        Ok(Self {
            metric: Text::required(named(columns.metric))?,
            value: Values::of(named(columns.value))?,
            timestamp: columns.timestamp.map(|i| Times::of(named(i))).transpose()?,
            device: columns.device.map(|i| Text::or_integers(named(i))).transpose()?,
            tags: columns.tags.map(|i| Tags::of(named(i))).transpose()?,
            tag_columns: tag_columns.filter_map(|(name, column)| Some((name, Text::of(column)?))).collect(),
        })
    }

    fn add(&self, rows: &mut Rows<'_>, row: usize, pairs: &mut Pairs, options: &Options) -> Result<(), String> {
        let value = self.value.get(row)?;
        let time = match &self.timestamp {
            Some(times) => times.get(row, options)?,
            None => options.now,
        };
        let pair = pairs.place(self, row);
        let known = pair.and_then(|pair| pairs.series[pair]);
        let series = match known {
            Some(series) => series,
            None => self.series(rows, row)?,
        };
        if let Some(pair) = pair {
            pairs.series[pair] = Some(series);
        }
        rows.push(series, time, value);
        Ok(())
    }

    fn series(&self, rows: &mut Rows<'_>, row: usize) -> Result<SeriesRef, String> {
        let metric = self.metric.get(row).ok_or("metric is null")?;
        let device = self.device.as_ref().and_then(|device| device.get(row)).unwrap_or_default();
        let mut tags: Vec<Tag<'_>> = match &self.tags {
            Some(tags) => tags.get(row)?,
            None => Vec::new(),
        };
        let present = self.tag_columns.iter().filter_map(|(name, column)| Some((*name, column.get(row)?)));
        tags.extend(present.filter(|(_, value)| !value.is_empty()).map(|(n, v)| (Cow::Borrowed(n), Cow::Borrowed(v))));
        rows.series(metric, device, &tags)
    }
}

/// The series of each pair of metric and device, where both columns are dictionaries and nothing else tells series apart.
struct Pairs {
    devices: usize,
    series: Vec<Option<SeriesRef>>,
}

impl Pairs {
    /// Most pairs that are remembered: a batch may name many that no row has.
    const MAX: usize = 1 << 20;

    fn of(readings: &Readings<'_>) -> Self {
        let alone = readings.tags.is_none() && readings.tag_columns.is_empty();
        let device = readings.device.as_ref().map_or(Some(1), Text::distinct);
        let sizes = readings.metric.distinct().zip(device).filter(|_| alone);
        let pairs = sizes.and_then(|(metrics, devices)| metrics.checked_mul(devices)).filter(|n| *n <= Self::MAX);
        Self { devices: device.unwrap_or(0), series: vec![None; pairs.unwrap_or(0)] }
    }

    /// The place of a row's pair; `None` where it has none.
    fn place(&self, readings: &Readings<'_>, row: usize) -> Option<usize> {
        if self.series.is_empty() {
            return None;
        }
        let device = readings.device.as_ref().map_or(Some(0), |device| device.number(row))?;
        Some(readings.metric.number(row)? * self.devices + device)
    }
}
