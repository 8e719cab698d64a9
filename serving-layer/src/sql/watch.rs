//! Ends work that nobody waits for any more, also where DataFusion does not look up from it.
//!
//! Dropping a stream ends it where it yields. A join that finds no match does not yield: two million rows against two
//! thousand take half a minute in one poll. So the filters of joins look whether the statement is still wanted. Nor does a
//! join yield that makes a billion rows of one batch that was read: only what reads counts for DataFusion. So joins yield
//! as what reads does.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::datatypes::{DataType, FieldRef, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::common::config::ConfigOptions;
use datafusion::common::exec_err;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder, PiecewiseMergeJoinExec,
    SortMergeJoinExec, SymmetricHashJoinExec,
};

/// Whether a statement is still wanted.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch(Arc<AtomicBool>);

impl Watch {
    /// Nobody waits any more.
    pub(super) fn end(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn ended(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Has the filters of all joins look at a [`Watch`], and all joins yield.
#[derive(Debug)]
pub(super) struct WatchJoins(pub(super) Watch);

impl PhysicalOptimizerRule for WatchJoins {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> DfResult<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| self.watched(node)).data()
    }

    fn name(&self) -> &'static str {
        "watch_joins"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

impl WatchJoins {
    fn watched(&self, node: Arc<dyn ExecutionPlan>) -> DfResult<Transformed<Arc<dyn ExecutionPlan>>> {
        if !joins(node.as_ref()) {
            return Ok(Transformed::no(node));
        }
        let node: Arc<dyn ExecutionPlan> = if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>()
            && let Some(filter) = join.filter()
        {
            Arc::new(NestedLoopJoinExecBuilder::from(join).with_filter(Some(self.filter(filter))).build()?)
        } else if let Some(join) = node.downcast_ref::<HashJoinExec>()
            && let Some(filter) = join.filter()
        {
            join.builder().with_filter(Some(self.filter(filter))).build_exec()?
        } else {
            node
        };
        Ok(Transformed::yes(Arc::new(CooperativeExec::new(node))))
    }

    fn filter(&self, filter: &JoinFilter) -> JoinFilter {
        let inner = Arc::clone(filter.expression());
        let watched = Arc::new(Watched { inner, watch: self.0.clone() });
        JoinFilter::new(watched, filter.column_indices().to_vec(), Arc::clone(filter.schema()))
    }
}

/// Whether a node makes rows of pairs of rows.
fn joins(node: &dyn ExecutionPlan) -> bool {
    node.is::<HashJoinExec>()
        || node.is::<NestedLoopJoinExec>()
        || node.is::<CrossJoinExec>()
        || node.is::<SortMergeJoinExec>()
        || node.is::<SymmetricHashJoinExec>()
        || node.is::<PiecewiseMergeJoinExec>()
}

/// An expression that fails when nobody waits any more.
#[derive(Debug)]
struct Watched {
    inner: Arc<dyn PhysicalExpr>,
    watch: Watch,
}

impl PartialEq for Watched {
    fn eq(&self, other: &Self) -> bool {
        self.inner.eq(&other.inner)
    }
}

impl Eq for Watched {}

impl Hash for Watched {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl PhysicalExpr for Watched {
    fn data_type(&self, input: &Schema) -> DfResult<DataType> {
        self.inner.data_type(input)
    }

    fn nullable(&self, input: &Schema) -> DfResult<bool> {
        self.inner.nullable(input)
    }

    fn return_field(&self, input: &Schema) -> DfResult<FieldRef> {
        self.inner.return_field(input)
    }

    fn evaluate(&self, batch: &RecordBatch) -> DfResult<ColumnarValue> {
        if self.watch.ended() {
            return exec_err!("nobody waits for the statement any more");
        }
        self.inner.evaluate(batch)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.inner]
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn PhysicalExpr>>) -> DfResult<Arc<dyn PhysicalExpr>> {
        let inner = children.pop().unwrap_or_else(|| Arc::clone(&self.inner));
        Ok(Arc::new(Self { inner, watch: self.watch.clone() }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_sql(f)
    }
}
