//! Tables of the catalog: `reconciliation`, `jobs`, `generations`, `schedules`.
//!
//! They are read when the statement runs: the catalog is not part of the snapshot.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use batch_layer::catalog::{GenerationRow, JobRow, ReconciliationRow, ScheduleRow};
use datafusion::catalog::TableProvider;
use futures::FutureExt;
use schemas::SeriesKey;
use schemas::time::format_duration;

use super::Statement;
use super::columns::batch;
use super::columns::{counts, float, floats, instant, instants, schema, text, texts, truth, truths, whole, wholes};
use super::source::{Loaded, table};
use crate::error::Result;

/// More rows than the catalog keeps of anything.
const LIMIT: u32 = 1_000_000;

/// Where a recompute found another value than had been answered.
pub(super) fn reconciliation(statement: Arc<Statement>) -> Arc<dyn TableProvider> {
    let fields = schema([
        instant("at"),
        whole("job"),
        instant("partition_start"),
        text("metric_key"),
        text("metric"),
        text("device_id"),
        instant("bucket"),
        text("field"),
        float("speed_value"),
        float("batch_value"),
        float("difference"),
        text("cause"),
    ]);
    let columns = Arc::clone(&fields);
    table(Loaded::new("reconciliation", fields, move || {
        let (statement, columns) = (Arc::clone(&statement), Arc::clone(&columns));
        async move {
            let rows = statement.serving.batch.catalog().reconciliation(LIMIT).await?;
            batch(&columns, reconciliation_columns(&rows), rows.len())
        }
        .boxed()
    }))
}

fn reconciliation_columns(rows: &[ReconciliationRow]) -> Vec<arrow::array::ArrayRef> {
    let keys: Vec<Option<SeriesKey>> =
        rows.iter().map(|r| r.metric_key.as_deref().and_then(|key| SeriesKey::parse(key).ok())).collect();
    vec![
        instants(rows.iter().map(|r| Some(r.at.0))),
        wholes(rows.iter().map(|r| r.job)),
        instants(rows.iter().map(|r| Some(r.partition_start.0))),
        texts(rows.iter().map(|r| r.metric_key.as_deref())),
        texts(keys.iter().map(|key| key.as_ref().map(SeriesKey::metric))),
        texts(keys.iter().map(|key| key.as_ref().and_then(SeriesKey::device_id))),
        instants(rows.iter().map(|r| Some(r.bucket.0))),
        texts(rows.iter().map(|r| Some(&r.field))),
        floats(rows.iter().map(|r| r.speed_value)),
        floats(rows.iter().map(|r| r.batch_value)),
        floats(rows.iter().map(|r| r.difference)),
        texts(rows.iter().map(|r| Some(r.cause.name()))),
    ]
}

/// The queue of work, and what became of it.
pub(super) fn jobs(statement: Arc<Statement>) -> Arc<dyn TableProvider> {
    let fields = schema([
        whole("id"),
        text("kind"),
        text("state"),
        float("progress"),
        instant("range_start"),
        instant("range_end"),
        text("selector"),
        text("reason"),
        whole("priority"),
        whole("rows_read"),
        whole("cells_written"),
        text("error"),
        whole("attempts"),
        instant("not_before"),
        instant("created_at"),
        instant("started_at"),
        instant("finished_at"),
    ]);
    let columns = Arc::clone(&fields);
    table(Loaded::new("jobs", fields, move || {
        let (statement, columns) = (Arc::clone(&statement), Arc::clone(&columns));
        async move {
            let rows = statement.serving.batch.catalog().jobs(LIMIT).await?;
            jobs_batch(&rows, &columns)
        }
        .boxed()
    }))
}

fn jobs_batch(rows: &[JobRow], columns: &arrow::datatypes::SchemaRef) -> Result<RecordBatch> {
    let arrays = vec![
        wholes(rows.iter().map(|r| Some(r.id))),
        texts(rows.iter().map(|r| Some(r.kind.name()))),
        texts(rows.iter().map(|r| Some(r.state.name()))),
        floats(rows.iter().map(|r| Some(r.progress))),
        instants(rows.iter().map(|r| Some(r.range.start.0))),
        instants(rows.iter().map(|r| Some(r.range.end.0))),
        texts(rows.iter().map(|r| r.selector.as_deref())),
        texts(rows.iter().map(|r| Some(&r.reason))),
        wholes(rows.iter().map(|r| Some(r.priority))),
        counts(rows.iter().map(|r| Some(r.rows_read))),
        counts(rows.iter().map(|r| Some(r.cells_written))),
        texts(rows.iter().map(|r| r.error.as_deref())),
        wholes(rows.iter().map(|r| Some(r.attempts))),
        instants(rows.iter().map(|r| Some(r.not_before.0))),
        instants(rows.iter().map(|r| Some(r.created_at.0))),
        instants(rows.iter().map(|r| r.started_at.map(|t| t.0))),
        instants(rows.iter().map(|r| r.finished_at.map(|t| t.0))),
    ];
    batch(columns, arrays, rows.len())
}

/// Which views were current, now and before.
pub(super) fn generations(statement: Arc<Statement>) -> Arc<dyn TableProvider> {
    let fields = schema([
        whole("generation"),
        instant("published_at"),
        text("reason"),
        whole("job"),
        whole("reverted_to"),
        whole("partitions"),
        truth("current"),
        instant("pruned_at"),
    ]);
    let columns = Arc::clone(&fields);
    table(Loaded::new("generations", fields, move || {
        let (statement, columns) = (Arc::clone(&statement), Arc::clone(&columns));
        async move {
            let rows = statement.serving.batch.catalog().generations().await?;
            batch(&columns, generations_columns(&rows), rows.len())
        }
        .boxed()
    }))
}

fn generations_columns(rows: &[GenerationRow]) -> Vec<arrow::array::ArrayRef> {
    vec![
        counts(rows.iter().map(|r| Some(r.number))),
        instants(rows.iter().map(|r| Some(r.published_at.0))),
        texts(rows.iter().map(|r| Some(&r.reason))),
        wholes(rows.iter().map(|r| r.job)),
        counts(rows.iter().map(|r| r.reverted_to)),
        counts(rows.iter().map(|r| Some(r.partitions))),
        truths(rows.iter().map(|r| r.current)),
        instants(rows.iter().map(|r| r.pruned_at.map(|t| t.0))),
    ]
}

/// What is queued again and again.
pub(super) fn schedules(statement: Arc<Statement>) -> Arc<dyn TableProvider> {
    let fields = schema([
        text("name"),
        text("cron"),
        text("kind"),
        text("lookback"),
        truth("enabled"),
        instant("next_at"),
        instant("last_at"),
    ]);
    let columns = Arc::clone(&fields);
    table(Loaded::new("schedules", fields, move || {
        let (statement, columns) = (Arc::clone(&statement), Arc::clone(&columns));
        async move {
            let rows = statement.serving.batch.catalog().schedules().await?;
            batch(&columns, schedules_columns(&rows), rows.len())
        }
        .boxed()
    }))
}

fn schedules_columns(rows: &[ScheduleRow]) -> Vec<arrow::array::ArrayRef> {
    vec![
        texts(rows.iter().map(|r| Some(&r.name))),
        texts(rows.iter().map(|r| Some(&r.cron))),
        texts(rows.iter().map(|r| Some(r.kind.name()))),
        texts(rows.iter().map(|r| r.lookback.map(format_duration))),
        truths(rows.iter().map(|r| r.enabled)),
        instants(rows.iter().map(|r| r.next_at.map(|t| t.0))),
        instants(rows.iter().map(|r| r.last_at.map(|t| t.0))),
    ]
}
