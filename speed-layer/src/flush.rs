//! Flush: sealed epochs go to history, oldest first, then memory and log let go of them.
//!
//! ```text
//! seal ─► sink writes files and commits (and has the new version adopted) ─► log segments deleted ─► readings released
//! ```
//!
//! The order matters: a segment deleted before the catalog knows the epoch's files would lose readings.

use std::sync::Arc;

use async_trait::async_trait;
use schemas::epoch::Sealed;
use schemas::{LogPosition, SeriesId};

/// The batch side, as the speed layer sees it.
#[async_trait]
pub trait HistorySink: Send + Sync + std::fmt::Debug {
    /// Makes an epoch part of history. When it returns, the epoch is durable there and the new version was adopted.
    ///
    /// # Errors
    /// Nothing of the epoch counts as history; it may be offered again.
    async fn flush(&self, epoch: Arc<Sealed>) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;

    /// What history counted of these readings (sorted by series and event time) before a log position: each with its last
    /// value then, if any. `None` where it can't tell now.
    async fn look_up(
        &self,
        readings: &[(SeriesId, i64)],
        before: LogPosition,
    ) -> Option<Vec<(SeriesId, i64, Option<f64>)>>;
}
