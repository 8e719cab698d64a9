//! What several targets check.

use speed_layer::decode::{Format, MAX_ERRORS, Options, decode};

/// What is said beside every body.
pub const OPTIONS: Options =
    Options { precision: schemas::time::Precision::Millis, now: 1_700_000_000_000_000_000 };

/// A body: never a panic, columns of one length, each row of a key that is there.
///
/// # Panics
/// It is not so.
pub fn decodes(format: Format, body: &[u8]) {
    let Ok(decoded) = decode(format, body, &OPTIONS) else { return };
    assert_eq!(decoded.series.len(), decoded.times.len());
    assert_eq!(decoded.series.len(), decoded.values.len());
    assert!(decoded.values.iter().all(|value| value.is_finite()));
    assert_eq!(decoded.errors.len() as u64, decoded.rejected.min(MAX_ERRORS as u64));
    assert!(decoded.series.iter().all(|series| series.number().is_some_and(|n| (n as usize) < decoded.keys.len())));
}
