//! The chain ladder: how much of what is counted at one checkpoint is counted at the next.
//!
//! Owns the ratios per step and the correction of the expectation that follows from them. Corrects what a histogram of
//! lateness can not know: cohorts that grow or shrink, and changes of lateness, before any cell is final.
//! Does not own labels.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::age;
use super::evidence::SourceId;

/// How long the ladder remembers, in ages for labels: what is recent, and what returns every week.
const RECENT: f64 = 0.5;
const LONG: f64 = 4.0;
/// Readings per cell below which cells that are still empty, and not observed, would distort the steps.
const MANY: f64 = 12.0;
/// Observations of a weekday that the ladder of all days is worth.
const WEEKDAY_PRIOR: f64 = 8.0;
/// The same of a source's own ladder, and the readings that the ladder of all sources is worth against it.
const FEW: f64 = 2.0;
const SOURCE_PRIOR: f64 = 60.0;
/// Sources with a ladder of their own, per stratum.
const SOURCES: usize = 128;
/// Weight of steps before their drift is believed.
const DRIFTS: f64 = 5.0;
/// Observations before the ladder is believed at an age.
const ENOUGH: f64 = 8.0;

/// Sums over observations at one age.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Rung {
    /// Observations, readings counted, and readings expected to be missing: behind the frontier, ahead of it.
    seen: f64,
    counted: f64,
    missing: f64,
    ahead: f64,
    /// Of cells observed here and at the next age: readings counted here, and there.
    from: f64,
    to: f64,
    /// Squared logarithms of the change of what was foretold from here to the next age, less those of Poisson numbers,
    /// and the weight of these steps.
    drift: f64,
    drifts: f64,
    /// When it was last observed, and when the last step from here was taken, nanoseconds.
    at: f64,
    stepped: f64,
}

/// What is kept over the time from `then` to `now`, which becomes `then`.
fn keep(then: &mut f64, now: f64, memory: f64) -> f64 {
    let passed = if *then == 0.0 { 0.0 } else { (now - *then).max(0.0) };
    *then = then.max(now);
    (-passed / memory.max(1.0)).exp()
}

/// The ladder of a stratum.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Ladder {
    rungs: Vec<Rung>,
}

impl Default for Ladder {
    fn default() -> Self {
        Self { rungs: vec![Rung::default(); age::BINS] }
    }
}

impl Ladder {
    /// Takes an observation into account: `n` counted, `missing` expected behind the frontier, and ahead. Remembers for
    /// `memory` nanoseconds: by time, so that a wave of many cells is not forgotten later than one of few.
    fn observe(&mut self, note: &Note, memory: f64) {
        if let Some(rung) = self.rungs.get_mut(age::bin(note.age)) {
            let keep = keep(&mut rung.at, note.now, memory);
            rung.seen = rung.seen * keep + 1.0;
            rung.counted = rung.counted * keep + note.n;
            rung.missing = rung.missing * keep + note.missing;
            rung.ahead = rung.ahead * keep + note.ahead;
        }
    }

    /// Takes a step of a cell from one checkpoint to the next into account.
    fn step(&mut self, now: f64, from: (f64, f64), to: (f64, f64), drift: (f64, f64), memory: f64) {
        let k = age::bin(from.0);
        if age::bin(to.0) != k + 1 || k == 0 {
            return;
        }
        if let Some(rung) = self.rungs.get_mut(k) {
            let keep = keep(&mut rung.stepped, now, memory);
            rung.from = rung.from * keep + from.1;
            rung.to = rung.to * keep + to.1.max(from.1);
            rung.drift = rung.drift * keep + drift.0 * drift.1;
            rung.drifts = rung.drifts * keep + drift.1;
        }
    }

    /// By which factor the expectation behind the frontier is off at an age: `n (1 / p - 1)` over what was expected, where
    /// `p = prod from / to` over the steps seen (Mack 1993), and by the expectation itself beyond the last of them.
    /// `None` where too little was seen.
    fn correction(&self, k: usize, many: f64) -> Option<f64> {
        let here =
            self.rungs.get(k).filter(|r| k > 0 && r.seen >= ENOUGH && r.from > 0.0 && r.counted >= many * r.seen)?;
        let (mut whole, mut last) = (1.0, k);
        for (i, rung) in self.rungs.iter().enumerate().skip(k) {
            if rung.from <= 0.0 {
                break;
            }
            whole *= rung.to / rung.from;
            last = i + 1;
        }
        if let Some(rest) = self.rungs.get(last).filter(|r| r.counted > 0.0) {
            whole *= 1.0 + (rest.missing + rest.ahead) / rest.counted;
        }
        let missing = (here.counted * (whole - 1.0) - here.ahead).max(0.0);
        Some(((missing + 0.1) / (here.missing + 0.1)).clamp(0.02, 2e3)).filter(|c| c.is_finite())
    }

    /// Squared deviation of the logarithm of what is foretold at an age from what it ends with, beyond that of a Poisson
    /// number: the sum over the steps to come, as errors of successive forecasts add up (Mack 1993).
    fn drift(&self, k: usize) -> Option<f64> {
        let here = self.rungs.get(k).filter(|r| k > 0 && r.drifts >= DRIFTS)?;
        let rest = self.rungs.iter().skip(k + 1).take_while(|r| r.drifts >= 0.5 * DRIFTS);
        Some(std::iter::once(here).chain(rest).map(|r| (r.drift / r.drifts).max(0.0)).sum())
    }
}

/// An observation of a cell at a checkpoint.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Note {
    pub(crate) now: f64,
    pub(crate) weekday: usize,
    pub(crate) age: f64,
    /// Readings counted, and expected to be missing: behind the frontier, ahead of it.
    pub(crate) n: f64,
    pub(crate) missing: f64,
    pub(crate) ahead: f64,
}

/// A step of a cell from one checkpoint to the next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub(crate) now: f64,
    pub(crate) weekday: usize,
    /// Age and readings counted, before and now.
    pub(crate) from: (f64, f64),
    pub(crate) to: (f64, f64),
    /// Squared logarithm of the change of what is foretold, less that of a Poisson number; and its weight.
    pub(crate) drift: (f64, f64),
}

/// Ladders of all days together, recently and for long, of each weekday and of each source: what is reported by people or
/// by batch follows the week, and each source has its own pace.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Ladders {
    recent: Ladder,
    all: Ladder,
    weekdays: [Ladder; 7],
    #[serde(with = "super::pairs")]
    sources: BTreeMap<SourceId, Ladder>,
}

impl Ladders {
    /// Takes an observation into account, where labels take `label_age` nanoseconds.
    pub(crate) fn observe(&mut self, source: Option<SourceId>, note: &Note, label_age: f64) {
        self.recent.observe(note, RECENT * label_age);
        self.all.observe(note, LONG * label_age);
        self.weekdays[note.weekday % 7].observe(note, LONG * label_age);
        let Some(source) = source else { return };
        // The first ones are remembered: a stratum with more of them is not told apart beyond their curves.
        if self.sources.len() < SOURCES || self.sources.contains_key(&source) {
            self.sources.entry(source).or_default().observe(note, LONG * label_age);
        }
    }

    /// Takes a step into account.
    pub(crate) fn step(&mut self, source: Option<SourceId>, step: &Step, label_age: f64) {
        let Step { now, weekday, from, to, drift } = *step;
        self.recent.step(now, from, to, drift, RECENT * label_age);
        self.all.step(now, from, to, drift, LONG * label_age);
        self.weekdays[weekday % 7].step(now, from, to, drift, LONG * label_age);
        if let Some(ladder) = source.and_then(|s| self.sources.get_mut(&s)) {
            ladder.step(now, from, to, drift, LONG * label_age);
        }
    }

    /// Whether enough was seen at an age, of cells that are large enough.
    pub(crate) fn believed(&self, age: f64) -> bool {
        self.recent.correction(age::around(age).0, MANY).is_some()
    }

    /// Squared deviation of the logarithm of what is foretold, recently or for long, whichever is more; beyond Poisson's.
    pub(crate) fn drift(&self, age: f64) -> Option<f64> {
        let k = age::around(age).0;
        let all = self.all.drift(k)?;
        Some(self.recent.drift(k).map_or(all, |recent| recent.max(all)))
    }

    /// The correction at an age: what was seen recently, times what sets the weekday and the source apart from others,
    /// as far as that is known.
    pub(crate) fn correction(&self, source: Option<SourceId>, weekday: usize, age: f64) -> Option<f64> {
        let (low, high, inside) = age::around(age);
        let below = self.at(source, weekday, low);
        if inside <= 0.0 {
            return below;
        }
        let (Some(below), Some(above)) = (below, self.at(source, weekday, high)) else { return below };
        Some((below.ln() + inside * (above / below).ln()).exp())
    }

    fn at(&self, source: Option<SourceId>, weekday: usize, k: usize) -> Option<f64> {
        let recent = self.recent.correction(k, MANY)?;
        let Some(all) = self.all.correction(k, MANY) else { return Some(recent) };
        let mut log = recent.ln();
        let day = &self.weekdays[weekday % 7];
        if let (Some(own), Some(rung)) = (day.correction(k, MANY), day.rungs.get(k)) {
            log += rung.seen / (rung.seen + WEEKDAY_PRIOR) * (own / all).ln();
        }
        let own = source.and_then(|s| self.sources.get(&s));
        if let Some((own, rung)) = own.and_then(|l| Some((l.correction(k, FEW)?, l.rungs.get(k)?))) {
            log += rung.counted / (rung.counted + SOURCE_PRIOR) * (own / all).ln();
        }
        Some(log.exp())
    }
}
