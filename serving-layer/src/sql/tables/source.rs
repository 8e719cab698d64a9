//! A table as DataFusion sees it: columns, and parts that are read as streams.
//!
//! Owns the step from a scan to a plan. Does not own what the streams yield.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::TableType;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::error::Result;
use crate::sql::failure::to_datafusion;

/// Batches that are read before they are asked for.
const AHEAD: usize = 2;

/// What a scan asks for.
pub(super) struct Ask<'a> {
    pub(super) session: &'a dyn Session,
    /// Which columns, by their number in the table.
    pub(super) columns: Vec<usize>,
    /// These columns.
    pub(super) schema: SchemaRef,
    /// What every row that matters fulfils.
    pub(super) filters: &'a [Expr],
}

impl Ask<'_> {
    /// How many parts can be read at once.
    pub(super) fn parallelism(&self) -> usize {
        self.session.config().target_partitions().max(1)
    }
}

/// Rows of some table.
pub(super) trait Source: fmt::Debug + Send + Sync + 'static {
    /// All columns.
    fn schema(&self) -> SchemaRef;

    /// Disjoint parts that together hold every row that a scan asks for, in the columns that it asks for.
    fn parts(&self, ask: &Ask<'_>) -> DfResult<Vec<Part>>;
}

/// Where tables are read: connections to stores belong to the runtime that opened them, and outlive the statement.
pub(in crate::sql) struct Io(pub(in crate::sql) Handle);

/// Opens a part of a table.
type Open = dyn Fn(Arc<TaskContext>) -> BoxStream<'static, Result<RecordBatch>> + Send + Sync;

/// A part of a table, to be read as a stream.
pub(super) struct Part {
    schema: SchemaRef,
    open: Arc<Open>,
}

impl Part {
    /// A part of these columns. A plan may be run more than once, so it can be opened more than once.
    pub(super) fn new(
        schema: SchemaRef,
        open: impl Fn(Arc<TaskContext>) -> BoxStream<'static, Result<RecordBatch>> + Send + Sync + 'static,
    ) -> Self {
        Self { schema, open: Arc::new(open) }
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl PartitionStream for Part {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, tasks: Arc<TaskContext>) -> SendableRecordBatchStream {
        let open = Arc::clone(&self.open);
        let started =
            async move { futures::stream::unfold(Some(Reading::start(open, tasks)), async |r| r?.next().await) };
        let batches = futures::stream::once(started).flatten();
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches))
    }
}

/// A part that is being read by a task of its own; dropping it ends the task.
struct Reading {
    found: mpsc::Receiver<Result<RecordBatch>>,
    task: JoinHandle<()>,
}

impl Reading {
    fn start(open: Arc<Open>, tasks: Arc<TaskContext>) -> Self {
        let io = tasks.session_config().get_extension::<Io>().map_or_else(Handle::current, |io| io.0.clone());
        let (tell, found) = mpsc::channel(AHEAD);
        let read = async move {
            let mut batches = open(tasks);
            while let Some(batch) = batches.next().await {
                if tell.send(batch).await.is_err() {
                    return;
                }
            }
        };
        Self { found, task: io.spawn(read) }
    }

    async fn next(mut self) -> Option<(DfResult<RecordBatch>, Option<Self>)> {
        match self.found.recv().await {
            Some(batch) => Some((batch.map_err(to_datafusion), Some(self))),
            // A task that panicked must not look like one that came to its end.
            None => match (&mut self.task).await {
                Ok(()) => None,
                Err(error) => Some((Err(DataFusionError::ExecutionJoin(Box::new(error))), None)),
            },
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The table of a source.
pub(super) fn table(source: impl Source) -> Arc<dyn TableProvider> {
    Arc::new(Table(Box::new(source)))
}

#[derive(Debug)]
struct Table(Box<dyn Source>);

#[async_trait]
impl TableProvider for Table {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> DfResult<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let all = self.0.schema();
        let columns = projection.cloned().unwrap_or_else(|| (0..all.fields().len()).collect());
        let schema = Arc::new(all.project(&columns)?);
        let parts = self.0.parts(&Ask { session, columns, schema: Arc::clone(&schema), filters })?;
        if parts.is_empty() {
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        let parts = parts.into_iter().map(|part| Arc::new(part) as Arc<dyn PartitionStream>).collect();
        Ok(Arc::new(StreamingTableExec::try_new(schema, parts, None, [], false, limit)?))
    }
}

/// A table that is loaded as a whole, for those that are small or rarely asked.
pub(super) struct Loaded {
    name: &'static str,
    schema: SchemaRef,
    load: Arc<dyn Fn() -> BoxFuture<'static, Result<RecordBatch>> + Send + Sync>,
}

impl Loaded {
    /// A table of these columns that `load` yields.
    pub(super) fn new(
        name: &'static str,
        schema: SchemaRef,
        load: impl Fn() -> BoxFuture<'static, Result<RecordBatch>> + Send + Sync + 'static,
    ) -> Self {
        Self { name, schema, load: Arc::new(load) }
    }
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Source for Loaded {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn parts(&self, ask: &Ask<'_>) -> DfResult<Vec<Part>> {
        let (load, columns) = (Arc::clone(&self.load), ask.columns.clone());
        let open = move |_| {
            let (loading, columns) = (load(), columns.clone());
            let batch = async move {
                let batch = loading.await?;
                batch.project(&columns).map_err(|e| crate::Error::Unavailable(format!("can't project a table: {e}")))
            };
            futures::stream::once(batch).boxed()
        };
        Ok(vec![Part::new(Arc::clone(&ask.schema), open)])
    }
}
