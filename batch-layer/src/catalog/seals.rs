//! Seals: a digest over the rows of each table that answers rest on, so that a flipped bit in a cell is found.
//!
//! SQLite checks the form of its pages, not what stands in them. So each transaction that changes history compares these
//! tables with their seals before it changes anything, and seals them anew as it ends: rows are never blessed that are not
//! those last committed. They are compared when the catalog is opened, by `weir check` and by every pass of the scrubber.
//!
//! Owns the list of sealed tables and the digest. Does not own: tokens, jobs, schedules, reconciliation and meta, whose rows
//! no answer rests on and which are not sealed (SQLite's own check finds what breaks their form); the audit log, which is
//! a chain of its own.
//!
//! What is not found: damage of SQLite's write-ahead log after a crash, which SQLite takes for a torn tail and cuts; the
//! catalog is then whole but older. Where the speed layer's log no longer holds what came after, its start says so.

use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow, SqliteValueRef};
use sqlx::{Decode, Row, Sqlite, TypeInfo as _, ValueRef as _};
use twox_hash::XxHash3_128;

use super::rows::Columns;
use super::{Attempt, Catalog, Tx};
use crate::error::{Error, Result};

/// Sealed tables by name, and their rows in an order that follows from the rows alone. A column that a later script adds
/// stands in a seal of a new name: the old one stays true.
const SEALED: [(&str, &str); 12] = [
    (
        "objects",
        "SELECT path, kind, bytes, block_sums, created_at, superseded_at, condemned_at FROM objects ORDER BY path",
    ),
    (
        "epochs",
        "SELECT last_position, first_position, readings, event_min, event_max, partials_path, flushed_at, arrivals, readings_sum \
         FROM epochs WHERE dropped_at IS NULL ORDER BY last_position",
    ),
    // Dropped epochs become very many and say nothing any more but where the last one ended.
    ("epochs, all", "SELECT COUNT(*), MAX(last_position), SUM(readings) FROM epochs"),
    ("partitions", "SELECT span_start, span_end, touched FROM partitions ORDER BY span_start"),
    (
        "epoch_partitions",
        "SELECT partition_start, last_position, readings FROM epoch_partitions ORDER BY partition_start, last_position",
    ),
    (
        "files",
        "SELECT path, partition_start, first_position, last_position, event_min, event_max, series_min, series_max, \
         rows_count, readings_sum FROM files ORDER BY path",
    ),
    ("quarantine_files", "SELECT path, rows_count, readings_sum FROM quarantine_files ORDER BY path"),
    ("series_files", "SELECT path, seq FROM series_files ORDER BY path"),
    ("lateness", "SELECT metric, weights FROM lateness ORDER BY metric"),
    (
        "generations",
        "SELECT number, published_at, reason, job_id, reverted_to, partitions_changed, pruned_at FROM generations ORDER BY number",
    ),
    (
        "views",
        "SELECT id, partition_start, cut_position, path, cells, readings, kind, from_generation, until_generation \
         FROM views ORDER BY id",
    ),
    ("ledger", "SELECT stage, readings, readings_sum FROM ledger ORDER BY stage"),
];

impl Catalog {
    /// A transaction that may change sealed rows; refused where they are not those that were committed last.
    pub(super) async fn begin_sealed(&self) -> Result<Tx> {
        let mut tx = self.begin().await?;
        check(&mut tx).await?;
        Ok(tx)
    }

    /// Seals what the transaction leaves and commits it.
    pub(super) async fn commit_sealed(&self, mut tx: Tx, what: &'static str) -> Result<()> {
        seal(&mut tx).await?;
        tx.commit().await.attempt(what)
    }

    /// Tables whose rows are not those that were committed last.
    ///
    /// # Errors
    /// The catalog can't be read.
    pub async fn broken_seals(&self) -> Result<Vec<String>> {
        broken(&mut *self.snapshot().await?).await
    }

    /// What SQLite finds wrong with the form of its file.
    ///
    /// # Errors
    /// The catalog can't be read at all.
    pub async fn malformed(&self) -> Result<Vec<String>> {
        let mut tx = self.snapshot().await?;
        let what = "check the catalog's file";
        let told: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check").fetch_all(&mut *tx).await.attempt(what)?;
        let orphans = sqlx::query("PRAGMA foreign_key_check").fetch_all(&mut *tx).await.attempt(what)?;
        let mut found: Vec<String> = told.into_iter().filter(|line| line != "ok").collect();
        for row in &orphans {
            let mut columns = Columns::of(row);
            let (table, _, parent): (String, Option<i64>, String) = (columns.get()?, columns.get()?, columns.get()?);
            found.push(format!("a row of {table} names none of {parent}"));
        }
        Ok(found)
    }
}

/// Compares the rows of a catalog that is being opened with its seals; seals one that has none yet. (Whether their table is
/// there says nothing: who made it may have been killed before the first was set.)
pub(super) async fn open(pool: &SqlitePool) -> Result<()> {
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await.attempt("begin a catalog transaction")?;
    let seals: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM seals").fetch_one(&mut *tx).await.attempt("read seals")?;
    if seals > 0 {
        return check(&mut tx).await;
    }
    seal(&mut tx).await?;
    tx.commit().await.attempt("seal the catalog")
}

async fn check(conn: &mut SqliteConnection) -> Result<()> {
    match broken(conn).await?.first() {
        Some(table) => Err(Error::corrupt("catalog", format!("the rows of {table} are not those that were committed"))),
        None => Ok(()),
    }
}

async fn broken(conn: &mut SqliteConnection) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for (name, rows) in SEALED {
        let digest = digest(conn, rows).await?;
        let sealed: Option<String> = sqlx::query_scalar("SELECT digest FROM seals WHERE name = $1")
            .bind(name)
            .fetch_optional(&mut *conn)
            .await
            .attempt("read seals")?;
        if sealed.as_deref() != Some(&digest) {
            found.push(name.to_owned());
        }
    }
    Ok(found)
}

async fn seal(conn: &mut SqliteConnection) -> Result<()> {
    for (name, rows) in SEALED {
        let digest = digest(conn, rows).await?;
        let renewed = sqlx::query("UPDATE seals SET digest = $1 WHERE name = $2")
            .bind(&digest)
            .bind(name)
            .execute(&mut *conn)
            .await
            .attempt("seal the catalog")?;
        if renewed.rows_affected() == 0 {
            sqlx::query("INSERT INTO seals (name, digest) VALUES ($1, $2)")
                .bind(name)
                .bind(&digest)
                .execute(&mut *conn)
                .await
                .attempt("seal the catalog")?;
        }
    }
    Ok(())
}

/// The digest of all columns of these rows. Kinds and lengths stand before values, so that no two tables read the same.
async fn digest(conn: &mut SqliteConnection, query: &'static str) -> Result<String> {
    let rows = sqlx::query(query).fetch_all(conn).await.attempt("read sealed rows")?;
    let mut hash = XxHash3_128::new();
    for row in &rows {
        for column in 0..row.len() {
            write_value(&mut hash, row, column)?;
        }
    }
    Ok(format!("{:032x}", hash.finish_128()))
}

fn write_value(hash: &mut XxHash3_128, row: &SqliteRow, column: usize) -> Result<()> {
    let value = row.try_get_raw(column).attempt("read sealed rows")?;
    if value.is_null() {
        hash.write(&[0]);
        return Ok(());
    }
    let kind = value.type_info().name().to_owned();
    if kind == "INTEGER" {
        hash.write(&[1]);
        hash.write(&decoded::<i64>(value)?.to_le_bytes());
        return Ok(());
    }
    let bytes: &[u8] = if kind == "TEXT" { decoded::<&str>(value)?.as_bytes() } else { decoded(value)? };
    hash.write(&[if kind == "TEXT" { 2 } else { 3 }]);
    hash.write(&(bytes.len() as u64).to_le_bytes());
    hash.write(bytes);
    Ok(())
}

fn decoded<'r, T: Decode<'r, Sqlite>>(value: SqliteValueRef<'r>) -> Result<T> {
    T::decode(value).map_err(|error| Error::corrupt("catalog", format!("a sealed row can't be read: {error}")))
}
