//! The named gaps of the commit order, where a crash must lose nothing and count nothing twice.
//!
//! The shells call [`GapHook::reached`] at each gap. In the program nothing happens there; a test arms a gap, and the
//! shell stops as if the process had died: it does nothing further and reports [`Crash`].

/// A place between two durable steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Gap {
    /// The frame is synced; nobody was told.
    LogSynced,
    /// The epoch's files are written; the catalog does not know them.
    EpochWritten,
    /// The catalog knows the epoch's files; memory does not.
    FlushCommitted,
    /// Memory follows the catalog; log segments still hold the epoch.
    BeforeLogTruncated,
    /// The view files are written; no generation names them.
    ViewsWritten,
    /// The generation is published; memory still answers from the one before.
    GenerationCommitted,
    /// Superseded files are named; they still exist.
    BeforeFilesDeleted,
    /// The catalog is about to be asked or changed.
    CatalogAsked,
    /// A change of the catalog is complete; it is not committed.
    CatalogChanged,
    /// A change of the catalog is committed; nobody was told.
    CatalogCommitted,
}

impl Gap {
    /// Every gap, in commit order; last those of every transaction of the catalog.
    pub const ALL: [Self; 10] = [
        Self::LogSynced,
        Self::EpochWritten,
        Self::FlushCommitted,
        Self::BeforeLogTruncated,
        Self::ViewsWritten,
        Self::GenerationCommitted,
        Self::BeforeFilesDeleted,
        Self::CatalogAsked,
        Self::CatalogChanged,
        Self::CatalogCommitted,
    ];
}

/// Stop here, as a crash would.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stopped in gap {0:?}")]
pub struct Crash(pub Gap);

/// Is told when a gap is reached.
pub trait GapHook: Send + Sync + std::fmt::Debug {
    /// The shell stands in this gap.
    ///
    /// # Errors
    /// [`Crash`]: the shell must do nothing further.
    fn reached(&self, gap: Gap) -> Result<(), Crash>;
}

/// The hook of the program: gaps pass unnoticed.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoGaps;

impl GapHook for NoGaps {
    fn reached(&self, _: Gap) -> Result<(), Crash> {
        Ok(())
    }
}
