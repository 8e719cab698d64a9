//! Buckets: half-open stretches of event time, floored with `rem_euclid` so that times before 1970 fall the same way.
//!
//! The single source of window arithmetic for all layers.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::time::{EventTime, TimeRange, format_duration, parse_duration};

/// The width of a bucket in nanoseconds; always positive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resolution(i64);

impl Resolution {
    /// The base resolution unless settings say otherwise: ten seconds.
    pub const DEFAULT_BASE: Self = Self(10 * crate::time::SECOND);

    /// A resolution of so many nanoseconds.
    ///
    /// # Errors
    /// `nanos` is not positive.
    pub fn from_nanos(nanos: i64) -> Result<Self> {
        if nanos > 0 { Ok(Self(nanos)) } else { Err(Error::invalid("a resolution must be positive")) }
    }

    /// Its width in nanoseconds.
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// The start of the bucket that holds `t`. Saturates at the first instant an `i64` can tell.
    pub fn floor(self, t: EventTime) -> EventTime {
        EventTime(t.0.saturating_sub(t.0.rem_euclid(self.0)))
    }

    /// The first bucket start that is not before `t`.
    pub fn ceil(self, t: EventTime) -> EventTime {
        let floor = self.floor(t);
        if floor == t { t } else { EventTime(floor.0.saturating_add(self.0)) }
    }

    /// The bucket that starts at `start`.
    pub fn bucket(self, start: EventTime) -> TimeRange {
        TimeRange { start, end: EventTime(start.0.saturating_add(self.0)) }
    }

    /// Whether buckets of this width are unions of buckets of width `base`.
    pub fn is_multiple_of(self, base: Self) -> bool {
        self.0 % base.0 == 0
    }
}

impl std::fmt::Display for Resolution {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&format_duration(self.0))
    }
}

impl std::str::FromStr for Resolution {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::from_nanos(parse_duration(text)?)
    }
}

impl Serialize for Resolution {
    fn serialize<S: serde::Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Resolution {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_contains_its_time_before_1970_too() {
        let r = Resolution::from_nanos(10).expect("positive");
        for t in -35..35 {
            let t = EventTime(t);
            assert!(r.bucket(r.floor(t)).contains(t));
            assert_eq!(r.floor(r.floor(t)), r.floor(t));
            assert!(r.ceil(t) >= t && r.ceil(t).0 - t.0 < 10);
        }
        assert_eq!(r.floor(EventTime(-1)), EventTime(-10));
    }
}
