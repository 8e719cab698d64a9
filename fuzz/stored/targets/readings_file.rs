//! A file of readings that was changed, with checksums that fit: an error or readings.
#![no_main]

use std::sync::{Arc, LazyLock};

use batch_layer::history::{Selection, SeriesSet, encode_readings, scan};
use bytes::Bytes;
use futures::TryStreamExt as _;
use fuzz_stored::{changed, let_guards_catch, runtime, stored};
use libfuzzer_sys::fuzz_target;
use schemas::history::{ReadingColumns, StoredReading};
use schemas::paths::ObjectKind;
use schemas::view::FileRef;
use schemas::{LogPosition, SeriesId, SeriesKey, TimeRange};

/// Readings of three series: in order and late, whole numbers, decimals and others.
static WHOLE: LazyLock<Bytes> = LazyLock::new(|| {
    let key = SeriesKey::new("t", &[("device_id", "d")]).expect("valid");
    let reading = |i: i64| StoredReading {
        series: SeriesId((i / 20).unsigned_abs()),
        time: i * 1_000,
        arrival: i * 1_000 + i % 5,
        value: [i as f64, i as f64 / 10.0, (i as f64).sqrt()][(i % 3) as usize],
        position: i.unsigned_abs(),
    };
    let readings: Vec<_> = (0..60).map(reading).collect();
    encode_readings(&readings, |_| &key).expect("encodes")
});

fuzz_target!(init: let_guards_catch(), |changes: &[u8]| {
    runtime().block_on(async {
        let (objects, object) = stored(ObjectKind::Readings, changed(&WHOLE, changes)).await;
        let file = Arc::new(FileRef {
            object,
            positions: (LogPosition::START, LogPosition(u64::MAX)),
            event_bounds: (i64::MIN, i64::MAX),
            series_bounds: (SeriesId(0), SeriesId(u64::MAX)),
            rows: 60,
            sum: None,
        });
        let one = Selection {
            series: SeriesSet::Between(SeriesId(1), SeriesId(1)),
            range: TimeRange::new(25_000, 35_000),
            up_to: Some(LogPosition(33)),
        };
        for selection in [Selection::ALL, one] {
            let mut batches = scan(objects.clone(), Arc::clone(&file), selection);
            while let Ok(Some(batch)) = batches.try_next().await {
                let columns = ReadingColumns::of(&batch).expect("the columns of a scan");
                (0..columns.len()).for_each(|i| {
                    std::hint::black_box(columns.get(i));
                });
            }
        }
    });
});
