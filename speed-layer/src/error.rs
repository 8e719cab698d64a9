//! What can go wrong with readings on their way in, by what a caller can do about it.

use std::io::ErrorKind;
use std::path::PathBuf;

/// An error of the speed layer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was sent can't be accepted as it stands.
    #[error(transparent)]
    Invalid(#[from] schemas::Error),
    /// Too much is waiting; try again after this many seconds.
    #[error("{reason}; try again in {retry_after_s} s")]
    Overloaded {
        /// What is full.
        reason: &'static str,
        /// When to try again.
        retry_after_s: u64,
    },
    /// The disk has no room for more, or only what is kept free for flushes and deletions; nothing was acknowledged.
    #[error("the disk is full: nothing more is taken until it has room")]
    Full,
    /// The log could not make it durable; nothing was acknowledged.
    #[error("the log failed: {0}")]
    Log(String),
    /// Stored bytes are not what was written.
    #[error("{file} is corrupt at offset {offset}: {reason}; run `weir check` on this data directory")]
    Corrupt {
        /// Which file.
        file: PathBuf,
        /// Where in it, bytes.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
    /// A file could not be opened, read or written.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted.
        what: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// History could not take an epoch.
    #[error("history did not take an epoch: {0}")]
    History(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The layer has been closed, or a part of it died.
    #[error("the speed layer is closed")]
    Closed,
}

impl Error {
    /// Whether it says that the disk is full.
    pub(crate) fn is_full(&self) -> bool {
        let full = |kind| matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
        matches!(self, Self::Full) || matches!(self, Self::Io { source, .. } if full(source.kind()))
    }

    pub(crate) fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }
}

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
