//! Event time and arrival time, both in nanoseconds since 1970-01-01 UTC.
//!
//! Owns the two kinds of instant, half-open ranges of event time, and their text forms. Does not own a clock: time
//! enters the pure parts as an argument, and the shells take a [`Clock`].

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Nanoseconds in a microsecond.
pub const MICROSECOND: i64 = 1_000;
/// Nanoseconds in a millisecond.
pub const MILLISECOND: i64 = 1_000_000;
/// Nanoseconds in a second.
pub const SECOND: i64 = 1_000_000_000;
/// Nanoseconds in a minute.
pub const MINUTE: i64 = 60 * SECOND;
/// Nanoseconds in an hour.
pub const HOUR: i64 = 60 * MINUTE;
/// Nanoseconds in a day of 24 hours.
pub const DAY: i64 = 24 * HOUR;

/// When it happened, by the source's clock: nanoseconds since the epoch, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct EventTime(pub i64);

/// When Weir accepted it, by Weir's clock: nanoseconds since the epoch, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct ArrivalTime(pub i64);

/// Tells the time. The one door through which the time of day enters.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Weir's own time now.
    fn now(&self) -> ArrivalTime;
}

/// Event times `start <= t && t < end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, PartialOrd, Ord)]
pub struct TimeRange {
    /// The first instant inside.
    pub start: EventTime,
    /// The first instant after.
    pub end: EventTime,
}

impl TimeRange {
    /// Everything that an event time can be.
    pub const ALL: Self = Self { start: EventTime(i64::MIN), end: EventTime(i64::MAX) };

    /// The range `[start, end)` of nanoseconds.
    pub const fn new(start: i64, end: i64) -> Self {
        Self { start: EventTime(start), end: EventTime(end) }
    }

    /// Whether `t` lies inside.
    #[inline]
    pub fn contains(&self, t: EventTime) -> bool {
        self.start <= t && t < self.end
    }

    /// Whether some instant lies in both.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// What both share; empty (`start >= end`) where they share nothing.
    pub fn intersect(&self, other: &Self) -> Self {
        Self { start: self.start.max(other.start), end: self.end.min(other.end) }
    }

    /// Whether no instant lies inside.
    pub fn is_empty(&self) -> bool {
        self.start >= self.end
    }
}

impl std::fmt::Display for EventTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&format_rfc3339(self.0))
    }
}

impl std::fmt::Display for ArrivalTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&format_rfc3339(self.0))
    }
}

impl std::fmt::Display for TimeRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{}, {})", self.start, self.end)
    }
}

/// RFC 3339 in UTC, with as many digits of the second as are needed (0, 3, 6 or 9).
pub fn format_rfc3339(nanos: i64) -> String {
    DateTime::<Utc>::from_timestamp_nanos(nanos).to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// Nanoseconds since the epoch of an RFC 3339 text.
///
/// # Errors
/// The text is not RFC 3339, or outside the years 1677 to 2262 that nanoseconds in an `i64` can tell.
pub fn parse_rfc3339(text: &str) -> Result<i64> {
    DateTime::parse_from_rfc3339(text)
        .map_err(|_| Error::invalid(format!("timestamp {:?} is not RFC 3339", clip(text))))?
        .timestamp_nanos_opt()
        .ok_or_else(|| Error::invalid(format!("timestamp {:?} is outside the years 1677 to 2262", clip(text))))
}

/// The start of a text, short enough for an error message.
pub fn clip(text: &str) -> &str {
    match text.char_indices().nth(64) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

/// The unit of a bare number that stands for an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Precision {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Millis,
    /// Microseconds.
    Micros,
    /// Nanoseconds.
    Nanos,
    /// Minutes (line protocol of InfluxDB 1).
    Minutes,
    /// Hours (line protocol of InfluxDB 1).
    Hours,
    /// Guessed from the magnitude, as InfluxDB 3 does: below 5e9 seconds, below 5e12 milliseconds, below 5e15 microseconds.
    Auto,
}

impl Precision {
    /// Nanoseconds of `n` units; `None` where that does not fit.
    pub fn nanos(self, n: i64) -> Option<i64> {
        let unit = match self {
            Self::Seconds => SECOND,
            Self::Millis => MILLISECOND,
            Self::Micros => MICROSECOND,
            Self::Nanos => 1,
            Self::Minutes => MINUTE,
            Self::Hours => HOUR,
            Self::Auto => match n.unsigned_abs() {
                0..5_000_000_000 => SECOND,
                5_000_000_000..5_000_000_000_000 => MILLISECOND,
                5_000_000_000_000..5_000_000_000_000_000 => MICROSECOND,
                _ => 1,
            },
        };
        n.checked_mul(unit)
    }
}

impl std::str::FromStr for Precision {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "s" | "second" => Ok(Self::Seconds),
            "ms" | "millisecond" => Ok(Self::Millis),
            "us" | "u" | "µ" | "µs" | "microsecond" => Ok(Self::Micros),
            "ns" | "n" | "nanosecond" => Ok(Self::Nanos),
            "m" => Ok(Self::Minutes),
            "h" => Ok(Self::Hours),
            "auto" => Ok(Self::Auto),
            _ => Err(Error::invalid(format!("unknown precision {:?}: use one of s, ms, us, ns", clip(text)))),
        }
    }
}

/// Nanoseconds of a duration such as `10s`, `1m`, `250ms`, `1h`, `1d`, `1w`.
///
/// # Errors
/// The text is not a positive whole number followed by one of `ns us ms s m h d w`.
pub fn parse_duration(text: &str) -> Result<i64> {
    let bad = || Error::invalid(format!("{:?} is not a duration such as 10s, 1m, 1h or 1d", clip(text)));
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let n: i64 = text[..digits].parse().map_err(|_| bad())?;
    let unit = match &text[digits..] {
        "ns" => 1,
        "us" => MICROSECOND,
        "ms" => MILLISECOND,
        "s" => SECOND,
        "m" => MINUTE,
        "h" => HOUR,
        "d" => DAY,
        "w" => 7 * DAY,
        _ => return Err(bad()),
    };
    n.checked_mul(unit).filter(|d| *d > 0).ok_or_else(bad)
}

/// The shortest text that [`parse_duration`] reads back as `nanos`.
pub fn format_duration(nanos: i64) -> String {
    const UNITS: [(i64, &str); 6] =
        [(DAY, "d"), (HOUR, "h"), (MINUTE, "m"), (SECOND, "s"), (MILLISECOND, "ms"), (MICROSECOND, "us")];
    for (unit, name) in UNITS {
        if nanos != 0 && nanos % unit == 0 {
            return format!("{}{name}", nanos / unit);
        }
    }
    format!("{nanos}ns")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_back() {
        for text in ["10s", "1m", "1h", "1d", "250ms", "7us", "3ns"] {
            assert_eq!(format_duration(parse_duration(text).expect(text)), text);
        }
        for text in ["", "s", "0s", "-1s", "1.5s", "1y", "99999999999999999999d", "９s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn instants_read_back() {
        for text in ["2024-01-01T10:00:00Z", "1969-12-31T23:59:59.999Z", "2024-01-01T00:00:00.000000001Z"] {
            assert_eq!(format_rfc3339(parse_rfc3339(text).expect(text)), text);
        }
        assert_eq!(parse_rfc3339("2024-01-01T02:00:00+02:00"), parse_rfc3339("2024-01-01T00:00:00Z"));
        assert!(parse_rfc3339("9999-01-01T00:00:00Z").is_err());
    }

    #[test]
    fn precision_is_guessed_by_magnitude() {
        assert_eq!(Precision::Auto.nanos(1_700_000_000), Precision::Auto.nanos(1_700_000_000_000));
        assert_eq!(Precision::Seconds.nanos(i64::MAX), None);
    }
}
