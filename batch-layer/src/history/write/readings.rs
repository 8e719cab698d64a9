//! Parquet files of readings, written row group by row group.

use bytes::Bytes;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::basic::Encoding;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use schemas::history::{READINGS, SCANNED, StoredReading, readings_to_batch};
use schemas::view::{FileRef, ObjectRef};
use schemas::{LogPosition, SeriesId, SeriesKey, Tally};

use super::text_runs::TextRuns;
use super::{CHUNK, column, delta, failed, open, properties, split};
use crate::error::Result;

/// Rows of a row group of readings: enough to compress well, few enough to decode in a few milliseconds.
const READINGS_GROUP: usize = 128 * 1024;
/// Bytes of distinct tags at which a row group ends: whoever reads one name reads all of its dictionary.
const TAGS_BYTES: usize = 16 << 20;
/// Rows of a page: who asks for one series reads one or two of them, which is worth what small pages cost the compressor.
const READINGS_PAGE: usize = 8 * 1024;
/// Rows from which a row group of readings ends with its metric: who asks for one metric decodes little else.
const METRIC_GROUP: usize = 16 * 1024;
/// Distinct values of a row group, eight bytes each, at which the dictionary is given up: a quarter of its rows.
const VALUE_DICTIONARY_BYTES: usize = READINGS_GROUP / 4 * 8;

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

/// Writes one file of readings piece by piece, for files whose rows should not all be in memory.
pub struct ReadingsWriter {
    file: SerializedFileWriter<Vec<u8>>,
    groups: ArrowRowGroupWriterFactory,
    group: Option<Group>,
    last: Option<(SeriesId, i64, u64)>,
    bounds: Option<Bounds>,
}

impl ReadingsWriter {
    /// A file without rows.
    ///
    /// # Errors
    /// The encoder fails.
    pub fn new() -> Result<Self> {
        let (file, groups) = open(&READINGS, readings_properties())?.into_serialized_writer().map_err(failed)?;
        Ok(Self { file, groups, group: None, last: None, bounds: None })
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
        for mut rest in readings.chunk_by(|a, b| a.series.metric() == b.series.metric()) {
            let next = rest[0].series.metric();
            if next != metric && self.group.as_ref().is_some_and(|group| group.rows >= METRIC_GROUP) {
                self.end_group()?;
            }
            metric = next;
            while !rest.is_empty() {
                rest = self.push_some(rest, &key)?;
            }
        }
        Ok(())
    }

    /// Appends as many readings as are turned into columns at once; returns the others.
    fn push_some<'a, 'r>(
        &mut self,
        readings: &'r [StoredReading],
        key: impl Fn(SeriesId) -> &'a SeriesKey,
    ) -> Result<&'r [StoredReading]> {
        let group = match &mut self.group {
            Some(group) => group,
            none => none.insert(Group::new(&self.groups, self.file.flushed_row_groups().len())?),
        };
        let room = readings.len().min(CHUNK).min(READINGS_GROUP - group.rows);
        let taken = group.push(&readings[..room], key)?;
        if group.rows == READINGS_GROUP || group.tags.bytes() >= TAGS_BYTES {
            self.end_group()?;
        }
        Ok(&readings[taken..])
    }

    fn end_group(&mut self) -> Result<()> {
        if let Some(group) = self.group.take() {
            group.append_to(&mut self.file)?;
        }
        Ok(())
    }

    /// The file and what it holds; `None` of no rows.
    ///
    /// # Errors
    /// The encoder fails.
    pub fn finish(mut self) -> Result<(Bytes, Option<Bounds>)> {
        self.end_group()?;
        Ok((self.file.into_inner().map(Bytes::from).map_err(failed)?, self.bounds))
    }
}

/// A row group being written.
struct Group {
    /// Those of [`SCANNED`].
    numbers: Vec<ArrowColumnWriter>,
    metrics: TextRuns,
    devices: TextRuns,
    tags: TextRuns,
    rows: usize,
}

impl Group {
    fn new(groups: &ArrowRowGroupWriterFactory, number: usize) -> Result<Self> {
        let writers = groups.create_column_writers(number).map_err(failed)?;
        let fields = READINGS.fields().iter();
        let numbers = fields.zip(writers).filter(|(field, _)| SCANNED.contains(&field.name().as_str()));
        let (metrics, devices, tags) = (TextRuns::default(), TextRuns::default(), TextRuns::default());
        Ok(Self { numbers: numbers.map(|(_, writer)| writer).collect(), metrics, devices, tags, rows: 0 })
    }

    /// Takes readings until there are enough tags; returns how many.
    fn push<'a>(&mut self, readings: &[StoredReading], key: impl Fn(SeriesId) -> &'a SeriesKey) -> Result<usize> {
        let mut taken = 0;
        for run in readings.chunk_by(|a, b| a.series == b.series) {
            let key = key(run[0].series);
            self.metrics.push(Some(key.metric()), run.len());
            self.devices.push(key.device_id().as_deref(), run.len());
            self.tags.push(Some(&key.tags_json()), run.len());
            taken += run.len();
            if self.tags.bytes() >= TAGS_BYTES {
                break;
            }
        }
        let batch = readings_to_batch(&readings[..taken]);
        for ((field, column), writer) in batch.schema().fields().iter().zip(batch.columns()).zip(&mut self.numbers) {
            // No column is nested: each has one leaf.
            for leaf in compute_leaves(field, column).map_err(failed)? {
                writer.write(&leaf).map_err(failed)?;
            }
        }
        self.rows += taken;
        Ok(taken)
    }

    fn append_to(self, file: &mut SerializedFileWriter<Vec<u8>>) -> Result<()> {
        let columns = file.schema_descr().columns().to_vec();
        let mut group = file.next_row_group().map_err(failed)?;
        let mut numbers = self.numbers.into_iter();
        for column in columns {
            let runs = match column.name() {
                "metric" => &self.metrics,
                "device_id" => &self.devices,
                "tags" => &self.tags,
                _ => {
                    let writer = numbers.next().expect("each other column is a number's");
                    writer.close().and_then(|chunk| chunk.append_to_row_group(&mut group)).map_err(failed)?;
                    continue;
                }
            };
            let (bytes, closed) = runs.chunk(column).map_err(failed)?;
            group.append_column(&bytes, closed).map_err(failed)?;
        }
        group.close().map(drop).map_err(failed)
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
    /// Their sum in the ledger.
    pub sum: u128,
}

impl Bounds {
    /// The bounds of these readings; `None` of none.
    pub fn of(readings: &[StoredReading]) -> Option<Self> {
        let bounds = readings.iter().map(Self::of_one).reduce(Self::union)?;
        Some(Self { sum: Tally::of_stored(readings).sum, ..bounds })
    }

    fn of_one(reading: &StoredReading) -> Self {
        let position = LogPosition(reading.position);
        Self {
            positions: (position, position),
            event_bounds: (reading.time, reading.time),
            series_bounds: (reading.series, reading.series),
            rows: 1,
            sum: 0,
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
            sum: self.sum.wrapping_add(other.sum),
        }
    }

    /// The catalog's entry of the file that was stored as `object`.
    pub fn file(self, object: ObjectRef) -> FileRef {
        let Self { positions, event_bounds, series_bounds, rows, sum } = self;
        FileRef { object, positions, event_bounds, series_bounds, rows, sum: Some(sum) }
    }
}

fn readings_properties() -> WriterProperties {
    let builder = properties("readings", READINGS_GROUP, &[0, 4, 9]);
    let builder = delta(builder, &["series_id", "event_time", "decimal"]);
    // Series of one device arrive in the same frames, so that both columns repeat themselves from series to series:
    // whole bytes let the compressor see it, differences in packed bits hide it (0.12 bytes a reading instead of 0.5
    // and 0.7 on the factory's).
    let builder = split(builder, &["arrival_time", "position"]);
    // Nobody looks for readings by these.
    let builder = ["arrival_time", "decimal", "scale"]
        .into_iter()
        .fold(builder, |builder, name| builder.set_column_statistics_enabled(column(name), EnabledStatistics::None));
    // Pages are found by these.
    let builder = ["series_id", "event_time"]
        .into_iter()
        .fold(builder, |builder, name| builder.set_column_statistics_enabled(column(name), EnabledStatistics::Page));
    // `value` holds what is no decimal. Measured at zstd 3 with all values in it, bytes a value as dictionary / plain /
    // byte stream split: hourly air quality (PRSA, 2.8 M) 0.99 / 1.44 / 1.25; a random walk of two digits 2.6 / 2.6 / 4.6;
    // one of full precision 9.2 / 7.3 / 6.1. So a dictionary while values repeat, and early enough out of it where they do
    // not.
    builder
        .set_data_page_row_count_limit(READINGS_PAGE)
        .set_column_dictionary_enabled(column("scale"), false)
        .set_column_dictionary_page_size_limit(column("value"), VALUE_DICTIONARY_BYTES)
        .set_column_encoding(column("value"), Encoding::BYTE_STREAM_SPLIT)
        .build()
}
