//! A body of an Arrow stream: never a panic, columns of one length, each key with a row.
#![no_main]

use libfuzzer_sys::fuzz_target;
use speed_layer::decode::{Format, Options, decode};

fuzz_target!(|body: &[u8]| {
    let options = Options { precision: schemas::time::Precision::Millis, now: 1_700_000_000_000_000_000 };
    let Ok(decoded) = decode(Format::ArrowStream, body, &options) else { return };
    assert_eq!(decoded.series.len(), decoded.times.len());
    assert_eq!(decoded.series.len(), decoded.values.len());
    assert!(decoded.values.iter().all(|value| value.is_finite()));
    assert_eq!(decoded.errors.len() as u64, decoded.rejected.min(speed_layer::decode::MAX_ERRORS as u64));
    assert!(decoded.series.iter().all(|series| series.number().is_some_and(|n| (n as usize) < decoded.keys.len())));
});
