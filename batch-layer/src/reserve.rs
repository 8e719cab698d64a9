//! The reserve: what is kept free on the disk of history is for flushes, without which the log can't go, and not for jobs.
//!
//! Owns the question and what a job does that may not write: it waits, is told why, and has lost no attempt. Does not own
//! how much is kept free, nor the disks (whoever opens the layer knows them, and answers).

use std::fmt::Debug;

use crate::error::{Error, Result};
use crate::layer::BatchLayer;

/// Knows what is kept free.
pub trait Reserve: Send + Sync + Debug {
    /// Whether so many bytes can be written without taking from what is kept free.
    fn spares(&self, bytes: u64) -> bool;
}

/// Why a job waits.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("{0} bytes would take from what is kept free on the disk (disk_reserve); the job waits until there is room")]
struct Reserved(u64);

/// Whether a job ended because of the reserve, and is to wait.
pub(crate) fn is_reserved(error: &Error) -> bool {
    matches!(error, Error::Unavailable { source, .. } if source.is::<Reserved>())
}

impl BatchLayer {
    /// Jobs may write so many bytes more.
    ///
    /// # Errors
    /// That would take from what is kept free.
    pub(crate) fn check_reserve(&self, bytes: u64) -> Result<()> {
        match self.inner.reserve.get() {
            Some(reserve) if !reserve.spares(bytes) => Err(Error::unavailable("write history", Reserved(bytes))),
            _ => Ok(()),
        }
    }
}
