//! What a person may write down about the batch layer.

use std::path::PathBuf;
use std::time::Duration;

use schemas::Resolution;

use crate::store;

/// Settings of the batch layer.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Folder of the catalog.
    pub dir: PathBuf,
    /// Where history lies: a path, `file://`, `memory://` or `s3://bucket/prefix`.
    pub history: String,
    /// Width of base buckets; fixed for the life of a data directory, divides an hour.
    pub base: Resolution,
    /// How long superseded generations can be asked for and reverted to.
    pub generation_grace: Duration,
    /// How long superseded files of readings are kept for queries that still read them.
    pub file_grace: Duration,
    /// Bytes that DataFusion may use for batch work.
    pub memory_bytes: usize,
    /// The scrubber reads everything once in so long; zero: never.
    pub scrub_interval: Duration,
    /// Most cells of views that are kept decoded in memory; about 150 bytes each.
    pub cached_cells: usize,
}

impl Settings {
    /// The directory of history, where it lies on a disk of this machine.
    pub fn history_dir(&self) -> Option<PathBuf> {
        store::local_dir(&self.history)
    }

    /// The defaults for a data directory: the catalog in it, history in its folder `history`.
    pub fn new(dir: PathBuf) -> Self {
        Self {
            history: dir.join("history").to_string_lossy().into_owned(),
            dir,
            base: Resolution::DEFAULT_BASE,
            generation_grace: Duration::from_secs(24 * 3600),
            file_grace: Duration::from_secs(600),
            memory_bytes: 1 << 30,
            scrub_interval: Duration::from_secs(7 * 24 * 3600),
            cached_cells: 3_000_000,
        }
    }
}
