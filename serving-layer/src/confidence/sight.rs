//! Sights: the cells of one series or group, as one question meets them, one after the other.
//!
//! Owns what neighbouring cells share: behind every frontier, what is expected of a cell depends on its age alone, and ages
//! are told apart coarsely (`age`). Does not own what follows from it (`foretell`).
//! Invariant: a prediction is the same whether it was prepared for this cell or for a neighbour.

use schemas::TimeRange;
use schemas::epoch::Tail;
use schemas::partial::Aggregate;

use super::age::told_apart;
use super::evidence::{Moment, Prediction, Readings, between};
use super::foretell::{Foreteller, Observation, Prepared};
use super::habit::SeriesHabit;
use super::outlook::Outlook;

/// Numbers of readings for which one age is kept prepared.
const NUMBERS: usize = 16;

/// The series of cells that are asked for in order of time, all at the same present.
#[derive(Debug)]
pub struct Sight<'a> {
    members: Vec<(SeriesHabit<'a>, Option<&'a Tail>)>,
    wanted: Vec<Aggregate>,
    /// The stretch that all members have passed, if what is wanted hangs on nothing else.
    passed: Option<TimeRange>,
    shared: Option<Shared<'a>>,
}

/// What cells of one age and width share.
#[derive(Debug)]
struct Shared<'a> {
    age: f64,
    width: i64,
    outlook: Outlook,
    prepared: Vec<(Likeness, Prepared<'a>)>,
}

/// Cells of one age that are alike in this share what is prepared.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Likeness {
    n: f64,
    constant: bool,
    weekday: usize,
}

impl<'a> Sight<'a> {
    /// Of these series, with their newest ends if they were ever heard; these aggregates will be asked for.
    pub fn new(members: Vec<(SeriesHabit<'a>, Option<&'a Tail>)>, wanted: Vec<Aggregate>) -> Self {
        // How the first and the last reading lie in their bucket counts, too.
        let ends = wanted.iter().any(|aggregate| matches!(aggregate, Aggregate::First | Aggregate::Last));
        let mut stretches = members.iter().map(|(habit, tail)| habit.passed(*tail));
        let first = stretches.next().flatten().filter(|_| !ends);
        let passed = first.and_then(|first| stretches.try_fold(first, |all, one| Some(all.intersect(&one?))));
        Self { members, wanted, passed, shared: None }
    }

    /// What is expected of a cell.
    pub fn outlook(&self, foreteller: &Foreteller<'_>, moment: &Moment) -> Outlook {
        let mut sum = Outlook::default();
        self.members.iter().for_each(|(habit, tail)| sum.merge(&foreteller.outlook(moment, habit, *tail)));
        sum
    }

    /// Foretells what is wanted of a cell.
    pub fn foretell<'b: 'a>(
        &mut self,
        foreteller: &mut Foreteller<'b>,
        moment: &Moment,
        readings: &Readings,
    ) -> Prediction {
        let bucket = moment.bucket;
        if !self.passed.is_some_and(|passed| passed.start <= bucket.start && bucket.end <= passed.end) {
            let outlook = self.outlook(foreteller, moment);
            return foreteller.foretell(&Observation::new(moment, readings, &outlook), &self.wanted);
        }
        let width = bucket.end.0.saturating_sub(bucket.start.0);
        let age = told_apart(between(bucket.end.0, moment.now));
        let shared = match self.shared.take().filter(|shared| shared.age == age && shared.width == width) {
            Some(shared) => shared,
            None => Shared { age, width, outlook: self.outlook(foreteller, moment), prepared: Vec::new() },
        };
        let shared = self.shared.insert(shared);
        let features = Observation::new(moment, readings, &shared.outlook).features;
        let likeness = Likeness { n: features.n, constant: features.constant, weekday: features.weekday };
        let place = shared.prepared.iter().position(|(of, _)| *of == likeness).unwrap_or_else(|| {
            if shared.prepared.len() >= NUMBERS {
                shared.prepared.clear();
            }
            shared.prepared.push((likeness, foreteller.prepare(&features, &self.wanted)));
            shared.prepared.len() - 1
        });
        foreteller.foretell_prepared(&shared.prepared[place].1, &features)
    }
}
