//! The scrubber: reads all that is stored, slowly and for ever, so that damage is found while there is still a remedy.
//!
//! A pass reads every live object in the order of paths, spread over `scrub_interval`; where it stands survives a restart.
//! It ends with the catalog: its form, its seals, the ledger's sums.
//!
//! Owns the pace, what counts as damage, and the remedy that needs no person: a view is made anew from raw readings, and
//! an epoch whose partials are lost is counted by a recompute. Does not own reading (history), nor `weir check`, which
//! looks at everything at once while no server runs.
//!
//! An object that was compacted away, or ended with its generation, while it was read is no damage: before anything is
//! said, the catalog is asked whether it is still needed, and the object is read once more.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::TryStreamExt as _;
use schemas::history::{ReadingColumns, StoredReading};
use schemas::paths::ObjectKind;
use schemas::view::{FileRef, ObjectRef};
use schemas::{Tally, TimeRange};
use serde::Serialize;

use crate::catalog::{DamageRow, JobKind, NewJob};
use crate::check::advice_on;
use crate::error::{Error, Result};
use crate::history::{Objects, Selection, scan};
use crate::layer::BatchLayer;
use crate::mend::is_lost;

/// Where the pass stands, in the catalog.
const CURSOR: &str = "scrub_cursor";
/// The cursor is kept this often at most: reading an object twice costs less than a commit each.
const CURSOR_PAUSE_NS: i64 = 60_000_000_000;
/// Damaged objects are looked at again this often: somebody may have put them back.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// A pass over nothing, or a failed one, is followed by the next after this.
const REST: Duration = Duration::from_secs(60);

/// What the scrubber has done since the start, and what is damaged now.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ScrubStatus {
    /// Objects verified since the start.
    pub objects: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Passes finished since the start.
    pub passes: u64,
    /// When the last of them ended.
    pub finished_at: Option<String>,
    /// What is wrong with the catalog itself, as of the last pass.
    pub catalog: Vec<String>,
    /// Objects that are damaged.
    pub damaged: Vec<DamageRow>,
}

/// The scrubber's state, shared with those who ask.
#[derive(Debug, Default)]
pub(crate) struct Scrub(Mutex<ScrubStatus>);

impl Scrub {
    fn with<T>(&self, act: impl FnOnce(&mut ScrubStatus) -> T) -> T {
        // Every field stands for itself: a panic in between leaves nothing half done.
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl BatchLayer {
    /// How the scrubber stands.
    pub fn scrub_status(&self) -> ScrubStatus {
        self.inner.scrub.with(|status| status.clone())
    }

    /// Scrubs until dropped; not at all where the interval is zero.
    pub async fn scrub_forever(&self) {
        let interval = self.inner.settings.scrub_interval;
        if interval.is_zero() {
            return;
        }
        // What was damaged before the start is told at once.
        if let Err(error) = self.look_again().await {
            tracing::warn!(%error, "the scrubber can't tell what was damaged before");
        }
        loop {
            match self.scrub(interval).await {
                Ok(0) => tokio::time::sleep(REST).await,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "the scrubber stumbled; it goes on");
                    tokio::time::sleep(REST).await;
                }
            }
        }
    }

    /// One pass, or what is left of it, spread over `interval` as if the pass were whole; returns how many objects it read.
    ///
    /// # Errors
    /// The catalog can't be read or written.
    pub async fn scrub(&self, interval: Duration) -> Result<usize> {
        let catalog = &self.inner.catalog;
        let objects = catalog.all_objects().await?;
        let all: u64 = objects.iter().map(|(object, _)| object.bytes).sum();
        let after = catalog.meta(CURSOR).await?.unwrap_or_default();
        let mut kept_at = self.inner.components.clock.now();
        let mut read = 0;
        for (object, kind) in objects.iter().filter(|(object, _)| object.path > after) {
            self.scrub_one(object, *kind).await?;
            read += 1;
            let now = self.inner.components.clock.now();
            if now.0.saturating_sub(kept_at.0) >= CURSOR_PAUSE_NS {
                catalog.set_meta(CURSOR, &object.path).await?;
                kept_at = now;
            }
            self.rest(interval.mul_f64(object.bytes as f64 / all.max(1) as f64)).await?;
        }
        catalog.set_meta(CURSOR, "").await?;
        self.scrub_catalog().await?;
        self.look_again().await?;
        self.inner.scrub.with(|status| {
            status.passes += 1;
            status.finished_at = Some(self.inner.components.clock.now().to_string());
        });
        self.inner.components.metrics.scrub_passes.inc();
        Ok(read)
    }

    /// Waits, and looks at damaged objects again meanwhile.
    async fn rest(&self, mut pause: Duration) -> Result<()> {
        while !pause.is_zero() {
            let some = pause.min(LOOK_AGAIN);
            tokio::time::sleep(some).await;
            pause -= some;
            if some == LOOK_AGAIN {
                self.look_again().await?;
            }
        }
        Ok(())
    }

    async fn scrub_one(&self, object: &ObjectRef, kind: ObjectKind) -> Result<()> {
        match self.damage_of(object).await? {
            Some(error) => self.found(object, kind, &error).await,
            None => {
                self.inner.scrub.with(|status| {
                    status.objects += 1;
                    status.bytes += object.bytes;
                });
                let metrics = &self.inner.components.metrics;
                metrics.scrubbed_objects.inc();
                metrics.scrubbed_bytes.inc_by(object.bytes);
                Ok(())
            }
        }
    }

    /// What is wrong with an object that is needed; `None` also of one that can't be read just now.
    async fn damage_of(&self, object: &ObjectRef) -> Result<Option<Error>> {
        for last in [false, true] {
            let error = match self.verify_content(object).await {
                Ok(()) => return Ok(None),
                Err(error) => error,
            };
            if !is_lost(&error) {
                tracing::warn!(%error, "the scrubber can't read an object just now");
                return Ok(None);
            }
            if !self.inner.catalog.is_live(&object.path).await? {
                return Ok(None);
            }
            if last {
                return Ok(Some(error));
            }
        }
        Ok(None)
    }

    /// Verifies the bytes, and of a file of readings that it holds what the ledger says (LED-5).
    pub(crate) async fn verify_content(&self, object: &ObjectRef) -> Result<()> {
        self.inner.objects.verify(object).await?;
        let version = self.version();
        let mut files = version.partitions.iter().flat_map(|p| &p.files).chain(&version.mixed);
        match files.find(|file| file.object.path == object.path) {
            Some(file) => verify_tally(&self.inner.objects, file).await,
            None => Ok(()),
        }
    }

    /// Tells of damage once, and does what can be done about it.
    async fn found(&self, object: &ObjectRef, kind: ObjectKind, error: &Error) -> Result<()> {
        let known = self.inner.scrub.with(|status| status.damaged.iter().any(|row| row.path == object.path));
        if known {
            return Ok(());
        }
        let remedy = match self.mend(object, kind).await? {
            Some(job) => format!("job {job} makes it anew from raw readings"),
            None => advice_on(error, kind).to_owned(),
        };
        tracing::error!(%error, remedy, "the scrubber found damage");
        let row = DamageRow {
            path: object.path.clone(),
            kind: kind.name().to_owned(),
            reason: error.to_string(),
            found_at: self.inner.components.clock.now(),
            remedy,
        };
        self.inner.catalog.add_damage(&row).await?;
        self.inner.scrub.with(|status| status.damaged.push(row));
        self.show_damage();
        Ok(())
    }

    /// Queues the job that makes an object unnecessary or writes it anew; `None` where only a backup helps.
    async fn mend(&self, object: &ObjectRef, kind: ObjectKind) -> Result<Option<i64>> {
        let version = self.version();
        let range = match kind {
            ObjectKind::View => {
                let is_it = |p: &&schemas::view::Partition| {
                    p.view.as_ref().and_then(|v| v.object.as_ref()).is_some_and(|o| o.path == object.path)
                };
                version.partitions.iter().find(is_it).map(|partition| partition.span)
            }
            ObjectKind::Partials => {
                let epochs = self.inner.catalog.uncovered_epochs().await?;
                let epoch = epochs.into_iter().find(|e| e.partials.as_ref().is_some_and(|o| o.path == object.path));
                epoch.and_then(|e| e.event_bounds).map(|(min, max)| TimeRange::new(min, max.saturating_add(1)))
            }
            ObjectKind::Readings | ObjectKind::Quarantine | ObjectKind::Series => None,
        };
        let Some(range) = range else { return Ok(None) };
        let (now, reason) = (self.inner.components.clock.now(), format!("{} is damaged", object.path));
        let job = NewJob { kind: JobKind::Recompute, range, selector: None, reason, priority: 1, not_before: now, now };
        let id = self.inner.catalog.enqueue(job).await?;
        self.wake_runner();
        Ok(Some(id))
    }

    /// Objects that were damaged and are whole, or needed by nothing any more, are told as repaired.
    async fn look_again(&self) -> Result<()> {
        let known = self.inner.catalog.damage().await?;
        if known.is_empty() {
            return Ok(());
        }
        let objects = self.inner.catalog.all_objects().await?;
        let mut damaged = Vec::new();
        for row in known {
            let still = match objects.iter().find(|(object, _)| object.path == row.path) {
                Some((object, _)) => self.damage_of(object).await?.is_some(),
                None => false,
            };
            if still {
                damaged.push(row);
                continue;
            }
            tracing::info!(path = row.path, "what was damaged is whole, or not needed any more");
            self.inner.catalog.repaired(&row.path, self.inner.components.clock.now()).await?;
            self.inner.components.metrics.scrub_repaired.inc();
        }
        self.inner.scrub.with(|status| status.damaged = damaged);
        self.show_damage();
        Ok(())
    }

    fn show_damage(&self) {
        let damaged = self.inner.scrub.with(|status| status.damaged.len() + status.catalog.len());
        self.inner.components.metrics.damaged.set(i64::try_from(damaged).unwrap_or(i64::MAX));
    }

    async fn scrub_catalog(&self) -> Result<()> {
        let findings = self.catalog_findings().await?;
        let told: Vec<String> = findings.into_iter().map(|f| format!("{}: {}", f.place, f.reason)).collect();
        for finding in &told {
            tracing::error!(finding, "the scrubber found damage in the catalog");
        }
        self.inner.scrub.with(|status| status.catalog = told);
        self.show_damage();
        Ok(())
    }
}

/// Whether a file of readings holds the readings that the ledger says (LED-5).
pub(crate) async fn verify_tally(objects: &Objects, file: &Arc<FileRef>) -> Result<()> {
    let Some(told) = file.tally() else { return Ok(()) };
    let (mut found, mut rows) = (Tally::NONE, Vec::<StoredReading>::new());
    let mut batches = scan(objects.clone(), Arc::clone(file), Selection::ALL);
    while let Some(batch) = batches.try_next().await? {
        let columns = ReadingColumns::of(&batch)?;
        rows.clear();
        rows.extend((0..columns.len()).map(|i| columns.get(i)));
        found = found.plus(Tally::of_stored(&rows));
    }
    if found == told {
        return Ok(());
    }
    Err(Error::corrupt(&file.object.path, format!("LED-5: it holds {found}, the ledger says {told}")))
}
