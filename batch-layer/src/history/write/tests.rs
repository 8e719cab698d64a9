use arrow::array::{Array as _, ArrayRef, AsArray as _};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::ParquetMetaData;
use schemas::cells::Cell;
use schemas::epoch::Tail;
use schemas::history::{ReadingColumns, StoredCell, StoredReading, batch_to_cells, batch_to_series, places, scanned};
use schemas::partial::Sketch;
use schemas::time::MILLISECOND;
use schemas::{ArrivalTime, LogPosition, Partial, SeriesId, SeriesKey};

use super::*;
use crate::history::pieces::CellPieces;

fn reading(series: u64, time: i64, position: u64) -> StoredReading {
    StoredReading {
        series: SeriesId(series),
        time,
        arrival: (time % 1000 + 1) * MILLISECOND,
        value: time as f64 / 10.0,
        position,
    }
}

fn key() -> SeriesKey {
    SeriesKey::new("temperature", &[("device_id", "press-7"), ("line", "A")]).expect("valid")
}

fn decode(bytes: Bytes) -> (Arc<ParquetMetaData>, Vec<arrow::record_batch::RecordBatch>) {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).expect("is Parquet");
    let footer = Arc::clone(builder.metadata());
    (footer, builder.build().expect("reads").map(|b| b.expect("decodes")).collect())
}

#[test]
fn readings_come_back_in_groups_with_statistics() {
    let key = key();
    let readings: Vec<_> = (0..300_000).map(|i| reading(i / 1000, i64::try_from(i).expect("small"), i)).collect();
    let (footer, batches) = decode(encode_readings(&readings, |_| &key).expect("encodes"));
    let decoded = batches.iter().flat_map(|b| {
        let batch = scanned(b).expect("the columns of readings");
        let columns = ReadingColumns::of(&batch).expect("the columns of a scan");
        (0..columns.len()).map(|i| columns.get(i)).collect::<Vec<_>>()
    });
    assert!(decoded.eq(readings.iter().copied()));
    assert_eq!(footer.row_groups().iter().map(|g| g.num_rows()).collect::<Vec<_>>(), [131_072, 131_072, 37_856]);
    for group in footer.row_groups() {
        let unsaid = |name: &str| ["arrival_time", "decimal", "scale"].contains(&name);
        assert!(group.columns().iter().all(|c| c.statistics().is_some() != unsaid(c.column_descr().name())));
        assert_eq!(
            group.sorting_columns().expect("sorted").iter().map(|c| c.column_idx).collect::<Vec<_>>(),
            [0, 4, 9]
        );
    }
    let said = footer.file_metadata().key_value_metadata().expect("said");
    assert!(said.iter().any(|kv| kv.key == "weir.kind" && kv.value.as_deref() == Some("readings")));
}

#[test]
fn pieces_make_the_same_file_and_its_bounds() {
    let key = key();
    let readings: Vec<_> = (0..50_000_u64)
        .map(|i| reading(i / 100, 7 - i64::try_from(i % 100 / 2).expect("small").pow(2).saturating_neg(), i))
        .collect();
    let mut writer = ReadingsWriter::new().expect("opens");
    for piece in readings.chunks(CHUNK * 2) {
        writer.push(piece, |_| &key).expect("pushes");
    }
    let (bytes, bounds) = writer.finish().expect("finishes");
    assert_eq!(bytes, encode_readings(&readings, |_| &key).expect("encodes"), "equal rows give equal bytes");
    assert_eq!(bounds, Bounds::of(&readings));
    let bounds = bounds.expect("not empty");
    assert_eq!(
        (bounds.rows, bounds.series_bounds, bounds.positions),
        (50_000, (SeriesId(0), SeriesId(499)), (LogPosition(0), LogPosition(49_999)))
    );
    assert_eq!(bounds.event_bounds, (7, 7 + 49 * 49));
    assert_eq!(ReadingsWriter::new().expect("opens").finish().expect("an empty file").1, None);
}

#[test]
#[should_panic(expected = "readings are stored in order")]
fn disorder_is_refused() {
    let key = key();
    let mut writer = ReadingsWriter::new().expect("opens");
    writer.push(&[reading(1, 5, 2)], |_| &key).expect("pushes");
    writer.push(&[reading(1, 5, 1)], |_| &key).expect("does not come here");
}

#[test]
fn cells_come_back() {
    let cell = |i: i64| {
        let mut partial =
            Partial::of_all([(i, 0.1), (i + 1, f64::from(u32::try_from(i).expect("small")))]).expect("not empty");
        partial.sketch = (i % 3 > 0).then(|| Box::new(Sketch::of([0.1, 25.3])));
        StoredCell {
            series: SeriesId(i.unsigned_abs() / 100),
            cell: Cell { bucket: i * 10, partial },
            disordered: i % 7 == 0,
        }
    };
    let cells: Vec<_> = (0..40_000).map(cell).collect();
    let (footer, batches) = decode(encode_cells(&cells.clone().into()).expect("encodes"));
    let decoded: Vec<_> = batches.iter().flat_map(|b| batch_to_cells(b).expect("cells")).collect();
    assert!(decoded == cells);
    assert_eq!(footer.row_groups().iter().map(|g| g.num_rows()).collect::<Vec<_>>(), [16_384, 16_384, 7_232]);
    assert!(decode(encode_cells(&CellPieces::default()).expect("encodes")).1.is_empty());
    let mut writer = CellsWriter::new().expect("opens");
    cells.chunks(16_384).try_for_each(|piece| writer.push(piece)).expect("pushes");
    let whole = encode_cells(&cells.into()).expect("encodes");
    assert_eq!(writer.finish().expect("finishes"), whole, "equal cells give equal bytes");
}

#[test]
fn series_come_back() {
    let state = |id: u64| {
        let key = SeriesKey::new("t", &[("device_id", &format!("d{id}"))]).expect("valid");
        SeriesState { id: SeriesId(id), key, tail: id.is_multiple_of(2).then(|| Tail::of(5, 1.0, ArrivalTime(9))) }
    };
    let states: Vec<_> = (0..20_000).map(state).collect();
    let (_, batches) = decode(encode_series(&states).expect("encodes"));
    let decoded: Vec<_> = batches.iter().flat_map(|b| batch_to_series(b).expect("series")).collect();
    assert!(decoded == states);
}

#[test]
fn each_reading_is_named() {
    let names: Vec<SeriesKey> = (0..700)
        .map(|i| {
            let (device, line) = (format!("press-{i}"), "b".repeat(i % 100));
            let tags: &[(&str, &str)] = if i % 3 == 0 { &[("line", &line)] } else { &[("device_id", &device)] };
            SeriesKey::new(["humidity", "temperature"][i / 400], tags).expect("valid")
        })
        .collect();
    let key = |id: SeriesId| &names[usize::try_from(id.0).expect("few")];
    // None, one, many names and nulls in turns, long runs of null, several row groups.
    for (rows, series) in [(0, 1), (1, 1), (5_000, 700), (20_000, 1), (300_000, 700)] {
        let readings: Vec<_> =
            (0..rows).map(|i| reading(i * series / rows, i64::try_from(i).expect("small"), i)).collect();
        let (footer, batches) = decode(encode_readings(&readings, key).expect("encodes"));
        let mut next = readings.iter();
        for batch in &batches {
            let text = |name: &str| cast(batch.column_by_name(name).expect(name), &DataType::Utf8).expect("text");
            let (metric, device, tags) = (text("metric"), text("device_id"), text("tags"));
            for i in 0..batch.num_rows() {
                let key = key(next.next().expect("as many").series);
                let told =
                    |column: &ArrayRef| column.is_valid(i).then(|| column.as_string::<i32>().value(i).to_owned());
                let told = [&metric, &device, &tags].map(told);
                assert_eq!(
                    told,
                    [Some(key.metric().to_owned()), key.device_id().map(Into::into), Some(key.tags_json())]
                );
            }
        }
        assert!(next.next().is_none());
        for group in footer.row_groups() {
            let metric = group.column(1).statistics().expect("short");
            assert!([b"humidity".as_slice(), b"temperature"].contains(&metric.min_bytes_opt().expect("not null")));
            assert_eq!(metric.null_count_opt(), Some(0));
            assert_eq!(group.column(3).statistics().is_none(), series > 1, "long tags are not told");
        }
    }
}

#[test]
fn long_tags_end_a_row_group() {
    let key = |i: u64| SeriesKey::new("m", &[("note", &format!("{i}{}", "x".repeat(1_000)))]).expect("valid");
    let keys: Vec<SeriesKey> = (0..40_000).map(key).collect();
    let readings: Vec<_> = (0..40_000).map(|i| reading(i, 5, i)).collect();
    let key = |id: SeriesId| &keys[usize::try_from(id.0).expect("few")];
    let (footer, batches) = decode(encode_readings(&readings, key).expect("encodes"));
    let groups: Vec<i64> = footer.row_groups().iter().map(|g| g.num_rows()).collect();
    assert!(groups.len() == 3 && groups.iter().all(|rows| *rows < 17_000), "{groups:?}");
    let rows: Vec<u64> = batches.iter().flat_map(|b| places(b).expect("columns").0.to_vec()).collect();
    assert!(rows.into_iter().eq(0..40_000));
}
