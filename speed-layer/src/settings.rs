//! What a person may write down about the speed layer.

use std::time::Duration;

use schemas::Resolution;

/// When a reading counts as acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// After its frame was synced to disk.
    Sync,
    /// After its frame was written; synced at least this often. A power cut may lose that much.
    Interval(Duration),
}

/// Settings of the speed layer.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Width of base buckets; fixed for the life of a data directory.
    pub base: Resolution,
    /// When a reading counts as acknowledged.
    pub durability: Durability,
    /// Readings further ahead of the clock than this are quarantined.
    pub max_future_skew: Duration,
    /// Readings further behind the clock than this are quarantined; zero: none is too old.
    pub max_past_skew: Duration,
    /// An open epoch is sealed at this age.
    pub seal_age: Duration,
    /// An open epoch is sealed when its readings take this many bytes.
    pub seal_bytes: u64,
    /// Flushed readings stay in memory this long, so that late ones find their duplicates there.
    pub hot_retention: Duration,
    /// Flushed readings leave memory early when all hot ones take more bytes than this; ingest waits at eight times as many.
    pub hot_bytes: u64,
    /// Size of a log segment, bytes.
    pub segment_bytes: u64,
    /// Most series.
    pub max_series: usize,
    /// New series that may come in a second; ten times as many at once. More are refused for a while.
    pub new_series_per_second: usize,
    /// How many shards share the devices.
    pub shards: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            base: Resolution::DEFAULT_BASE,
            durability: Durability::Sync,
            max_future_skew: Duration::from_secs(600),
            max_past_skew: Duration::ZERO,
            seal_age: Duration::from_secs(300),
            seal_bytes: 96 << 20,
            hot_retention: Duration::from_secs(300),
            hot_bytes: 128 << 20,
            segment_bytes: 32 << 20,
            max_series: 5_000_000,
            new_series_per_second: 100_000,
            shards: std::thread::available_parallelism().map_or(1, usize::from).min(64),
        }
    }
}
