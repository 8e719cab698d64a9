use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::{DataType, Field, Int8Type, Int32Type, Schema};
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};

use super::{Format, check, long_name};

type Columns = Vec<(&'static str, ArrayRef)>;

pub(super) fn stream(columns: Columns) -> Vec<u8> {
    stream_with(columns, IpcWriteOptions::default())
}

fn stream_with(columns: Columns, options: IpcWriteOptions) -> Vec<u8> {
    let fields: Vec<Field> =
        columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let batch =
        RecordBatch::try_new(Arc::clone(&schema), columns.into_iter().map(|(_, c)| c).collect()).expect("columns fit");
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &schema, options).expect("a writer");
    writer.write(&batch).expect("into memory");
    writer.finish().expect("into memory");
    writer.into_inner().expect("into memory")
}

pub(super) fn texts(texts: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(texts.to_vec()))
}

pub(super) fn floats(values: &[f64]) -> ArrayRef {
    Arc::new(Float64Array::from(values.to_vec()))
}

#[track_caller]
fn arrow(columns: Columns, expected: &[&str]) {
    check(Format::ArrowStream, stream(columns), expected);
}

#[test]
fn texts_of_every_type() {
    let columns: Vec<ArrayRef> = vec![
        texts(&["a", "b"]),
        Arc::new(LargeStringArray::from(vec!["a", "b"])),
        Arc::new(StringViewArray::from(vec!["a", "b"])),
        Arc::new(DictionaryArray::<Int8Type>::from_iter(["a", "b"])),
        arrow::compute::cast(
            &texts(&["a", "b"]),
            &DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8View)),
        )
        .expect("casts"),
    ];
    for column in columns {
        arrow(
            vec![("metric", column.clone()), ("value", floats(&[1.0, 2.0])), ("line", column)],
            &[r#"a{line="a"} @42 = 1"#, r#"b{line="b"} @42 = 2"#],
        );
    }
    let long = "a text too long to stand in a view itself";
    arrow(
        vec![("metric", Arc::new(StringViewArray::from(vec![long, long]))), ("value", floats(&[1.0, 2.0]))],
        &[&format!("{long} @42 = 1"), &format!("{long} @42 = 2")],
    );
}

#[test]
fn values_of_every_type() {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int8Array::from(vec![1, 0])),
        Arc::new(UInt64Array::from(vec![1, 0])),
        Arc::new(Float32Array::from(vec![1.0, 0.0])),
        Arc::new(BooleanArray::from(vec![true, false])),
        arrow::compute::cast(&floats(&[1.0, 0.0]), &DataType::Float16).expect("casts"),
    ];
    for value in columns {
        arrow(vec![("sensor_type", texts(&["a", "a"])), ("value", value)], &["a @42 = 1", "a @42 = 0"]);
    }
}

#[test]
fn timestamps_of_every_type() {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampSecondArray::from(vec![Some(1), None])),
        Arc::new(TimestampMillisecondArray::from(vec![Some(1000), None]).with_timezone("+02:00")),
        Arc::new(TimestampMicrosecondArray::from(vec![Some(1_000_000), None])),
        Arc::new(TimestampNanosecondArray::from(vec![Some(1_000_000_000), None]).with_timezone("Europe/Berlin")),
        Arc::new(Int64Array::from(vec![Some(1000), None])),
        Arc::new(UInt64Array::from(vec![Some(1000), None])),
        Arc::new(StringArray::from(vec![Some("1970-01-01T00:00:01Z"), None])),
        Arc::new(StringArray::from(vec!["1000", ""])),
    ];
    for time in columns {
        arrow(
            vec![("metric", texts(&["a", "a"])), ("value", floats(&[1.0, 2.0])), ("time", time)],
            &["a @1000000000 = 1", "a @42 = 2"],
        );
    }
    let far = Arc::new(TimestampSecondArray::from(vec![i64::MAX, -1]));
    arrow(
        vec![("metric", texts(&["a", "a"])), ("value", floats(&[1.0, 2.0])), ("ts", far)],
        &["a @-1000000000 = 2", "!0 outside the years"],
    );
    let far = Arc::new(UInt64Array::from(vec![u64::MAX]));
    arrow(vec![("metric", texts(&["a"])), ("value", floats(&[1.0])), ("ts", far)], &["error out of range"]);
}

fn map_of_tags() -> ArrayRef {
    let mut builder = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    builder.keys().append_value("line");
    builder.values().append_value("A");
    builder.append(true).expect("keys and values match");
    builder.append(false).expect("keys and values match");
    builder.keys().append_value("x");
    builder.values().append_null();
    builder.append(true).expect("keys and values match");
    Arc::new(builder.finish())
}

#[test]
fn tags_and_devices() {
    let base = || vec![("metric", texts(&["a", "a", "a"])), ("value", floats(&[1.0, 2.0, 3.0]))];
    let expected = [r#"a{line="A"} @42 = 1"#, "a @42 = 2", "a @42 = 3"];
    let json: ArrayRef = Arc::new(StringArray::from(vec![Some(r#"{"line":"A"}"#), None, Some("")]));
    let with = |name: &'static str, column: ArrayRef| [base(), vec![(name, column)]].concat();
    arrow(with("tags", map_of_tags()), &expected);
    arrow(with("tags", json), &expected);
    let dictionary: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::from_iter([Some("A"), None, Some("")]));
    arrow(with("line", dictionary), &expected);
    let nulls: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::from_iter([None::<&str>, None, None]));
    arrow(with("line", nulls), &["a @42 = 1", "a @42 = 2", "a @42 = 3"]);
    let device: ArrayRef = Arc::new(Int32Array::from(vec![Some(7), None, Some(8)]));
    arrow(with("device_id", device), &[r#"a{device_id="7"} @42 = 1"#, "a @42 = 2", r#"a{device_id="8"} @42 = 3"#]);
    arrow(with("ignored", floats(&[0.0; 3])), &["a @42 = 1", "a @42 = 2", "a @42 = 3"]);
    arrow(with("tags", texts(&["{}", "[]", "{\"a\":{}}"])), &["a @42 = 1", "!1 tags must be", "!2 tag must be"]);
}

#[test]
fn bad_rows() {
    let metric: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("a"), Some("a"), Some("")]));
    let value: ArrayRef =
        Arc::new(Float64Array::from(vec![None, Some(1.0), Some(f64::NAN), Some(f64::INFINITY), Some(1.0)]));
    arrow(
        vec![("metric", metric), ("value", value)],
        &["!0 value is null", "!1 metric is null", "!2 NaN", "!3 inf", "!4 metric name is empty"],
    );
    arrow(vec![("metric", texts(&[&long_name()])), ("value", floats(&[1.0]))], &["!0 1000000 bytes"]);
}

#[test]
fn unusable_columns() {
    let value = || floats(&[1.0]);
    arrow(vec![("value", value())], &["error no column is named metric"]);
    arrow(vec![("metric", texts(&["a"]))], &["error no column is named value"]);
    arrow(vec![("metric", value()), ("value", value())], &["error column \"metric\" must hold text"]);
    arrow(vec![("metric", texts(&["a"])), ("value", texts(&["1"]))], &["error column \"value\" must hold"]);
    arrow(vec![("metric", texts(&["a"])), ("value", value()), ("value", value())], &["error stands twice"]);
    arrow(vec![("metric", texts(&["a"])), ("value", value()), ("ts", value())], &["error column \"ts\" must hold"]);
    arrow(vec![("metric", texts(&["a"])), ("value", value()), ("tags", value())], &["error column \"tags\" must hold"]);
    let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([Some([Some(1)])]));
    arrow(vec![("metric", texts(&["a"])), ("value", value()), ("x", list)], &["error not accepted"]);
}

#[test]
fn compressed_streams() {
    for codec in [CompressionType::LZ4_FRAME, CompressionType::ZSTD] {
        let options = || IpcWriteOptions::default().try_with_compression(Some(codec)).expect("compiled in");
        let n = 100_000;
        let metric: ArrayRef = Arc::new(StringArray::from_iter_values(std::iter::repeat_n("a", n)));
        let value: ArrayRef = Arc::new(Float64Array::from_iter_values((0..n).map(|i| i as f64)));
        let body = stream_with(vec![("metric", metric), ("value", value)], options());
        let decoded = crate::decode::decode(Format::ArrowStream, &body, &super::OPTIONS).expect("a stream");
        assert_eq!((decoded.values.len(), decoded.keys.len(), decoded.rejected), (n, 1, 0));
        let view: ArrayRef = Arc::new(StringViewArray::from(vec!["a"]));
        let body = stream_with(vec![("metric", view), ("value", floats(&[1.0]))], options());
        check(Format::ArrowStream, body, &["error compressed text views"]);
        // Enough alike that the told lengths pass the bound, in few bytes.
        let zeros: ArrayRef = Arc::new(Float64Array::from(vec![0.0; 5 << 20]));
        let bomb: Columns =
            ["a", "b", "c", "d", "e", "f", "g", "h"].into_iter().map(|name| (name, zeros.clone())).collect();
        check(Format::ArrowStream, stream_with(bomb, options()), &["error decompresses to more than"]);
    }
}

#[test]
fn views_of_one_long_text_are_bounded() {
    let text = "x".repeat(1 << 20);
    let mut builder = StringViewBuilder::new();
    let block = builder.append_block(text.as_bytes().into());
    for _ in 0..1000 {
        builder.try_append_view(block, 0, 1 << 20).expect("within the block");
    }
    let view: ArrayRef = Arc::new(builder.finish());
    arrow(vec![("metric", view), ("value", floats(&[1.0; 1000]))], &["error text views show more than"]);
}

#[test]
fn streams_cut_or_lying_about_sizes() {
    let body = stream(vec![("metric", texts(&["a", "b"])), ("value", floats(&[1.0, 2.0]))]);
    check(Format::ArrowStream, "", &["error body is empty"]);
    check(Format::ArrowStream, "metric,value\nt,1\n", &["error not a readable Arrow stream"]);
    check(Format::ArrowStream, b"\xff\xff\xff\xff\x00\x00\x00\x00", &["error no schema"]);
    check(Format::ArrowStream, b"\xff\xff\xff\xff\xff\xff\xff\x7f", &["error cut off"]);
    check(Format::ArrowStream, [body.as_slice(), b"more"].concat(), &["error bytes follow its end"]);
    check(Format::ArrowStream, [body.as_slice(), body.as_slice()].concat(), &["error bytes follow its end"]);
    check(Format::ArrowStream, &body[..body.len() - 8], &["a @42 = 1", "b @42 = 2"]);
    for keep in 1..body.len() - 8 {
        let _ = crate::decode::decode(Format::ArrowStream, &body[..keep], &super::OPTIONS);
    }
    check(Format::ArrowStream, &body[..body.len() - 20], &["error cut off"]);
}
