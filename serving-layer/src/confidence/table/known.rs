//! What a stratum and its parent know of cells at one age and state: looked up once for many cells.
//!
//! Owns how experience is weighed: of the nearest age, of all ages, of other classes, and the prior. Does not own how it was
//! made (`table`).

use std::sync::LazyLock;

use super::{Place, Slot, SlotId, Table, all_ages};
use crate::confidence::pool::{self, BINS};
use crate::confidence::recal::{Recal, bounded, logit, sigmoid};
use crate::confidence::shape::{Lesson, Shape};

/// Labels until which a slot listens to other classes.
const YOUNG: f64 = 60.0;
/// Errors that a parent's pool is worth, and the prior's.
const SHRINK: f64 = 20.0;
const PRIOR: f64 = 4.0;
/// Errors from which on the prior would not be noticed: it costs more than all the rest.
const ENOUGH: f64 = 80.0;

/// What is known at one age and state.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known<'a> {
    table: &'a Table,
    parent: Option<&'a Table>,
    /// The experience at this age and state, or else at the nearest ...
    nearest: Option<&'a Slot>,
    /// ... at exactly this one, of all ages, and what other classes taught.
    here: Option<&'a Slot>,
    all: Option<&'a Slot>,
    others: Option<&'a Slot>,
    /// The weight of others.
    foreign: f64,
    /// Whether cells of this age have taught already, as they are.
    pub(crate) labelled: bool,
    /// What changes shapes.
    pub(crate) lesson: Lesson,
    /// Whether enough labels stand behind it.
    pub(crate) calibrated: bool,
    /// The factor by which expected missing readings are corrected, as labelled cells taught.
    pub(crate) correction: f64,
}

impl<'a> Known<'a> {
    pub(super) fn of(table: &'a Table, parent: Option<&'a Table>, slot: SlotId) -> Self {
        let (nearest, here) = (table.slot(slot), table.slots.get(&slot));
        let foreign = (1.0 - here.map_or(0.0, |s| f64::from(s.labels)) / YOUNG).max(0.0);
        Self {
            table,
            parent,
            nearest,
            here,
            all: table.slots.get(&all_ages(slot)),
            others: parent.filter(|_| foreign > 0.0).and_then(|p| p.slot(slot)),
            foreign,
            labelled: false,
            lesson: nearest.map_or(Lesson { phi: 0.2, shift: 0.0 }, Slot::lesson),
            calibrated: nearest.is_some_and(Slot::is_calibrated),
            correction: nearest.map_or(1.0, Slot::correction),
        }
    }

    /// A structural probability of no change, corrected by experience.
    pub(crate) fn same(&self, aggregate: usize, p: f64) -> f64 {
        self.recalibrated(p, |s| &s.same[aggregate])
    }

    /// A score, corrected likewise.
    pub(crate) fn score(&self, aggregate: usize, p: f64) -> f64 {
        let score = self.recalibrated(p, |s| &s.score[aggregate]);
        self.here.map_or(score, |s| s.stack[aggregate].mix(score))
    }

    /// By how much the tails are stretched.
    pub(crate) fn tails(&self, aggregate: usize) -> (f64, f64) {
        let (below, above) = self.nearest.map_or((0.0, 0.0), |s| s.tails[aggregate]);
        (f64::from(below).exp(), f64::from(above).exp())
    }

    /// Shares of the errors of a change.
    pub(crate) fn errors(&self, place: Place, aggregate: usize, shape: Shape, counted: bool) -> [f64; BINS] {
        let mut shares = [0.0; BINS];
        let own = |table: &Table, into: &mut [f64; BINS], weight: f64| {
            table.pools.get(&place.size).map_or(0.0, |p| p.pools[aggregate].add_to(into, weight))
        };
        let known = own(self.table, &mut shares, f64::MAX);
        let lent = match self.parent {
            Some(parent) if known < 3.0 * SHRINK => own(parent, &mut shares, SHRINK),
            _ => 0.0,
        };
        if known + lent < ENOUGH {
            let prior = PRIOR / (1.0 + 0.1 * (known + lent));
            for (sum, p) in shares.iter_mut().zip(prior_shares(shape, counted)) {
                *sum += prior * p;
            }
        }
        shares
    }

    fn recalibrated(&self, p: f64, of: impl Fn(&Slot) -> &Recal) -> f64 {
        if self.nearest.is_none() && self.all.is_none() && self.others.is_none() {
            return bounded(p);
        }
        let odds = logit(p);
        let lent = self.lent(odds, &of);
        let told = sigmoid(self.nearest.map_or(lent, |s| of(s).odds(odds, lent)));
        // What younger cells taught of changes to come is no news of those that are believed to be final.
        if self.labelled && self.here.is_none() { told.max(bounded(p)) } else { told }
    }

    /// What is believed of log odds before the own slot speaks: what all ages of the stratum taught, and as long as the
    /// slot is young, what other classes taught at this age.
    pub(super) fn lent(&self, odds: f64, of: impl Fn(&Slot) -> &Recal) -> f64 {
        let others = self.others.map_or(0.0, |s| of(s).odds(odds, odds) - odds);
        let odds = odds + self.foreign * others;
        self.all.map_or(odds, |s| of(s).odds(odds, odds))
    }
}

/// `P(Z <= z)` at the edges of a pool's bins, of a logistic number with one and a half times the usual scale.
static LOGISTIC: LazyLock<[f64; BINS + 1]> =
    LazyLock::new(|| std::array::from_fn(|i| 1.0 / (1.0 + (-pool::edge(i) * 1.2).exp())));

/// What a change is believed to look like before any was seen: logistic around the centre with one and a half times
/// the scale, on the side it can go to; a count is geometric with the expected mean.
fn prior_shares(shape: Shape, counted: bool) -> [f64; BINS] {
    let logistic = |z: f64| 1.0 / (1.0 + (-z * 1.2).exp());
    // Below where nothing changes, of a change that can go one way only.
    let zero = if counted || shape.sign == 0 { 0.0 } else { logistic(-shape.centre / shape.scale) };
    let at = |i: usize| {
        let z = pool::edge(i);
        match shape.sign {
            _ if counted && z <= 0.5 => 0.0,
            _ if counted => 1.0 - (-(z - 0.5) / shape.centre.max(1.0)).exp(),
            1 => LOGISTIC[i].max(zero),
            -1 => LOGISTIC[i].min(zero),
            _ => LOGISTIC[i],
        }
    };
    let mut shares = [0.0; BINS];
    let mut low = at(0);
    for (i, share) in shares.iter_mut().enumerate() {
        let high = at(i + 1);
        *share = high - low;
        low = high;
    }
    shares
}
