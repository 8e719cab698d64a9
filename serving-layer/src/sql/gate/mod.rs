//! The gate: which SQL text is let through to the planner.
//!
//! Owns parsing, the kinds of statement, the budget ([`budget`]) and which functions and tables may be named. What leaves
//! the gate is the parsed statement itself, so that nothing is planned but what was checked. Does not own planning, nor
//! the limits of time and memory that a statement runs under.
//!
//! - GATE-1: no text makes the process crash or plan for long, whatever it is. The planner can't be interrupted and
//!   recurses over the text, so size is bounded before it sees anything.

mod budget;

use datafusion::sql::sqlparser::ast::{DescribeAlias, Query, Statement};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use schemas::time::clip;

use crate::error::{Error, Result};

/// A statement that was let through.
pub(super) type Checked = Statement;

/// Longest text of a statement, bytes.
const TEXT_MAX: usize = 16 << 10;

/// The statement of this text. To be called with a large stack: a long chain of operators is a deep tree, even to drop.
///
/// # Errors
/// The text is no SQL, not exactly one query, or above a limit; the reason names it.
pub(super) fn check(text: &str) -> Result<Checked> {
    if text.len() > TEXT_MAX {
        return Err(Error::Invalid(format!("the statement has {} bytes, more than {TEXT_MAX}", text.len())));
    }
    let mut statements = Parser::parse_sql(&GenericDialect {}, text).map_err(|e| not_sql(&e))?;
    let (Some(statement), true) = (statements.pop(), statements.is_empty()) else {
        return Err(Error::Invalid("one statement is expected, not none and not several".to_owned()));
    };
    if let Some(query) = query_of(&statement)? {
        budget::check(query)?;
    }
    Ok(statement)
}

fn not_sql(error: &ParserError) -> Error {
    let reason = match error {
        ParserError::TokenizerError(reason) | ParserError::ParserError(reason) => reason.as_str(),
        ParserError::RecursionLimitExceeded => "it is nested too deeply",
    };
    Error::Invalid(format!("can't read the statement: {reason}"))
}

/// The query of a statement; `None` for the description of a table.
fn query_of(statement: &Statement) -> Result<Option<&Query>> {
    match statement {
        Statement::Query(query) => Ok(Some(query)),
        Statement::Explain { statement, query_plan: false, estimate: false, options: None, .. } => match &**statement {
            Statement::Query(query) => Ok(Some(query)),
            other => Err(no_query(other)),
        },
        Statement::ExplainTable {
            describe_alias: DescribeAlias::Desc | DescribeAlias::Describe, table_name, ..
        } => {
            budget::check_table(table_name)?;
            Ok(None)
        }
        other => Err(no_query(other)),
    }
}

fn no_query(statement: &Statement) -> Error {
    let text = statement.to_string();
    let verb = text.split_whitespace().next().unwrap_or_default();
    Error::Invalid(format!(
        "{:?} is not allowed: SQL is read only, a statement is a SELECT, EXPLAIN or DESCRIBE",
        clip(verb)
    ))
}

#[cfg(test)]
mod tests;
