//! The SQL door: one read-only statement over the tables of one snapshot.
//!
//! Owns what text is let through (`gate`), the functions and tables that it may name, and the time and memory that it
//! (worker), and all statements together (shared), may take. Does **not** own how buckets are counted (query), how history
//! is read (batch layer), or how rows are written down (HTTP, command line).
//!
//! ```text
//! text ─► gate (parse, budget) ─► session (plan) ─► operators ─► rows, in plain types
//!       └──────────── on threads of its own (worker) ───────┘  └─ time, memory, drop = end
//!                                     └─► tables ─► one Snapshot
//! ```
//!
//! - SQL-1: a statement sees one log position. All its tables read from one snapshot, taken when the first of them is
//!   planned.

mod failure;
mod functions;
mod gate;
mod plain;
mod session;
mod shared;
mod tables;
mod watch;
mod worker;

pub use self::shared::Shared;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use futures::stream::BoxStream;
use tokio::sync::OwnedSemaphorePermit;

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
    /// Runs a SELECT, EXPLAIN or DESCRIBE. Its place (one of [`Shared`]) is free again when its last thread has ended.
    ///
    /// # Errors
    /// The statement is not allowed, too large, names what does not exist, or takes too long; or history can't be read.
    /// What goes wrong later comes as an item of the stream.
    pub async fn sql(&self, sql: &str, place: OwnedSemaphorePermit) -> Result<SqlStream> {
        worker::start(self.clone(), sql.to_owned(), place).await
    }
}

/// Whether the gate lets a statement through; nothing is planned, read or run.
///
/// # Errors
/// It would be refused, and why; or no thread can be started.
pub fn admit(text: &str) -> Result<()> {
    worker::on_large_stack(|| gate::check(text).map(drop))?
}

#[cfg(test)]
mod tests;
