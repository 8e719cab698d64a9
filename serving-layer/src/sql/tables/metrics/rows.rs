//! Points as rows.

use arrow::array::ArrayRef;
use arrow::datatypes::{Field, SchemaRef};
use arrow::record_batch::RecordBatch;
use schemas::epoch::{SeriesState, Snapshot};
use schemas::partial::Aggregate;
use schemas::{EventTime, Resolution, SeriesKey, TimeRange};

use crate::answer::Value;
use crate::error::Result;
use crate::query::{Asked, Assessed, Assessor, CellPoint};
use crate::serving::Serving;
use crate::sql::tables::columns::{self, counts, float, floats, instant, instants, text, texts, whole};
use crate::sql::tables::names;

/// Columns of `batch_metrics` behind the names of the series.
pub(super) const BATCH: [&str; 13] = [
    "time_bucket",
    "resolution",
    "metric_value",
    "count",
    "sum",
    "min",
    "max",
    "first",
    "last",
    "stddev",
    "data_points",
    "confidence_score",
    "generation",
];

/// Columns of `unified_metrics` behind the names of the series.
pub(super) const UNIFIED: [&str; 22] = [
    "time_bucket",
    "resolution",
    "metric_value",
    "count",
    "sum",
    "min",
    "max",
    "first",
    "last",
    "stddev",
    "data_points",
    "confidence_score",
    "generation",
    "current_value",
    "low",
    "high",
    "completeness",
    "state",
    "source",
    "batch_points",
    "speed_points",
    "last_updated",
];

/// Columns that only an assessment can tell.
const ASSESSED: [&str; 5] = ["confidence_score", "low", "high", "completeness", "state"];
/// `low..high` holds the final average with this probability.
const ASKED: Asked = Asked { level: 0.95, epsilon: None };

/// The column of this name.
pub(super) fn field(name: &'static str) -> Field {
    match name {
        "time_bucket" | "last_updated" => instant(name),
        "resolution" | "state" | "source" => text(name),
        "count" | "data_points" | "generation" | "batch_points" | "speed_points" => whole(name),
        _ => float(name),
    }
}

/// A bucket of a series.
#[derive(Debug)]
pub(super) struct Row<'a> {
    pub(super) series: &'a SeriesState,
    pub(super) point: &'a CellPoint,
}

/// What the rows of a window have in common.
pub(super) struct Context<'a> {
    pub(super) serving: &'a Serving,
    pub(super) snapshot: &'a Snapshot,
    pub(super) resolution: &'a str,
    pub(super) step: Resolution,
    pub(super) range: TimeRange,
}

impl Context<'_> {
    /// The columns of `schema` of these rows, which come in runs of one series.
    pub(super) fn batch(&self, rows: &[Row<'_>], schema: &SchemaRef) -> Result<RecordBatch> {
        let wanted = |name: &str| schema.fields().iter().any(|field| field.name() == name);
        let assessed = if ASSESSED.into_iter().any(wanted) { self.assess(rows) } else { Vec::new() };
        let runs: Vec<(&SeriesKey, usize)> =
            rows.chunk_by(|a, b| a.series.id == b.series.id).map(|run| (&run[0].series.key, run.len())).collect();
        let column = |name: &str| match names::COLUMNS.iter().position(|known| *known == name) {
            Some(i) => names::runs(i, &runs),
            None => Ok(self.column(name, rows, &assessed)),
        };
        let arrays = schema.fields().iter().map(|field| column(field.name())).collect::<Result<_>>()?;
        columns::batch(schema, arrays, rows.len())
    }

    /// What is to be said of each row, with its average.
    fn assess(&self, rows: &[Row<'_>]) -> Vec<(Assessed, Value)> {
        let now = self.serving.clock.now();
        let learned = self.serving.calibration.learned();
        let mut assessor = Assessor::new(self.serving, &learned, now, self.snapshot, self.range, self.step, ASKED);
        let mut assessed = Vec::with_capacity(rows.len());
        for run in rows.chunk_by(|a, b| a.series.id == b.series.id) {
            let aggregate = Aggregate::Avg;
            let mut members = assessor.members(std::iter::once(run[0].series), &[aggregate]);
            for Row { point, .. } in run {
                let mut values = [Value { aggregate, value: point.evaluate(aggregate), interval: None }];
                assessed.push((assessor.assess(point, &mut members, &mut values), values[0]));
            }
        }
        assessed
    }

    fn column(&self, name: &str, rows: &[Row<'_>], assessed: &[(Assessed, Value)]) -> ArrayRef {
        let points = || rows.iter().map(|row| row.point);
        let tails = || rows.iter().map(|row| row.series.tail.as_ref());
        match name {
            "time_bucket" => instants(points().map(|p| Some(p.bucket))),
            "resolution" => texts(rows.iter().map(|_| Some(self.resolution))),
            "count" | "data_points" => counts(points().map(|p| Some(p.partial.count))),
            "batch_points" => counts(points().map(|p| Some(p.batch_points))),
            "speed_points" => counts(points().map(|p| Some(p.speed_points))),
            "generation" => counts(points().map(|p| self.generation(p))),
            "source" => texts(points().map(|p| Some(p.source().name()))),
            "current_value" => floats(tails().map(|tail| tail.map(|t| t.value))),
            "last_updated" => instants(tails().map(|tail| tail.map(|t| t.arrival.0))),
            "state" => texts(assessed.iter().map(|(a, _)| Some(a.state.name()))),
            "completeness" => floats(assessed.iter().map(|(a, _)| Some(a.completeness))),
            "confidence_score" => floats(assessed.iter().map(|(a, _)| a.confidence_score)),
            "low" => floats(assessed.iter().map(|(_, avg)| avg.interval.map(|i| i.low))),
            "high" => floats(assessed.iter().map(|(_, avg)| avg.interval.map(|i| i.high))),
            aggregate => floats(points().map(|p| p.evaluate(aggregate_of(aggregate)))),
        }
    }

    /// The newest generation that published a view which counts in this bucket.
    fn generation(&self, point: &CellPoint) -> Option<u64> {
        if point.batch_points == 0 {
            return None;
        }
        let bucket = self.step.bucket(EventTime(point.bucket));
        let partitions = self.snapshot.version.partitions_in(bucket).iter();
        partitions.filter_map(|p| Some(p.view.as_ref()?.generation)).max()
    }
}

/// The aggregate that a column tells; `metric_value` is the average.
fn aggregate_of(column: &str) -> Aggregate {
    column.parse().unwrap_or(Aggregate::Avg)
}
