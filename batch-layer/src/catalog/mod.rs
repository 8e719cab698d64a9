//! The catalog: what history consists of, which views count which of it, and the work queued on it.
//!
//! Owns the connection, the migrations and all SQL. Does **not** own stored objects (store), the reading of files
//! (history), what a job does (runner) or the clock: every instant is an argument.
//!
//! - CAT-1: every change is one `BEGIN IMMEDIATE` .. `COMMIT`; after an error nothing of it remains.
//! - CAT-2: an object that is being deleted (condemned) can't be committed again; an object that history, a view or an
//!   epoch needs is never condemned.
//! - CAT-3: rows that answers rest on are sealed: a change that finds them other than they were committed is refused.
//!
//! ```text
//! change ─► writer (one connection, so commits are serial) ─┐
//!                                                           ├─► catalog.db (WAL, synchronous = FULL)
//! read ───► readers (a few, one transaction each) ──────────┘
//! ```

mod audit;
mod copy;
mod damage;
mod garbage;
mod generations;
mod history;
mod jobs;
mod ledger;
mod objects;
mod queue;
mod reconciliation;
mod rows;
mod schedules;
mod seals;
mod state;
mod tokens;
mod transaction;
mod version;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use schemas::gap::{Gap, GapHook, NoGaps};
use sqlx::migrate::{MigrateError, Migration, MigrationSource, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection, SqlSafeStr, SqlitePool};

use crate::error::{Error, Result};

pub use audit::AuditRow;
pub use damage::DamageRow;
pub use generations::{GenerationRow, NewView, PublishCommit, ViewOrigin};
pub use history::{EpochRow, FlushCommit, SeriesCommit};
pub use jobs::{CancelOutcome, JobKind, JobRow, JobState, NewJob, RetryPolicy};
pub use ledger::Audited;
pub use reconciliation::{Cause, ReconciliationRow};
pub use schedules::ScheduleRow;
use transaction::{Tx, reach};

/// Connections that read. Reads are short and few; more would only cost memory.
const READERS: u32 = 4;
/// How long to wait for a lock that another process holds, such as a backup tool.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// A cheap handle to the catalog.
#[derive(Debug, Clone)]
pub struct Catalog {
    /// Holds one connection at most: whoever has it is the only writer.
    writer: SqlitePool,
    /// In memory it is the writer itself, since each connection would have a database of its own.
    readers: SqlitePool,
    /// Is told of each transaction.
    gaps: Arc<dyn GapHook>,
}

impl Catalog {
    /// Opens the catalog in this file, made anew if there is none, and brings its tables up to date.
    ///
    /// # Errors
    /// The directory does not exist, the file is not a catalog, or a newer Weir wrote it.
    pub async fn open(path: &Path) -> Result<Self> {
        create_private(path).await.map_err(|e| Error::unavailable(format!("create {}", path.display()), e))?;
        let options = SqliteConnectOptions::new().filename(path).foreign_keys(true).busy_timeout(BUSY_TIMEOUT);
        let writing = options.clone().journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full);
        let writer = single_connection(writing).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .test_before_acquire(false)
            .connect_lazy_with(options.read_only(true));
        Ok(Self { writer, readers, gaps: Arc::new(NoGaps) })
    }

    /// An empty catalog that lives as long as its handles: for tests.
    ///
    /// # Errors
    /// There is no memory for it.
    pub async fn memory() -> Result<Self> {
        let options = SqliteConnectOptions::new().in_memory(true).foreign_keys(true);
        let writer = single_connection(options).await?;
        Ok(Self { readers: writer.clone(), writer, gaps: Arc::new(NoGaps) })
    }

    /// The same catalog; `gaps` is told of each of its transactions.
    pub(crate) fn watched_by(self, gaps: Arc<dyn GapHook>) -> Self {
        Self { gaps, ..self }
    }

    /// Waits for transactions under way and closes the file. The handles are of no use afterwards.
    pub async fn close(&self) {
        // The writer last: only it may move the write-ahead log into the file.
        self.readers.close().await;
        self.writer.close().await;
    }

    /// The only transaction that may change something.
    async fn begin(&self) -> Result<Tx> {
        reach(&*self.gaps, Gap::CatalogAsked).attempt("begin a catalog transaction")?;
        let begun = self.writer.begin_with("BEGIN IMMEDIATE").await.attempt("begin a catalog transaction")?;
        Ok(Tx::new(begun, Arc::clone(&self.gaps)))
    }

    /// A transaction that sees one state of the catalog throughout.
    async fn snapshot(&self) -> Result<Tx> {
        reach(&*self.gaps, Gap::CatalogAsked).attempt("read the catalog")?;
        Ok(Tx::new(self.readers.begin().await.attempt("read the catalog")?, Arc::clone(&self.gaps)))
    }
}

/// A pool of one connection that lives for ever, its tables brought up to date.
async fn single_connection(options: SqliteConnectOptions) -> Result<SqlitePool> {
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .after_release(|connection, _| {
            Box::pin(async move {
                // SQLite rolls back by itself when the disk is full; sqlx then believes for ever that the transaction
                // is open, and no other could begin. The ping waits for a rollback that is still queued.
                connection.ping().await?;
                Ok(!connection.is_in_transaction())
            })
        })
        .connect_with(options)
        .await
        .attempt("open the catalog")?;
    migrator().await?.run(&pool).await.map_err(of_migration)?;
    seals::open(&pool).await?;
    Ok(pool)
}

/// An empty file that only its owner may read: SQLite gives its side files the same permissions.
async fn create_private(path: &Path) -> std::io::Result<()> {
    let mut options = tokio::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    options.mode(0o600);
    match options.open(path).await {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => return Ok(()),
        opened => opened?.sync_all().await?,
    }
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    tokio::fs::File::open(parent).await?.sync_all().await
}

/// The scripts of [`schemas::migrations`] as sqlx wants them.
#[derive(Debug)]
struct Scripts;

impl MigrationSource<'static> for Scripts {
    fn resolve(self) -> BoxFuture<'static, std::result::Result<Vec<Migration>, sqlx::error::BoxDynError>> {
        let scripts = schemas::migrations::ALL.iter().map(|script| {
            let sql = script.sql.into_sql_str();
            Migration::new(script.version, script.description.into(), MigrationType::Simple, sql, false)
        });
        Box::pin(std::future::ready(Ok(scripts.collect())))
    }
}

async fn migrator() -> Result<Migrator> {
    Migrator::new(Scripts).await.map_err(of_migration)
}

fn of_migration(error: MigrateError) -> Error {
    match error {
        MigrateError::VersionMissing(version) => Error::Refused(format!(
            "the catalog was written by a newer version of Weir (script {version} is unknown here)"
        )),
        MigrateError::VersionMismatch(_) | MigrateError::Dirty(_) => Error::corrupt("catalog", error),
        MigrateError::Execute(cause) => of_sqlx("migrate the catalog", cause),
        other => Error::unavailable("migrate the catalog", other),
    }
}

/// Names what was attempted in an error of the database.
trait Attempt<T> {
    /// The value, or an error that says what was attempted.
    fn attempt(self, what: &'static str) -> Result<T>;
}

impl<T> Attempt<T> for std::result::Result<T, sqlx::Error> {
    fn attempt(self, what: &'static str) -> Result<T> {
        self.map_err(|error| of_sqlx(what, error))
    }
}

/// Whether SQLite says that the file is damaged (SQLITE_CORRUPT) or none of its own (SQLITE_NOTADB).
fn damaged(error: &dyn sqlx::error::DatabaseError) -> bool {
    let code = error.code().and_then(|code| code.parse::<u32>().ok());
    code.is_some_and(|code| matches!(code & 0xff, 11 | 26))
}

fn of_sqlx(what: &'static str, error: sqlx::Error) -> Error {
    let corrupt = match &error {
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::RowNotFound => true,
        sqlx::Error::Database(cause) => damaged(&**cause),
        _ => false,
    };
    if corrupt { Error::corrupt("catalog", format!("{what}: {error}")) } else { Error::unavailable(what, error) }
}
