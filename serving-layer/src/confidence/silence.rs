//! What the silence of a source means: of readings due since it was last heard, the share that still comes.
//!
//! Owns that share: of long silences learned from how they ended ([`Returns`]), of short ones per age from labelled
//! cells ([`Silence`]). Does not own how many are due.

use serde::{Deserialize, Serialize};

use super::age;
use super::evidence::between;

/// Lengths of silence told apart, in readings that should have arrived since the source was last heard.
const LIMITS: [f64; 9] = [0.25, 0.75, 1.5, 3.0, 6.0, 12.0, 24.0, 100.0, 1_000.0];
const BINS: usize = LIMITS.len() + 1;
/// Labelled cells that the prior is worth.
const PRIOR: f64 = 4.0;
/// Labelled cells remembered per bin.
const MEMORY: f64 = 200.0;
/// A silence from which on the source is taken to have stopped or to be held back.
const SILENT: usize = 4;
/// Of silent sources, how many are believed to be held back rather than stopped before any were seen, by the length
/// of their silence from [`SILENT`] on: the longer, the likelier they stopped.
const HELD: [f64; BINS - SILENT] = [0.3, 0.4, 0.4, 0.3, 0.05, 0.001];
/// And how many go on speaking though they hold nothing back.
const ALIVE: [f64; BINS - SILENT] = [0.9, 0.6, 0.3, 0.1, 0.01, 0.0];
/// Ends of silences that this belief is worth.
const RETURNS: f64 = 2.0;
/// And ends from which on they are believed alone.
const PROVEN: f64 = 6.0;

/// Gaps that vary less than this (squared coefficient of variation) make a source regular.
const REGULAR: f64 = 0.1;

/// Whether a source is regular by its gaps.
pub(crate) fn regular(cv_sq: f64) -> bool {
    cv_sq < REGULAR
}

/// Which length of silence, in readings that should have been heard; of a regular source each tells twice as much.
pub(crate) fn bin(heard: f64, regular: bool) -> usize {
    let quiet = if regular { 2.0 * heard } else { heard };
    LIMITS.iter().position(|l| quiet < *l).unwrap_or(BINS - 1)
}

/// How long silences ended: with what had been held back, or with news only.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Returns {
    /// Of irregular and regular sources, per length of silence that was reached: ends seen, and the share of the silent stretch that came after all.
    ends: [[(f64, f64); BINS]; 2],
}

/// A silence that a reading has ended. What was held back may come in any order.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Ended {
    /// The newest event before it, and the oldest that came with its end or after it.
    pub(super) newest: i64,
    pub(super) oldest: i64,
    /// When it ended.
    pub(super) at: i64,
    pub(super) regular: bool,
    pub(super) silence: usize,
}

impl Ended {
    /// The share of the silent stretch that came after all.
    fn held(&self) -> f64 {
        (between(self.oldest, self.at) / between(self.newest, self.at).max(1.0)).clamp(0.0, 1.0)
    }
}

impl Returns {
    /// A source spoke again after a silence, and all that it had held back has come.
    ///
    /// Sources that store and forward begin where they stopped (share near 1), those that were off begin with the
    /// present (near 0). Learned from the end itself, it needs no label and no bucket.
    pub(super) fn learn(&mut self, ended: &Ended) {
        let reached = self.ends[usize::from(ended.regular)].iter_mut().take(ended.silence + 1).skip(SILENT);
        for (ends, held) in reached {
            let keep = 1.0 - 1.0 / MEMORY;
            (*ends, *held) = (*ends * keep + 1.0, *held * keep + ended.held());
        }
    }

    /// The share that is believed to be held back in a silence of this length.
    fn held(&self, regular: bool, silence: usize) -> f64 {
        let (ends, held) = self.ends[usize::from(regular)].get(silence).copied().unwrap_or_default();
        let believed = |silence: usize| HELD.get(silence.saturating_sub(SILENT)).copied().unwrap_or(0.0);
        // What shorter silences taught is half believed of longer ones, but of the longest.
        let shorter = if silence > SILENT && silence < BINS - 1 {
            self.held(regular, silence - 1) - believed(silence - 1)
        } else {
            0.0
        };
        let prior = (believed(silence) + 0.5 * shorter).max(0.0);
        ((held + RETURNS * prior) / (ends + RETURNS)).clamp(0.0, 1.0)
    }

    /// Whether too few silences of this length were seen to end to know what it means.
    pub(crate) fn unproven(&self, regular: bool, silence: usize) -> bool {
        long(silence)
            && silence < BINS - 1
            && self.ends[usize::from(regular)].get(silence).is_some_and(|(ends, _)| *ends < PROVEN)
    }

    /// Whether a source silent for so long goes on speaking.
    pub(crate) fn alive(&self, regular: bool, silence: usize) -> f64 {
        if silence < SILENT { 1.0 } else { ALIVE[silence - SILENT].max(self.held(regular, silence)) }
    }
}

/// Whether a silence is long enough that its end tells something.
pub(crate) fn long(silence: usize) -> bool {
    silence >= SILENT
}

/// Whether it is open if such a source is held back or has stopped.
pub(crate) fn unresolved(silence: usize) -> bool {
    (SILENT - 1..BINS - 2).contains(&silence)
}

/// Sums over labelled cells, forgetting.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Share {
    cells: f64,
    came: f64,
    due: f64,
    /// By the lateness curve.
    late: f64,
}

/// The share of due readings that still comes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Silence {
    shares: Vec<Share>,
    /// Of readings behind the frontier: came, and expected by the curve, per age.
    behind: Vec<(f64, f64)>,
}

impl Default for Silence {
    fn default() -> Self {
        Self { shares: vec![Share::default(); BINS * age::BINS], behind: vec![(0.0, 0.0); age::BINS] }
    }
}

impl Silence {
    /// Readings missing of those `due`, when the bucket ended `age` nanoseconds ago.
    pub(crate) fn missing(
        &self,
        silence: usize,
        age: f64,
        (due, due_late): (f64, f64),
        (regular, returns): (bool, &Returns),
    ) -> f64 {
        if due <= 0.0 {
            return 0.0;
        }
        if silence >= SILENT {
            return due * returns.held(regular, silence);
        }
        let share = self.shares.get(age::bin(age) * BINS + silence).copied().unwrap_or_default();
        if share.due <= 0.0 {
            return due_late;
        }
        let weight = share.cells / (share.cells + PRIOR);
        // Relative to the curve where it expects something: it knows the exact age.
        let absolute = due * share.came / share.due;
        let relative = if share.late > 0.0 { (due_late * share.came / share.late).min(due * 2.0) } else { absolute };
        weight * 0.5 * (absolute + relative) + (1.0 - weight) * due_late
    }

    /// The correction of what is expected behind the frontier.
    pub(crate) fn behind(&self, age: f64) -> f64 {
        let (came, expected) = self.behind.get(age::bin(age)).copied().unwrap_or_default();
        ((came + 3.0) / (expected + 3.0)).clamp(0.02, 20.0)
    }

    /// Learns from a labelled cell of one series: `came` readings after the observation.
    pub(crate) fn learn(&mut self, silence: usize, age: f64, (behind, due, due_late): (f64, f64, f64), came: f64) {
        let k = age::bin(age);
        if due <= 0.0 {
            if let Some((c, e)) = self.behind.get_mut(k) {
                let keep = 1.0 - 1.0 / MEMORY;
                (*c, *e) = (*c * keep + came.min(20.0 * behind + 20.0), *e * keep + behind);
            }
            return;
        }
        let came = (came - behind * self.behind(age)).clamp(0.0, 3.0 * due + 3.0);
        if let Some(share) = self.shares.get_mut(k * BINS + silence) {
            let keep = 1.0 - 1.0 / MEMORY;
            share.cells = share.cells * keep + 1.0;
            share.came = share.came * keep + came;
            share.due = share.due * keep + due;
            share.late = share.late * keep + due_late;
        }
    }
}
