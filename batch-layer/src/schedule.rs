//! When a cron expression is due.
//!
//! Owns the arithmetic, in UTC. Does not own schedules (catalog) or a clock: the instant to count from is an argument.

use chrono::{DateTime, Utc};
use croner::Cron;
use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use schemas::time::{ArrivalTime, clip};

use crate::error::{Error, Result};

/// The first instant after `after` at which the expression is due; `None` where it never is again.
///
/// Five fields (minute, hour, day of month, month, day of week), or six with the second in front; also `@daily` and the
/// like. Times are UTC.
///
/// # Errors
/// The text is no cron expression.
pub fn next_after(cron: &str, after: ArrivalTime) -> Result<Option<ArrivalTime>> {
    let cron = parse(cron)?;
    match cron.find_next_occurrence(&DateTime::<Utc>::from_timestamp_nanos(after.0), false) {
        Ok(next) => Ok(next.timestamp_nanos_opt().map(ArrivalTime)),
        Err(CronError::TimeSearchLimitExceeded) => Ok(None),
        Err(error) => Err(Error::Refused(error.to_string())),
    }
}

/// Whether the text is a cron expression.
///
/// # Errors
/// It is none; the reason is meant for whoever wrote it.
pub fn validate(cron: &str) -> Result<()> {
    parse(cron).map(drop)
}

fn parse(cron: &str) -> Result<Cron> {
    let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
    parser.parse(cron).map_err(|error| Error::Refused(format!("{:?} is not a cron expression: {error}", clip(cron))))
}

#[cfg(test)]
mod tests {
    use schemas::time::parse_rfc3339;

    use super::*;

    fn check(cron: &str, after: &str, expected: Option<&str>) {
        let after = ArrivalTime(parse_rfc3339(after).expect(after));
        let next = next_after(cron, after).expect(cron).map(|t| t.to_string());
        assert_eq!(next.as_deref(), expected, "{cron}");
    }

    #[test]
    fn the_next_instant_lies_strictly_after() {
        check("*/5 * * * *", "2024-01-01T10:00:00Z", Some("2024-01-01T10:05:00Z"));
        check("*/5 * * * *", "2024-01-01T10:04:59.999999999Z", Some("2024-01-01T10:05:00Z"));
        check("*/5 * * * *", "2024-01-01T10:05:00.000000001Z", Some("2024-01-01T10:10:00Z"));
        check("0 3 * * *", "2024-02-28T03:00:00Z", Some("2024-02-29T03:00:00Z"));
        check("30 0 3 1 * *", "2024-12-31T23:59:59Z", Some("2025-01-01T03:00:30Z"));
        check("0 0 * * MON", "2024-01-01T00:00:00Z", Some("2024-01-08T00:00:00Z"));
        check("@daily", "1969-12-31T12:00:00Z", Some("1970-01-01T00:00:00Z"));
        check("0 0 29 2 *", "2024-03-01T00:00:00Z", Some("2028-02-29T00:00:00Z"));
    }

    #[test]
    fn what_never_comes_is_none() {
        check("0 0 30 2 *", "2024-01-01T00:00:00Z", None);
        check("0 0 1 1 *", "2262-04-01T00:00:00Z", None);
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        for cron in [
            "",
            "* * * *",
            "61 * * * *",
            "* * * * * * *",
            "every day",
            "* * * * MOON",
            "５ * * * *",
            "*/0 * * * *",
            "@never",
        ] {
            assert!(matches!(validate(cron), Err(Error::Refused(_))), "{cron}");
        }
    }
}
