//! The door to the batch layer: open, flush, publish, revert, look up views.
//!
//! Every change follows one order: files are written, one catalog transaction names them, the new version is loaded,
//! and the [`Adopter`] takes it over. Changes are made one at a time, so versions are adopted in the order of commits.
//! After a commit that failed nobody knows whether it took place, and after one that succeeded its version may not have
//! loaded: no other change begins before memory follows what the catalog holds ([`Turn`]).

use std::sync::atomic::{AtomicBool, AtomicI64};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use schemas::cells::CellTable;
use schemas::epoch::{Epoch, SeriesEpoch, SeriesState};
use schemas::gap::{Gap, GapHook};
use schemas::history::StoredCell;
use schemas::lateness::LatenessTable;
use schemas::view::{HistoryVersion, ViewRef};
use schemas::{Clock, LogPosition, Resolution, SeriesId, TimeRange};
use tokio::sync::{Mutex, MutexGuard, Notify};

use crate::catalog::{Catalog, EpochRow, PublishCommit};
use crate::claim::claim;
use crate::error::{Error, Result};
use crate::history::{Objects, read_cells, read_series};
use crate::metrics::Metrics;
use crate::reserve::Reserve;
use crate::runner::install_default_schedules;
use crate::scrub::Scrub;
use crate::settings::Settings;
use crate::store::{self, Store};
use crate::views::{ViewCache, ViewCells};
use crate::{flush, mend};

/// Takes over each new version of the batch side.
pub trait Adopter: Send + Sync + std::fmt::Debug {
    /// `version` is current now. `epochs` are told anew: those that its views do not count although earlier ones did,
    /// or the one that a flush made history, without its doubts.
    fn adopt(&self, version: Arc<HistoryVersion>, epochs: Vec<Arc<Epoch>>);
}

/// The working parts that the layer is given.
#[derive(Debug, Clone)]
pub struct Components {
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Where counters go.
    pub metrics: Metrics,
    /// Is told of gaps in the commit order.
    pub gaps: Arc<dyn GapHook>,
}

/// The layer and what it knows at the start.
#[derive(Debug)]
pub struct Opened {
    /// The layer.
    pub layer: BatchLayer,
    /// The version that is current.
    pub version: Arc<HistoryVersion>,
    /// Every series in history.
    pub series: Vec<SeriesState>,
    /// Flushed epochs that views do not count, without readings.
    pub epochs: Vec<Epoch>,
    /// What was learned of lateness, by metric.
    pub lateness: Vec<(String, LatenessTable)>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) catalog: Catalog,
    pub(crate) objects: Objects,
    pub(crate) settings: Settings,
    pub(crate) components: Components,
    version: RwLock<Arc<HistoryVersion>>,
    adopter: OnceLock<Arc<dyn Adopter>>,
    /// Where nobody knows of one, jobs write as they like.
    pub(crate) reserve: OnceLock<Arc<dyn Reserve>>,
    /// Held from the first file written to the version adopted. `true`: what was committed last, or was tried to, is not
    /// adopted.
    committing: Mutex<bool>,
    /// What DataFusion plans run in.
    pub(crate) tasks: Arc<TaskContext>,
    pub(crate) views: ViewCache,
    /// Wakes the runner.
    pub(crate) wake: Notify,
    /// Held while a job runs.
    pub(crate) working: Mutex<()>,
    /// Orphans are not looked for before; nanoseconds.
    pub(crate) orphans_at: AtomicI64,
    /// A job ended, and the catalog could not be told.
    pub(crate) untold: AtomicBool,
    pub(crate) scrub: Scrub,
}

/// A handle to the batch layer; cheap to clone.
#[derive(Debug, Clone)]
pub struct BatchLayer {
    pub(crate) inner: Arc<Inner>,
}

/// The right to change history: one at a time.
pub(crate) type Turn<'a> = MutexGuard<'a, bool>;

/// Where the base resolution of a data directory is kept.
const BASE_KEY: &str = "base_resolution_ns";

impl BatchLayer {
    /// Opens history and catalog.
    ///
    /// # Errors
    /// A store can't be opened, an object is corrupt, history belongs to another data directory, or the directory was made
    /// with another base resolution.
    pub async fn open(settings: Settings, components: Components) -> Result<Opened> {
        let store = store::open_counted(&settings.history, &components.metrics.store_faults)?;
        Self::open_in(store, settings, components).await
    }

    /// Like [`Self::open`], with history in `store`, whatever the settings name.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_in(store: Store, settings: Settings, components: Components) -> Result<Opened> {
        let hour = schemas::time::HOUR;
        if hour % settings.base.nanos() != 0 {
            return Err(Error::Refused(format!("the base resolution {} does not divide an hour", settings.base)));
        }
        let catalog = Catalog::open(&settings.dir.join("catalog.db")).await?;
        let catalog = catalog.watched_by(Arc::clone(&components.gaps));
        check_base(&catalog, &settings).await?;
        claim(&store, &settings.history, &catalog).await?;
        let objects = Objects::new(store).counted(components.metrics.store_faults.clone());
        let version = Arc::new(catalog.load_version().await?);
        catalog.requeue_running(components.clock.now()).await?;
        let series = load_series(&catalog, &objects).await?;
        let epochs = load_epochs(&objects, &version, catalog.uncovered_epochs().await?, settings.base).await?;
        let lateness = catalog.lateness().await?;
        let lateness = lateness.into_iter().map(|(metric, w)| (metric, LatenessTable::from_weights(&w))).collect();
        let inner = Inner {
            tasks: task_context(settings.memory_bytes)?,
            views: ViewCache::new(settings.cached_cells),
            version: RwLock::new(Arc::clone(&version)),
            adopter: OnceLock::new(),
            reserve: OnceLock::new(),
            wake: Notify::new(),
            working: Mutex::default(),
            orphans_at: AtomicI64::new(i64::MIN),
            untold: AtomicBool::new(false),
            scrub: Scrub::default(),
            committing: Mutex::default(),
            catalog,
            objects,
            settings,
            components,
        };
        let layer = Self { inner: Arc::new(inner) };
        layer.show_version(&version);
        install_default_schedules(&layer, layer.inner.components.clock.now()).await?;
        Ok(Opened { layer, version, series, epochs, lateness })
    }

    /// Names who takes over new versions; once.
    pub fn connect(&self, adopter: Arc<dyn Adopter>) {
        // A second adopter would never hear of the versions before it: the first stays.
        let _ = self.inner.adopter.set(adopter);
    }

    /// Names what jobs must not write into; once.
    pub fn keep_free(&self, reserve: Arc<dyn Reserve>) {
        // As above.
        let _ = self.inner.reserve.set(reserve);
    }

    /// The catalog.
    pub fn catalog(&self) -> &Catalog {
        &self.inner.catalog
    }

    /// The stored objects.
    pub fn objects(&self) -> &Objects {
        &self.inner.objects
    }

    /// The settings it was opened with.
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// What DataFusion plans of this layer run in.
    pub fn task_context(&self) -> Arc<TaskContext> {
        Arc::clone(&self.inner.tasks)
    }

    /// The current version.
    pub fn version(&self) -> Arc<HistoryVersion> {
        Arc::clone(&self.inner.version.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The cells of a view, at least those of these series (sorted by id), decoded, without sketches; kept in memory for
    /// the next who asks.
    ///
    /// # Errors
    /// The view's file is missing or corrupt.
    pub async fn view_cells(&self, view: &ViewRef, series: &[SeriesId]) -> Result<ViewCells> {
        self.inner.views.get(&self.inner.objects, view, series).await
    }

    /// The cells of these series (sorted by id) of a view with their sketches, which are too large to be kept.
    ///
    /// # Errors
    /// The view's file is missing or corrupt.
    pub async fn sketched_cells(&self, view: &ViewRef, series: &[SeriesId]) -> Result<ViewCells> {
        let Some(object) = &view.object else { return Ok(ViewCells::default()) };
        let mut table = CellTable::default();
        let stored = read_cells(&self.inner.objects, object, Some(series), true).await?;
        stored.into_iter().for_each(|c| table.push(c.series, c.cell));
        Ok(ViewCells::of_table(table))
    }

    /// The views that were current in a generation.
    ///
    /// # Errors
    /// The generation is unknown or was pruned.
    pub async fn views_at(&self, generation: u64) -> Result<Vec<(TimeRange, ViewRef)>> {
        self.inner.catalog.views_at(generation).await
    }

    /// Makes a sealed epoch part of history (see module `flush`).
    ///
    /// # Errors
    /// A file can't be written or the catalog refuses it; nothing counts then.
    pub async fn flush(&self, sealed: Arc<schemas::epoch::Sealed>) -> Result<()> {
        let turn = self.turn().await?;
        if sealed.epoch.last <= self.version().flushed {
            return Ok(());
        }
        let version = self.version();
        let settled = flush::settle(&self.inner, &version, &sealed).await;
        let commit = flush::write(&self.inner, version, &settled).await?;
        let readings = commit.readings;
        self.reach(Gap::EpochWritten)?;
        let turn = self.or_follow(turn, self.inner.catalog.commit_flush(commit)).await?.0;
        self.reach(Gap::FlushCommitted)?;
        self.inner.components.metrics.flushed.inc_by(readings);
        self.adopt(turn, vec![Arc::clone(&settled.epoch)]).await
    }

    /// What history counted of late readings (sorted by series and event time) before a log position: each with its last
    /// value then, if any. `None` where finding out would take too long, or fails.
    pub async fn look_up(&self, readings: &[(SeriesId, i64)], before: LogPosition) -> Option<flush::Found> {
        flush::find(&self.inner, &self.version(), readings, before).await
    }

    /// Makes views current, all at once; returns the generation.
    pub(crate) async fn publish(&self, publish: PublishCommit) -> Result<u64> {
        let turn = self.turn().await?;
        self.reach(Gap::ViewsWritten)?;
        let (turn, generation) = self.or_follow(turn, self.inner.catalog.commit_publish(publish)).await?;
        self.reach(Gap::GenerationCommitted)?;
        self.inner.components.metrics.publishes.inc();
        self.adopt(turn, Vec::new()).await?;
        Ok(generation)
    }

    /// Makes the views of an earlier generation current again, as a new generation; returns its number.
    ///
    /// # Errors
    /// The generation is unknown or was pruned.
    pub async fn revert(&self, generation: u64) -> Result<u64> {
        let turn = self.turn().await?;
        let revert = self.inner.catalog.commit_revert(generation, self.inner.components.clock.now());
        let (mut turn, number) = self.or_follow(turn, revert).await?;
        self.reach(Gap::GenerationCommitted)?;
        self.follow(&mut turn).await?;
        Ok(number)
    }

    /// Replaces files of readings by others with the same rows.
    pub(crate) async fn replace_files(
        &self,
        removed: Vec<String>,
        added: Vec<(Option<TimeRange>, schemas::view::FileRef)>,
    ) -> Result<()> {
        let turn = self.turn().await?;
        let compaction = self.inner.catalog.commit_compaction(removed, added, self.inner.components.clock.now());
        let turn = self.or_follow(turn, compaction).await?.0;
        self.adopt(turn, Vec::new()).await
    }

    /// Deletes objects that nothing needs any more; returns how many.
    ///
    /// # Errors
    /// The catalog or the store fails; what is left is deleted next time.
    pub async fn collect_garbage(&self) -> Result<usize> {
        let _one = self.turn().await?;
        let settings = &self.inner.settings;
        let (now, grace) = (self.inner.components.clock.now(), nanos(settings.generation_grace));
        let paths = self.inner.catalog.prune(now, grace, nanos(settings.file_grace)).await?;
        if paths.is_empty() {
            return Ok(0);
        }
        self.reach(Gap::BeforeFilesDeleted)?;
        for path in &paths {
            self.inner.objects.delete(path).await?;
        }
        self.inner.catalog.forget(&paths).await?;
        self.inner.components.metrics.objects_deleted.inc_by(paths.len() as u64);
        Ok(paths.len())
    }

    /// Waits until nobody else changes history, and until memory follows what the catalog holds.
    pub(crate) async fn turn(&self) -> Result<Turn<'_>> {
        let mut turn = self.inner.committing.lock().await;
        if *turn {
            self.follow(&mut turn).await?;
        }
        Ok(turn)
    }

    /// Commits. After a failure nobody knows whether it took place: memory follows what the catalog says, now or, where
    /// that fails as well, before the next change.
    async fn or_follow<'a, T>(
        &self,
        mut turn: Turn<'a>,
        commit: impl Future<Output = Result<T>>,
    ) -> Result<(Turn<'a>, T)> {
        *turn = true;
        let committed = commit.await;
        match &committed {
            Ok(_) => {}
            Err(Error::Unavailable { .. }) => {
                if let Err(error) = self.follow(&mut turn).await {
                    tracing::warn!(%error, "can't reload the catalog after a failed commit; it is tried again");
                }
            }
            // It was not even tried.
            Err(_) => *turn = false,
        }
        committed.map(|committed| (turn, committed))
    }

    /// Loads what the catalog holds, with every epoch that its views do not count, and has it taken over.
    async fn follow(&self, turn: &mut Turn<'_>) -> Result<()> {
        let version = Arc::new(self.inner.catalog.load_version().await?);
        let uncovered = self.inner.catalog.uncovered_epochs().await?;
        let epochs = load_epochs(&self.inner.objects, &version, uncovered, self.inner.settings.base).await?;
        self.take_over(version, epochs.into_iter().map(Arc::new).collect());
        **turn = false;
        Ok(())
    }

    /// After a commit that is sure: loads the version that the catalog holds and has it taken over.
    async fn adopt(&self, mut turn: Turn<'_>, epochs: Vec<Arc<Epoch>>) -> Result<()> {
        self.take_over(Arc::new(self.inner.catalog.load_version().await?), epochs);
        *turn = false;
        Ok(())
    }

    fn take_over(&self, version: Arc<HistoryVersion>, epochs: Vec<Arc<Epoch>>) {
        *self.inner.version.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&version);
        self.show_version(&version);
        if let Some(adopter) = self.inner.adopter.get() {
            adopter.adopt(version, epochs);
        }
    }

    fn show_version(&self, version: &HistoryVersion) {
        let metrics = &self.inner.components.metrics;
        metrics.generation.set(i64::try_from(version.generation).unwrap_or(i64::MAX));
        metrics.dirty_partitions.set(version.partitions.iter().filter(|p| p.dirty()).count() as i64);
    }

    pub(crate) fn reach(&self, gap: Gap) -> Result<()> {
        self.inner.components.gaps.reached(gap).map_err(|crash| Error::unavailable("commit", crash))
    }

    /// Closes the catalog.
    pub async fn close(&self) {
        self.inner.catalog.close().await;
    }
}

async fn check_base(catalog: &Catalog, settings: &Settings) -> Result<()> {
    let wanted = settings.base.nanos().to_string();
    match catalog.meta(BASE_KEY).await? {
        None => catalog.set_meta(BASE_KEY, &wanted).await,
        Some(made) if made == wanted => Ok(()),
        Some(made) => Err(Error::Refused(format!(
            "this data directory was made with a base resolution of {made} ns, not {wanted} ns"
        ))),
    }
}

fn task_context(memory_bytes: usize) -> Result<Arc<TaskContext>> {
    let pool = Arc::new(FairSpillPool::new(memory_bytes));
    let runtime = RuntimeEnvBuilder::new().with_memory_pool(pool).build_arc();
    let runtime = runtime.map_err(|e| Error::unavailable("start DataFusion", e))?;
    Ok(SessionContext::new_with_config_rt(SessionConfig::new().with_batch_size(16_384), runtime).task_ctx())
}

/// The states of all series: a later file says more than an earlier one.
pub(crate) async fn load_series(catalog: &Catalog, objects: &Objects) -> Result<Vec<SeriesState>> {
    let mut series = std::collections::BTreeMap::new();
    for object in catalog.series_files().await? {
        for state in read_series(objects, &object).await? {
            series.insert(state.id, state);
        }
    }
    Ok(series.into_values().collect())
}

/// Flushed epochs as they stand in memory after their readings were released.
async fn load_epochs(
    objects: &Objects,
    version: &HistoryVersion,
    rows: Vec<EpochRow>,
    base: Resolution,
) -> Result<Vec<Epoch>> {
    let mut epochs = Vec::with_capacity(rows.len());
    for row in rows {
        let cells = mend::epoch_cells(objects, version, &row, base).await?;
        epochs.push(Epoch {
            first: row.first,
            last: row.last,
            arrivals: Arc::default(),
            series: series_of(cells),
            quarantine: Vec::new(),
            readings: row.readings,
            event_bounds: row.event_bounds,
            hot: false,
        });
    }
    Ok(epochs)
}

fn series_of(cells: Vec<StoredCell>) -> Vec<(SeriesId, Arc<SeriesEpoch>)> {
    cells
        .chunk_by(|a, b| a.series == b.series)
        .map(|run| {
            let disordered = run.iter().filter(|c| c.disordered).map(|c| c.cell.bucket).collect();
            let cells = run.iter().map(|c| c.cell.clone()).collect();
            (run[0].series, Arc::new(SeriesEpoch::from_cells(cells, disordered)))
        })
        .collect()
}

fn nanos(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
