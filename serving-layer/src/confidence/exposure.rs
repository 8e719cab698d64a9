//! The parts of a bucket, as one series lived through them: heard of, late, held or ahead.
//!
//! Owns the usual rate of a series and whether it has fallen silent. Does not own the lateness of its metric
//! (`arrivals`), nor how many readings the parts hold (`outlook`).
//!
//! ```text
//!  start                                   due        now                  end
//!    |---- spoken: late by the table -------|-- silent --|------- ahead -----|
//!                                            held or lost   yet to happen
//! ```

use schemas::epoch::Tail;
use schemas::lateness::Curve;
use schemas::{ArrivalTime, TimeRange};

use super::Evidence;
use super::arrivals::{self, Arrivals, Prior, between};

/// The usual gap of a series is a mean of about as many gaps, so it is worth as many readings where they come in order
/// (it is taken between newest readings only, so disorder makes it too long) ...
const PRIOR_READINGS: f64 = 10.0;
/// ... but never more than so many buckets without a reading: habits change.
const PRIOR_BUCKETS: f64 = 4.0;
/// Of a series without a usual gap: Jeffreys' half reading in a tenth of a bucket, which is next to nothing.
const UNKNOWN_READINGS: f64 = 0.5;
const UNKNOWN_BUCKETS: f64 = 0.1;
/// The probability, before it is silent, that a source has just stopped.
const STOPPED: f64 = 0.01;

/// What is known of a series at one moment, whatever the bucket: make it once for all buckets of a series.
#[derive(Debug, Clone, Copy)]
pub struct Past<'a> {
    tail: Option<&'a Tail>,
    /// Its usual gap, if it has one.
    cadence: Option<f64>,
    /// The readings that the usual gap is worth.
    worth: f64,
    silence: Silence,
}

impl<'a> Past<'a> {
    pub(super) fn of(tail: Option<&'a Tail>, lateness: Option<&Curve>, now: ArrivalTime, prior: Prior) -> Self {
        let cadence = tail.map(|t| t.cadence).filter(|c| c.is_finite() && *c > 0.0);
        let in_order = cadence.map_or(0.0, |cadence| 1.0 - arrivals::after(lateness, prior, cadence));
        let silence = tail.zip(cadence).and_then(|(tail, cadence)| Silence::of(tail, cadence, lateness, now, prior));
        Self { tail, cadence, worth: PRIOR_READINGS * in_order * in_order, silence: silence.unwrap_or(Silence::NONE) }
    }

    /// The step between the two newest readings; 0 where there is none.
    pub(super) fn step(&self) -> f64 {
        let step = self.tail.and_then(|tail| tail.previous.map(|(_, previous)| (tail.value - previous).abs()));
        step.filter(|step| step.is_finite()).unwrap_or(0.0)
    }

    /// What is known of its rate before this bucket.
    pub(super) fn habit(&self, arrivals: &Arrivals) -> Habit {
        let width = between(arrivals.start, arrivals.end).max(1.0);
        match self.cadence {
            Some(cadence) => {
                let readings = self.worth.min(PRIOR_BUCKETS * width / cadence);
                Habit { readings, exposure: readings * cadence }
            }
            None => Habit { readings: UNKNOWN_READINGS, exposure: UNKNOWN_BUCKETS * width },
        }
    }

    /// Its silence, as far as this bucket knows of it.
    pub(super) fn silence(&self, bucket: TimeRange) -> Silence {
        if self.silence.due >= bucket.end.0 { Silence::NONE } else { self.silence }
    }

    /// The time from which on it has been there: one gap before its earliest reading, so that a new series is not taken
    /// for a slow one.
    fn lived_since(&self, first: i64) -> i64 {
        match (self.tail, self.cadence) {
            (Some(tail), Some(cadence)) => tail.earliest.min(first).saturating_sub(cadence as i64),
            _ => i64::MIN,
        }
    }
}

/// What is known of a series' rate before a bucket: so many readings in so many nanoseconds.
pub(super) struct Habit {
    pub(super) readings: f64,
    pub(super) exposure: f64,
}

/// Whether a source has fallen silent: readings were due and have not come.
///
/// Then the table, learned from what did arrive, no longer speaks for it: either it stopped and nothing is missing,
/// or all is held back somewhere. Held readings are believed in with the prior's tail of the time since it last
/// spoke, so that a source that stopped shows a low score at first and does not keep its last bucket open for ever.
#[derive(Debug, Clone, Copy)]
pub(super) struct Silence {
    /// Probability that it has.
    pub(super) sure: f64,
    /// Event time when the next reading was due.
    pub(super) due: i64,
    /// Probability that readings are held back, if it has.
    pub(super) held: f64,
    /// Nanoseconds since its newest event time.
    pub(super) since: f64,
}

impl Silence {
    /// Of a source that speaks.
    const NONE: Self = Self { sure: 0.0, due: i64::MAX, held: 0.0, since: 0.0 };

    /// With `x` readings that should have arrived by now and did not, `P(silent) = 1 - 1 / (1 + o (e^x - 1))`, `o` the
    /// odds beforehand (P(alive) of Schmittlein, Morrison and Colombo 1987). `x` is `1/cadence * integral F` over the
    /// time since its newest reading, from below: `3/4 s F(s/4)`. `None` where no reading is due yet.
    fn of(tail: &Tail, cadence: f64, lateness: Option<&Curve>, now: ArrivalTime, prior: Prior) -> Option<Self> {
        let due = tail.time.saturating_add(cadence as i64);
        let since = between(tail.time, now.0);
        if due >= now.0 || since <= 0.0 {
            return None;
        }
        let arrived = 1.0 - arrivals::after(lateness, prior, since / 4.0);
        let x = 0.75 * since / cadence * arrived;
        let sure = 1.0 - 1.0 / (1.0 + STOPPED * x.min(100.0).exp_m1());
        Some(Self { sure, due, held: prior.after(between(tail.arrival.0, now.0)), since })
    }

    /// Probability that it speaks for the rest of the bucket. A silent source is believed to come back with odds that
    /// fall over days, not minutes: `0.5 / (1 + silence / horizon_max)`.
    pub(super) fn returns(&self, horizon_max: i64) -> f64 {
        let back = 0.5 / (1.0 + self.since / (horizon_max as f64).max(1.0));
        1.0 - self.sure + self.sure * back
    }
}

/// The parts of a bucket, in nanoseconds of usual readings.
pub(super) struct Stretches {
    /// Whose readings have arrived.
    pub(super) spoken: f64,
    /// Whose readings are late, as the lateness table has it.
    pub(super) late: f64,
    /// Whose readings should be here, from a source that is silent.
    pub(super) held: f64,
    /// That has yet to happen.
    pub(super) ahead: f64,
    /// Of the late: newer than the last reading, older than the first.
    pub(super) newer: f64,
    pub(super) older: f64,
}

impl Stretches {
    pub(super) fn of(
        past: &Past<'_>,
        evidence: &Evidence<'_>,
        arrivals: &Arrivals,
        silence: &Silence,
        prior: Prior,
    ) -> Self {
        let (first, last) = (evidence.partial.first.time, evidence.partial.last.time);
        let start = past.lived_since(first).clamp(arrivals.start, arrivals.elapsed);
        let elapsed = arrivals.elapsed;
        // A source whose clock runs ahead has spoken for more of the bucket than has elapsed.
        let front = last.clamp(elapsed, arrivals.end);
        let late_since_start = arrivals.late_since(start);

        let late = revised_at_least(evidence, prior, start, elapsed, late_since_start.max(0.0));
        let spoken = between(start, elapsed) - late + between(elapsed, front);
        let held = held(arrivals, silence, silence.due.clamp(start, elapsed));
        Self {
            spoken: (spoken - held).max(0.0),
            late,
            held,
            ahead: between(front, arrivals.end),
            newer: arrivals.late_since(last.clamp(start, elapsed)).max(0.0),
            older: (late_since_start - arrivals.late_since(first.clamp(start, elapsed))).max(0.0),
        }
    }
}

fn held(arrivals: &Arrivals, silence: &Silence, due: i64) -> f64 {
    if silence.sure == 0.0 {
        return 0.0;
    }
    let late = arrivals.late_since(due).max(0.0);
    silence.sure * (between(due, arrivals.elapsed) - late).max(0.0)
}

/// A bucket that changed after it was final has shown the table wrong: at least what the prior holds late is.
fn revised_at_least(evidence: &Evidence<'_>, prior: Prior, start: i64, elapsed: i64, late: f64) -> f64 {
    if evidence.revised {
        late.max(prior.after(between(elapsed, evidence.now.0)) * between(start, elapsed))
    } else {
        late
    }
}
