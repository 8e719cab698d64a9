//! Values and instants from text cells of files, which are laxer than what servers are sent: instants without a zone
//! are UTC, and some words mean that there is no value.

use chrono::{NaiveDate, NaiveDateTime};
use schemas::time::{Precision, clip, parse_rfc3339};

/// Words that stand for a missing value in wide files.
const MISSING: [&str; 9] = ["", "-", "na", "n/a", "nan", "null", "none", "nil", "?"];

/// Whether a cell says that there is no value.
pub(super) fn is_missing(cell: &str) -> bool {
    MISSING.iter().any(|word| word.eq_ignore_ascii_case(cell.trim()))
}

/// The finite value that a cell spells.
pub(super) fn value(cell: &str) -> Result<f64, String> {
    let cell = cell.trim();
    match cell.parse::<f64>() {
        Ok(value) => finite(value),
        Err(_) if cell.is_empty() => Err("value is missing".to_owned()),
        Err(_) if cell.eq_ignore_ascii_case("true") => Ok(1.0),
        Err(_) if cell.eq_ignore_ascii_case("false") => Ok(0.0),
        Err(_) => Err(format!("value {:?} is not a number", clip(cell))),
    }
}

/// The value, if it is finite.
pub(super) fn finite(value: f64) -> Result<f64, String> {
    if value.is_finite() { Ok(value) } else { Err(format!("value is {value}, which is not a reading")) }
}

/// The instant that a cell names: a number in the precision, RFC 3339, or a date and a time without a zone.
pub(super) fn instant(cell: &str, precision: Precision) -> Result<i64, String> {
    let cell = cell.trim();
    if cell.is_empty() {
        return Err("timestamp is missing".to_owned());
    }
    if let Some(number) = number(cell, precision) {
        return number.ok_or_else(|| out_of_range(cell));
    }
    match naive(cell) {
        Some(time) => time.and_utc().timestamp_nanos_opt().ok_or_else(|| out_of_range(cell)),
        None => parse_rfc3339(cell).map_err(|e| e.to_string()),
    }
}

/// The instant `n` units after the epoch.
pub(super) fn units(n: i64, precision: Precision) -> Result<i64, String> {
    precision.nanos(n).ok_or_else(|| out_of_range(&n.to_string()))
}

fn out_of_range(text: &str) -> String {
    format!("timestamp {} is outside the years 1677 to 2262", clip(text))
}

/// Nanoseconds of a decimal number of units; `None`: no number, `Some(None)`: too large.
fn number(cell: &str, precision: Precision) -> Option<Option<i64>> {
    let (whole, fraction) = cell.split_once('.').unwrap_or((cell, ""));
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let whole_units: i64 = whole.parse().ok()?;
    let nanos = precision.nanos(whole_units);
    // Nine digits tell nanoseconds of a second.
    let digits = &fraction[..fraction.len().min(9)];
    let Ok(part) = digits.parse::<i64>() else { return Some(nanos) };
    let unit = match whole_units {
        0 => precision.nanos(1),
        n => precision.nanos(n).and_then(|nanos| nanos.checked_div(n)),
    };
    let power = 10_i128.pow(u32::try_from(digits.len()).unwrap_or(9));
    let part = unit.and_then(|unit| i64::try_from(i128::from(part) * i128::from(unit) / power).ok());
    let signed = if whole.starts_with('-') { part.map(|part| -part) } else { part };
    Some(nanos.zip(signed).and_then(|(nanos, part)| nanos.checked_add(part)))
}

fn naive(cell: &str) -> Option<NaiveDateTime> {
    const FORMATS: [&str; 4] = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"];
    if cell.len() == 10 {
        return NaiveDate::parse_from_str(cell, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0);
    }
    FORMATS.iter().find_map(|format| NaiveDateTime::parse_from_str(cell, format).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_read() {
        let at = |text: &str| parse_rfc3339(text).expect(text);
        for (cell, precision, expected) in [
            ("1700000000", Precision::Seconds, 1_700_000_000_000_000_000),
            ("1700000000.25", Precision::Seconds, 1_700_000_000_250_000_000),
            ("-1.5", Precision::Millis, -1_500_000),
            ("0.5", Precision::Millis, 500_000),
            ("2013-03-01 00:00:00", Precision::Millis, at("2013-03-01T00:00:00Z")),
            ("2013-03-01T10:30", Precision::Millis, at("2013-03-01T10:30:00Z")),
            ("2013-03-01", Precision::Millis, at("2013-03-01T00:00:00Z")),
            ("2013-03-01 00:00:00.125", Precision::Millis, at("2013-03-01T00:00:00.125Z")),
            ("2013-03-01T08:00:00+08:00", Precision::Millis, at("2013-03-01T00:00:00Z")),
        ] {
            assert_eq!(instant(cell, precision), Ok(expected), "{cell}");
        }
        for cell in ["", "soon", "9999999999999999", "2013-13-01", "1.x", "99999999999999999999"] {
            assert!(instant(cell, Precision::Seconds).is_err(), "{cell}");
        }
    }

    #[test]
    fn values_are_read() {
        for (cell, expected) in [(" 1.5 ", Ok(1.5)), ("TRUE", Ok(1.0)), ("-2e3", Ok(-2000.0))] {
            assert_eq!(value(cell), expected, "{cell}");
        }
        for cell in ["", "x", "NaN", "inf", "1,5"] {
            assert!(value(cell).is_err(), "{cell}");
        }
        assert!(is_missing("NaN") && is_missing(" ") && !is_missing("0"));
    }
}
