//! A transaction of the catalog, and the gaps before and after its commit.
//!
//! Owns the order: the hook is told, then the database commits, then the hook is told again. Does not own what is changed.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use schemas::gap::{Gap, GapHook};
use sqlx::sqlite::SqliteConnection;
use sqlx::{Sqlite, Transaction};

/// A transaction, rolled back unless it is committed.
#[derive(Debug)]
pub(super) struct Tx {
    inner: Transaction<'static, Sqlite>,
    gaps: Arc<dyn GapHook>,
}

impl Tx {
    pub(super) fn new(inner: Transaction<'static, Sqlite>, gaps: Arc<dyn GapHook>) -> Self {
        Self { inner, gaps }
    }

    /// Makes its changes durable. After an error nobody knows whether they are.
    pub(super) async fn commit(self) -> Result<(), sqlx::Error> {
        reach(&*self.gaps, Gap::CatalogChanged)?;
        self.inner.commit().await?;
        reach(&*self.gaps, Gap::CatalogCommitted)
    }
}

impl Deref for Tx {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.inner
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.inner
    }
}

/// Tells the hook; what it says is as if the database had said it.
pub(super) fn reach(gaps: &dyn GapHook, gap: Gap) -> Result<(), sqlx::Error> {
    gaps.reached(gap).map_err(|crash| sqlx::Error::Io(std::io::Error::other(crash)))
}
