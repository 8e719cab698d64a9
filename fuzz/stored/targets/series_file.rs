//! A file of series that was changed, with checksums that fit: an error or series.
#![no_main]

use std::sync::LazyLock;

use batch_layer::history::{encode_series, read_series};
use bytes::Bytes;
use fuzz_stored::{changed, let_guards_catch, runtime, stored};
use libfuzzer_sys::fuzz_target;
use schemas::epoch::SeriesState;
use schemas::paths::ObjectKind;
use schemas::{SeriesId, SeriesKey};

static WHOLE: LazyLock<Bytes> = LazyLock::new(|| {
    let state = |i: u64| SeriesState {
        id: SeriesId(i),
        key: SeriesKey::new("temperature", &[("device_id", &format!("d{i}")), ("line", "é")]).expect("valid"),
        tail: None,
    };
    encode_series(&(0..20).map(state).collect::<Vec<_>>()).expect("encodes")
});

fuzz_target!(init: let_guards_catch(), |changes: &[u8]| {
    runtime().block_on(async {
        let (objects, object) = stored(ObjectKind::Series, changed(&WHOLE, changes)).await;
        if let Ok(series) = read_series(&objects, &object).await {
            series.iter().for_each(|state| drop(state.key.to_string()));
        }
    });
});
