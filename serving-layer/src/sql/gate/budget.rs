//! The budget of a query: how large it may be once every reference to a CTE is replaced by its text.
//!
//! Owns the counting and what a query may name. A CTE is counted where it is used, because the planner copies it there:
//! eighteen that join themselves fit into a kilobyte of text and become a quarter of a million tables.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, ObjectName, Query,
    Select, SetExpr, TableFactor, Value, Visit, Visitor,
};
use schemas::time::clip;

use crate::error::{Error, Result};
use crate::sql::functions;
use crate::sql::tables::NAMES;

/// Most expressions, tables and selects. Planning takes time quadratic in them.
const NODES_MAX: u64 = 1_000;
/// Most joins, commas between tables included.
const JOINS_MAX: u64 = 8;
/// Most queries that set operations combine.
const ARMS_MAX: u64 = 64;
/// Most references to CTEs.
const CTE_MAX: u64 = 64;
/// Most subqueries of expressions within each other. Each level more than doubles the time of planning.
const DEPTH_MAX: u64 = 6;
/// Most columns of a CUBE, which makes two to their power grouping sets.
const CUBE_MAX: usize = 6;
/// Most elements of a ROLLUP or GROUPING SETS.
const SETS_MAX: usize = 16;
/// Most of CUBE, ROLLUP and GROUPING SETS in all: several in one GROUP BY multiply.
const GROUPINGS_MAX: u64 = 2;

/// Lets a query through, or names what is wrong with it.
pub(super) fn check(query: &Query) -> Result<()> {
    let mut counter = Counter::default();
    match query.visit(&mut counter) {
        ControlFlow::Break(error) => Err(*error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// Lets the name of a table through.
pub(super) fn check_table(name: &ObjectName) -> Result<()> {
    match last_part(name) {
        Some(last) if NAMES.contains(&last.as_str()) => Ok(()),
        _ => {
            Err(invalid(format!("table {:?} does not exist: there are {}", clip(&name.to_string()), NAMES.join(", "))))
        }
    }
}

/// The last part of a name in lower case: tables, CTEs and functions are compared by it.
fn last_part(name: &ObjectName) -> Option<String> {
    Some(name.0.last()?.as_ident()?.value.to_lowercase())
}

fn invalid(reason: impl Into<String>) -> Error {
    Error::Invalid(reason.into())
}

/// How large a part of a query is with its CTEs expanded.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    nodes: u64,
    joins: u64,
    arms: u64,
    ctes: u64,
    groupings: u64,
    /// How deep subqueries of expressions lie within each other: the only one that does not add up.
    depth: u64,
}

impl Size {
    fn add(&mut self, other: Self) -> Result<()> {
        self.nodes += other.nodes;
        self.joins += other.joins;
        self.arms += other.arms;
        self.ctes += other.ctes;
        self.groupings += other.groupings;
        self.depth = self.depth.max(other.depth);
        let limits = [
            (self.nodes, NODES_MAX, "expressions and tables"),
            (self.joins, JOINS_MAX, "joins"),
            (self.arms, ARMS_MAX, "queries combined by UNION, EXCEPT or INTERSECT"),
            (self.ctes, CTE_MAX, "references to CTEs"),
            (self.groupings, GROUPINGS_MAX, "of CUBE, ROLLUP and GROUPING SETS"),
            (self.depth, DEPTH_MAX, "subqueries within each other"),
        ];
        match limits.into_iter().find(|(count, max, _)| count > max) {
            Some((_, max, what)) => Err(invalid(format!("the statement is too large: more than {max} {what}"))),
            None => Ok(()),
        }
    }
}

/// A query that is being visited.
#[derive(Debug, Default)]
struct Frame {
    /// Names of its CTEs, in order; their bodies are visited in this order before all else.
    names: Vec<String>,
    /// Sizes of those visited so far.
    sizes: HashMap<String, Size>,
    size: Size,
    /// How many subqueries of expressions it lies in.
    depth: u64,
}

#[derive(Debug, Default)]
struct Counter {
    /// The text as it stands: a CTE that is never used is planned as well.
    text: Size,
    frames: Vec<Frame>,
    /// How many subqueries of expressions are being visited.
    depth: u64,
}

impl Counter {
    fn add(&mut self, size: Size) -> Result<()> {
        self.text.add(size)?;
        self.expand(size)
    }

    fn expand(&mut self, size: Size) -> Result<()> {
        self.frames.last_mut().map_or(Ok(()), |frame| frame.size.add(size))
    }

    fn nodes(&mut self, nodes: usize) -> Result<()> {
        self.add(Size { nodes: nodes as u64, ..Size::default() })
    }

    fn open(&mut self, query: &Query) -> Result<()> {
        check_clauses(query)?;
        let mut names = Vec::new();
        if let Some(with) = &query.with {
            if with.recursive {
                return Err(invalid("WITH RECURSIVE is not allowed"));
            }
            names = with.cte_tables.iter().map(|cte| cte.alias.name.value.to_lowercase()).collect();
        }
        self.frames.push(Frame { names, depth: self.depth, ..Frame::default() });
        let arms = arms(&query.body)?;
        self.add(Size { nodes: 1 + arms, arms: if arms > 1 { arms } else { 0 }, ..Size::default() })
    }

    fn close(&mut self) -> Result<()> {
        let Some(mut done) = self.frames.pop() else { return Ok(()) };
        let Some(parent) = self.frames.last_mut() else { return Ok(()) };
        done.size.depth += done.depth - parent.depth;
        match parent.names.get(parent.sizes.len()).cloned() {
            // A second CTE of the same name would hide how many were visited; the planner refuses it as well.
            Some(name) if parent.sizes.contains_key(&name) => Err(invalid(format!("CTE {name:?} stands twice"))),
            Some(name) => {
                parent.sizes.insert(name, done.size);
                Ok(())
            }
            None => parent.size.add(done.size),
        }
    }

    fn relation(&mut self, name: &ObjectName) -> Result<()> {
        let known = match (name.0.len(), last_part(name)) {
            (1, Some(last)) => self.frames.iter().rev().find_map(|frame| frame.sizes.get(&last)).copied(),
            _ => None,
        };
        let Some(mut size) = known else { return check_table(name) };
        size.ctes += 1;
        size.depth += self.frames.last().map_or(0, |frame| self.depth - frame.depth);
        self.expand(size)
    }

    fn select(&mut self, select: &Select) -> Result<()> {
        if select.into.is_some() || !select.lateral_views.is_empty() || !select.connect_by.is_empty() {
            return Err(invalid("SELECT INTO, LATERAL VIEW and CONNECT BY are not allowed"));
        }
        if let GroupByExpr::All(modifiers) | GroupByExpr::Expressions(_, modifiers) = &select.group_by
            && !modifiers.is_empty()
        {
            return Err(invalid("GROUP BY ... WITH is not allowed: use ROLLUP, CUBE or GROUPING SETS"));
        }
        let joins: usize = select.from.iter().map(|table| 1 + table.joins.len()).sum();
        self.add(Size { joins: joins.saturating_sub(1) as u64, ..Size::default() })?;
        self.nodes(1 + select.projection.len())
    }

    fn factor(&mut self, factor: &TableFactor) -> Result<()> {
        match factor {
            TableFactor::Table {
                args: None,
                json_path: None,
                sample: None,
                version: None,
                with_ordinality: false,
                ..
            } => {}
            TableFactor::Derived { sample: None, .. } => {}
            TableFactor::NestedJoin { table_with_joins, .. } => {
                self.add(Size { joins: table_with_joins.joins.len() as u64, ..Size::default() })?;
            }
            other => {
                let text = other.to_string();
                return Err(invalid(format!(
                    "{:?} is not allowed: tables are named, there are no table functions",
                    clip(&text)
                )));
            }
        }
        self.nodes(1)
    }

    fn expression(&mut self, expr: &Expr) -> Result<()> {
        self.nodes(1)?;
        self.depth += u64::from(is_subquery(expr));
        match expr {
            Expr::Function(function) => check_function(function),
            Expr::Cube(sets) => self.grouping("CUBE", sets.iter().map(Vec::len).sum(), CUBE_MAX),
            Expr::Rollup(sets) => self.grouping("ROLLUP", sets.len(), SETS_MAX),
            Expr::GroupingSets(sets) => self.grouping("GROUPING SETS", sets.len(), SETS_MAX),
            Expr::SimilarTo { pattern, .. } | Expr::RLike { pattern, .. } => check_pattern(pattern),
            Expr::BinaryOp { op, right, .. } if matches_regex(op) => check_pattern(right),
            Expr::Array(_) | Expr::Struct { .. } | Expr::Tuple(_) | Expr::Dictionary(_) | Expr::Map(_) => {
                Err(invalid("arrays, structs, tuples and maps are not allowed"))
            }
            Expr::Overlay { .. } | Expr::Lambda(_) | Expr::InUnnest { .. } | Expr::CompoundFieldAccess { .. } => {
                Err(invalid("OVERLAY, lambdas, UNNEST and access to elements are not allowed"))
            }
            _ => Ok(()),
        }
    }

    fn grouping(&mut self, what: &str, elements: usize, max: usize) -> Result<()> {
        if elements > max {
            return Err(invalid(format!("{what} has {elements} elements, more than {max}")));
        }
        self.add(Size { groupings: 1, ..Size::default() })
    }
}

fn check_clauses(query: &Query) -> Result<()> {
    let odd = !query.locks.is_empty()
        || query.for_clause.is_some()
        || query.settings.is_some()
        || query.format_clause.is_some()
        || !query.pipe_operators.is_empty();
    if odd { Err(invalid("FOR, SETTINGS, FORMAT and pipes are not allowed")) } else { Ok(()) }
}

/// How many selects and the like a body combines.
fn arms(body: &SetExpr) -> Result<u64> {
    let (mut count, mut waiting) = (0, vec![body]);
    while let Some(part) = waiting.pop() {
        match part {
            SetExpr::Select(_) | SetExpr::Query(_) => count += 1,
            SetExpr::Values(values) => count += 1 + values.rows.len() as u64,
            SetExpr::SetOperation { left, right, .. } => waiting.extend([&**left, &**right]),
            _ => return Err(invalid("SQL is read only: a query is a SELECT or VALUES")),
        }
    }
    Ok(count)
}

fn check_function(function: &Function) -> Result<()> {
    let name = last_part(&function.name).unwrap_or_default();
    if function.name.0.len() != 1 || !functions::is_allowed(&name) {
        let text = function.name.to_string();
        return Err(invalid(format!(
            "function {:?} does not exist or is not allowed{}",
            clip(&text),
            functions::suggest(&name)
        )));
    }
    if function.over.is_some() && functions::collects(&name) {
        return Err(invalid(format!(
            "{name} is not allowed as a window function: each row would look at all rows before it"
        )));
    }
    match (functions::pattern_argument(&name), &function.args) {
        (Some(i), FunctionArguments::List(list)) => match list.args.get(i) {
            Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(pattern))) => check_pattern(pattern),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

fn is_subquery(expr: &Expr) -> bool {
    matches!(expr, Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. })
}

fn matches_regex(op: &BinaryOperator) -> bool {
    use BinaryOperator::{PGRegexIMatch, PGRegexMatch, PGRegexNotIMatch, PGRegexNotMatch, Regexp};
    matches!(op, PGRegexMatch | PGRegexIMatch | PGRegexNotMatch | PGRegexNotIMatch | Regexp)
}

/// A regular expression is compiled once if it is written out, and for each row if it is a column.
fn check_pattern(pattern: &Expr) -> Result<()> {
    match pattern {
        Expr::Value(value) if !matches!(value.value, Value::Placeholder(_)) => Ok(()),
        Expr::Nested(inner) => check_pattern(inner),
        _ => Err(invalid("a regular expression must be a text in quotes")),
    }
}

/// A visit ends at the first reason to refuse.
fn flow(result: Result<()>) -> ControlFlow<Box<Error>> {
    match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(Box::new(error)),
    }
}

impl Visitor for Counter {
    type Break = Box<Error>;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Self::Break> {
        flow(self.open(query))
    }

    fn post_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Self::Break> {
        self.depth -= u64::from(is_subquery(expr));
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<Self::Break> {
        flow(self.close())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Self::Break> {
        flow(self.select(select))
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<Self::Break> {
        flow(self.relation(relation))
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Self::Break> {
        flow(self.factor(factor))
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Self::Break> {
        flow(self.expression(expr))
    }
}
