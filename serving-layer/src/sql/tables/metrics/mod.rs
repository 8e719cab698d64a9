//! `batch_metrics` and `unified_metrics`: rows per series and bucket, of the width that column `resolution` asks for.
//!
//! Owns reading the asked resolutions, and the order of work: window by window, so that neither the points of all history
//! nor its views are in memory at once. Does not own counting (query) or scores (confidence).

mod rows;
mod unseen;
mod windows;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::catalog::TableProvider;
use datafusion::error::Result as DfResult;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use schemas::epoch::{SeriesState, Snapshot};
use schemas::query::ViewKind;
use schemas::time::clip;
use schemas::{Resolution, TimeRange};

use self::rows::Row;
pub(in crate::sql) use self::unseen::check;
use self::windows::{Density, windows};
use super::filters::{self, Texts};
use super::source::{Ask, Part, Source, table as table_of};
use super::{Statement, columns, names};
use crate::error::{Error, Result};
use crate::query::{CellQuery, cells};
use crate::sql::failure::to_datafusion;

/// Rows of one batch.
const BATCH_ROWS: usize = 8192;
/// Most resolutions that one scan yields.
const RESOLUTIONS_MAX: usize = 16;

/// What batch views have counted.
pub(super) fn batch(statement: Arc<Statement>) -> Arc<dyn TableProvider> {
    metrics(statement, "batch_metrics", ViewKind::Batch, &rows::BATCH)
}

/// Everything, merged.
pub(super) fn unified(statement: Arc<Statement>) -> Arc<dyn TableProvider> {
    metrics(statement, "unified_metrics", ViewKind::Unified, &rows::UNIFIED)
}

fn metrics(
    statement: Arc<Statement>,
    name: &'static str,
    view: ViewKind,
    rest: &[&'static str],
) -> Arc<dyn TableProvider> {
    let schema = columns::schema(names::fields().chain(rest.iter().copied().map(rows::field)));
    table_of(Metrics { statement, name, view, schema })
}

#[derive(Debug)]
struct Metrics {
    statement: Arc<Statement>,
    name: &'static str,
    view: ViewKind,
    schema: SchemaRef,
}

impl Source for Metrics {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn parts(&self, ask: &Ask<'_>) -> DfResult<Vec<Part>> {
        let base = self.statement.serving.speed.settings().base;
        let resolutions =
            resolutions(self.name, base, filters::texts_of("resolution", ask.filters)).map_err(to_datafusion)?;
        let snapshot = self.statement.snapshot();
        let chosen = filters::series_of(ask.session, &snapshot.series, ask.filters)?;
        let asked = filters::range_of("time_bucket", ask.filters);
        let density = Density::of(&snapshot, chosen.len());
        let mut tasks = Vec::new();
        for (text, step) in resolutions {
            let range = steps_in(step, asked.intersect(&extent(&chosen, step)));
            tasks.extend(windows(range, step, &density).into_iter().map(|range| Task {
                text: Arc::clone(&text),
                step,
                range,
            }));
        }
        let reader = Arc::new(Reader {
            statement: Arc::clone(&self.statement),
            snapshot,
            series: chosen,
            view: self.view,
            schema: Arc::clone(&ask.schema),
        });
        let each = tasks.len().div_ceil(ask.parallelism()).max(1);
        Ok(tasks.chunks(each).map(|some| reader.part(some)).collect())
    }
}

/// The asked resolutions and the texts that they were asked with, which their rows repeat: `60s` stays `60s`.
fn resolutions(table: &str, base: Resolution, asked: Texts) -> Result<Vec<(Arc<str>, Resolution)>> {
    let refused = |reason: String| Error::Invalid(format!("{table}: {reason}"));
    let texts = match asked {
        Texts::Any => return Ok(vec![(base.to_string().into(), base)]),
        Texts::Unclear => {
            let reason = "compare column resolution with = or IN and texts such as '1m': it says how to count";
            return Err(refused(reason.to_owned()));
        }
        Texts::Of(texts) => texts,
    };
    if texts.is_empty() {
        return Err(refused("the conditions on column resolution contradict one another".to_owned()));
    }
    if texts.len() > RESOLUTIONS_MAX {
        return Err(refused(format!("{} resolutions are more than {RESOLUTIONS_MAX}", texts.len())));
    }
    let parse = |text: String| match text.parse::<Resolution>() {
        Ok(step) => Ok((Arc::from(text), step)),
        Err(_) => Err(refused(format!("resolution {:?} is not a duration such as 10s, 1m, 1h or 1d", clip(&text)))),
    };
    texts.into_iter().map(parse).collect()
}

/// From the first to the last reading of these series.
fn extent(series: &[SeriesState], step: Resolution) -> TimeRange {
    let tails = || series.iter().filter_map(|s| s.tail);
    let (first, last) = (tails().map(|t| t.earliest).min(), tails().map(|t| t.time).max());
    match first.zip(last) {
        Some((first, last)) => TimeRange::new(step.floor(schemas::EventTime(first)).0, last.saturating_add(1)),
        None => TimeRange::new(0, 0),
    }
}

/// The buckets that start in `range`, as a range of whole buckets: the last may reach over its end.
fn steps_in(step: Resolution, range: TimeRange) -> TimeRange {
    TimeRange { start: step.ceil(range.start), end: step.ceil(range.end) }
}

/// A stretch of buckets of one width.
#[derive(Debug, Clone)]
struct Task {
    text: Arc<str>,
    step: Resolution,
    range: TimeRange,
}

/// What all parts of one scan share.
#[derive(Debug)]
struct Reader {
    statement: Arc<Statement>,
    snapshot: Arc<Snapshot>,
    series: Vec<SeriesState>,
    view: ViewKind,
    schema: SchemaRef,
}

impl Reader {
    fn part(self: &Arc<Self>, tasks: &[Task]) -> Part {
        let (reader, tasks) = (Arc::clone(self), tasks.to_vec());
        let open = move |_| {
            let reader = Arc::clone(&reader);
            let count = move |task| reader.clone().count(task);
            futures::stream::iter(tasks.clone()).flat_map(count).boxed()
        };
        Part::new(Arc::clone(&self.schema), open)
    }

    fn count(self: Arc<Self>, task: Task) -> BoxStream<'static, Result<RecordBatch>> {
        let batches = async move { self.batches(&task).await.map(futures::stream::iter) };
        futures::stream::once(batches).try_flatten().boxed()
    }

    /// All rows of one window.
    async fn batches(&self, task: &Task) -> Result<Vec<Result<RecordBatch>>> {
        let query = CellQuery {
            series: self.series.clone(),
            range: task.range,
            step: task.step,
            view: self.view,
            as_of: None,
            quantiles: false,
            final_before: Vec::new(),
        };
        let counted = cells(&self.statement.serving, &self.snapshot, query).await?;
        let all: Vec<Row<'_>> =
            counted.iter().flat_map(|s| s.points.iter().map(|point| Row { series: &s.series, point })).collect();
        let context = rows::Context {
            serving: &self.statement.serving,
            snapshot: &self.snapshot,
            resolution: &task.text,
            step: task.step,
            range: task.range,
        };
        let mut batches = Vec::new();
        for some in all.chunks(BATCH_ROWS) {
            batches.push(context.batch(some, &self.schema));
            // Assessing is pure work: others get their turn, and a deadline is seen.
            tokio::task::yield_now().await;
        }
        Ok(batches)
    }
}

#[cfg(test)]
mod tests;
