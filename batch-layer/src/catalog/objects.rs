//! Rows of `objects`: every stored file, with the checksums that its bytes must have.
//!
//! Owns adding, superseding and listing. Does not own deletion (garbage) or who refers to an object.

use std::collections::BTreeSet;

use schemas::paths::ObjectKind;
use schemas::time::ArrivalTime;
use schemas::view::ObjectRef;
use sqlx::sqlite::SqliteConnection;

use super::copy::is_held;
use super::rows::{Columns, bytes_of_sums, stored};
use super::{Attempt, Catalog};
use crate::error::{Error, Result};

impl Catalog {
    /// Every object that must be in the store, live or superseded; not those that are being deleted.
    ///
    /// # Errors
    /// The catalog can't be read or is corrupt.
    pub async fn all_objects(&self) -> Result<Vec<(ObjectRef, ObjectKind)>> {
        let mut tx = self.snapshot().await?;
        let rows =
            sqlx::query("SELECT path, bytes, block_sums, kind FROM objects WHERE condemned_at IS NULL ORDER BY path")
                .fetch_all(&mut *tx)
                .await
                .attempt("list objects")?;
        rows.iter()
            .map(|row| {
                let mut columns = Columns::of(row);
                Ok((columns.object()?, kind_of(&columns.get::<String>()?)?))
            })
            .collect()
    }
}

impl Catalog {
    /// The path of every object that the catalog knows, those that are being deleted too; `None` while somebody copies
    /// history.
    ///
    /// # Errors
    /// The catalog can't be read.
    pub async fn paths_unless_held(&self, now: ArrivalTime) -> Result<Option<BTreeSet<String>>> {
        let mut tx = self.snapshot().await?;
        if is_held(&mut tx, now).await? {
            return Ok(None);
        }
        let paths: Vec<String> =
            sqlx::query_scalar("SELECT path FROM objects").fetch_all(&mut *tx).await.attempt("list objects")?;
        Ok(Some(paths.into_iter().collect()))
    }
}

fn kind_of(name: &str) -> Result<ObjectKind> {
    let kinds =
        [ObjectKind::Readings, ObjectKind::Quarantine, ObjectKind::Partials, ObjectKind::View, ObjectKind::Series];
    kinds
        .into_iter()
        .find(|k| k.name() == name)
        .ok_or_else(|| Error::corrupt("catalog", format!("unknown kind of object {name:?}")))
}

/// Adds an object, or takes one of the same path and content into use again: paths carry a hash of the content.
pub(super) async fn add(
    conn: &mut SqliteConnection,
    kind: ObjectKind,
    object: &ObjectRef,
    now: ArrivalTime,
) -> Result<()> {
    let sums = bytes_of_sums(&object.block_sums);
    let bytes = stored(object.bytes)?;
    let known = sqlx::query("SELECT kind, bytes, block_sums, condemned_at FROM objects WHERE path = $1")
        .bind(&object.path)
        .fetch_optional(&mut *conn)
        .await
        .attempt("look an object up")?;
    let Some(row) = known else {
        sqlx::query("INSERT INTO objects (path, kind, bytes, block_sums, created_at) VALUES ($1, $2, $3, $4, $5)")
            .bind(&object.path)
            .bind(kind.name())
            .bind(bytes)
            .bind(sums)
            .bind(now.0)
            .execute(conn)
            .await
            .attempt("add an object")?;
        return Ok(());
    };
    let mut columns = Columns::of(&row);
    let known: (String, i64, Vec<u8>) = (columns.get()?, columns.get()?, columns.get()?);
    if known != (kind.name().to_owned(), bytes, sums) {
        return Err(Error::corrupt(&object.path, "another object of this path is in the catalog"));
    }
    if columns.optional_time()?.is_some() {
        return Err(Error::unavailable(
            format!("use {}", object.path),
            "an object of this path is being deleted: write it again",
        ));
    }
    sqlx::query("UPDATE objects SET superseded_at = NULL WHERE path = $1")
        .bind(&object.path)
        .execute(conn)
        .await
        .attempt("use an object again")?;
    Ok(())
}

/// Says that nothing new will read this object; it stays for those who are reading it.
pub(super) async fn supersede(conn: &mut SqliteConnection, path: &str, now: ArrivalTime) -> Result<()> {
    sqlx::query("UPDATE objects SET superseded_at = $1 WHERE path = $2")
        .bind(now.0)
        .bind(path)
        .execute(conn)
        .await
        .attempt("supersede an object")?;
    Ok(())
}
