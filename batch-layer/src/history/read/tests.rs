use arrow::compute::cast;
use arrow::datatypes::{DataType, Schema, TimeUnit};
use futures::TryStreamExt;
use object_store::{ObjectStoreExt, path::Path};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use schemas::cells::Cell;
use schemas::history::{SCAN, StoredReading};
use schemas::partial::Sketch;
use schemas::paths::{ObjectKind, WHOLE};
use schemas::{Partial, TimeRange};

use super::*;
use crate::history::selection::SeriesSet;
use crate::history::testing::{in_memory, random_arrivals, random_stretches, reading, rows, sorted, store_file, wants};
use crate::history::write::{Bounds, encode_cells};

async fn scanned(objects: &Objects, file: &Arc<FileRef>, selection: &Selection) -> Result<Vec<StoredReading>> {
    let batches: Vec<RecordBatch> = scan(objects.clone(), Arc::clone(file), selection.clone()).try_collect().await?;
    assert!(batches.iter().all(|b| b.num_rows() > 0 && b.schema().fields() == SCAN.fields()));
    Ok(rows(&batches))
}

fn selection(series: Option<&[u64]>, start: i64, end: i64, up_to: Option<u64>) -> Selection {
    let these: Option<Arc<[SeriesId]>> = series.map(|s| s.iter().copied().map(SeriesId).collect());
    Selection { series: these.into(), range: TimeRange::new(start, end), up_to: up_to.map(LogPosition) }
}

#[tokio::test]
async fn a_scan_yields_exactly_what_is_selected() {
    let mut random = fastrand::Rng::with_seed(1);
    for n in [1, 2, 100, 20_000] {
        let (objects, _) = in_memory();
        let readings = sorted(random_arrivals(&mut random, n));
        let file = store_file(&objects, &readings).await;
        for _ in 0..30 {
            let span = i64::try_from(n).expect("small");
            let some: Vec<u64> = (0..7).filter(|_| random.bool()).collect();
            let mut selection = selection(
                random.bool().then_some(&some[..]),
                random.i64(-span..=span),
                random.i64(-span..=span),
                random.bool().then(|| random.u64(..n as u64)),
            );
            if random.bool() {
                selection.series = random_stretches(&mut random, span);
            }
            let expected: Vec<_> = readings.iter().filter(|r| wants(&selection, r)).copied().collect();
            assert_eq!(scanned(&objects, &file, &selection).await.expect("reads"), expected, "{selection:?}");
            assert!(selection.touches(&file) || expected.is_empty());
        }
        assert_eq!(scanned(&objects, &file, &Selection::ALL).await.expect("reads"), readings);
    }
}

#[tokio::test]
async fn row_groups_that_cannot_match_are_not_read() {
    let (objects, store) = in_memory();
    // Values that take room: several blocks.
    let value = |i: u64| (i as f64).sqrt();
    let readings: Vec<_> =
        (0..400_000_u64).map(|i| reading(i / 1000, i64::try_from(i % 1000).expect("small"), i, value(i))).collect();
    let file = store_file(&objects, &readings).await;
    let last_only = selection(Some(&[399]), 0, 1000, None);
    let expected = scanned(&objects, &file, &last_only).await.expect("reads");
    assert_eq!(expected, readings[399_000..]);

    // The first block belongs to the first row group.
    let path = Path::from(file.object.path.clone());
    let mut bytes = store.get(&path).await.expect("there").bytes().await.expect("there").to_vec();
    bytes[1000] ^= 1;
    store.put(&path, bytes.into()).await.expect("damages");
    assert_eq!(scanned(&objects, &file, &last_only).await.expect("does not need what is damaged"), expected);
    let error = scanned(&objects, &file, &Selection::ALL).await.expect_err("needs it");
    assert!(matches!(&error, Error::Corrupt { what, .. } if *what == file.object.path), "{error}");
}

#[tokio::test]
async fn pages_that_cannot_match_are_not_read() {
    let (objects, _) = in_memory();
    let readings: Vec<_> =
        (0..100_000_u64).map(|i| reading(i / 5_000, i64::try_from(i % 5_000).expect("small"), i, i as f64)).collect();
    let file = store_file(&objects, &readings).await;
    let builder = open(&objects, &file.object).await.expect("opens");
    let extent = extents(&builder, "").expect("statistics").remove(0);
    let matching =
        |selection| pages_matching(&builder, "", (0, &extent), &selection).expect("reads").expect("an index");
    assert_eq!(matching(selection(Some(&[3]), 0, 5_000, None)), [8_192..16_384, 16_384..24_576]);
    assert_eq!(matching(selection(Some(&[0, 19]), 0, 5_000, None)), [0..8_192, 90_112..98_304, 98_304..100_000]);
    let stretches = SeriesSet::Stretches([(SeriesId(19), TimeRange::new(4_999, 6_000))].into());
    let late = Selection { series: stretches, ..selection(None, 4_999, 6_000, None) };
    assert_eq!(matching(late.clone()), [90_112..98_304, 98_304..100_000]);
    assert_eq!(scanned(&objects, &file, &late).await.expect("reads"), readings[99_999..]);
}

#[tokio::test]
async fn row_groups_that_match_in_part_as_a_whole_and_not_at_all_are_read_together() {
    let (objects, _) = in_memory();
    let readings: Vec<_> =
        (0..400_000_u64).map(|i| reading(i / 1_000, i64::try_from(i % 1_000).expect("small"), i, i as f64)).collect();
    let file = store_file(&objects, &readings).await;
    for (first, last) in [(131, 300), (0, 262), (140, 150), (300, 399), (393, 500)] {
        let series = SeriesSet::Between(SeriesId(first), SeriesId(last));
        let selection = Selection { series, ..selection(None, 0, 1_000, None) };
        let expected: Vec<_> = readings.iter().filter(|r| wants(&selection, r)).copied().collect();
        assert!(!expected.is_empty());
        assert_eq!(scanned(&objects, &file, &selection).await.expect("reads"), expected, "{first} to {last}");
    }
}

/// Files from before pages had an index, and from before values were decimals.
#[tokio::test]
async fn files_of_other_writers_are_read() {
    let readings = sorted(random_arrivals(&mut fastrand::Rng::with_seed(5), 20_000));
    let batch = crate::history::testing::hot(&readings);
    let millis = cast(batch.column(2), &DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))).expect("casts");
    let fields = ["series_id", "event_time", "arrival_time", "value", "position"]
        .map(|name| READINGS.field_with_name(name).expect("a column of readings").clone());
    let columns = vec![batch.column(0), batch.column(1), &millis, batch.column(3), batch.column(4)];
    let schema = Arc::new(Schema::new(fields.to_vec()));
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns.into_iter().cloned().collect()).expect("fits");
    for offsets_untold in [true, false] {
        let properties = WriterProperties::builder()
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_offset_index_disabled(offsets_untold)
            .set_data_page_row_count_limit(1_000)
            .set_max_row_group_row_count(Some(8_000))
            .build();
        let mut writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), Some(properties)).expect("opens");
        writer.write(&batch).expect("writes");
        let (objects, bounds) = (in_memory().0, Bounds::of(&readings).expect("not empty"));
        let bytes = writer.into_inner().expect("finishes").into();
        let object = objects.put(ObjectKind::Readings, WHOLE, LogPosition(1), bytes).await.expect("puts");
        let file = Arc::new(bounds.file(object));
        for selection in [Selection::ALL, selection(Some(&[0, 1, 3]), -5_000, 3_000, Some(5_000))] {
            let expected: Vec<_> = readings.iter().filter(|r| wants(&selection, r)).copied().collect();
            assert!(!expected.is_empty());
            assert_eq!(scanned(&objects, &file, &selection).await.expect("reads"), expected, "{selection:?}");
        }
    }
}

/// OBJ-1: whatever single byte is damaged, no read answers wrongly.
#[tokio::test]
async fn every_flipped_byte_is_found() {
    let (objects, store) = in_memory();
    let readings = sorted(random_arrivals(&mut fastrand::Rng::with_seed(3), 200));
    let file = store_file(&objects, &readings).await;
    let path = Path::from(file.object.path.clone());
    let good = store.get(&path).await.expect("there").bytes().await.expect("there");
    for (at, bit) in (0..good.len()).map(|at| (at, at % 8)) {
        let mut bytes = good.to_vec();
        bytes[at] ^= 1 << bit;
        store.put(&path, bytes.into()).await.expect("damages");
        // Without and with a footer that was read before the damage.
        for objects in [Objects::new(store.clone()), objects.clone()] {
            let error = scanned(&objects, &file, &Selection::ALL).await.expect_err("a byte is wrong");
            assert!(matches!(&error, Error::Corrupt { what, .. } if *what == file.object.path), "byte {at}: {error}");
        }
        if at == 0 {
            store.put(&path, good.clone().into()).await.expect("repairs");
            assert_eq!(scanned(&objects, &file, &Selection::ALL).await.expect("is whole"), readings);
        }
    }
}

#[tokio::test]
async fn a_file_with_other_rows_than_the_catalog_says_is_refused() {
    let (objects, _) = in_memory();
    let file = store_file(&objects, &[reading(1, 2, 3, 4.0)]).await;
    let other = Arc::new(FileRef { rows: 2, ..(*file).clone() });
    assert!(matches!(scanned(&objects, &other, &Selection::ALL).await, Err(Error::Corrupt { .. })));
    objects.delete(&file.object.path).await.expect("deletes");
    let objects = Objects::new(Arc::new(object_store::memory::InMemory::new()));
    assert!(matches!(scanned(&objects, &file, &Selection::ALL).await, Err(Error::Corrupt { .. })));
}

#[tokio::test]
async fn cells_are_read_by_series_and_without_sketches() {
    let (objects, _) = in_memory();
    let cell = |i: i64| {
        let mut partial = Partial::of(i, 0.1);
        partial.sketch = Some(Box::new(Sketch::of([0.1])));
        StoredCell {
            series: SeriesId(i.unsigned_abs() / 50),
            cell: Cell { bucket: i, partial },
            disordered: i % 2 == 0,
        }
    };
    let cells: Vec<_> = (0..40_000).map(cell).collect();
    let bytes = encode_cells(&cells.clone().into()).expect("encodes");
    let object = objects.put(ObjectKind::View, WHOLE, LogPosition(1), bytes).await.expect("puts");
    assert!(read_cells(&objects, &object, None, true).await.expect("reads") == cells);

    let asked = [3, 4, 700, 9_999].map(SeriesId);
    let expected: Vec<_> = cells.iter().filter(|c| asked.contains(&c.series)).cloned().collect();
    assert_eq!(expected.len(), 150);
    assert!(read_cells(&objects, &object, Some(&asked), true).await.expect("reads") == expected);
    let bare = read_cells(&objects, &object, Some(&asked), false).await.expect("reads");
    assert!(bare.iter().all(|c| c.cell.partial.sketch.is_none()));
    assert!(bare.iter().zip(&expected).all(|(a, b)| (a.series, a.cell.bucket) == (b.series, b.cell.bucket)));
    assert!(read_cells(&objects, &object, Some(&[]), true).await.expect("reads").is_empty());
}
