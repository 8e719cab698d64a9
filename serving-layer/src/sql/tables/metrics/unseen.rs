//! Conditions on `resolution` that a scan does not see.
//!
//! A scan counts buckets of the width that the conditions reaching it ask for. One above a window function or an
//! aggregate does not reach it: buckets of base width would be counted and then all be dropped. That is said, not done.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::LogicalPlan;
use schemas::Resolution;

use crate::error::Error;
use crate::sql::failure::to_datafusion;
use crate::sql::tables::filters::{Texts, texts_of};

const COLUMN: &str = "resolution";

/// Refuses an optimized plan with a condition that no scan sees and that the base resolution does not fulfil.
pub(in crate::sql) fn check(plan: &LogicalPlan, base: Resolution) -> DfResult<()> {
    let base = base.to_string();
    let refused = |table: String| {
        to_datafusion(Error::Invalid(format!(
            "{table}: put the condition on column resolution inside the subquery that reads the table: it says how to count"
        )))
    };
    plan.apply(|node| {
        if let LogicalPlan::Filter(filter) = node
            && let Texts::Of(asked) = texts_of(COLUMN, std::slice::from_ref(&filter.predicate))
            && !asked.contains(&base)
            && let Some(table) = unaware(&filter.input)?
        {
            return Err(refused(table));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

/// A table of buckets below that yields column `resolution` without having been told which.
fn unaware(plan: &LogicalPlan) -> DfResult<Option<String>> {
    let mut found = None;
    plan.apply(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && ["batch_metrics", "unified_metrics"].contains(&scan.table_name.table())
            && scan.projected_schema.fields().iter().any(|field| field.name() == COLUMN)
            && texts_of(COLUMN, &scan.filters) == Texts::Any
        {
            found = Some(scan.table_name.table().to_owned());
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}
