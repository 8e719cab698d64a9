//! The handle of the serving layer: both layers' handles and what every door needs.

use std::sync::Arc;
use std::time::Duration;

use batch_layer::BatchLayer;
use schemas::Clock;
use speed_layer::{HistorySink, SpeedLayer};

use crate::calibration::Calibration;
use crate::error::Result;
use crate::http::Cors;
use crate::sql::Shared;

/// What a person may write down about the serving layer.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Longest body as sent, bytes.
    pub body_bytes: usize,
    /// Longest body after decompression, bytes.
    pub decompressed_bytes: usize,
    /// Longest time of one query.
    pub query_timeout: Duration,
    /// Memory of one SQL statement, bytes.
    pub sql_memory_bytes: usize,
    /// Memory of all SQL statements together, bytes.
    pub sql_memory_total_bytes: usize,
    /// SQL statements that run at once; more wait, then are refused.
    pub sql_at_once: usize,
    /// Queries that run at once; more wait, then are refused.
    pub queries_at_once: usize,
    /// A reading that arrives this much after it happened is listed in `late_readings`.
    pub late_after: Duration,
    /// Readings whose buckets ended longer ago than this are final once a view counts them, however late others come.
    pub horizon_max: Duration,
    /// A value is "the same" within this fraction.
    pub epsilon: f64,
    /// The sites whose pages may read answers in a browser.
    pub cors: Cors,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            body_bytes: 8 << 20,
            decompressed_bytes: 64 << 20,
            query_timeout: Duration::from_secs(30),
            sql_memory_bytes: 1 << 30,
            sql_memory_total_bytes: 2 << 30,
            sql_at_once: 8,
            queries_at_once: 64,
            late_after: Duration::from_secs(60),
            horizon_max: Duration::from_secs(24 * 3600),
            epsilon: 0.01,
            cors: Cors::Off,
        }
    }
}

impl Settings {
    /// [`Self::horizon_max`] in nanoseconds.
    pub fn horizon_max_nanos(&self) -> i64 {
        i64::try_from(self.horizon_max.as_nanos()).unwrap_or(i64::MAX)
    }
}

/// A handle to the serving layer; cheap to clone.
#[derive(Debug, Clone)]
pub struct Serving {
    /// Readings in, and what batch views have not counted.
    pub speed: SpeedLayer,
    /// History, views, jobs.
    pub batch: BatchLayer,
    /// Takes sealed epochs from the speed layer.
    pub sink: Arc<dyn HistorySink>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Settings.
    pub settings: Settings,
    /// Processors that one query may use.
    pub processors: usize,
    /// What SQL statements share.
    pub statements: Arc<Shared>,
    /// What was learned of how far answers can be trusted.
    pub calibration: Arc<Calibration>,
}

impl Serving {
    /// The handle over both layers.
    pub fn new(
        speed: SpeedLayer,
        batch: BatchLayer,
        sink: Arc<dyn HistorySink>,
        clock: Arc<dyn Clock>,
        settings: Settings,
    ) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let statements = Arc::new(Shared::new(&settings));
        let base = speed.settings().base;
        let calibration = Arc::new(Calibration::new(settings.horizon_max_nanos(), settings.epsilon, base));
        Self { speed, batch, sink, clock, settings, processors, statements, calibration }
    }

    /// Into how many parts to cut so much work, for all processors at most; less than `least` is no part of its own.
    pub(crate) fn parts(&self, work: usize, least: usize) -> usize {
        (work / least).clamp(1, self.processors)
    }

    /// Makes all that was acknowledged so far part of history.
    ///
    /// # Errors
    /// History can't take an epoch.
    pub async fn flush(&self) -> Result<()> {
        self.speed.seal();
        self.speed.flush(self.sink.as_ref()).await?;
        Ok(())
    }
}
