//! The answer to a metric query: groups, values, confidence, and what to do below the asked minimum.

use std::mem::take;
use std::sync::Arc;

use schemas::EventTime;
use schemas::epoch::Snapshot;
use schemas::limits::Limits;
use schemas::partial::Aggregate;
use schemas::query::{OnViolation, Query, QueryText};

use super::assess::{Asked, Assessed, Assessor};
use super::cells::{CellQuery, cells};
use super::groups::{Group, group};
use super::points::{CellPoint, SeriesCells};
use super::spread::spread;
use crate::answer::{Answer, AsOf, Confidence, Point, SeriesAnswer, Value};
use crate::error::{Error, Result};
use crate::serving::Serving;

/// Fewer points are not worth a thread, which costs as much as a hundred, and more where it must wait for a processor.
const POINTS_LEAST: usize = 2_000;

impl Serving {
    /// Answers a metric query from one snapshot.
    ///
    /// # Errors
    /// The query is malformed, too large, or history can't be read.
    pub async fn query(&self, text: &QueryText) -> Result<Answer> {
        self.query_within(text, None).await
    }

    /// Answers a metric query of somebody who may read the series within these limits only.
    ///
    /// # Errors
    /// As for [`Self::query`].
    pub async fn query_within(&self, text: &QueryText, limits: Option<&Arc<Limits>>) -> Result<Answer> {
        let query = self.checked(text, limits)?;
        let deadline = self.settings.query_timeout;
        let answer = tokio::time::timeout(deadline, self.answer(&query)).await;
        answer.map_err(|_| Error::Timeout(deadline.as_secs()))?
    }

    /// The query that this text means, among the series within the limits.
    pub(super) fn checked(&self, text: &QueryText, limits: Option<&Arc<Limits>>) -> Result<Query> {
        let mut query = text.check(self.clock.now(), self.speed.settings().base)?;
        if let Some(limits) = limits {
            query.selector = query.selector.within(Arc::clone(limits));
        }
        Ok(query)
    }

    async fn answer(&self, query: &Query) -> Result<Answer> {
        let snapshot = self.speed.snapshot(&query.selector);
        // Of the same moment: history may take its time.
        let now = self.clock.now();
        let learned = self.calibration.learned();
        let assessor = || Assessor::new(self, &learned, now, &snapshot, query.range, query.step, asked(query));
        let mut assessor = query.confidence.then(assessor);
        let final_before = assessor.as_mut().map_or(Vec::new(), |assessor| assessor.final_before(&snapshot.series));
        let cells = self.query_cells(&snapshot, query, final_before).await?;
        let missing = assessor.as_ref().map_or(Vec::new(), Assessor::missing);
        let series = self.series(group(cells, query.by.as_deref()), query, assessor.as_ref())?;
        Ok(Answer { series, as_of: as_of(&snapshot, query), missing })
    }

    /// What is told of the groups, on all processors where they are many.
    fn series(
        &self,
        mut groups: Vec<Group>,
        query: &Query,
        assessor: Option<&Assessor<'_>>,
    ) -> Result<Vec<SeriesAnswer>> {
        let points = groups.iter().flat_map(|group| &group.members).map(|member| member.points.len()).sum();
        let told = spread(&mut groups, self.parts(points, POINTS_LEAST), |groups| -> Result<Vec<SeriesAnswer>> {
            let mut assessor = assessor.cloned();
            groups.iter_mut().map(|group| series(group, query, assessor.as_mut())).collect()
        });
        let mut series = Vec::with_capacity(groups.len());
        for told in told {
            series.extend(told?.into_iter().filter(|series| !series.points.is_empty()));
        }
        Ok(series)
    }

    pub(super) async fn query_cells(
        &self,
        snapshot: &Snapshot,
        query: &Query,
        final_before: Vec<EventTime>,
    ) -> Result<Vec<SeriesCells>> {
        let as_of = match query.as_of {
            Some(generation) => Some(self.batch.views_at(generation).await?),
            None => None,
        };
        let quantiles = query.aggregates.iter().any(|a| a.quantile().is_some());
        let (series, range, step, view) = (snapshot.series.clone(), query.range, query.step, query.view);
        cells(self, snapshot, CellQuery { series, range, step, view, as_of, quantiles, final_before }).await
    }
}

fn as_of(snapshot: &Snapshot, query: &Query) -> AsOf {
    AsOf {
        position: snapshot.position.0,
        generation: query.as_of.unwrap_or(snapshot.version.generation),
        watermark: snapshot.watermark,
    }
}

/// What is told of a group, whose names it takes.
fn series(group: &mut Group, query: &Query, assessor: Option<&mut Assessor<'_>>) -> Result<SeriesAnswer> {
    let points = points(group, query, assessor)?;
    Ok(SeriesAnswer { metric: take(&mut group.metric), tags: take(&mut group.tags), points })
}

/// The points of a group; with an assessor, how far they can be trusted.
fn points(group: &Group, query: &Query, assessor: Option<&mut Assessor<'_>>) -> Result<Vec<Point>> {
    let series = group.members.iter().map(|cells| &cells.series);
    let mut assessor = assessor.map(|assessor| (assessor.members(series, &query.aggregates), assessor));
    let mut points = Vec::with_capacity(group.members.first().map_or(0, |cells| cells.points.len()));
    group.each_point(|all| {
        let mut point = point(all, &query.aggregates);
        if let Some((members, assessor)) = &mut assessor {
            point.confidence = Some(confidence(assessor.assess(all, members, &mut point.values)));
        }
        match violation(&point, query) {
            Some(_) if query.on_violation == OnViolation::Omit => {}
            Some(reason) if query.on_violation == OnViolation::Fail => return Err(Error::BelowConfidence(reason)),
            _ => points.push(point),
        }
        Ok(())
    })?;
    Ok(points)
}

fn point(all: &CellPoint, aggregates: &[Aggregate]) -> Point {
    let value = |a: &Aggregate| Value { aggregate: *a, value: all.evaluate(*a), interval: None };
    Point {
        time: EventTime(all.bucket),
        values: aggregates.iter().map(value).collect(),
        data_points: all.partial.count,
        batch_points: all.batch_points,
        speed_points: all.speed_points,
        source: all.source(),
        confidence: None,
    }
}

fn asked(query: &Query) -> Asked {
    Asked { level: query.level, epsilon: query.max_rel_err }
}

fn confidence(assessed: Assessed) -> Confidence {
    let Assessed { state, completeness, confidence_score, calibrated, final_share } = assessed;
    Confidence { state, completeness, score: confidence_score, calibrated, final_share }
}

fn violation(point: &Point, query: &Query) -> Option<String> {
    let least = query.min_confidence?;
    let score = point.confidence.and_then(|confidence| confidence.score).unwrap_or(0.0);
    (score < least).then(|| format!("the value at {} has confidence {score:.2}, below {least:.2}", point.time))
}
