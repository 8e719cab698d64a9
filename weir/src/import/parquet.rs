//! Parquet files, row group by row group.

use anyhow::Context as _;
use arrow::array::{Array, ArrayRef, AsArray as _, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampNanosecondType};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::reader::ChunkReader;
use schemas::time::Precision;

use super::Options;
use super::cells::{finite, instant, units};
use super::columns::{Kind, Metric, Plan};
use super::rows::{Builder, Chunk};

/// Rows read at once.
const BATCH: usize = 50_000;

/// Reads a file; `emit` also hears which part of it was read.
pub(crate) fn read(
    file: impl ChunkReader + 'static,
    options: &Options,
    emit: &mut dyn FnMut(Chunk, f64) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).context("it is no readable Parquet file")?;
    let fields = builder.schema().fields();
    let columns: Vec<(String, Kind)> = fields.iter().map(|f| (f.name().clone(), kind_of(f.data_type()))).collect();
    let plan = Plan::make(&columns, &options.mapping)?;
    let used = plan.used();
    let mask = ProjectionMask::roots(builder.parquet_schema(), used.iter().copied());
    let all = builder.metadata().file_metadata().num_rows().max(1) as f64;
    let mut rows = Builder::default();
    let mut first = 0;
    for batch in builder.with_projection(mask).with_batch_size(BATCH).build()? {
        let batch = batch.context("it can't be read on")?;
        Columns::of(&batch, &plan, &used, options)?.add_all(&mut rows, first);
        first += batch.num_rows() as u64;
        emit(rows.take(), first as f64 / all)?;
    }
    Ok(())
}

fn kind_of(data_type: &DataType) -> Kind {
    match data_type {
        DataType::Boolean => Kind::Number,
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => Kind::Time,
        DataType::Dictionary(_, values) => kind_of(values),
        other if other.is_numeric() => Kind::Number,
        other if other.is_string() => Kind::Text,
        _ => Kind::Other,
    }
}

/// The columns of a batch by what they mean.
struct Columns<'a> {
    plan: &'a Plan,
    metric: Option<StringArray>,
    values: Vec<(String, Float64Array)>,
    time: Times,
    arrival: Option<Times>,
    device: Option<StringArray>,
    tags: Vec<(String, StringArray)>,
    objects: Option<ArrayRef>,
}

impl<'a> Columns<'a> {
    fn of(batch: &RecordBatch, plan: &'a Plan, used: &[usize], options: &Options) -> anyhow::Result<Self> {
        let schema = batch.schema();
        let named = |i: &usize| {
            let i = used.binary_search(i).unwrap_or_default();
            (schema.field(i).name().clone(), batch.column(i))
        };
        let text = |i: &usize| named(i).1.clone();
        let metric = if let Metric::Column(i) = &plan.metric { Some(texts(&text(i))?) } else { None };
        let value = |i: &usize| {
            let (name, column) = named(i);
            let numbers =
                cast(column, &DataType::Float64).with_context(|| format!("column {name:?} holds no numbers"))?;
            Ok((name, numbers.as_primitive::<Float64Type>().clone()))
        };
        let precision = options.precision.unwrap_or(Precision::Millis);
        let tag = |i: &usize| Ok((named(i).0, texts(named(i).1)?));
        Ok(Self {
            plan,
            metric,
            values: plan.values.iter().map(value).collect::<anyhow::Result<_>>()?,
            time: match &plan.time {
                Some(i) => Times::of(named(i).1, precision)?,
                None => Times::Now(options.now),
            },
            arrival: plan.arrival.as_ref().map(|i| Times::of(named(i).1, precision)).transpose()?,
            device: plan.device.as_ref().map(|i| texts(&text(i))).transpose()?,
            tags: plan.tags.iter().map(tag).collect::<anyhow::Result<_>>()?,
            objects: plan.tag_objects.as_ref().map(|i| objects(&text(i))).transpose()?,
        })
    }

    fn add_all(&self, rows: &mut Builder, first: u64) {
        let count = self.values.first().map_or(0, |(_, column)| column.len());
        for row in 0..count {
            if let Err(reason) = self.add(rows, row, first) {
                rows.refuse(None, first + row as u64, reason);
            }
        }
    }

    fn add(&self, rows: &mut Builder, row: usize, first: u64) -> Result<(), String> {
        let time = self.time.get(row)?;
        let arrival = self.arrival.as_ref().map(|times| times.get(row)).transpose()?;
        let device = self.device.as_ref().and_then(|texts| cell(texts, row)).unwrap_or_default();
        let object = match &self.objects {
            Some(objects) => object(cell(objects.as_string::<i32>(), row).unwrap_or_default())?,
            None => Vec::new(),
        };
        let present = self.tags.iter().filter_map(|(name, texts)| Some((name.as_str(), cell(texts, row)?)));
        let tags: Vec<(&str, &str)> = object.iter().map(|(n, v)| (n.as_str(), v.as_str())).chain(present).collect();
        for (name, values) in &self.values {
            let missing = values.is_null(row) || values.value(row).is_nan();
            if missing && self.plan.wide {
                continue;
            }
            let metric = match (&self.metric, &self.plan.metric) {
                (Some(texts), _) => cell(texts, row).ok_or("metric is null")?,
                (None, Metric::Named(name)) => name.as_str(),
                (None, _) => name.as_str(),
            };
            let value = if values.is_null(row) { Err("value is null".to_owned()) } else { finite(values.value(row)) };
            // In a wide row one bad value leaves the others good.
            match value.and_then(|value| Ok((rows.series(metric, device, &tags)?, value))) {
                Ok((series, value)) => rows.push(series, time, value, arrival),
                Err(reason) if self.plan.wide => {
                    rows.refuse(None, first + row as u64, format!("column {name:?}: {reason}"));
                }
                Err(reason) => return Err(reason),
            }
        }
        Ok(())
    }
}

fn cell(texts: &StringArray, row: usize) -> Option<&str> {
    texts.is_valid(row).then(|| texts.value(row))
}

fn texts(column: &ArrayRef) -> anyhow::Result<StringArray> {
    let texts = cast(column, &DataType::Utf8).context("a column of names can't be read as text")?;
    Ok(texts.as_string::<i32>().clone())
}

/// The column of tags as JSON objects.
fn objects(column: &ArrayRef) -> anyhow::Result<ArrayRef> {
    let Some(maps) = column.as_map_opt() else { return Ok(std::sync::Arc::new(texts(column)?)) };
    let (keys, values) = (texts(maps.keys())?, texts(maps.values())?);
    let offsets = maps.value_offsets();
    let object = |row: usize| {
        let entries = offsets[row] as usize..offsets[row + 1] as usize;
        let map: serde_json::Map<String, serde_json::Value> =
            entries.filter_map(|i| Some((cell(&keys, i)?.to_owned(), cell(&values, i)?.into()))).collect();
        serde_json::Value::Object(map).to_string()
    };
    Ok(std::sync::Arc::new((0..maps.len()).map(|row| Some(object(row))).collect::<StringArray>()))
}

fn object(text: &str) -> Result<Vec<(String, String)>, String> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let map: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(text).map_err(|_| "tags are no JSON object".to_owned())?;
    let plain = |value: serde_json::Value| match value {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    };
    Ok(map.into_iter().map(|(name, value)| (name, plain(value))).collect())
}

/// A column of instants.
enum Times {
    /// Nanoseconds.
    Stamps(Int64Array),
    /// Counts of a unit.
    Numbers(Int64Array, Precision),
    /// Text.
    Texts(StringArray, Precision),
    /// There is none.
    Now(i64),
}

impl Times {
    fn of(column: &ArrayRef, precision: Precision) -> anyhow::Result<Self> {
        let kind = column.data_type();
        if kind.is_integer() {
            let numbers = cast(column, &DataType::Int64)?;
            return Ok(Self::Numbers(numbers.as_primitive::<Int64Type>().clone(), precision));
        }
        match kind_of(kind) {
            Kind::Time => {
                // What does not fit becomes null, and is refused row by row.
                let stamps = cast(column, &DataType::Timestamp(TimeUnit::Nanosecond, None))?;
                Ok(Self::Stamps(stamps.as_primitive::<TimestampNanosecondType>().reinterpret_cast()))
            }
            Kind::Text => Ok(Self::Texts(texts(column)?, precision)),
            _ => anyhow::bail!("a column of times holds {kind}, not timestamps, integers or text"),
        }
    }

    fn get(&self, row: usize) -> Result<i64, String> {
        let missing = || "timestamp is null, or outside the years 1677 to 2262".to_owned();
        match self {
            Self::Stamps(times) if times.is_null(row) => Err(missing()),
            Self::Stamps(times) => Ok(times.value(row)),
            Self::Numbers(numbers, _) if numbers.is_null(row) => Err(missing()),
            Self::Numbers(numbers, precision) => units(numbers.value(row), *precision),
            Self::Texts(texts, precision) => instant(cell(texts, row).ok_or_else(missing)?, *precision),
            Self::Now(now) => Ok(*now),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{BooleanArray, Date32Array, Int32Array, TimestampMillisecondArray};
    use parquet::arrow::ArrowWriter;

    use super::super::columns::Mapping;
    use super::*;

    fn read_batch(columns: Vec<(&str, ArrayRef)>, mapping: Mapping) -> anyhow::Result<Chunk> {
        let batch = RecordBatch::try_from_iter(columns)?;
        let mut file = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut file, batch.schema(), None)?;
        writer.write(&batch)?;
        writer.close()?;
        let options = Options { mapping, ..Options::plain(7) };
        let mut chunks = Vec::new();
        let mut emit = |chunk, part: f64| {
            assert!(part == 1.0);
            chunks.push(chunk);
            Ok(())
        };
        read(bytes::Bytes::from(file), &options, &mut emit)?;
        chunks.pop().context("one batch")
    }

    fn told(chunk: &Chunk) -> Vec<String> {
        let rows = &chunk.rows;
        let row = |i: usize| {
            format!(
                "{} {} {}",
                rows.keys[rows.series[i].number().expect("a key of its own") as usize],
                rows.times[i] / 1_000_000,
                rows.values[i]
            )
        };
        (0..rows.values.len()).map(row).collect()
    }

    #[test]
    fn long_files_need_no_flags() {
        let chunk = read_batch(
            vec![
                ("device_id", Arc::new(Int32Array::from(vec![7, 7, 8]))),
                ("metric", Arc::new(StringArray::from(vec![Some("t"), Some("t"), None]))),
                ("value", Arc::new(Float64Array::from(vec![Some(1.5), None, Some(2.0)]))),
                ("unit", Arc::new(StringArray::from(vec!["C", "C", "C"]))),
                ("line", Arc::new(StringArray::from(vec![Some("A"), None, None]))),
                ("tags", Arc::new(StringArray::from(vec!["{\"x\":\"y\"}", "{}", ""]))),
                ("event_ts", Arc::new(TimestampMillisecondArray::from(vec![10, 20, 30]).with_timezone("UTC"))),
            ],
            Mapping::default(),
        )
        .expect("readable");
        assert_eq!(told(&chunk), ["t{device_id=\"7\",line=\"A\",x=\"y\"} 10 1.5"]);
        let reasons: Vec<(u64, &str)> = chunk.refusals.iter().map(|r| (r.row, r.reason.as_str())).collect();
        assert_eq!(reasons, [(1, "value is null"), (2, "metric is null")]);
    }

    #[test]
    fn wide_files_make_a_metric_of_each_number() {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("when", Arc::new(Date32Array::from(vec![0, 1]))),
            ("device_id", Arc::new(StringArray::from(vec!["a", "b"]))),
            ("load_mw", Arc::new(Int32Array::from(vec![Some(5), None]))),
            ("on", Arc::new(BooleanArray::from(vec![true, false]))),
        ];
        let mapping = Mapping { time: Some("when".into()), ..Mapping::default() };
        let chunk = read_batch(columns.clone(), mapping).expect("readable");
        let expected = ["load_mw{device_id=\"a\"} 0 5", "on{device_id=\"a\"} 0 1", "on{device_id=\"b\"} 86400000 0"];
        assert_eq!(told(&chunk), expected);
        assert_eq!(chunk.rejected, 0);
        let error = read_batch(columns, Mapping::default()).expect_err("no time").to_string();
        assert!(error.contains("--time COLUMN"), "{error}");
    }
}
