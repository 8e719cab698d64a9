//! Of each run of rows with equal series and event time, the last.
//!
//! Owns the comparison of neighbouring rows, also across batches, and the counts. Needs sorted input.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use arrow::array::BooleanArray;
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::common::spawn_buffered;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use futures::{Stream, StreamExt};
use schemas::history::{ReadingColumns, SCAN};

use super::gallop::Gallop;
use super::ordering;
use crate::history::to_datafusion;

/// Batches of one input that wait to be merged.
const BUFFERED: usize = 2;

/// What a deduplication has seen so far.
#[derive(Debug, Default)]
pub struct Counts {
    rows: AtomicU64,
    told: AtomicU64,
    duplicates: AtomicU64,
    repeats: AtomicU64,
}

impl Counts {
    /// Rows read.
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Rows told on: one for each identity.
    pub fn told(&self) -> u64 {
        self.told.load(Ordering::Relaxed)
    }

    /// Arrivals that another arrival of the same identity replaced. The same arrival read twice (equal position and
    /// value) is none.
    pub fn duplicates(&self) -> u64 {
        self.duplicates.load(Ordering::Relaxed)
    }

    /// Rows left out because they say the same as their neighbour: equal identity, position and value.
    pub fn repeats(&self) -> u64 {
        self.repeats.load(Ordering::Relaxed)
    }
}

/// Tells the last row of each identity of sorted inputs.
///
/// To DataFusion's optimizer it is a leaf: rewriting what lies below could lose the order among equal positions.
#[derive(Debug)]
pub struct DedupExec {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
    counts: Arc<Counts>,
}

impl DedupExec {
    /// Merges and deduplicates the partitions of `input`, each in the order of files of readings.
    pub(super) fn new(input: Arc<dyn ExecutionPlan>) -> Self {
        let equivalences = EquivalenceProperties::new_with_orderings(input.schema(), [ordering()]);
        let partitioning = Partitioning::UnknownPartitioning(1);
        let properties =
            PlanProperties::new(equivalences, partitioning, EmissionType::Incremental, Boundedness::Bounded);
        let properties = Arc::new(properties.with_scheduling_type(SchedulingType::Cooperative));
        Self { input, properties, counts: Arc::default() }
    }

    fn inputs(&self) -> usize {
        self.input.properties().output_partitioning().partition_count()
    }

    /// What all executions of this plan have seen so far; complete when their streams have ended.
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }
}

impl DisplayAs for DedupExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "DedupExec: by=[series_id, event_time], keep=last, inputs={}", self.inputs())
    }
}

impl ExecutionPlan for DedupExec {
    fn name(&self) -> &'static str {
        "DedupExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> DfResult<Arc<dyn ExecutionPlan>> {
        if children.is_empty() { Ok(self) } else { Err(DataFusionError::Internal("DedupExec is a leaf".to_owned())) }
    }

    fn execute(&self, partition: usize, ctx: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        if partition > 0 {
            return Err(DataFusionError::Internal("DedupExec has one partition".to_owned()));
        }
        let inputs = (0..self.inputs()).map(|i| self.input.execute(i, Arc::clone(&ctx)));
        let mut inputs = inputs.collect::<DfResult<Vec<_>>>()?;
        let input = match inputs.len() {
            1 => inputs.remove(0),
            // Each file is decoded by a task of its own.
            _ => Box::pin(Gallop::new(inputs.into_iter().map(|input| spawn_buffered(input, BUFFERED)).collect())),
        };
        Ok(Box::pin(Dedup { input, held: None, counts: Arc::clone(&self.counts) }))
    }
}

/// The running deduplication. A batch is held until the next one tells whether its last row was the last of its identity.
struct Dedup {
    input: SendableRecordBatchStream,
    held: Option<RecordBatch>,
    counts: Arc<Counts>,
}

impl Dedup {
    /// Takes a batch in and gives the one before out.
    fn hold(&mut self, batch: &RecordBatch) -> DfResult<Option<RecordBatch>> {
        self.counts.rows.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
        let columns = columns_of(batch)?;
        let before = match self.held.take() {
            Some(held) => self.cut_last_if_replaced(held, &columns)?,
            None => None,
        };
        self.held = Some(self.dedup_within(batch, &columns)?);
        Ok(before)
    }

    fn cut_last_if_replaced(&self, held: RecordBatch, next: &ReadingColumns) -> DfResult<Option<RecordBatch>> {
        let last = held.num_rows() - 1;
        let row = columns_of(&held)?.get(last);
        let first = next.get(0);
        if (row.series, row.time) != (first.series, first.time) {
            return Ok(Some(held));
        }
        let same_arrival = row.position == first.position && row.value.to_bits() == first.value.to_bits();
        self.counts.duplicates.fetch_add(u64::from(!same_arrival), Ordering::Relaxed);
        self.counts.repeats.fetch_add(u64::from(same_arrival), Ordering::Relaxed);
        Ok((last > 0).then(|| held.slice(0, last)))
    }

    fn dedup_within(&self, batch: &RecordBatch, columns: &ReadingColumns) -> DfResult<RecordBatch> {
        let ReadingColumns { series, times, values, positions, .. } = columns;
        let last = columns.len() - 1;
        let is_last = |i: usize| i == last || times[i] != times[i + 1] || series[i] != series[i + 1];
        let mask = BooleanBuffer::collect_bool(columns.len(), is_last);
        if mask.count_set_bits() == columns.len() {
            return Ok(batch.clone());
        }
        let replaced = |i: &usize| positions[*i] != positions[i + 1] || values[*i].to_bits() != values[i + 1].to_bits();
        let duplicates = (!&mask).set_indices().filter(replaced).count();
        let left_out = columns.len() - mask.count_set_bits();
        self.counts.duplicates.fetch_add(duplicates as u64, Ordering::Relaxed);
        self.counts.repeats.fetch_add((left_out - duplicates) as u64, Ordering::Relaxed);
        Ok(filter_record_batch(batch, &BooleanArray::new(mask, None))?)
    }

    fn tell(&self, batch: RecordBatch) -> RecordBatch {
        self.counts.told.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
        batch
    }
}

impl Stream for Dedup {
    type Item = DfResult<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match ready!(self.input.poll_next_unpin(cx)) {
                Some(Ok(batch)) if batch.num_rows() == 0 => {}
                Some(Ok(batch)) => {
                    if let Some(told) = self.hold(&batch).transpose() {
                        return Poll::Ready(Some(told.map(|batch| self.tell(batch))));
                    }
                }
                // What is held must not follow an error as if nothing had happened.
                Some(Err(e)) => {
                    self.held = None;
                    return Poll::Ready(Some(Err(e)));
                }
                None => {
                    let rest = self.held.take().map(|batch| Ok(self.tell(batch)));
                    return Poll::Ready(rest);
                }
            }
        }
    }
}

impl RecordBatchStream for Dedup {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&SCAN)
    }
}

pub(super) fn columns_of(batch: &RecordBatch) -> DfResult<ReadingColumns<'_>> {
    ReadingColumns::of(batch).map_err(|e| to_datafusion(e.into()))
}
