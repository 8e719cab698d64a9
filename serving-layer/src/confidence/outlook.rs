//! How many readings of a bucket are expected, seen and missing: from habits, lateness and frontiers.
//!
//! Owns the expectation of one series (a *member*) and its sum over a group. Does not own the weight of silence
//! (`silence`, learned), nor how missing readings move values (`shape`).
//!
//! ```text
//!  start                             frontier         now                  end
//!    |------ behind: late by the curve --|--- ahead ---|------ future -------|
//!                                       held, lost, stopped   yet to happen
//! ```

use serde::{Deserialize, Serialize};

use super::age::told_apart;
use super::evidence::{Moment, SourceId, between, frontier};
use super::habit::{Series, SeriesHabit};
use super::silence::{self, Silence};
use schemas::epoch::Tail;

/// Readings that the knowledge of a usual gap is worth, of a Poisson-like series ...
const WORTH: f64 = 10.0;
/// ... and the most, of a regular one.
const WORTH_MAX: f64 = 60.0;
/// Of what a silent source may hold back, the share from which on it is waited for.
const EXPECTED: f64 = 0.1;

/// Readings expected of a cell, as sums over its series: merging is addition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Outlook {
    /// Series.
    pub(crate) members: f64,
    /// Expected to be counted by now.
    pub(crate) seen: f64,
    /// Expected to be missing though they happened before the frontier.
    pub(crate) behind: f64,
    /// Due between frontier and now, whether they come or not.
    pub(crate) due: f64,
    /// Of them missing, by the lateness curve alone.
    pub(crate) due_late: f64,
    /// Of them missing, by what was learned of silence.
    pub(crate) ahead: f64,
    /// Still to happen.
    pub(crate) future: f64,
    /// Missing and newer than the newest counted; older than the oldest counted.
    pub(crate) after: f64,
    pub(crate) before: f64,
    /// Deviation of what is missing ahead, as a silent source holds back all or nothing; sources are taken to fall
    /// silent together, behind one gateway.
    pub(crate) held: f64,
    /// Logarithm of the probability that no member misses a reading ahead of its frontier.
    pub(crate) none_ahead: f64,
    /// Corrections to come of each reading counted (a sum over members, as [`Self::members`]).
    pub(crate) corrections: f64,
    /// The part of a horizon that the class was heard for (a sum over members).
    pub(crate) heard: f64,
    /// Readings due of sources of which it is open whether they stopped.
    pub(crate) unresolved: f64,
    /// Of them, those beyond the expectation of which nothing is known yet.
    pub(crate) withheld: f64,
    /// Readings missing and seen of series whose usual level is known, and sums of these levels.
    pub(crate) missing_level: (f64, f64),
    pub(crate) seen_level: (f64, f64),
    /// Readings that the knowledge of the rates is worth.
    pub(crate) worth: f64,
    /// Whose outlook it is, of one member only.
    pub(crate) source: Option<SourceId>,
    /// Which silence (of one member; of a group it says nothing).
    pub(crate) silence: usize,
    /// Sums over members of the squared step and of the share of steps that are none, and of the members they are of.
    pub(crate) step_sq: f64,
    pub(crate) equal: f64,
    pub(crate) stepped: f64,
}

impl Outlook {
    /// Adds another series, or another bucket.
    pub fn merge(&mut self, other: &Self) {
        self.source = if self.members <= 0.0 || self.source == other.source { other.source } else { None };
        self.members += other.members;
        self.seen += other.seen;
        self.behind += other.behind;
        self.due += other.due;
        self.due_late += other.due_late;
        self.ahead += other.ahead;
        self.future += other.future;
        self.after += other.after;
        self.before += other.before;
        self.held += other.held;
        self.none_ahead += other.none_ahead;
        self.unresolved += other.unresolved;
        self.withheld += other.withheld;
        self.corrections += other.corrections;
        self.heard += other.heard;
        self.missing_level.0 += other.missing_level.0;
        self.missing_level.1 += other.missing_level.1;
        self.seen_level.0 += other.seen_level.0;
        self.seen_level.1 += other.seen_level.1;
        self.worth += other.worth;
        self.silence = self.silence.max(other.silence);
        self.step_sq += other.step_sq;
        self.equal += other.equal;
        self.stepped += other.stepped;
    }

    /// Readings expected of the whole bucket by habit alone.
    pub(crate) fn expected(&self) -> f64 {
        self.seen + self.behind + self.due + self.future
    }

    /// Readings that are missing by expectation alone.
    pub(crate) fn missing(&self) -> f64 {
        self.behind + self.ahead + self.future
    }

    /// Of one series: how it usually speaks, and its newest end; `None` if it was never heard.
    pub(crate) fn of(moment: &Moment, habit: &SeriesHabit<'_>, tail: Option<&Tail>, silence: &Silence) -> Self {
        let (class, series, curve) = (&habit.class, habit.series, habit.curve());
        let mut outlook = Self { members: 1.0, heard: class.heard(), source: Some(habit.source), ..Self::default() };
        if let Some(deviation) = series.and_then(Series::step_deviation) {
            outlook.stepped = 1.0;
            outlook.step_sq = (deviation * deviation).min(1e300);
            outlook.equal = series.map_or(0.0, |s| s.equal);
        }
        let (start, end, now) = (moment.bucket.start.0, moment.bucket.end.0, moment.now);
        let width = between(start, end).max(1.0);
        let corrections = |now: i64| class.corrections(between(start, now) * 0.5 + between(end, now) * 0.5);
        let Some(tail) = tail else {
            outlook.corrections = corrections(now);
            return outlook;
        };
        let cv_sq = series.map_or(1.0, Series::cv_sq);
        // A series heard once speaks about once in as long as it has been there, or once in a bucket.
        let unknown = || between(tail.earliest, now).max(width);
        let known = habit.cadence(tail);
        let gap = known.unwrap_or_else(unknown).max(1.0);
        outlook.worth = if known.is_some() { (WORTH / cv_sq.max(0.01)).clamp(1.0, WORTH_MAX) } else { 0.5 };
        let (rate, regular) = (1.0 / gap, silence::regular(cv_sq));
        // Of what was passed, neighbouring ages are one.
        let passed = known.is_some() && born(tail.earliest, gap) <= start && end <= frontier(tail);
        let seen_at = if passed { end.saturating_add(told_apart(between(end, now)) as i64) } else { now };
        outlook.corrections = corrections(seen_at);

        let frontier_now = frontier(tail).min(now);
        // One gap before its first reading a new series was not there.
        let born = born(tail.earliest.min(moment.first), gap);
        let end = end.max(start);
        let elapsed = now.clamp(start, end);
        let from = born.clamp(start, elapsed);
        let frontier = frontier_now.clamp(from, elapsed);
        let late = |a: i64, b: i64| (curve.integral(between(a, now)) - curve.integral(between(b, now))).max(0.0);

        let known_length = between(from, frontier);
        let missed = |a: i64, b: i64| (curve.behind(between(a, seen_at)) - curve.behind(between(b, seen_at))).max(0.0);
        let behind = missed(from, frontier).min(known_length);
        outlook.behind = rate * behind;
        outlook.seen = rate * (known_length - behind);
        let ahead_length = between(frontier, elapsed);
        if ahead_length > 0.0 {
            let from_frontier = if frontier_now == frontier { 0.0 } else { between(frontier_now, frontier) };
            outlook.due = due(from_frontier + ahead_length, gap, cv_sq) - due(from_frontier, gap, cv_sq);
            outlook.due_late = outlook.due * (late(frontier, elapsed) / ahead_length).clamp(0.0, 1.0);
        }
        outlook.silence = silence::bin(rate * curve.heard(between(frontier_now, now)), regular);
        let returns = class.returns();
        outlook.ahead =
            silence.missing(outlook.silence, between(end, now), (outlook.due, outlook.due_late), (regular, returns));
        if outlook.due > 0.0 {
            let share = (outlook.ahead / outlook.due).clamp(0.0, 1.0);
            // All or nothing, if there is anything: `1 - share (1 - e^-due)`; of little due that is `e^-ahead`.
            outlook.none_ahead = (-share * -(-outlook.due).exp_m1()).max(-0.999_999).ln_1p();
            let unproven = returns.unproven(regular, outlook.silence);
            if unproven {
                outlook.withheld = (outlook.due - outlook.ahead).max(0.0);
            }
            let expected = silence::long(outlook.silence) && share > EXPECTED;
            if unproven || expected || silence::unresolved(outlook.silence) {
                outlook.held = outlook.due * (share * (1.0 - share)).sqrt();
                outlook.unresolved = outlook.due;
            }
        }
        outlook.future = rate * between(elapsed, end) * returns.alive(regular, outlook.silence);

        // Newer than the newest counted, older than the oldest counted: shares of the stretches.
        let last = moment.last.clamp(from, elapsed);
        let first = moment.first.clamp(from, elapsed);
        outlook.after = outlook.future
            + if last <= frontier {
                outlook.ahead + rate * missed(last, frontier)
            } else if ahead_length > 0.0 {
                outlook.ahead * between(last, elapsed) / ahead_length
            } else {
                0.0
            };
        outlook.before = if first <= frontier { rate * missed(from, first) } else { rate * behind };
        if let Some(level) = series.and_then(Series::apart) {
            let missing = outlook.missing();
            (outlook.missing_level, outlook.seen_level) =
                ((missing, missing * level), (outlook.seen, outlook.seen * level));
        }
        outlook
    }
}

/// When a series is taken to have come into being, given its earliest reading and usual gap.
pub(super) fn born(earliest: i64, gap: f64) -> i64 {
    earliest.saturating_sub(gap.clamp(1.0, 1e18) as i64)
}

/// Readings due within `length` after the newest one: of a Poisson process `length / gap`, of a regular series about
/// one less than half a gap, as its next is due a whole gap after the newest (renewal theory, Cox 1962).
fn due(length: f64, gap: f64, cv_sq: f64) -> f64 {
    let x = length / gap;
    if x <= 0.0 || cv_sq > 0.5 {
        return x.max(0.0);
    }
    let regular = if x > 4.0 {
        x - 0.5 + 0.5 * cv_sq
    } else {
        (1..=5).map(f64::from).map(|k| 1.0 / (1.0 + (-1.7 * (x - k) / (cv_sq.max(0.0025) * k).sqrt()).exp())).sum()
    };
    let poisson = cv_sq / 0.5;
    regular + poisson * (x - regular)
}
