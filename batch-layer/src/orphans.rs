//! Orphans: stored objects that no row of the catalog names. A put whose commit failed leaves one behind.
//!
//! Owns which of them go: those that Weir made, that are old enough, that history has passed, and that nobody can be about
//! to commit. Does not own objects that the catalog names (catalog, `garbage`).
//!
//! Bytes that were put once may be put again by a job that is tried anew, and be committed then, however old they are: so
//! neither a job nor a flush is under way while orphans go.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use schemas::ArrivalTime;
use schemas::paths::position_of;

use crate::error::Result;
use crate::history::Listed;
use crate::layer::BatchLayer;

/// An orphan stays for so long: whoever looks for what went wrong finds it.
const GRACE_NS: i64 = 24 * schemas::time::HOUR;
/// They are looked for this often: a bucket is listed slowly.
const PAUSE_NS: i64 = 6 * schemas::time::HOUR;

impl BatchLayer {
    /// Deletes orphans, if it is time to look for them; returns how many.
    ///
    /// # Errors
    /// The catalog or the store fails; what is left is deleted next time.
    pub async fn collect_orphans(&self) -> Result<usize> {
        // A job runs: another time.
        let Ok(_idle) = self.inner.working.try_lock() else { return Ok(0) };
        let now = self.inner.components.clock.now();
        if now.0 < self.inner.orphans_at.load(Ordering::Relaxed) {
            return Ok(0);
        }
        // Before others have to wait: a bucket may be long.
        let listed = self.inner.objects.list().await?;
        let _one = self.turn().await?;
        let Some(known) = self.inner.catalog.paths_unless_held(now).await? else { return Ok(0) };
        let orphans: Vec<Listed> = listed.into_iter().filter(|listed| self.is_orphan(listed, &known, now)).collect();
        for orphan in &orphans {
            self.inner.objects.delete(&orphan.path).await?;
            tracing::info!(path = orphan.path, bytes = orphan.bytes, "deleted an object that history never had");
            self.inner.components.metrics.orphans_deleted.inc();
        }
        self.inner.orphans_at.store(now.0.saturating_add(PAUSE_NS), Ordering::Relaxed);
        Ok(orphans.len())
    }

    fn is_orphan(&self, listed: &Listed, known: &BTreeSet<String>, now: ArrivalTime) -> bool {
        let old = now.0.saturating_sub(listed.modified.0) >= GRACE_NS;
        // What is ahead of history may be all there is of it: a catalog that was put back is older than its objects.
        let passed = position_of(&listed.path).is_some_and(|position| position <= self.version().flushed);
        old && passed && !known.contains(&listed.path)
    }
}
