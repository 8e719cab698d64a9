//! What a filter says about time, series and resolution.
//!
//! Owns reading filters. What is read may allow too much, never too little: DataFusion filters again.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::record_batch::RecordBatch;
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{Between, BinaryExpr, Cast, Expr, Operator, TryCast};
use schemas::TimeRange;
use schemas::epoch::SeriesState;
use schemas::time::{MICROSECOND, MILLISECOND, SECOND};

use super::{columns, names};

/// The instants of `column` that fulfil all filters, at least.
pub(super) fn range_of(column: &str, filters: &[Expr]) -> TimeRange {
    filters.iter().fold(TimeRange::ALL, |all, filter| all.intersect(&range(column, filter)))
}

fn range(column: &str, filter: &Expr) -> TimeRange {
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            range(column, left).intersect(&range(column, right))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            hull(range(column, left), range(column, right))
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let swapped = || Some((is_column(right, column)?, instant(left)?, op.swap()?));
            let compared = || Some((is_column(left, column)?, instant(right)?, *op));
            compared().or_else(swapped).map_or(TimeRange::ALL, |((), value, op)| compared_range(op, value))
        }
        Expr::Between(Between { expr, negated: false, low, high }) => {
            let bounds = || Some((is_column(expr, column)?, instant(low), instant(high)));
            bounds().map_or(TimeRange::ALL, |((), low, high)| {
                TimeRange::new(low.unwrap_or(i64::MIN), high.map_or(i64::MAX, |t| t.saturating_add(1)))
            })
        }
        Expr::InList(InList { expr, list, negated: false }) if is_column(expr, column).is_some() => {
            let each =
                list.iter().map(|item| instant(item).map_or(TimeRange::ALL, |t| compared_range(Operator::Eq, t)));
            each.reduce(hull).unwrap_or(TimeRange::ALL)
        }
        _ => TimeRange::ALL,
    }
}

fn compared_range(op: Operator, value: i64) -> TimeRange {
    let after = value.saturating_add(1);
    match op {
        Operator::Eq => TimeRange::new(value, after),
        Operator::Lt => TimeRange::new(i64::MIN, value),
        Operator::LtEq => TimeRange::new(i64::MIN, after),
        Operator::Gt => TimeRange::new(after, i64::MAX),
        Operator::GtEq => TimeRange::new(value, i64::MAX),
        _ => TimeRange::ALL,
    }
}

/// The least range that holds both.
fn hull(a: TimeRange, b: TimeRange) -> TimeRange {
    match (a.is_empty(), b.is_empty()) {
        (true, _) => b,
        (_, true) => a,
        _ => TimeRange { start: a.start.min(b.start), end: a.end.max(b.end) },
    }
}

fn is_column(expr: &Expr, name: &str) -> Option<()> {
    matches!(expr, Expr::Column(column) if column.name == name).then_some(())
}

fn instant(expr: &Expr) -> Option<i64> {
    let Expr::Literal(value, _) = expr else { return None };
    match value {
        ScalarValue::TimestampNanosecond(Some(n), _) => Some(*n),
        ScalarValue::TimestampMicrosecond(Some(n), _) => n.checked_mul(MICROSECOND),
        ScalarValue::TimestampMillisecond(Some(n), _) => n.checked_mul(MILLISECOND),
        ScalarValue::TimestampSecond(Some(n), _) => n.checked_mul(SECOND),
        _ => None,
    }
}

/// What filters say about a column of texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Texts {
    /// Nothing.
    Any,
    /// It is one of these; others can't fulfil the filters.
    Of(BTreeSet<String>),
    /// Something that this does not understand.
    Unclear,
}

impl Texts {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Of(a), Self::Of(b)) => Self::Of(a.intersection(&b).cloned().collect()),
            (Self::Of(a), _) | (_, Self::Of(a)) => Self::Of(a),
            (Self::Any, Self::Any) => Self::Any,
            _ => Self::Unclear,
        }
    }

    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Of(a), Self::Of(b)) => Self::Of(a.union(&b).cloned().collect()),
            (Self::Any, Self::Any) => Self::Any,
            _ => Self::Unclear,
        }
    }
}

/// What all filters together say about `column`.
pub(super) fn texts_of(column: &str, filters: &[Expr]) -> Texts {
    filters.iter().fold(Texts::Any, |all, filter| all.and(texts(column, filter)))
}

fn texts(column: &str, filter: &Expr) -> Texts {
    let one = |text: String| Texts::Of(BTreeSet::from([text]));
    let found = match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            return texts(column, left).and(texts(column, right));
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            return texts(column, left).or(texts(column, right));
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            let compared = || is_column(uncast(left), column).and_then(|()| text(right));
            let swapped = || is_column(uncast(right), column).and_then(|()| text(left));
            compared().or_else(swapped).map(one)
        }
        Expr::InList(InList { expr, list, negated: false }) => {
            is_column(uncast(expr), column).and_then(|()| list.iter().map(text).collect::<Option<_>>().map(Texts::Of))
        }
        _ => None,
    };
    let mentioned = || filter.column_refs().iter().any(|c| c.name == column);
    found.unwrap_or_else(|| if mentioned() { Texts::Unclear } else { Texts::Any })
}

fn uncast(expr: &Expr) -> &Expr {
    match expr {
        Expr::Cast(Cast { expr, .. }) | Expr::TryCast(TryCast { expr, .. }) => uncast(expr),
        other => other,
    }
}

fn text(expr: &Expr) -> Option<String> {
    match uncast(expr) {
        Expr::Literal(value, _) => value.try_as_str().flatten().map(str::to_owned),
        _ => None,
    }
}

/// The series that fulfil every filter that speaks of nothing but the series: any expression over their names.
pub(super) fn series_of(session: &dyn Session, series: &[SeriesState], filters: &[Expr]) -> DfResult<Vec<SeriesState>> {
    let about_series = |filter: &&Expr| {
        let columns = filter.column_refs();
        !columns.is_empty() && columns.iter().all(|c| names::COLUMNS.contains(&c.name.as_str()))
    };
    let mut chosen = series.to_vec();
    for filter in filters.iter().filter(about_series) {
        let keep = fulfilled(session, &chosen, filter)?;
        let mut keep = keep.into_iter();
        chosen.retain(|_| keep.next().unwrap_or(true));
    }
    Ok(chosen)
}

fn fulfilled(session: &dyn Session, series: &[SeriesState], filter: &Expr) -> DfResult<Vec<bool>> {
    let asked: Vec<usize> = (0..names::COLUMNS.len())
        .filter(|i| filter.column_refs().iter().any(|c| c.name == names::COLUMNS[*i]))
        .collect();
    let schema = columns::schema(asked.iter().map(|i| columns::text(names::COLUMNS[*i])));
    let arrays = asked.iter().map(|i| names::each(*i, series.iter().map(|s| &s.key))).collect();
    let batch = RecordBatch::try_new(Arc::clone(&schema), arrays)?;
    let filter = session.create_physical_expr(filter.clone(), &DFSchema::try_from(schema)?)?;
    let result = filter.evaluate(&batch)?.into_array(series.len())?;
    let Some(result) = result.as_boolean_opt() else { return Ok(vec![true; series.len()]) };
    Ok((0..series.len()).map(|i| result.is_valid(i) && result.value(i)).collect())
}

#[cfg(test)]
mod tests;
