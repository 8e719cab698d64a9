//! The engine: all layers over one data directory, wired.
//!
//! Open order: lock, batch layer (what history knows), speed layer (replays the log behind it), serving. Close order
//! goes with the data: ingest stops, the open epoch is sealed and flushed, the log closes, then the catalog.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use async_trait::async_trait;
use batch_layer::store::Store;
use batch_layer::{Adopter, BatchLayer, Reserve};
use prometheus_client::registry::Registry;
use schemas::epoch::{Epoch, Sealed};
use schemas::gap::{GapHook, NoGaps};
use schemas::view::HistoryVersion;
use schemas::{Clock, LogPosition, SeriesId};
use serving_layer::Serving;
use serving_layer::calibration::Gauges;
use speed_layer::{HistorySink, Recovered, Room, SpeedLayer};
use tokio::task::JoinHandle;

use crate::clock::SystemClock;

/// How long the log and the catalog may take to close where time is short.
const CLOSE_TIME: Duration = Duration::from_secs(1);

/// Settings of all layers.
#[derive(Debug, Clone)]
pub struct EngineSettings {
    /// Where everything lies.
    pub data_dir: PathBuf,
    /// Bytes that are kept free on the disks of log and history: readings are refused before they are taken. 0: none.
    pub disk_reserve: u64,
    /// Settings of the speed layer.
    pub speed: speed_layer::Settings,
    /// Settings of the batch layer.
    pub batch: batch_layer::Settings,
    /// Settings of the serving layer.
    pub serving: serving_layer::Settings,
}

impl EngineSettings {
    /// The defaults over a data directory.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        let data_dir = data_dir.into();
        Self {
            batch: batch_layer::Settings::new(data_dir.clone()),
            disk_reserve: 64 << 20,
            speed: speed_layer::Settings::default(),
            serving: serving_layer::Settings::default(),
            data_dir,
        }
    }
}

/// The working parts that the engine is given.
#[derive(Debug, Clone)]
pub struct EngineComponents {
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Is told of gaps in the commit order.
    pub gaps: Arc<dyn GapHook>,
    /// Where history lies, instead of where the settings say.
    pub store: Option<Store>,
}

impl Default for EngineComponents {
    fn default() -> Self {
        Self { clock: Arc::new(SystemClock), gaps: Arc::new(NoGaps), store: None }
    }
}

/// Looking late readings up in history takes one part in so many of a processor at most.
const SETTLE_PAUSE: u32 = 30;

/// The engine looks this often at what becomes of its answers.
const CALIBRATE_PAUSE: Duration = Duration::from_secs(1);

/// The disks are looked at this often; the log looks by itself before it takes more.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// Hands sealed epochs from the speed layer to the batch layer.
#[derive(Debug)]
struct Flusher(BatchLayer);

#[async_trait]
impl HistorySink for Flusher {
    async fn flush(&self, epoch: Arc<Sealed>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.0.flush(epoch).await?)
    }

    async fn look_up(
        &self,
        readings: &[(SeriesId, i64)],
        before: LogPosition,
    ) -> Option<Vec<(SeriesId, i64, Option<f64>)>> {
        self.0.look_up(readings, before).await
    }
}

/// Hands versions from the batch layer to the speed layer.
#[derive(Debug)]
struct Adopting(SpeedLayer);

impl Adopter for Adopting {
    fn adopt(&self, version: Arc<HistoryVersion>, epochs: Vec<Arc<Epoch>>) {
        self.0.adopt(version, epochs);
    }
}

/// Tells jobs of the batch layer what is kept free on the disks.
#[derive(Debug)]
struct KeptFree(Arc<Room>);

impl Reserve for KeptFree {
    fn spares(&self, bytes: u64) -> bool {
        self.0.spares(bytes)
    }
}

/// All layers over one data directory.
#[derive(Debug)]
pub struct Engine {
    /// The doors.
    pub serving: Serving,
    /// The counters of all layers; whoever opens a door adds its own.
    pub registry: Registry,
    tasks: Vec<JoinHandle<()>>,
    _lock: Lock,
}

/// A data directory taken for this process. Held while the engine lives: one process owns a data directory.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "dropping the file lets go of the lock")] File);

impl Engine {
    /// Opens a data directory, making it where it does not exist.
    ///
    /// # Errors
    /// Another process has it open, or a part of it can't be read.
    pub async fn open(settings: EngineSettings, components: EngineComponents) -> anyhow::Result<Self> {
        let lock = Lock::take(&settings.data_dir)?;
        Self::open_locked(lock, settings, components).await
    }

    /// Opens a data directory that was taken for this process before.
    ///
    /// # Errors
    /// A part of it can't be read.
    pub async fn open_locked(
        lock: Lock,
        settings: EngineSettings,
        components: EngineComponents,
    ) -> anyhow::Result<Self> {
        let mut registry = Registry::default();
        let log_dir = settings.data_dir.join("log");
        let disks = settings.batch.history_dir().into_iter().chain([log_dir.clone()]).collect();
        let room = Arc::new(Room::new(settings.disk_reserve, disks));
        let batch_components = batch_layer::Components {
            clock: Arc::clone(&components.clock),
            metrics: batch_layer::Metrics::new(&mut registry),
            gaps: Arc::clone(&components.gaps),
        };
        let opened = match components.store {
            Some(store) => BatchLayer::open_in(store, settings.batch, batch_components).await,
            None => BatchLayer::open(settings.batch, batch_components).await,
        };
        let opened = opened.context("can't open history")?;
        let speed_components = speed_layer::Components {
            clock: Arc::clone(&components.clock),
            metrics: speed_layer::Metrics::new(&mut registry),
            gaps: components.gaps,
            room: Arc::clone(&room),
        };
        let recovered = Recovered {
            version: opened.version,
            series: opened.series,
            epochs: opened.epochs,
            lateness: opened.lateness,
        };
        let open = move || SpeedLayer::open(log_dir, settings.speed, speed_components, recovered);
        let speed = tokio::task::spawn_blocking(open).await?.context("can't open the log")?;
        let batch = opened.layer;
        batch.connect(Arc::new(Adopting(speed.clone())));
        batch.keep_free(Arc::new(KeptFree(room)));
        let sink = Arc::new(Flusher(batch.clone()));
        let serving = Serving::new(speed, batch, sink, components.clock, settings.serving);
        registry.register_collector(Box::new(Gauges::new(Arc::clone(&serving.calibration))));
        serving.resume_calibration().await.context("can't read what was learned of confidence")?;
        Ok(Self { serving, registry, tasks: Vec::new(), _lock: lock })
    }

    /// Starts what runs by itself: sealing, flushing, schedules, jobs, the scrubber, calibration.
    pub fn start(&mut self) {
        let serving = self.serving.clone();
        self.tasks.push(tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(500));
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                serving.speed.tick();
                if let Err(error) = serving.speed.flush(serving.sink.as_ref()).await {
                    tracing::warn!(%error, "a flush failed; it is tried again");
                    tokio::time::sleep(Duration::from_secs(2)).await;
                }
            }
        }));
        let serving = self.serving.clone();
        self.tasks.push(tokio::spawn(async move {
            loop {
                let begun = Instant::now();
                serving.speed.settle(serving.sink.as_ref()).await;
                tokio::time::sleep(begun.elapsed() * SETTLE_PAUSE + Duration::from_millis(250)).await;
            }
        }));
        let speed = self.serving.speed.clone();
        self.tasks.push(tokio::spawn(async move {
            loop {
                let speed = speed.clone();
                // A disk that does not answer keeps its own thread waiting, and nobody else.
                if tokio::task::spawn_blocking(move || speed.look_at_disks()).await.is_err() {
                    tracing::error!("looking at the disks panicked");
                }
                tokio::time::sleep(LOOK_PAUSE).await;
            }
        }));
        let serving = self.serving.clone();
        self.tasks.push(tokio::spawn(async move {
            loop {
                if let Err(error) = serving.calibrate().await {
                    tracing::warn!(%error, "a step of calibration failed");
                }
                tokio::time::sleep(CALIBRATE_PAUSE).await;
            }
        }));
        let batch = self.serving.batch.clone();
        let scrubbed = batch.clone();
        self.tasks.push(tokio::spawn(async move { batch.run_forever(Duration::from_secs(5)).await }));
        self.tasks.push(tokio::spawn(async move { scrubbed.scrub_forever().await }));
    }

    /// Flushes what was acknowledged and closes all parts.
    ///
    /// # Errors
    /// The last flush failed; the log keeps what it would have written.
    pub async fn close(mut self) -> anyhow::Result<()> {
        self.stop_tasks().await;
        let flushed = self.serving.flush().await;
        self.keep_calibration().await;
        self.close_parts().await;
        Ok(flushed?)
    }

    /// Like [`Self::close`], but flushes for so long at most; what is not flushed then stays in the log.
    ///
    /// # Errors
    /// The last flush failed or took too long; the log keeps what it would have written.
    pub async fn close_within(mut self, limit: Duration) -> anyhow::Result<()> {
        let flushed = tokio::time::timeout(limit, async {
            self.stop_tasks().await;
            let flushed = self.serving.flush().await;
            self.keep_calibration().await;
            flushed
        });
        let flushed = flushed.await;
        if tokio::time::timeout(CLOSE_TIME, self.close_parts()).await.is_err() {
            tracing::warn!("closing the log and the catalog took too long; they are left as a crash would");
        }
        Ok(flushed.context("the last flush took too long")??)
    }

    /// Lets go of everything without flushing, as a crash would.
    pub async fn abandon(mut self) {
        self.stop_tasks().await;
        self.close_parts().await;
    }

    async fn keep_calibration(&self) {
        if let Err(error) = self.serving.keep_calibration().await {
            tracing::warn!(%error, "what was learned of confidence since a minute is lost");
        }
    }

    async fn stop_tasks(&mut self) {
        for task in self.tasks.drain(..) {
            task.abort();
            // It was aborted: that it did not end by itself is no news.
            let _ = task.await;
        }
    }

    async fn close_parts(&self) {
        let speed = self.serving.speed.clone();
        if tokio::task::spawn_blocking(move || speed.close()).await.is_err() {
            tracing::error!("closing the log panicked");
        }
        self.serving.batch.close().await;
    }
}

impl Lock {
    /// Takes a data directory, making it where it does not exist.
    ///
    /// # Errors
    /// Another process has it, or it can't be made.
    pub fn take(dir: &Path) -> anyhow::Result<Self> {
        use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
        let created = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        created.with_context(|| format!("can't create {}", dir.display()))?;
        let path = dir.join("LOCK");
        let file = File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.with_context(|| format!("can't open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(_) => anyhow::bail!("{} is in use by another weir process", dir.display()),
        }
    }

    /// Whether a process has this data directory now.
    pub fn is_held(dir: &Path) -> bool {
        File::open(dir.join("LOCK")).is_ok_and(|file| file.try_lock().is_err())
    }
}
