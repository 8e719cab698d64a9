//! What can be asked: the checked form of a metric query.

use serde::{Deserialize, Serialize};

use crate::bucket::Resolution;
use crate::error::{Error, Result};
use crate::partial::Aggregate;
use crate::selector::Selector;
use crate::time::{ArrivalTime, EventTime, MILLISECOND, TimeRange, clip, parse_duration, parse_rfc3339};

/// Most points per series that one query may ask for.
pub const POINTS_MAX: i64 = 1_000_000;

/// Which layer answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum ViewKind {
    /// Both, merged: every reading counts once.
    #[default]
    Unified,
    /// Only what batch views have counted.
    Batch,
    /// Only what they have not.
    Speed,
}

/// What to do with a point whose confidence is below the asked minimum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum OnViolation {
    /// Answer it like any other.
    #[default]
    AsIs,
    /// Leave it out.
    Omit,
    /// Refuse the whole answer.
    Fail,
}

/// A metric query: for each group of the selected series and each step, some aggregates.
#[derive(Debug, Clone)]
pub struct Query {
    /// Which series.
    pub selector: Selector,
    /// Event times that count; half open.
    pub range: TimeRange,
    /// Width of the answer's buckets, aligned to 1970.
    pub step: Resolution,
    /// What to compute of each bucket.
    pub aggregates: Vec<Aggregate>,
    /// Tags that make groups; `None`: every series on its own.
    pub by: Option<Vec<String>>,
    /// Which layer answers.
    pub view: ViewKind,
    /// A superseded generation to ask instead of the current one.
    pub as_of: Option<u64>,
    /// The least confidence that the asker accepts.
    pub min_confidence: Option<f64>,
    /// What becomes of points below it.
    pub on_violation: OnViolation,
    /// The probability that an interval holds the final value.
    pub level: f64,
    /// The fraction within which a final value counts as the one shown; `None`: as the settings say.
    pub max_rel_err: Option<f64>,
    /// Whether it is told how far each point can be trusted.
    pub confidence: bool,
}

/// The parts of a query as text, as they come over HTTP or the command line.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct QueryText {
    /// The selector; required.
    pub r#match: Option<String>,
    /// First event time; default one hour before `to`.
    pub from: Option<String>,
    /// First event time after; default now.
    pub to: Option<String>,
    /// Bucket width; default such that there are at most 300 buckets.
    pub step: Option<String>,
    /// Aggregates, separated by commas; default `avg`.
    pub agg: Option<String>,
    /// Tags to keep, separated by commas; absent: every series on its own; empty: all together.
    pub by: Option<String>,
    /// `unified`, `batch` or `speed`.
    pub view: Option<String>,
    /// A generation.
    pub as_of: Option<String>,
    /// Between 0 and 1.
    pub min_confidence: Option<String>,
    /// `as_is`, `omit` or `fail`.
    pub on_violation: Option<String>,
    /// Between 0 and 1, both excluded.
    pub level: Option<String>,
    /// Between 0 and 1.
    pub max_rel_err: Option<String>,
    /// `true` or `false`; default `true`.
    pub confidence: Option<String>,
}

impl QueryText {
    /// The checked query, at Weir's time `now`, over base buckets of width `base`.
    ///
    /// # Errors
    /// A part is missing or malformed; the reason names it.
    pub fn check(&self, now: ArrivalTime, base: Resolution) -> Result<Query> {
        let text = self.r#match.as_deref().ok_or_else(|| Error::invalid("parameter match is missing"))?;
        let range = self.range(now)?;
        let step = match non_empty(&self.step) {
            Some(text) => named("step", text.parse())?,
            None => default_step(range, base),
        };
        let points = (range.end.0 as i128 - range.start.0 as i128) / i128::from(step.nanos());
        if points > i128::from(POINTS_MAX) {
            return Err(Error::invalid(format!("step: {points} points per series are more than {POINTS_MAX}")));
        }
        let (confidence, min_confidence) = (self.confidence()?, self.fraction("min_confidence", &self.min_confidence)?);
        if min_confidence.is_some() && !confidence {
            return Err(Error::invalid("min_confidence: can't be asked for with confidence=false"));
        }
        Ok(Query {
            selector: named("match", text.parse())?,
            range,
            step,
            aggregates: self.aggregates()?,
            by: self.by.as_deref().map(|by| list(by).map(str::to_owned).collect()),
            view: self.one_of(
                "view",
                &self.view,
                &[("unified", ViewKind::Unified), ("batch", ViewKind::Batch), ("speed", ViewKind::Speed)],
            )?,
            as_of: self.number("as_of", &self.as_of)?,
            min_confidence,
            on_violation: self.one_of(
                "on_violation",
                &self.on_violation,
                &[("as_is", OnViolation::AsIs), ("omit", OnViolation::Omit), ("fail", OnViolation::Fail)],
            )?,
            level: match self.fraction("level", &self.level)? {
                None => 0.95,
                Some(level) if level > 0.0 && level < 1.0 => level,
                Some(_) => return Err(Error::invalid("level: must lie between 0 and 1")),
            },
            max_rel_err: self.fraction("max_rel_err", &self.max_rel_err)?,
            confidence,
        })
    }

    fn confidence(&self) -> Result<bool> {
        match non_empty(&self.confidence) {
            None | Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(text) => Err(Error::invalid(format!("confidence: {:?} is none of true, false", clip(text)))),
        }
    }

    fn range(&self, now: ArrivalTime) -> Result<TimeRange> {
        let instant = |name: &str, text: &Option<String>| {
            non_empty(text).map(|text| named(name, parse_instant(text, now))).transpose()
        };
        let end = instant("to", &self.to)?.unwrap_or(EventTime(now.0));
        let start = instant("from", &self.from)?.unwrap_or(EventTime(end.0.saturating_sub(crate::time::HOUR)));
        if start > end {
            return Err(Error::invalid("from: must not be after to"));
        }
        Ok(TimeRange { start, end })
    }

    fn aggregates(&self) -> Result<Vec<Aggregate>> {
        let mut aggregates = Vec::new();
        for name in list(non_empty(&self.agg).unwrap_or("avg")) {
            let aggregate = named("agg", name.parse())?;
            if !aggregates.contains(&aggregate) {
                aggregates.push(aggregate);
            }
        }
        Ok(aggregates)
    }

    fn one_of<T: Copy + Default>(&self, name: &str, text: &Option<String>, choices: &[(&str, T)]) -> Result<T> {
        let Some(text) = non_empty(text) else { return Ok(T::default()) };
        choices.iter().find(|(choice, _)| *choice == text).map(|(_, value)| *value).ok_or_else(|| {
            let names: Vec<&str> = choices.iter().map(|(choice, _)| *choice).collect();
            Error::invalid(format!("{name}: {:?} is none of {}", clip(text), names.join(", ")))
        })
    }

    fn number(&self, name: &str, text: &Option<String>) -> Result<Option<u64>> {
        let number =
            |text: &str| text.parse().map_err(|_| Error::invalid(format!("{name}: {:?} is not a number", clip(text))));
        non_empty(text).map(number).transpose()
    }

    fn fraction(&self, name: &str, text: &Option<String>) -> Result<Option<f64>> {
        let Some(text) = non_empty(text) else { return Ok(None) };
        match text.parse() {
            Ok(value) if (0.0..=1.0).contains(&value) => Ok(Some(value)),
            _ => Err(Error::invalid(format!("{name}: {:?} is not a number between 0 and 1", clip(text)))),
        }
    }
}

fn non_empty(text: &Option<String>) -> Option<&str> {
    text.as_deref().map(str::trim).filter(|text| !text.is_empty())
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|name| !name.is_empty())
}

fn named<T>(name: &str, result: Result<T>) -> Result<T> {
    result.map_err(|error| Error::invalid(format!("{name}: {error}")))
}

/// An instant: RFC 3339, a number of milliseconds since 1970, `now`, or `now` minus or plus a duration.
///
/// # Errors
/// The text is none of these.
pub fn parse_instant(text: &str, now: ArrivalTime) -> Result<EventTime> {
    let text = text.trim();
    let far = || Error::invalid(format!("{:?} is outside the years 1677 to 2262", clip(text)));
    if let Some(offset) = text.strip_prefix("now") {
        let nanos = match offset.split_at_checked(1) {
            None => Some(now.0),
            Some(("-", duration)) => now.0.checked_sub(parse_duration(duration)?),
            // A plus sign in a URL that was not escaped arrives as a space.
            Some(("+" | " ", duration)) => now.0.checked_add(parse_duration(duration)?),
            Some(_) => return Err(Error::invalid(format!("{:?} is not like now-1h", clip(text)))),
        };
        return nanos.map(EventTime).ok_or_else(far);
    }
    if let Ok(millis) = text.parse::<i64>() {
        return millis.checked_mul(MILLISECOND).map(EventTime).ok_or_else(far);
    }
    parse_rfc3339(text).map(EventTime)
}

/// The smallest usual step with at most 300 points, never finer than the base resolution.
fn default_step(range: TimeRange, base: Resolution) -> Resolution {
    const STEPS: [i64; 14] = [1, 10, 30, 60, 300, 600, 1800, 3600, 10_800, 21_600, 43_200, 86_400, 604_800, 2_592_000];
    let span = range.end.0.saturating_sub(range.start.0);
    let usual = STEPS.into_iter().map(|s| s * crate::time::SECOND);
    let nanos = usual.filter(|s| s % base.nanos() == 0).find(|s| span / s <= 300);
    Resolution::from_nanos(nanos.unwrap_or_else(|| base.nanos().saturating_mul(span / base.nanos() / 300 + 1)))
        .expect("steps are positive")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(parts: &[(&str, &str)]) -> Result<Query> {
        let map: serde_json::Map<String, serde_json::Value> =
            parts.iter().map(|(k, v)| ((*k).to_owned(), (*v).into())).collect();
        let text: QueryText = serde_json::from_value(map.into()).expect("known parts");
        text.check(ArrivalTime(1_700_000_000_000_000_000), Resolution::DEFAULT_BASE)
    }

    #[test]
    fn parts_are_checked_and_named() {
        for (parts, needle) in [
            (vec![], "match"),
            (vec![("match", "a{")], "match"),
            (vec![("match", "a"), ("step", "0s")], "step"),
            (vec![("match", "a"), ("agg", "median")], "agg"),
            (vec![("match", "a"), ("from", "yesterday")], "from"),
            (vec![("match", "a"), ("from", "now"), ("to", "now-1h")], "from"),
            (vec![("match", "a"), ("view", "x")], "view"),
            (vec![("match", "a"), ("level", "1")], "level"),
            (vec![("match", "a"), ("min_confidence", "NaN")], "min_confidence"),
            (vec![("match", "a"), ("confidence", "yes")], "confidence"),
            (vec![("match", "a"), ("confidence", "false"), ("min_confidence", "0.5")], "min_confidence"),
            (vec![("match", "a"), ("as_of", "-1")], "as_of"),
            (vec![("match", "a"), ("step", "1ns")], "step"),
        ] {
            let error = check(&parts).expect_err(needle).to_string();
            assert!(error.contains(needle), "{error}");
        }
    }

    #[test]
    fn defaults_are_sensible() {
        let query = check(&[("match", "a")]).expect("valid");
        assert_eq!(query.step.to_string(), "30s");
        assert_eq!(query.aggregates, [Aggregate::Avg]);
        assert_eq!((query.by, query.confidence), (None, true));
        assert_eq!(query.range.end.0 - query.range.start.0, crate::time::HOUR);
        assert_eq!(check(&[("match", "a"), ("by", "")]).expect("valid").by, Some(vec![]));
        assert!(!check(&[("match", "a"), ("confidence", "false")]).expect("valid").confidence);
        let now = ArrivalTime(5);
        assert_eq!(parse_instant("1700000000000", now), Ok(EventTime(1_700_000_000_000_000_000)));
        assert_eq!(parse_instant("now-1ns", now), Ok(EventTime(4)));
    }
}
