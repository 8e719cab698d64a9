//! Durations, sizes and counts as a person writes them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use schemas::time::{clip, format_duration, parse_duration};
use speed_layer::Durability;

/// Units of sizes, the largest first.
const SIZES: [(&str, u64); 8] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// A path; none where nothing stands.
pub(super) fn file(text: &str) -> Option<PathBuf> {
    Some(text).filter(|text| !text.is_empty()).map(PathBuf::from)
}

/// The text that [`file`] reads back.
pub(super) fn show_file(path: Option<&Path>) -> String {
    path.map_or_else(String::new, |path| path.display().to_string())
}

/// A duration such as `5m`, longer than nothing.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let nanos = parse_duration(text.trim()).map_err(|e| e.to_string())?;
    Ok(Duration::from_nanos(nanos.unsigned_abs()))
}

/// A duration such as `5m`, or `0`.
pub(super) fn duration_or_zero(text: &str) -> Result<Duration, String> {
    if matches!(text.trim(), "0" | "0s") { Ok(Duration::ZERO) } else { duration(text) }
}

/// The text that [`duration_or_zero`] reads back.
pub(super) fn show_duration(duration: Duration) -> String {
    match i64::try_from(duration.as_nanos()) {
        Ok(0) => "0s".to_owned(),
        Ok(nanos) => format_duration(nanos),
        Err(_) => format!("{}s", duration.as_secs()),
    }
}

/// A number of bytes such as `64MiB`, `1GB` or `4096`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let bad = || format!("{:?} is not a size such as 64MiB, 1GiB or 4096", clip(text));
    let trimmed = text.trim();
    let digits = trimmed.bytes().take_while(|b| b.is_ascii_digit() || *b == b'_').count();
    let number = count(&trimmed[..digits]).map_err(|_| bad())?;
    let unit = match trimmed[digits..].trim() {
        "" => 1,
        name => SIZES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).ok_or_else(bad)?.1,
    };
    number.checked_mul(unit).ok_or_else(bad)
}

/// A size that addresses memory.
pub(super) fn memory(text: &str) -> Result<usize, String> {
    usize::try_from(size(text)?).map_err(|_| format!("{:?} is more than this machine can address", clip(text)))
}

/// The shortest text that [`size`] reads back.
pub(super) fn show_size(bytes: u64) -> String {
    let unit = SIZES.iter().find(|(name, unit)| name.ends_with("iB") && bytes > 0 && bytes.is_multiple_of(*unit));
    unit.map_or_else(|| bytes.to_string(), |(name, unit)| format!("{}{name}", bytes / unit))
}

/// A whole number; underscores may group its digits.
pub(super) fn count(text: &str) -> Result<u64, String> {
    let plain: String = text.trim().chars().filter(|c| *c != '_').collect();
    plain.parse().map_err(|_| format!("{:?} is not a whole number", clip(text)))
}

/// A whole number of at least one.
pub(super) fn positive(text: &str) -> Result<usize, String> {
    let number = usize::try_from(count(text)?).map_err(|_| format!("{:?} is too large", clip(text)))?;
    if number == 0 { Err("must be at least 1".to_owned()) } else { Ok(number) }
}

/// `true` or `false`.
pub(super) fn flag(text: &str) -> Result<bool, String> {
    match text.trim() {
        "true" | "1" | "yes" => Ok(true),
        "false" | "0" | "no" => Ok(false),
        other => Err(format!("{:?} is neither true nor false", clip(other))),
    }
}

/// A number above 0 and below 1.
pub(super) fn fraction(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(number) if number > 0.0 && number < 1.0 => Ok(number),
        _ => Err(format!("{:?} is not a number between 0 and 1", clip(text))),
    }
}

/// `sync`, or `interval:` and a duration.
pub(super) fn durability(text: &str) -> Result<Durability, String> {
    match text.trim().split_once(':') {
        None if text.trim() == "sync" => Ok(Durability::Sync),
        Some(("interval", pause)) => duration(pause).map(Durability::Interval),
        _ => Err(format!("{:?} is neither sync nor interval: with a duration, such as interval:200ms", clip(text))),
    }
}

/// The text that [`durability`] reads back.
pub(super) fn show_durability(durability: Durability) -> String {
    match durability {
        Durability::Sync => "sync".to_owned(),
        Durability::Interval(pause) => format!("interval:{}", show_duration(pause)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_back() {
        for (text, bytes) in [("64MiB", 64 << 20), ("1GiB", 1 << 30), ("3KiB", 3072), ("1000", 1000), ("0", 0)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
            assert_eq!(show_size(bytes), text);
        }
        for (text, bytes) in [("1 mib", 1 << 20), ("2MB", 2_000_000), ("1_000B", 1000), (" 7 ", 7)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "-1", "1.5GiB", "1 parsec", "99999999999GiB"] {
            assert!(size(text).expect_err(text).contains("64MiB"), "{text}");
        }
    }

    #[test]
    fn durations_read_back() {
        for text in ["5m", "200ms", "1d", "30s", "0s"] {
            assert_eq!(show_duration(duration_or_zero(text).expect(text)), text);
        }
        for text in ["", "5", "0s", "-1s", "1.5h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durability_reads_back() {
        for text in ["sync", "interval:200ms"] {
            assert_eq!(show_durability(durability(text).expect(text)), text);
        }
        for text in ["", "async", "interval", "interval:", "interval:0s", "sync:1s"] {
            assert!(durability(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_are_bounded() {
        assert_eq!(count("5_000_000"), Ok(5_000_000));
        assert!(positive("0").is_err() && positive("x").is_err());
        assert!(fraction("0").is_err() && fraction("1").is_err() && fraction("NaN").is_err());
        assert_eq!((fraction("0.01"), flag("yes")), (Ok(0.01), Ok(true)));
        assert!(flag("maybe").is_err());
    }
}
