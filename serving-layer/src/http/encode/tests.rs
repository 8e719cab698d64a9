use arrow::array::{
    BooleanArray, DictionaryArray, Float64Array, Int64Array, ListArray, TimestampMillisecondArray,
    TimestampNanosecondArray,
};
use arrow::datatypes::{Int32Type, TimeUnit};
use arrow::ipc::reader::StreamReader;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;

fn batch() -> RecordBatch {
    let zone = TimestampMillisecondArray::from(vec![Some(1_500), None, Some(0)]).with_timezone("+02:00");
    let dictionary: DictionaryArray<Int32Type> = vec![Some("a"), Some("b\"c"), None].into_iter().collect();
    let list = ListArray::from_iter_primitive::<arrow::datatypes::Int64Type, _, _>([
        Some(vec![Some(1), None]),
        None,
        Some(vec![]),
    ]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("t", Arc::new(TimestampNanosecondArray::from(vec![0, -1, 1_700_000_000_000_000_000]))),
        ("z", Arc::new(zone)),
        ("v", Arc::new(Float64Array::from(vec![Some(1.5), Some(f64::NAN), Some(f64::INFINITY)]))),
        ("d", Arc::new(dictionary)),
        ("n", Arc::new(Int64Array::from(vec![Some(i64::MAX), None, Some(-1)]))),
        ("b", Arc::new(BooleanArray::from(vec![true, false, true]))),
        ("l", Arc::new(list)),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
        .expect("fits")
}

fn encoded(format: Format, batches: &[RecordBatch]) -> Vec<u8> {
    let mut encoder = format.encoder(&batch().schema()).expect("writable");
    let mut out = Vec::new();
    for batch in batches {
        encoder.batch(batch, &mut out).expect("writable");
    }
    encoder.finish(&mut out).expect("writable");
    out
}

const ROWS: [&str; 3] = [
    r#"{"t":"1970-01-01T00:00:00Z","z":"1970-01-01T00:00:01.500Z","v":1.5,"d":"a","n":9223372036854775807,"b":true,"l":[1,null]}"#,
    r#"{"t":"1969-12-31T23:59:59.999999999Z","z":null,"v":null,"d":"b\"c","n":null,"b":false,"l":null}"#,
    r#"{"t":"2023-11-14T22:13:20Z","z":"1970-01-01T00:00:00Z","v":null,"d":null,"n":-1,"b":true,"l":[]}"#,
];

#[test]
fn json_is_an_array_of_rows() {
    let text = String::from_utf8(encoded(Format::Json, &[batch(), batch().slice(0, 1)])).expect("text");
    assert_eq!(text, format!("[{},{},{},{}]", ROWS[0], ROWS[1], ROWS[2], ROWS[0]));
    assert_eq!(encoded(Format::Json, &[]), b"[]");
    assert_eq!(encoded(Format::Json, &[batch().slice(0, 0)]), b"[]");
}

#[test]
fn ndjson_is_a_row_a_line() {
    let text = String::from_utf8(encoded(Format::Ndjson, &[batch()])).expect("text");
    assert_eq!(text, format!("{}\n{}\n{}\n", ROWS[0], ROWS[1], ROWS[2]));
    assert_eq!(encoded(Format::Ndjson, &[]), b"");
}

#[test]
fn csv_has_one_header_even_without_rows() {
    let text = String::from_utf8(encoded(Format::Csv, &[batch(), batch().slice(0, 1)])).expect("text");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 5);
    assert_eq!(lines[0], "t,z,v,d,n,b,l");
    assert_eq!(lines[1], r#"1970-01-01T00:00:00Z,1970-01-01T00:00:01.500Z,1.5,a,9223372036854775807,true,"[1,null]""#);
    assert_eq!(lines[2], r#"1969-12-31T23:59:59.999999999Z,,NaN,"b""c",,false,"#);
    assert_eq!(encoded(Format::Csv, &[]), b"t,z,v,d,n,b,l\n");
}

#[test]
fn arrow_streams_read_back() {
    for batches in [vec![], vec![batch()], vec![batch(), batch().slice(1, 2)]] {
        let bytes = encoded(Format::Arrow, &batches);
        let reader = StreamReader::try_new(bytes.as_slice(), None).expect("a stream");
        assert_eq!(reader.schema(), batch().schema());
        let read: Vec<RecordBatch> = reader.collect::<Result<_, _>>().expect("whole");
        assert_eq!(format!("{read:?}"), format!("{batches:?}"));
    }
}

#[test]
fn parquet_reads_back() {
    let many: Vec<RecordBatch> = std::iter::repeat_n(batch(), ROW_GROUP).collect();
    for batches in [&many[..0], &many[..1], &many] {
        let bytes = encoded(Format::Parquet, batches);
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).expect("a file");
        assert_eq!(reader.metadata().num_row_groups(), (batches.len() * 3).div_ceil(ROW_GROUP));
        let rows: usize = reader.build().expect("readable").map(|batch| batch.expect("readable").num_rows()).sum();
        assert_eq!(rows, batches.len() * 3);
    }
}

#[test]
fn instants_in_dictionaries_and_lists_are_in_utc_too() {
    let instant = DataType::Timestamp(TimeUnit::Microsecond, None);
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let list = |of: &DataType| DataType::List(Arc::new(Field::new("item", of.clone(), true)));
    assert_eq!(utc_type(&list(&instant)), list(&utc));
    assert_eq!(utc_type(&DataType::Dictionary(Box::new(DataType::Int32), Box::new(instant))), utc);
    assert_eq!(utc_type(&DataType::Utf8), DataType::Utf8);
}

#[test]
fn formats_are_known_by_name() {
    for name in ["json", "ndjson", "csv", "arrow", "parquet"] {
        assert!(name.parse::<Format>().is_ok(), "{name}");
    }
    assert!("xml".parse::<Format>().expect_err("unknown").detail().contains("parquet"));
}
