//! Tables of bodies and what they decode to, one module per format.

mod arrow_stream;
mod bodies;
mod csv;
mod json;
mod limits;
mod line_protocol;
mod numbers;
mod random;
mod throughput;

use schemas::time::Precision;

use super::{Decoded, Format, Options, decode};

/// Milliseconds, arrived 42 ns after the epoch.
const OPTIONS: Options = Options { precision: Precision::Millis, now: 42 };

/// Decodes and compares with lines such as `metric{tag="x"} @time = value`, `!index reason`, `!index:line reason`,
/// `skipped n` and `error: reason`. Reasons need only contain what is expected.
#[track_caller]
fn check(format: Format, body: impl AsRef<[u8]>, expected: &[&str]) {
    check_with(format, body, &OPTIONS, expected);
}

#[track_caller]
fn check_with(format: Format, body: impl AsRef<[u8]>, options: &Options, expected: &[&str]) {
    let body = body.as_ref();
    let found = rendered(decode(format, body, options));
    let start = String::from_utf8_lossy(&body[..body.len().min(120)]).into_owned();
    assert_eq!(found.len(), expected.len(), "{start:?} decoded to {found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(matches(found, expected), "{start:?}: {found:?} is not {expected:?}");
    }
}

fn matches(found: &str, expected: &str) -> bool {
    if !expected.starts_with('!') && !expected.starts_with("error") {
        return found == expected;
    }
    let (place, reason) = expected.split_once(' ').unwrap_or((expected, ""));
    found.strip_prefix(place).and_then(|rest| rest.strip_prefix(' ')).is_some_and(|rest| rest.contains(reason))
}

fn rendered(decoded: Result<Decoded, schemas::Error>) -> Vec<String> {
    let decoded = match decoded {
        Ok(decoded) => decoded,
        Err(e) => return vec![format!("error {e}")],
    };
    assert_sound(&decoded);
    let rows = (0..decoded.series.len()).map(|i| {
        format!(
            "{} @{} = {}",
            decoded.keys[decoded.series[i].number().expect("no spelling is known") as usize],
            decoded.times[i],
            decoded.values[i]
        )
    });
    let errors = decoded.errors.iter().map(|e| match e.line {
        Some(line) => format!("!{}:{line} {}", e.index, e.reason),
        None => format!("!{} {}", e.index, e.reason),
    });
    let skipped = (decoded.skipped > 0).then(|| format!("skipped {}", decoded.skipped));
    rows.chain(errors).chain(skipped).collect()
}

/// What holds of everything that decodes.
fn assert_sound(decoded: &Decoded) {
    assert_eq!(decoded.series.len(), decoded.times.len());
    assert_eq!(decoded.series.len(), decoded.values.len());
    assert!(decoded.values.iter().all(|value| value.is_finite()));
    assert_eq!(decoded.errors.len() as u64, decoded.rejected.min(super::MAX_ERRORS as u64));
    let used: std::collections::BTreeSet<u32> = decoded.series.iter().filter_map(|series| series.number()).collect();
    assert_eq!(used.len(), decoded.keys.len(), "every series has a row");
    let distinct: std::collections::BTreeSet<&schemas::SeriesKey> = decoded.keys.iter().collect();
    assert_eq!(distinct.len(), decoded.keys.len(), "every series stands once");
    for e in &decoded.errors {
        assert!(e.reason.len() < 1000 && e.text.as_ref().is_none_or(|text| text.chars().count() <= 64), "{e:?}");
    }
}

/// A name longer than any that is accepted.
fn long_name() -> String {
    "x".repeat(1_000_000)
}
