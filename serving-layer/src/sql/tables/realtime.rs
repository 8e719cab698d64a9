//! `realtime_metrics`: the newest end of each series.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::catalog::TableProvider;
use datafusion::error::Result as DfResult;
use futures::StreamExt;
use schemas::epoch::{SeriesState, Tail};

use super::columns::{self, floats, instants, texts};
use super::source::{Ask, Part, Source, table as table_of};
use super::{Statement, filters, names};
use crate::error::Result;

/// Rows of one batch.
const BATCH_ROWS: usize = 8192;

/// The table.
pub(super) fn table(statement: Arc<Statement>) -> Arc<dyn TableProvider> {
    let rest = [
        columns::float("metric_value"),
        columns::float("previous_value"),
        columns::text("trend"),
        columns::instant("event_time"),
        columns::instant("last_updated"),
    ];
    table_of(Realtime { statement, schema: columns::schema(names::fields().chain(rest)) })
}

#[derive(Debug)]
struct Realtime {
    statement: Arc<Statement>,
    schema: SchemaRef,
}

impl Source for Realtime {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn parts(&self, ask: &Ask<'_>) -> DfResult<Vec<Part>> {
        let mut chosen = filters::series_of(ask.session, &self.statement.snapshot().series, ask.filters)?;
        chosen.retain(|series| series.tail.is_some());
        let (columns, schema) = (ask.columns.clone(), Arc::clone(&ask.schema));
        let chosen: Arc<[SeriesState]> = chosen.into();
        let open = move |_| {
            let batches: Vec<_> = chosen.chunks(BATCH_ROWS).map(|some| rows(some, &columns, &schema)).collect();
            futures::stream::iter(batches).boxed()
        };
        Ok(vec![Part::new(Arc::clone(&ask.schema), open)])
    }
}

fn rows(series: &[SeriesState], wanted: &[usize], schema: &SchemaRef) -> Result<RecordBatch> {
    let tails = || series.iter().map(|s| s.tail.as_ref());
    let numbers = |of: fn(&Tail) -> Option<f64>| floats(tails().map(|tail| tail.and_then(of)));
    let column = |i: &usize| -> ArrayRef {
        match i {
            0..4 => names::each(*i, series.iter().map(|s| &s.key)),
            4 => numbers(|tail| Some(tail.value)),
            5 => numbers(|tail| tail.previous.map(|(_, value)| value)),
            6 => texts(tails().map(|tail| tail.map(|t| t.trend().name()))),
            7 => instants(tails().map(|tail| tail.map(|t| t.time))),
            _ => instants(tails().map(|tail| tail.map(|t| t.arrival.0))),
        }
    };
    columns::batch(schema, wanted.iter().map(column).collect(), series.len())
}
