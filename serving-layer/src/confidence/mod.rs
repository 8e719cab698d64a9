//! Confidence: how complete a value is, where its final value lies, and how settled its bucket is.
//!
//! Owns: the model that turns what is known of a cell into completeness, an interval and a score. Pure functions.
//! Does **not** own: lateness and tails (the speed layer learns them), where the numbers came from, what is missing
//! for structural reasons (the caller sets the score to null then), the labels that past scores are measured by.
//!
//! ```text
//! lateness curve ─► arrivals ─┐  (per metric and bucket)
//! tail ─► past ───────────────┤  (per series)
//! partial ────────────────────┴─► outlook ─► merge over a group ─► assess ─► completeness, intervals, score
//! ```
//!
//! Invariants: completeness and score are finite and within `0..=1`, the score below 1; an interval is finite, holds
//! the value shown, and is `None` where there is no value.
//!
//! What the numbers rest on is stated where it is used; constants called *stated* are guesses to be replaced by
//! measured errors, and until [`LABELS_MIN`] labelled buckets stand behind them no answer is called calibrated.

mod arrivals;
mod exposure;
mod metric;
mod missing;
mod model;
mod normal;
mod outlook;
mod values;

pub use arrivals::Arrivals;
pub use exposure::Past;
pub use metric::Metric;
pub use model::{Assessment, Evidence, LABELS_MIN, Model};
pub use outlook::Outlook;

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
mod tests;
