//! Points are assessed: how settled, how complete, how sure.
//!
//! Owns what of a point's series, metric and bucket goes into the model, and what is worked out once for many points.
//! Does not own the model ([`crate::confidence`]).

use std::collections::HashMap;

use schemas::epoch::{SeriesState, Snapshot};
use schemas::{ArrivalTime, EventTime, Resolution, TimeRange};

use super::points::CellPoint;
use crate::answer::{Source, Value};
use crate::confidence::{Assessment, Evidence, Metric, Model, Outlook, Past, State};
use crate::serving::Serving;

/// Everything that is said of a point beside its values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Assessed {
    /// How settled the bucket is.
    pub state: State,
    /// Completeness and score.
    pub assessment: Assessment,
}

/// A series, as the points that it is part of see it.
#[derive(Debug)]
pub(crate) struct Member<'a> {
    /// Its place among the assessor's metrics.
    metric: usize,
    past: Past<'a>,
}

/// Assesses points of one snapshot, remembering what series of one metric share.
pub(crate) struct Assessor<'a> {
    model: Model,
    snapshot: &'a Snapshot,
    now: ArrivalTime,
    range: TimeRange,
    step: Resolution,
    metrics: Vec<Metric>,
    /// Places in `metrics`, by name; that of those without known lateness has none.
    places: HashMap<&'a str, usize>,
    /// The place that was asked for last: series come sorted by metric.
    newest: Option<(&'a str, usize)>,
}

impl<'a> Assessor<'a> {
    /// Assesses points of `range` in steps of `step`, with intervals that hold with probability `level`.
    pub(crate) fn new(
        serving: &Serving,
        now: ArrivalTime,
        snapshot: &'a Snapshot,
        range: TimeRange,
        step: Resolution,
        level: f64,
    ) -> Self {
        let horizon = i64::try_from(serving.settings.horizon_max.as_nanos()).unwrap_or(i64::MAX);
        let model = Model { level, ..Model::new(serving.settings.epsilon, horizon) };
        Self { model, snapshot, now, range, step, metrics: Vec::new(), places: HashMap::new(), newest: None }
    }

    /// What points need to know of a series.
    pub(crate) fn member<'s>(&mut self, state: &'s SeriesState) -> Member<'s> {
        let metric = match self.newest {
            Some((name, metric)) if name == state.key.metric() => metric,
            _ => self.metric(state.key.metric()),
        };
        let past = self.model.past(state.tail.as_ref(), self.now, self.metrics[metric].lateness());
        Member { metric, past }
    }

    fn metric(&mut self, name: &str) -> usize {
        let known = self.snapshot.lateness.get_key_value(name);
        let (name, lateness) = known.map_or(("", None), |(name, table)| (name.as_str(), Some(table)));
        let metric = *self.places.entry(name).or_insert_with(|| {
            self.metrics.push(Metric::new(&self.model, self.now, lateness));
            self.metrics.len() - 1
        });
        self.newest = Some((name, metric));
        metric
    }

    /// What is to be said of a point made of `parts`; the intervals of its values are set.
    pub(crate) fn assess<'m>(
        &mut self,
        all: &CellPoint,
        parts: impl Iterator<Item = (&'m Member<'m>, &'m CellPoint)>,
        values: &mut [Value],
    ) -> Assessed {
        let bucket = self.step.bucket(EventTime(all.bucket)).intersect(&self.range);
        let mut outlook: Option<Outlook> = None;
        let mut horizon = 0;
        for (member, point) in parts {
            let part = self.outlook(member, point, bucket);
            match &mut outlook {
                Some(sum) => sum.merge(&part),
                None => outlook = Some(part),
            }
            horizon = horizon.max(self.metrics[member.metric].horizon());
        }
        let outlook = outlook.expect("a point has a part");
        let state = self.model.state(bucket, self.now, horizon, all.covered(), self.revised(all, bucket, horizon));
        Assessed { state, assessment: self.model.assess(&outlook, &all.partial, values) }
    }

    /// Readings reached a bucket that a view had counted and that was old enough to be final.
    fn revised(&self, all: &CellPoint, bucket: TimeRange, horizon: i64) -> bool {
        let age = self.now.0.saturating_sub(bucket.end.0);
        all.source() == Source::Merged && age > horizon
    }

    fn outlook(&mut self, member: &Member<'_>, point: &CellPoint, bucket: TimeRange) -> Outlook {
        let metric = &mut self.metrics[member.metric];
        let arrivals = metric.arrivals(&self.model, bucket);
        let evidence = Evidence {
            partial: &point.partial,
            bucket,
            now: self.now,
            covered: point.covered(),
            pending: point.pending,
            revised: false,
        };
        self.model.outlook(&member.past, &evidence, arrivals)
    }
}
