//! What tests of history and recompute share: stores, files and readings made from a seed.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use arrow::record_batch::RecordBatch;
use object_store::memory::InMemory;
use schemas::history::{ReadingColumns, StoredReading, readings_to_batch, scanned};
use schemas::paths::{MIXED, ObjectKind};
use schemas::time::MILLISECOND;
use schemas::view::FileRef;
use schemas::{EventTime, LogPosition, SeriesId, SeriesKey, TimeRange};

use super::objects::Objects;
use super::selection::{Selection, SeriesSet};
use super::write::ReadingsWriter;

static KEY: LazyLock<SeriesKey> = LazyLock::new(|| SeriesKey::new("t", &[("device_id", "d")]).expect("valid"));

/// The key that stands for every series in tests.
pub(crate) fn key<'a>(_: SeriesId) -> &'a SeriesKey {
    &KEY
}

/// Objects in memory, and their store for doing damage.
pub(crate) fn in_memory() -> (Objects, Arc<InMemory>) {
    let store = Arc::new(InMemory::new());
    (Objects::new(store.clone()), store)
}

/// A reading that arrived one nanosecond after it happened.
pub(crate) fn reading(series: u64, time: i64, position: u64, value: f64) -> StoredReading {
    StoredReading { series: SeriesId(series), time, arrival: (time % 1000 + 1) * MILLISECOND, value, position }
}

/// Sorts arrivals as files do; arrivals of one frame keep their order.
pub(crate) fn sorted(mut readings: Vec<StoredReading>) -> Vec<StoredReading> {
    readings.sort_by_key(|r| (r.series, r.time, r.position));
    readings
}

/// Stores these readings, sorted, as one file.
pub(crate) async fn store_file(objects: &Objects, readings: &[StoredReading]) -> Arc<FileRef> {
    let mut writer = ReadingsWriter::new().expect("opens");
    writer.push(readings, key).expect("encodes");
    let (bytes, bounds) = writer.finish().expect("encodes");
    let bounds = bounds.expect("a file has rows");
    let object = objects.put(ObjectKind::Readings, MIXED, bounds.positions.1, bytes).await.expect("puts");
    Arc::new(bounds.file(object))
}

/// Readings as a batch of hot ones.
pub(crate) fn hot(readings: &[StoredReading]) -> RecordBatch {
    scanned(&readings_to_batch(readings)).expect("readings have the columns of a scan")
}

/// The rows of batches with the columns of a scan.
pub(crate) fn rows(batches: &[RecordBatch]) -> Vec<StoredReading> {
    let of = |batch: &RecordBatch| {
        let columns = ReadingColumns::of(batch).expect("the columns of a scan");
        (0..columns.len()).map(|i| columns.get(i)).collect::<Vec<_>>()
    };
    batches.iter().flat_map(of).collect()
}

/// Whether a selection asks for a reading, said as simply as can be.
pub(crate) fn wants(selection: &Selection, r: &StoredReading) -> bool {
    let asked = match &selection.series {
        SeriesSet::All => true,
        SeriesSet::These(these) => these.contains(&r.series),
        SeriesSet::Between(first, last) => (*first..=*last).contains(&r.series),
        SeriesSet::Stretches(stretches) => {
            stretches.iter().any(|(series, stretch)| *series == r.series && stretch.contains(EventTime(r.time)))
        }
    };
    asked
        && selection.range.start.0 <= r.time
        && r.time < selection.range.end.0
        && selection.up_to.is_none_or(|cut| r.position <= cut.0)
}

/// Some stretches of the series below 6, within `-span..span`.
pub(crate) fn random_stretches(random: &mut fastrand::Rng, span: i64) -> SeriesSet {
    let mut stretches = Vec::new();
    for series in 0..6 {
        let mut bounds: Vec<i64> = (0..2 * random.usize(..4)).map(|_| random.i64(-span..=span)).collect();
        bounds.sort_unstable();
        stretches.extend(bounds.chunks(2).map(|pair| (SeriesId(series), TimeRange::new(pair[0], pair[1]))));
    }
    SeriesSet::Stretches(stretches.into())
}

/// The last arrival of each identity among arrivals in order of arrival, the slow and certain way.
pub(crate) fn last_arrivals(arrivals: &[StoredReading]) -> Vec<StoredReading> {
    let mut last = BTreeMap::new();
    for r in arrivals {
        last.insert((r.series, r.time), *r);
    }
    last.into_values().collect()
}

/// Arrivals in order, many of them late, corrected or repeated, a few to a frame.
pub(crate) fn random_arrivals(random: &mut fastrand::Rng, n: usize) -> Vec<StoredReading> {
    let series = random.u64(1..6);
    let times = random.i64(1..=i64::try_from(n).expect("small"));
    let mut position = 1;
    let arrival = |_| {
        position += u64::from(random.u8(..3) == 0);
        let value = [0.1, 25.3, -7.0, 1e300, 1e-300, -0.0][random.usize(..6)] * f64::from(random.u8(..));
        reading(random.u64(..series), random.i64(-times..times), position, value)
    };
    (0..n).map(arrival).collect()
}

/// Splits arrivals into parts at random; what arrived together in one frame and is of one identity stays together.
pub(crate) fn random_parts(
    random: &mut fastrand::Rng,
    arrivals: &[StoredReading],
    parts: usize,
) -> Vec<Vec<StoredReading>> {
    let mut split = vec![Vec::new(); parts];
    let salt = random.u64(..);
    for r in arrivals {
        let identity = [r.series.0, r.time.cast_unsigned(), r.position, salt];
        let hash = identity.iter().fold(0_u64, |h, x| (h ^ x).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29));
        split[usize::try_from(hash % parts as u64).expect("small")].push(*r);
    }
    split.into_iter().filter(|part| !part.is_empty()).map(sorted).collect()
}

/// The last frame among these arrivals.
pub(crate) fn last_position(arrivals: &[StoredReading]) -> LogPosition {
    LogPosition(arrivals.iter().map(|r| r.position).max().unwrap_or(0))
}
