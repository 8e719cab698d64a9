//! Files and hot readings as one sorted stream that tells each reading once, the last arrival.
//!
//! Owns the DataFusion plan: one sorted partition per file and per hot batch, a merge that preserves the order, and the
//! deduplication behind it. Memory is bounded by one row group per file. Does not own what is counted from the stream.
//!
//! - MERGE-1: of rows with equal series and event time the one with the highest position is told; of equal positions the
//!   later row of its input, and of inputs the later one.

mod dedup;
mod gallop;

pub use dedup::{Counts, DedupExec};

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::error::Result as DfResult;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::expressions::Column;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, empty::EmptyExec};
use futures::TryStreamExt;
use schemas::view::FileRef;

use crate::error::Result;
use crate::history::objects::Objects;
use schemas::history::SCAN;

use crate::history::read::scan;
use crate::history::selection::Selection;
use crate::history::{from_datafusion, to_datafusion};

/// The selected readings of these files and of these batches of hot readings (each sorted, columns [`SCAN`]), sorted by
/// series and event time, each identity once. A reading that is both in a file and hot is told once.
///
/// # Errors
/// A batch has other columns. What goes wrong while reading comes as an item.
pub fn merged(
    objects: &Objects,
    files: Vec<Arc<FileRef>>,
    extra: Vec<RecordBatch>,
    selection: Selection,
    ctx: Arc<TaskContext>,
) -> Result<SendableRecordBatchStream> {
    merged_plan(objects, files, extra, selection)?.execute(0, ctx).map_err(from_datafusion)
}

/// The plan behind [`merged`], for SQL and for its counts.
///
/// # Errors
/// A batch has other columns.
pub fn merged_plan(
    objects: &Objects,
    files: Vec<Arc<FileRef>>,
    extra: Vec<RecordBatch>,
    selection: Selection,
) -> Result<Arc<DedupExec>> {
    let files = files.into_iter().filter(|file| selection.touches(file)).map(|file| {
        let input = FileInput { objects: objects.clone(), file, selection: selection.clone() };
        Arc::new(input) as Arc<dyn PartitionStream>
    });
    let hot = extra.into_iter().filter(|batch| batch.num_rows() > 0).map(|batch| {
        let input = HotInput { schema: batch.schema(), batch, selection: selection.clone() };
        Arc::new(input) as Arc<dyn PartitionStream>
    });
    let input = sorted_inputs(files.chain(hot).collect()).map_err(from_datafusion)?;
    Ok(Arc::new(DedupExec::new(input)))
}

/// The order of every file of readings.
pub(crate) fn ordering() -> LexOrdering {
    let ascending = |name: &str| {
        let index = SCAN.index_of(name).expect("a scan has this column");
        PhysicalSortExpr::new_default(Arc::new(Column::new(name, index)))
    };
    LexOrdering::new(["series_id", "event_time", "position"].map(ascending)).expect("three columns are not none")
}

fn sorted_inputs(partitions: Vec<Arc<dyn PartitionStream>>) -> DfResult<Arc<dyn ExecutionPlan>> {
    if partitions.is_empty() {
        return Ok(Arc::new(EmptyExec::new(Arc::clone(&SCAN))));
    }
    Ok(Arc::new(StreamingTableExec::try_new(Arc::clone(&SCAN), partitions, None, [ordering()], false, None)?))
}

/// One file as a partition.
#[derive(Debug)]
struct FileInput {
    objects: Objects,
    file: Arc<FileRef>,
    selection: Selection,
}

impl PartitionStream for FileInput {
    fn schema(&self) -> &SchemaRef {
        &SCAN
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let batches = scan(self.objects.clone(), Arc::clone(&self.file), self.selection.clone());
        // Files carry the schema's metadata, a plan does not: the columns move into the plan's schema.
        let batches = batches.map_err(to_datafusion).and_then(async |batch| Ok(batch.with_schema(Arc::clone(&SCAN))?));
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&SCAN), batches))
    }
}

/// One batch of hot readings as a partition.
#[derive(Debug)]
struct HotInput {
    schema: SchemaRef,
    batch: RecordBatch,
    selection: Selection,
}

impl PartitionStream for HotInput {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let filtered = self.selection.filter(self.batch.clone()).map_err(to_datafusion);
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&SCAN), futures::stream::iter([filtered])))
    }
}

#[cfg(test)]
mod tests;
