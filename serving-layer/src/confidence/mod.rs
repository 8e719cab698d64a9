//! Calibrated confidence: how complete a value is, where its final value lies, and how likely it stays as it is.
//!
//! Owns what is learned online of lateness, silence and past errors, the forecasts that follow, and the score that is kept
//! of them. Pure: no clock, no store, no tasks. Does not own where evidence comes from (`query`, `calibration`), nor what is
//! missing for structural reasons: the caller sets the score to null then.
//!
//! ```text
//! arrivals ─► habit, lateness ─┐
//! tails ───────────────────────┴─► outlook ─► merge over a group ─► features ─► shape ─┐
//!                                                 labelled cells ─► table (recal, pool) ┴─► mixture ─► forecast ─► scores
//! ```
//!
//! Invariants: no number is NaN; completeness within `0..=1`; a score within `0..1`, never 1; an interval is finite and
//! ordered. It is for the *final* value: the value shown may lie outside, where it is surely incomplete.

mod age;
mod drift;
mod evidence;
mod foretell;
mod habit;
mod ladder;
mod lateness;
mod learner;
mod level;
mod mixture;
mod outlook;
mod pairs;
mod pool;
mod recal;
mod replay;
mod scores;
mod shape;
mod sight;
mod silence;
mod stack;
mod state;
mod table;

pub use age::checkpoints;
pub use evidence::{AGGREGATES, Ask, ClassId, Forecast, Moment, Prediction, Readings, SourceId, Stratum};
pub use foretell::{Foreteller, Observation};
pub use habit::{Arrival, Arrived, ClassHabit, SeriesHabit};
pub use learner::{Learner, Settings};
pub use outlook::Outlook;
pub use replay::{Plan, Row, Sample, replay};
pub use scores::{BINS, Bin, Outcome, Row as ScoreRow, Score, Scores};
pub use sight::Sight;
pub use state::State;

#[cfg(test)]
mod tests;
