//! The SQL door: one read-only statement over the tables of one snapshot.
//!
//! Owns what text is let through ([`gate`]), the functions and tables that it may name, and the time and memory that it
//! may take. Does **not** own how buckets are counted (query), how history is read (batch layer), or how rows are
//! written down (HTTP, command line).
//!
//! ```text
//! text ─► gate (parse, budget) ─► plan (own thread, large stack) ─► stream ─► rows
//!                                   └─► tables ─► one Snapshot      └─ deadline, memory, drop = cancel
//! ```
//!
//! - SQL-1: a statement sees one log position. All its tables read from one snapshot, taken when the first of them is
//!   planned.

mod failure;
mod functions;
mod gate;
mod session;
mod stream;
mod tables;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use futures::stream::BoxStream;
use tokio::time::Instant;

use crate::error::Result;
use crate::serving::Serving;

/// The rows of a statement as they are found. Dropping it ends the statement.
pub struct SqlStream {
    /// The columns.
    pub schema: SchemaRef,
    /// Rows in batches of these columns. Nothing follows an error.
    pub batches: BoxStream<'static, Result<RecordBatch>>,
}

impl std::fmt::Debug for SqlStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqlStream").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl Serving {
    /// Runs a SELECT, EXPLAIN or DESCRIBE.
    ///
    /// # Errors
    /// The statement is not allowed, too large, names what does not exist, or takes too long; or history can't be read.
    /// What goes wrong later comes as an item of the stream.
    pub async fn sql(&self, sql: &str) -> Result<SqlStream> {
        let deadline = Instant::now() + self.settings.query_timeout;
        let rows = session::start(self.clone(), sql.to_owned(), deadline).await?;
        Ok(stream::of(rows, deadline, self.settings.query_timeout))
    }
}

#[cfg(test)]
mod tests;
