//! Limits: the metrics and devices that somebody may write or read.
//!
//! Owns how a limit is written and which series are within it. Does not own who is limited (batch layer), nor where it is
//! asked (decoding of the speed layer, [`crate::selector::Selector`] for answers).

use std::fmt;

use crate::error::{Error, Result};
use crate::series::{DEVICE_TAG, NAME_MAX, SeriesKey};
use crate::time::clip;

/// Most names of one kind.
const PATTERNS_MAX: usize = 256;

/// A name, or with a `*` at its end all names that begin so.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Exact(String),
    Prefix(String),
}

impl Pattern {
    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => name == exact,
            Self::Prefix(prefix) => name.starts_with(prefix.as_str()),
        }
    }
}

impl std::str::FromStr for Pattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, is_prefix) = text.strip_suffix('*').map_or((text, false), |prefix| (prefix, true));
        let bad = |why: &str| {
            Err(Error::invalid(format!("{:?} is no limit such as temperature or press-*: {why}", clip(text))))
        };
        match name {
            _ if text.is_empty() => bad("it is empty"),
            name if name.contains('*') => bad("a * may stand at its end only"),
            name if name.len() > NAME_MAX => bad("no name is that long"),
            name if name.chars().any(char::is_control) => bad("it holds a control character"),
            name if is_prefix => Ok(Self::Prefix(name.to_owned())),
            name => Ok(Self::Exact(name.to_owned())),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Prefix(name) => write!(f, "{name}*"),
        }
    }
}

/// The names that are within a limit; nothing is limited by an empty list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Names(Vec<Pattern>);

impl Names {
    fn read<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let patterns: Vec<Pattern> = texts.into_iter().map(str::parse).collect::<Result<_>>()?;
        match patterns.len() {
            n if n > PATTERNS_MAX => Err(Error::invalid(format!("{n} limits are more than {PATTERNS_MAX}"))),
            _ => Ok(Self(patterns)),
        }
    }

    fn holds(&self, name: Option<&str>) -> bool {
        self.0.is_empty() || name.is_some_and(|name| self.0.iter().any(|pattern| pattern.matches(name)))
    }

    /// One a line; `None` where nothing is limited.
    fn lines(&self) -> Option<String> {
        let lines: Vec<String> = self.0.iter().map(Pattern::to_string).collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }
}

/// The series that somebody may write or read: those whose metric and whose device are both within.
///
/// A series without a device is in no limit to devices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    metrics: Names,
    devices: Names,
}

impl Limits {
    /// Limits to these metrics and devices: names, or with a `*` at the end all that begin so. Of a kind of which none is
    /// named there is no limit.
    ///
    /// # Errors
    /// One is malformed, or there are too many.
    pub fn new<'a>(
        metrics: impl IntoIterator<Item = &'a str>,
        devices: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self> {
        Ok(Self { metrics: Names::read(metrics)?, devices: Names::read(devices)? })
    }

    /// The limits that [`Self::metric_lines`] and [`Self::device_lines`] told.
    ///
    /// # Errors
    /// A text is malformed, an empty one too: what is damaged must not look as if nothing were limited.
    pub fn of_lines(metrics: Option<&str>, devices: Option<&str>) -> Result<Self> {
        let names =
            |text: Option<&str>| text.map_or_else(|| Ok(Names::default()), |text| Names::read(text.split('\n')));
        Ok(Self { metrics: names(metrics)?, devices: names(devices)? })
    }

    /// Whether nothing is limited.
    pub fn is_none(&self) -> bool {
        self.metrics.0.is_empty() && self.devices.0.is_empty()
    }

    /// Whether a series is within.
    pub fn hold(&self, key: &SeriesKey) -> bool {
        self.metrics.holds(Some(key.metric()))
            && (self.devices.0.is_empty() || self.devices.holds(key.tag(DEVICE_TAG).as_deref()))
    }

    /// Whether a series of this metric may be within.
    pub fn hold_metric(&self, metric: &str) -> bool {
        self.metrics.holds(Some(metric))
    }

    /// The limits to metrics, as they were written, one a line; `None`: there are none.
    pub fn metric_lines(&self) -> Option<String> {
        self.metrics.lines()
    }

    /// The limits to devices, one a line; `None`: there are none.
    pub fn device_lines(&self) -> Option<String> {
        self.devices.lines()
    }
}

impl fmt::Display for Limits {
    /// Such as `metrics temperature, press_* of devices press-7`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [("metrics", self.metrics.lines()), ("devices", self.devices.lines())];
        let told = kinds.into_iter().filter_map(|(kind, lines)| Some(format!("{kind} {}", lines?.replace('\n', ", "))));
        f.write_str(&told.collect::<Vec<_>>().join(" of "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_within_by_metric_and_device() {
        for (metrics, devices, within, outside) in [
            (&[][..], &[][..], "a b{device_id=\"x\"} c{line=\"x\"}", ""),
            (&["a"], &[], "a a{device_id=\"x\"}", "ab b A"),
            (&["a*"], &[], "a ab{device_id=\"x\"}", "b ba"),
            (&["a", "b*"], &[], "a b bc", "ab c"),
            (&[], &["x"], "a{device_id=\"x\"} b{device_id=\"x\",line=\"1\"}", "a a{device_id=\"y\"} a{line=\"x\"} x"),
            (&[], &["*"], "a{device_id=\"x\"}", "a a{line=\"x\"}"),
            (&["a"], &["x*", "y"], "a{device_id=\"x1\"} a{device_id=\"y\"}", "b{device_id=\"x\"} a{device_id=\"z\"} a"),
        ] {
            let limits = Limits::new(metrics.iter().copied(), devices.iter().copied()).expect("good");
            let held = |text: &str| limits.hold(&SeriesKey::parse(text).expect(text));
            assert!(within.split(' ').all(held), "{limits}: {within}");
            assert!(!outside.split(' ').filter(|text| !text.is_empty()).any(held), "{limits}: {outside}");
            assert_eq!(limits.is_none(), metrics.is_empty() && devices.is_empty());
            let lines = (limits.metric_lines(), limits.device_lines());
            assert_eq!(Limits::of_lines(lines.0.as_deref(), lines.1.as_deref()).expect("written by us"), limits);
        }
    }

    #[test]
    fn malformed_limits_are_refused() {
        let long = "x".repeat(NAME_MAX + 1);
        for text in ["", "a*b", "**", "a\nb", &long] {
            assert!(Limits::new([text], []).is_err() && Limits::new([], [text]).is_err(), "{text:?}");
        }
        assert!(Limits::new(vec!["a"; PATTERNS_MAX + 1], []).is_err());
        assert!(Limits::of_lines(Some(""), None).is_err() && Limits::of_lines(None, Some("a\n")).is_err());
        assert_eq!(Limits::new(["a", "b*"], ["x"]).expect("good").to_string(), "metrics a, b* of devices x");
    }
}
