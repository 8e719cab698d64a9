//! A copy of the catalog while it is in use, and holds: while one lasts, nothing is deleted under whoever copies history.
//!
//! A hold ends by itself: who dies while holding would else keep everything for ever. Holds are rows of `meta`, so that
//! they reach across processes.

use std::path::Path;
use std::time::Duration;

use schemas::time::ArrivalTime;
use sqlx::sqlite::SqliteConnection;

use super::{Attempt, Catalog, create_private};
use crate::error::{Error, Result};

impl Catalog {
    /// Writes one state of the catalog to a file that does not exist yet; it is durable then.
    ///
    /// # Errors
    /// The catalog can't be read, or the file can't be written.
    pub async fn copy_to(&self, path: &Path) -> Result<()> {
        let unwritable = |e| Error::unavailable(format!("write {}", path.display()), e);
        let Some(text) = path.to_str() else {
            return Err(Error::Refused(format!("{} is not UTF-8", path.display())));
        };
        // SQLite takes an empty file, which nobody else may read.
        create_private(path).await.map_err(unwritable)?;
        let mut connection = self.writer.acquire().await.attempt("copy the catalog")?;
        sqlx::query("VACUUM INTO $1").bind(text).execute(&mut *connection).await.attempt("copy the catalog")?;
        let file = tokio::fs::File::open(path).await.map_err(unwritable)?;
        file.sync_all().await.map_err(unwritable)
    }

    /// From now on nothing is condemned until `lasting` has passed, or [`Catalog::let_go`]. Holding again prolongs it.
    ///
    /// # Errors
    /// The catalog can't be written.
    pub async fn hold(&self, name: &str, now: ArrivalTime, lasting: Duration) -> Result<()> {
        let until = now.0.saturating_add(i64::try_from(lasting.as_nanos()).unwrap_or(i64::MAX));
        self.set_meta(&hold_key(name), &until.to_string()).await
    }

    /// Ends a hold.
    ///
    /// # Errors
    /// The catalog can't be written.
    pub async fn let_go(&self, name: &str) -> Result<()> {
        let mut tx = self.begin().await?;
        sqlx::query("DELETE FROM meta WHERE name = $1")
            .bind(hold_key(name))
            .execute(&mut *tx)
            .await
            .attempt("end a hold")?;
        tx.commit().await.attempt("end a hold")
    }
}

fn hold_key(name: &str) -> String {
    format!("hold {name}")
}

/// Whether somebody holds what is there.
pub(super) async fn is_held(conn: &mut SqliteConnection, now: ArrivalTime) -> Result<bool> {
    let holds: Vec<String> = sqlx::query_scalar("SELECT value FROM meta WHERE name LIKE 'hold %'")
        .fetch_all(conn)
        .await
        .attempt("read holds")?;
    // One that can't be read is believed: deleting can wait, and `weir check` tells of the damage.
    Ok(holds.iter().any(|until| until.parse::<i64>().map_or(true, |until| now.0 < until)))
}
