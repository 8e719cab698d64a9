//! Columns of what is stored: readings, cells and series as Arrow schemas, and the conversions to and from values.
//!
//! Owns column names, types and sort orders. Does not own files (batch layer).
//!
//! ```text
//! readings  sorted by (series_id, event_time, position); one row per arrival
//! cells     sorted by (series_id, bucket); one row per partial
//! series    sorted by series_id; one row per series
//! ```

mod values;

use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Float64Array, Float64Builder, RecordBatch, StringArray,
    TimestampMillisecondArray, TimestampNanosecondArray, TimestampNanosecondBuilder, UInt64Array,
};
use arrow::buffer::ScalarBuffer;
use arrow::compute::cast;
use arrow::datatypes::{
    ArrowNativeType, DataType, Field, FieldRef, Float64Type, Schema, SchemaRef, TimeUnit, TimestampNanosecondType,
    UInt64Type,
};

use crate::cells::Cell;
use crate::epoch::{SeriesState, Tail};
use crate::error::{Error, Result};
use crate::partial::{ExactSum, Partial, Sketch, Stamped};
use crate::series::{SeriesId, SeriesKey};
use crate::time::{ArrivalTime, MILLISECOND};

/// The type of every stored instant: nanoseconds, UTC.
pub fn instant_type() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
}

fn text_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

/// Columns of a file of readings. `tags` is a JSON object. A reading's value is `value` or, where that is null,
/// `decimal / 10^scale`, which takes a third of the bytes and loses none ([`crate::decimal`]).
pub static READINGS: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("series_id", DataType::UInt64, false),
        Field::new("metric", text_type(), false),
        Field::new("device_id", text_type(), true),
        Field::new("tags", text_type(), false),
        Field::new("event_time", instant_type(), false),
        // Weir's own clock, kept in whole milliseconds: finer digits are noise that would cost most of a reading's bytes.
        Field::new("arrival_time", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), false),
        Field::new("value", DataType::Float64, true),
        Field::new("decimal", DataType::Int64, true),
        Field::new("scale", DataType::UInt8, true),
        Field::new("position", DataType::UInt64, false),
    ]))
});

/// Columns of a file of cells. `sum` and `sum_sq` are correctly rounded; `*_lo` and `rest` hold what rounding took away,
/// null where it took nothing. A cell of one reading is told by `last_time` and `last`; what follows from them is null.
pub static CELLS: LazyLock<SchemaRef> = LazyLock::new(|| {
    let derived = |name: &str| Field::new(name, DataType::Float64, true);
    Arc::new(Schema::new(vec![
        Field::new("series_id", DataType::UInt64, false),
        Field::new("bucket", instant_type(), false),
        Field::new("count", DataType::UInt64, false),
        derived("sum"),
        derived("sum_lo"),
        derived("sum_sq"),
        derived("sum_sq_lo"),
        Field::new("rest", DataType::Binary, true),
        derived("min"),
        derived("max"),
        Field::new("first_time", instant_type(), true),
        derived("first"),
        Field::new("last_time", instant_type(), false),
        Field::new("last", DataType::Float64, false),
        Field::new("sketch", DataType::Binary, true),
        Field::new("disordered", DataType::Boolean, false),
    ]))
});

/// Columns of a file of series.
pub static SERIES: LazyLock<SchemaRef> = LazyLock::new(|| {
    let number = |name: &str| Field::new(name, DataType::Float64, true);
    let instant = |name: &str| Field::new(name, instant_type(), true);
    Arc::new(Schema::new(vec![
        Field::new("series_id", DataType::UInt64, false),
        Field::new("metric_key", DataType::Utf8, false),
        instant("time"),
        number("value"),
        instant("arrival"),
        instant("previous_time"),
        number("previous"),
        instant("earliest"),
        number("cadence"),
    ]))
});

/// The columns that a scan of readings yields: `series_id, event_time, arrival_time, value, position`, all instants in
/// nanoseconds.
pub static SCAN: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("series_id", DataType::UInt64, false),
        Field::new("event_time", instant_type(), false),
        Field::new("arrival_time", instant_type(), false),
        Field::new("value", DataType::Float64, false),
        Field::new("position", DataType::UInt64, false),
    ]))
});

/// The columns of a file of readings that [`scanned`] needs: all but names.
pub const SCANNED: [&str; 7] = ["series_id", "event_time", "arrival_time", "value", "decimal", "scale", "position"];

/// [`SCANNED`] of [`READINGS`].
pub static NUMBERS: LazyLock<SchemaRef> = LazyLock::new(|| {
    let field = |name| READINGS.field_with_name(name).expect("a column of readings").clone();
    Arc::new(Schema::new(SCANNED.map(field).to_vec()))
});

/// The columns [`SCAN`] of a batch of a file of readings.
///
/// # Errors
/// A column is missing or of another type.
pub fn scanned(batch: &RecordBatch) -> Result<RecordBatch> {
    let columns = Columns(batch);
    let column = |field: &FieldRef| -> Result<ArrayRef> {
        if field.name() == "value" {
            return values::read(&columns);
        }
        let column = columns.get(field.name())?;
        if column.data_type() == field.data_type() {
            return Ok(Arc::clone(column));
        }
        let stored = READINGS.field_with_name(field.name()).expect("a column of readings");
        if column.data_type() != stored.data_type() {
            return Err(columns.wrong(field.name()));
        }
        cast(column, field.data_type()).map_err(|e| Error::corrupt(format!("column {}", field.name()), e))
    };
    let columns = SCAN.fields().iter().map(column).collect::<Result<Vec<_>>>()?;
    RecordBatch::try_new(Arc::clone(&SCAN), columns).map_err(|e| Error::corrupt("a batch of readings", e))
}

/// One stored reading (arrival).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StoredReading {
    /// Its series.
    pub series: SeriesId,
    /// Event time, nanoseconds.
    pub time: i64,
    /// Arrival time, nanoseconds; kept in whole milliseconds.
    pub arrival: i64,
    /// Its value.
    pub value: f64,
    /// Log position of its frame.
    pub position: u64,
}

/// The columns [`NUMBERS`] of these readings, in their order.
pub fn readings_to_batch(readings: &[StoredReading]) -> RecordBatch {
    let arrivals = column(readings, |r| r.arrival.div_euclid(MILLISECOND));
    let [values, decimals, scales] = values::write(readings);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(UInt64Array::new(column(readings, |r| r.series.0), None)),
        Arc::new(TimestampNanosecondArray::new(column(readings, |r| r.time), None).with_timezone("UTC")),
        Arc::new(TimestampMillisecondArray::new(arrivals, None).with_timezone("UTC")),
        values,
        decimals,
        scales,
        Arc::new(UInt64Array::new(column(readings, |r| r.position), None)),
    ];
    RecordBatch::try_new(Arc::clone(&NUMBERS), columns).expect("columns match the schema")
}

fn column<T: ArrowNativeType>(readings: &[StoredReading], of: impl Fn(&StoredReading) -> T) -> ScalarBuffer<T> {
    readings.iter().map(of).collect()
}

/// A cell as it is stored: of which series, and whether it is disordered.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredCell {
    /// Its series.
    pub series: SeriesId,
    /// The bucket and its partial.
    pub cell: Cell,
    /// Whether it must be resolved from raw readings.
    pub disordered: bool,
}

/// The columns of these cells, in their order.
pub fn cells_to_batch(cells: &[StoredCell]) -> RecordBatch {
    let several = |c: &StoredCell| c.cell.partial.count > 1;
    let derived = |of: &dyn Fn(&Partial) -> f64| -> ArrayRef {
        Arc::new(cells.iter().map(|c| several(c).then(|| of(&c.cell.partial))).collect::<Float64Array>())
    };
    let instants = |values: TimestampNanosecondArray| -> ArrayRef { Arc::new(values.with_timezone("UTC")) };
    let first_times = cells.iter().map(|c| several(c).then_some(c.cell.partial.first.time)).collect();
    let last_times = TimestampNanosecondArray::from_iter_values(cells.iter().map(|c| c.cell.partial.last.time));
    let buckets = TimestampNanosecondArray::from_iter_values(cells.iter().map(|c| c.cell.bucket));
    let sums = Sums::of(cells);
    let sketches = BinaryArray::from_iter(cells.iter().map(|c| c.cell.partial.sketch.as_ref().map(|s| s.to_bytes())));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(UInt64Array::from_iter_values(cells.iter().map(|c| c.series.0))),
        instants(buckets),
        Arc::new(UInt64Array::from_iter_values(cells.iter().map(|c| c.cell.partial.count))),
        Arc::new(Float64Array::from(sums.sum)),
        Arc::new(Float64Array::from(sums.sum_lo)),
        Arc::new(Float64Array::from(sums.sum_sq)),
        Arc::new(Float64Array::from(sums.sum_sq_lo)),
        Arc::new(BinaryArray::from_iter(sums.rest)),
        derived(&|p| p.min),
        derived(&|p| p.max),
        instants(first_times),
        derived(&|p| p.first.value),
        instants(last_times),
        Arc::new(Float64Array::from_iter_values(cells.iter().map(|c| c.cell.partial.last.value))),
        Arc::new(sketches),
        Arc::new(BooleanArray::from_iter(cells.iter().map(|c| Some(c.disordered)))),
    ];
    RecordBatch::try_new(Arc::clone(&CELLS), columns).expect("columns match the schema")
}

/// The sums of cells in columns.
#[derive(Default)]
struct Sums {
    sum: Vec<Option<f64>>,
    sum_lo: Vec<Option<f64>>,
    sum_sq: Vec<Option<f64>>,
    sum_sq_lo: Vec<Option<f64>>,
    rest: Vec<Option<Vec<u8>>>,
}

impl Sums {
    fn of(cells: &[StoredCell]) -> Self {
        let mut sums = Self::default();
        for StoredCell { cell: Cell { partial, .. }, .. } in cells {
            let (sum, sum_sq) = match partial.count {
                1 => (vec![], vec![]),
                _ => (components(&partial.sum), components(&partial.sum_sq)),
            };
            sums.sum.push(sum.first().copied());
            sums.sum_lo.push(sum.get(1).copied());
            sums.sum_sq.push(sum_sq.first().copied());
            sums.sum_sq_lo.push(sum_sq.get(1).copied());
            sums.rest.push(encode_rest(sum.get(2..).unwrap_or(&[]), sum_sq.get(2..).unwrap_or(&[])));
        }
        sums
    }
}

/// The components of a sum; of one too large for a double, infinity.
fn components(sum: &ExactSum) -> Vec<f64> {
    sum.components().unwrap_or_else(|| vec![f64::INFINITY])
}

/// Components beyond the second of both sums: how many of the first, then all as little-endian doubles.
fn encode_rest(sum: &[f64], sum_sq: &[f64]) -> Option<Vec<u8>> {
    if sum.is_empty() && sum_sq.is_empty() {
        return None;
    }
    let mut bytes = vec![u8::try_from(sum.len()).expect("2,176 bits are at most 42 doubles")];
    bytes.extend(sum.iter().chain(sum_sq).flat_map(|v| v.to_le_bytes()));
    Some(bytes)
}

fn decode_rest(bytes: &[u8]) -> Result<(Vec<f64>, Vec<f64>)> {
    let Some((n, rest)) = bytes.split_first() else { return Ok((vec![], vec![])) };
    let (words, tail) = rest.as_chunks::<8>();
    let mut sum: Vec<f64> = words.iter().map(|w| f64::from_le_bytes(*w)).collect();
    if !tail.is_empty() || sum.len() < usize::from(*n) {
        return Err(Error::corrupt("cell", "the rest of a sum has a wrong length"));
    }
    let sum_sq = sum.split_off(usize::from(*n));
    Ok((sum, sum_sq))
}

fn sum_of(hi: f64, lo: f64, rest: Vec<f64>) -> Result<ExactSum> {
    if hi.is_finite() { ExactSum::from_components([hi, lo].into_iter().chain(rest)) } else { Ok(ExactSum::of(hi)) }
}

/// The cells of these columns. Column `sketch` may be missing: then no partial has one.
///
/// # Errors
/// A column is missing, of another type, or holds what no cell can hold.
pub fn batch_to_cells(batch: &RecordBatch) -> Result<Vec<StoredCell>> {
    let columns = Columns(batch);
    let (series, buckets, counts) =
        (columns.numbers("series_id")?, columns.instants("bucket")?, columns.numbers("count")?);
    let (sum, sum_lo) = (columns.floats("sum")?, columns.floats("sum_lo")?);
    let (sq, sq_lo) = (columns.floats("sum_sq")?, columns.floats("sum_sq_lo")?);
    let (min, max) = (columns.floats("min")?, columns.floats("max")?);
    let (first_time, first) = (columns.instants("first_time")?, columns.floats("first")?);
    let (last_time, last) = (columns.instants("last_time")?, columns.floats("last")?);
    let rest = columns.binary("rest")?;
    let sketch = batch.column_by_name("sketch").and_then(|c| c.as_binary_opt::<i32>());
    let disordered = columns.get("disordered")?.as_boolean_opt().ok_or_else(|| columns.wrong("disordered"))?;
    let sum_of = |hi: &Float64Array, lo: &Float64Array, i: usize, rest: Vec<f64>| {
        if hi.is_null(i) {
            return Err(Error::corrupt("cell", "a cell of several readings has no sum"));
        }
        sum_of(hi.value(i), if lo.is_null(i) { 0.0 } else { lo.value(i) }, rest)
    };
    let partial_of = |i: usize| -> Result<Partial> {
        let last = Stamped { time: last_time.value(i), value: last.value(i) };
        if counts.value(i) == 1 {
            return Ok(Partial::of(last.time, last.value));
        }
        let (sum_rest, sq_rest) = if rest.is_null(i) { (vec![], vec![]) } else { decode_rest(rest.value(i))? };
        if [min, max, first].iter().any(|column| column.is_null(i)) || first_time.is_null(i) {
            return Err(Error::corrupt("cell", "a cell of several readings tells only one"));
        }
        Ok(Partial {
            count: counts.value(i),
            sum: sum_of(sum, sum_lo, i, sum_rest)?,
            sum_sq: sum_of(sq, sq_lo, i, sq_rest)?,
            min: min.value(i),
            max: max.value(i),
            first: Stamped { time: first_time.value(i), value: first.value(i) },
            last,
            sketch: None,
        })
    };
    (0..batch.num_rows())
        .map(|i| {
            let mut partial = partial_of(i)?;
            if let Some(sketch) = sketch.filter(|column| !column.is_null(i)) {
                partial.sketch = Some(Box::new(Sketch::from_bytes(sketch.value(i))?));
            }
            let cell = Cell { bucket: buckets.value(i), partial };
            Ok(StoredCell { series: SeriesId(series.value(i)), cell, disordered: disordered.value(i) })
        })
        .collect()
}

/// The columns of these series.
pub fn series_to_batch(states: &[SeriesState]) -> RecordBatch {
    let instants = |of: &dyn Fn(&Tail) -> Option<i64>| -> ArrayRef {
        let mut builder = TimestampNanosecondBuilder::with_capacity(states.len()).with_timezone("UTC");
        states.iter().for_each(|s| builder.append_option(s.tail.as_ref().and_then(of)));
        Arc::new(builder.finish())
    };
    let floats = |of: &dyn Fn(&Tail) -> Option<f64>| -> ArrayRef {
        let mut builder = Float64Builder::with_capacity(states.len());
        states.iter().for_each(|s| builder.append_option(s.tail.as_ref().and_then(of)));
        Arc::new(builder.finish())
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(UInt64Array::from_iter_values(states.iter().map(|s| s.id.0))),
        Arc::new(StringArray::from_iter_values(states.iter().map(|s| s.key.text()))),
        instants(&|t| Some(t.time)),
        floats(&|t| Some(t.value)),
        instants(&|t| Some(t.arrival.0)),
        instants(&|t| t.previous.map(|(time, _)| time)),
        floats(&|t| t.previous.map(|(_, value)| value)),
        instants(&|t| Some(t.earliest)),
        floats(&|t| Some(t.cadence)),
    ];
    RecordBatch::try_new(Arc::clone(&SERIES), columns).expect("columns match the schema")
}

/// The series of these columns.
///
/// # Errors
/// A column is missing, of another type, or holds what no series can hold.
pub fn batch_to_series(batch: &RecordBatch) -> Result<Vec<SeriesState>> {
    let columns = Columns(batch);
    let ids = columns.numbers("series_id")?;
    let keys = columns.get("metric_key")?.as_string_opt::<i32>().ok_or_else(|| columns.wrong("metric_key"))?;
    let (time, value, arrival) = (columns.instants("time")?, columns.floats("value")?, columns.instants("arrival")?);
    let (previous_time, previous) = (columns.instants("previous_time")?, columns.floats("previous")?);
    let (earliest, cadence) = (columns.instants("earliest")?, columns.floats("cadence")?);
    (0..batch.num_rows())
        .map(|i| {
            let tail = time.is_valid(i).then(|| Tail {
                time: time.value(i),
                value: value.value(i),
                arrival: ArrivalTime(arrival.value(i)),
                previous: previous_time.is_valid(i).then(|| (previous_time.value(i), previous.value(i))),
                earliest: earliest.value(i),
                cadence: cadence.value(i),
            });
            let key = SeriesKey::parse(keys.value(i)).map_err(|e| Error::corrupt("series", e))?;
            Ok(SeriesState { id: SeriesId(ids.value(i)), key, tail })
        })
        .collect()
}

/// The columns `series_id, event_time, arrival_time, value, position` of a batch of readings.
#[derive(Debug, Clone, Copy)]
pub struct ReadingColumns<'a> {
    /// Series ids.
    pub series: &'a [u64],
    /// Event times, nanoseconds.
    pub times: &'a [i64],
    /// Arrival times, nanoseconds.
    pub arrivals: &'a [i64],
    /// Values.
    pub values: &'a [f64],
    /// Log positions.
    pub positions: &'a [u64],
}

impl<'a> ReadingColumns<'a> {
    /// The columns of a batch.
    ///
    /// # Errors
    /// A column is missing or of another type.
    pub fn of(batch: &'a RecordBatch) -> Result<Self> {
        let columns = Columns(batch);
        Ok(Self {
            series: columns.numbers("series_id")?.values(),
            times: columns.instants("event_time")?.values(),
            arrivals: columns.instants("arrival_time")?.values(),
            values: columns.floats("value")?.values(),
            positions: columns.numbers("position")?.values(),
        })
    }

    /// The `i`-th reading.
    pub fn get(&self, i: usize) -> StoredReading {
        StoredReading {
            series: SeriesId(self.series[i]),
            time: self.times[i],
            arrival: self.arrivals[i],
            value: self.values[i],
            position: self.positions[i],
        }
    }

    /// How many readings.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }
}

/// Series, event times and positions of a batch of a file of readings or of a scan.
///
/// # Errors
/// A column is missing or of another type.
pub fn places(batch: &RecordBatch) -> Result<(&[u64], &[i64], &[u64])> {
    let columns = Columns(batch);
    let (series, times) = (columns.numbers("series_id")?, columns.instants("event_time")?);
    Ok((series.values(), times.values(), columns.numbers("position")?.values()))
}

/// Typed access to the columns of a batch by name.
struct Columns<'a>(&'a RecordBatch);

impl<'a> Columns<'a> {
    fn get(&self, name: &str) -> Result<&'a ArrayRef> {
        self.0.column_by_name(name).ok_or_else(|| Error::corrupt(format!("column {name}"), "it is missing"))
    }

    fn wrong(&self, name: &str) -> Error {
        Error::corrupt(format!("column {name}"), "it has another type")
    }

    fn numbers(&self, name: &str) -> Result<&'a UInt64Array> {
        self.get(name)?.as_primitive_opt::<UInt64Type>().ok_or_else(|| self.wrong(name))
    }

    fn instants(&self, name: &str) -> Result<&'a TimestampNanosecondArray> {
        self.get(name)?.as_primitive_opt::<TimestampNanosecondType>().ok_or_else(|| self.wrong(name))
    }

    fn floats(&self, name: &str) -> Result<&'a Float64Array> {
        self.get(name)?.as_primitive_opt::<Float64Type>().ok_or_else(|| self.wrong(name))
    }

    fn binary(&self, name: &str) -> Result<&'a BinaryArray> {
        self.get(name)?.as_binary_opt::<i32>().ok_or_else(|| self.wrong(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_read_back() {
        let mut partial = Partial::of_all([(1, 0.1), (2, 1e300), (3, -1e300), (4, 25.3)]).expect("not empty");
        partial.sketch = Some(Box::new(Sketch::of([0.1, 25.3])));
        let stored = |bucket, partial, disordered| StoredCell {
            series: SeriesId(7),
            cell: Cell { bucket, partial },
            disordered,
        };
        let huge = Partial::of_all([(1, 1e200), (2, 1e200)]).expect("not empty");
        let cells = vec![stored(-10, partial, true), stored(0, Partial::of(3, -0.0), false), stored(10, huge, false)];
        assert_eq!(batch_to_cells(&cells_to_batch(&cells)).expect("own columns"), cells);
    }

    #[test]
    fn series_read_back() {
        let mut tail = Tail::of(5, 1.0, ArrivalTime(9));
        tail.update(8, 2.0, ArrivalTime(10));
        let key = |text| SeriesKey::parse(text).expect(text);
        let states = vec![
            SeriesState { id: SeriesId(1), key: key("a"), tail: Some(tail) },
            SeriesState { id: SeriesId(2), key: key("b{device_id=\"x\"}"), tail: None },
            SeriesState { id: SeriesId(3), key: key("c"), tail: Some(Tail::of(-5, 1.0, ArrivalTime(9))) },
        ];
        assert_eq!(batch_to_series(&series_to_batch(&states)).expect("own columns"), states);
    }
}
