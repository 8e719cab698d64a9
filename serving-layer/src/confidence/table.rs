//! What a stratum learned: pools of errors, recalibration, adaptive levels, dispersion.
//!
//! Owns these tables and how they learn. Does not own strata (`learner`), nor what they say of a cell (`known`).

mod known;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub(crate) use known::Known;

use super::age;
use super::evidence::{AGGREGATES, SourceId};
use super::ladder::Ladders;
use super::pool::Pool;
use super::recal::{Recal, logit, sigmoid};
use super::shape::{Lesson, MANY, at_least_one};
use super::silence::Silence;
use super::stack::Stack;
use schemas::partial::Aggregate;

/// Labels remembered by recalibration, by pools.
const RECAL_MEMORY: f64 = 800.0;
const POOL_MEMORY: f32 = 500.0;
/// Step of the adaptive level, and the bound of its logarithm.
const GAIN: f32 = 0.03;
const ADAPT_MAX: f32 = 3.0;
/// Labels before an answer is called calibrated.
const LABELS_MIN: f32 = 30.0;

/// Experience at one age and state.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Slot {
    labels: f32,
    same: [Recal; AGGREGATES],
    score: [Recal; AGGREGATES],
    stack: [Stack; AGGREGATES],
    /// Logarithms of the factors by which the tails below and above are stretched.
    tails: [(f32, f32); AGGREGATES],
    /// Logarithm of the factor by which the drift of forecasts is stretched.
    reach: f32,
    /// Readings that came after, those expected, and squared errors less those of a Poisson number, and squares.
    came: f64,
    expected: f64,
    excess: f64,
    squares: f64,
    /// Sum of late deviations, in deviations, and of their weights.
    shift: f64,
    shifts: f64,
}

impl Slot {
    fn is_calibrated(&self) -> bool {
        self.labels >= LABELS_MIN
    }

    /// The factor by which expected missing readings are corrected.
    fn correction(&self) -> f64 {
        ((self.came + 3.0) / (self.expected + 3.0)).clamp(0.05, 20.0)
    }

    fn lesson(&self) -> Lesson {
        Lesson {
            phi: ((self.excess + 0.2) / (self.squares + 1.0)).clamp(0.0, 5.0),
            shift: (self.shift / (self.shifts + 5.0)).clamp(-3.0, 3.0),
        }
    }
}

/// Experience with errors at one size of the missing part.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Pools {
    pools: [Pool; AGGREGATES],
}

/// An age, and whether most of what is missing is ahead of the frontier.
pub(crate) type SlotId = u8;
/// How many there are.
pub(crate) const SLOTS: usize = age::BINS * 2;

/// Where in the tables a cell is to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) slot: SlotId,
    size: u8,
}

impl Place {
    /// By age, by expected missing readings, and whether most of them are ahead of the frontier.
    pub(crate) fn of(age: f64, missing: f64, ahead: bool) -> Self {
        let size = (missing.max(1e-9).log2().floor() + 8.0).clamp(0.0, 22.0) as u8;
        Self { slot: Self::slot(age, ahead), size: size * 2 + u8::from(ahead) }
    }

    /// The part that does not depend on how many readings are missing.
    pub(crate) fn slot(age: f64, ahead: bool) -> SlotId {
        age::bin(age) as SlotId * 2 + SlotId::from(ahead)
    }
}

/// The slot of all ages in the state of this one; no age has it.
fn all_ages(slot: SlotId) -> SlotId {
    100 + slot % 2
}

/// All tables of a stratum.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Table {
    #[serde(with = "super::pairs")]
    slots: BTreeMap<u8, Slot>,
    #[serde(with = "super::pairs")]
    pools: BTreeMap<u8, Pools>,
    pub(crate) silence: Silence,
    pub(crate) ladder: Ladders,
    /// Labels come so late that the ladder knows more.
    pub(crate) slow: bool,
    /// Squared relative errors of the number of readings expected by habit, and how many.
    rates: (f64, f64),
    /// Labelled cells, and when the last was.
    pub(crate) cells: u64,
    pub(crate) latest: i64,
}

/// What was learned from the label of one aggregate.
pub(crate) struct Outcome {
    pub(crate) claimed_same: f64,
    pub(crate) same: bool,
    pub(crate) claimed_score: f64,
    pub(crate) within: bool,
    /// The error, scaled; counted off for counts.
    pub(crate) z: f64,
    /// Missed below, above; whether the interval was more than a point.
    pub(crate) missed: (bool, bool),
    pub(crate) miss: f64,
    pub(crate) undecided: bool,
}

impl Table {
    /// What is known at an age and state.
    pub(crate) fn known<'a>(&'a self, parent: &'a Self, slot: SlotId) -> Known<'a> {
        Known::of(self, Some(parent), slot)
    }

    /// The experience at this age and state, or else at the nearest earlier age, and of the other state at last.
    fn slot(&self, slot: SlotId) -> Option<&Slot> {
        let near = |slot: SlotId| self.slots.get(&slot).filter(|s| s.labels > 0.0);
        let earlier = |state: SlotId| {
            (0..slot).rev().filter(move |s| s % 2 == state).find_map(|s| near(s).filter(|s| s.is_calibrated()))
        };
        let state = slot % 2;
        near(slot).or_else(|| earlier(state)).or_else(|| earlier(1 - state))
    }

    pub(crate) fn calibrated(&self, place: Place) -> bool {
        self.slot(place.slot).is_some_and(Slot::is_calibrated)
    }

    /// The factor by which what is expected behind the frontier is corrected; where labels are slow, the ladder does that.
    pub(crate) fn behind(&self, age: f64) -> f64 {
        if self.slow { 1.0 } else { self.silence.behind(age) }
    }

    /// Whether the ladder corrects expectations at this age.
    pub(crate) fn by_steps(&self, age: f64) -> bool {
        self.slow && self.ladder.believed(age)
    }

    /// Squared deviation of the logarithm of the number of readings foretold, beyond Poisson's; only where labels are slow.
    pub(crate) fn drift(&self, age: f64) -> Option<f64> {
        if self.slow { self.ladder.drift(age) } else { None }
    }

    /// The factor by which the drift is stretched.
    pub(crate) fn reach(&self, slot: SlotId) -> f64 {
        self.slots.get(&slot).map_or(1.0, |slot| f64::from(slot.reach).exp())
    }

    /// Learns whether an interval by drift held that was to miss so many.
    pub(crate) fn reached(&mut self, slot: SlotId, held: bool, miss: f64) {
        let reach = &mut self.slots.entry(slot).or_default().reach;
        *reach = adapted(*reach, !held, miss as f32);
    }

    /// The share of readings seen that is expected at least to be missing: something that the ladder's factor can stand on.
    pub(crate) fn least(&self) -> f64 {
        if self.slow { 0.005 } else { 0.0 }
    }

    /// The factor by which expected missing readings are corrected, as labelled cells taught.
    pub(crate) fn by_labels(&self, slot: SlotId) -> f64 {
        self.slot(slot).map_or(1.0, Slot::correction)
    }

    /// The same as the ladder has it, where labels are slow.
    pub(crate) fn by_ladder(&self, source: Option<SourceId>, weekday: usize, age: f64) -> Option<f64> {
        if self.slow { self.ladder.correction(source, weekday, age) } else { None }
    }

    /// Learns how far a bucket's readings were from those expected by habit.
    pub(crate) fn rate(&mut self, expected: f64, total: f64) {
        if expected > 0.0 && total >= 1.0 {
            let expected = at_least_one(expected);
            let keep = 1.0 - 1.0 / 500.0;
            let off = (total / expected - 1.0).clamp(-2.0, 2.0);
            self.rates = (self.rates.0 * keep + off * off - 1.0 / expected.max(1.0), self.rates.1 * keep + 1.0);
        }
    }

    /// Readings that a habit is worth at most: of a Gamma distributed rate, the inverse of its squared variation.
    pub(crate) fn worth(&self) -> f64 {
        let variation = (self.rates.0 + 20.0 * 0.1) / (self.rates.1 + 20.0);
        1.0 / variation.clamp(0.005, 2.0)
    }

    /// Learns what became of one aggregate.
    pub(crate) fn learn(&mut self, parent: Option<&Self>, place: Place, aggregate: usize, outcome: &Outcome) {
        let (same, score) = (logit(outcome.claimed_same), logit(outcome.claimed_score));
        let known = Known::of(self, parent, place.slot);
        let lent_same = known.lent(same, |s| &s.same[aggregate]);
        let lent_score = known.lent(score, |s| &s.score[aggregate]);
        let all = self.slots.entry(all_ages(place.slot)).or_default();
        all.same[aggregate].observe(same, same, outcome.same, 4.0 * RECAL_MEMORY);
        all.score[aggregate].observe(score, score, outcome.within, 4.0 * RECAL_MEMORY);
        let slot = self.slots.entry(place.slot).or_default();
        slot.same[aggregate].observe(same, lent_same, outcome.same, RECAL_MEMORY);
        let told = sigmoid(slot.score[aggregate].odds(score, lent_score));
        slot.stack[aggregate].observe(told, outcome.within);
        slot.score[aggregate].observe(score, lent_score, outcome.within, RECAL_MEMORY);
        if !outcome.same {
            let pools = self.pools.entry(place.size).or_default();
            pools.pools[aggregate].observe(outcome.z, POOL_MEMORY);
        }
        if outcome.undecided {
            // One-sided: a tail that misses more than its half of the level grows; its share is stretched, not its length.
            let half = outcome.miss as f32 * 0.5;
            let (below, above) = &mut slot.tails[aggregate];
            *below = -adapted(-*below, outcome.missed.0, half);
            *above = -adapted(-*above, outcome.missed.1, half);
        }
    }

    /// Counts a label that taught nothing of how many readings come.
    pub(crate) fn heard(&mut self, place: Place) {
        let slot = self.slots.entry(place.slot).or_default();
        slot.labels = slot.labels * 0.999 + 1.0;
    }

    /// Learns how many readings came after an observation of which `expected` were, and how they differed in value.
    pub(crate) fn count(
        &mut self,
        place: Place,
        (raw, ahead): (f64, f64),
        corrected: f64,
        came: f64,
        shift: Option<(f64, f64)>,
    ) {
        let slot = self.slots.entry(place.slot).or_default();
        let keep = 1.0 - 1.0 / 200.0;
        // One outage must not teach that every bucket misses as much.
        let came = came.min(3.0 * corrected.max(raw + ahead) + 2.0);
        slot.labels = slot.labels * 0.999 + 1.0;
        // Where readings are held ahead, it is not told how many of those that came were behind.
        if ahead < 0.5 * raw || ahead < 0.1 {
            slot.came = slot.came * keep + (came - ahead).max(0.0);
            slot.expected = slot.expected * keep + raw;
        }
        let error = came - corrected;
        slot.excess = slot.excess * keep + (error * error - corrected).clamp(-1e12, 1e12);
        slot.squares = slot.squares * keep + (corrected * corrected).min(1e12);
        if let Some((deviations, weight)) = shift {
            slot.shift = slot.shift * keep + deviations * weight;
            slot.shifts = slot.shifts * keep + weight;
        }
    }
}

/// The logarithm of a factor, grown where something missed that misses too often, else shrunk a little (Gibbs and Candes 2021).
fn adapted(log: f32, missed: bool, miss: f32) -> f32 {
    let off = f32::from(u8::from(missed)) - miss;
    (log + GAIN * 0.5 * off / miss.max(0.005)).clamp(-ADAPT_MAX, ADAPT_MAX)
}

/// Whether errors of this aggregate are counted off one by one.
pub(crate) fn counted(aggregate: Aggregate, missing: f64) -> bool {
    // Decided on the lower edge of the pool's size, so that a pool holds one kind only.
    aggregate == Aggregate::Count && missing.max(1e-9).log2().floor().exp2() < MANY
}
