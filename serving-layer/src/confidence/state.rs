//! How settled a bucket is.

use schemas::{ArrivalTime, TimeRange};
use serde::Serialize;
use utoipa::ToSchema;

/// How settled a bucket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The bucket has not ended.
    Open,
    /// It ended, and readings may still arrive.
    Settling,
    /// Older than the horizon and counted by a batch view.
    Final,
    /// It changed after it was final.
    Revised,
}

impl State {
    /// Of a bucket at a moment, `horizon` nanoseconds being the age after which hardly anything arrives. `covered`: batch
    /// views counted all that is known; `touched`: they counted some of it, and readings came since.
    pub fn of(bucket: TimeRange, now: ArrivalTime, horizon: i64, covered: bool, touched: bool) -> Self {
        let age = now.0.saturating_sub(bucket.end.0);
        match (now.0 < bucket.end.0, age >= horizon, covered) {
            (true, ..) => Self::Open,
            (_, true, _) if touched => Self::Revised,
            (_, true, true) => Self::Final,
            _ => Self::Settling,
        }
    }

    /// Its name outside.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Settling => "settling",
            Self::Final => "final",
            Self::Revised => "revised",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_settle() {
        let bucket = TimeRange::new(0, 10);
        for (now, covered, touched, expected) in [
            (5, true, false, State::Open),
            (10, true, false, State::Settling),
            (109, true, false, State::Settling),
            (110, true, false, State::Final),
            (110, false, false, State::Settling),
            (110, false, true, State::Revised),
            (50, false, true, State::Settling),
        ] {
            assert_eq!(
                State::of(bucket, ArrivalTime(now), 100, covered, touched),
                expected,
                "{now} {covered} {touched}"
            );
        }
    }
}
