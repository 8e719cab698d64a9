//! History: immutable Parquet files of readings, cells and series, every byte of which is checked when it is read.
//!
//! Owns putting and getting objects with their checksums, the file formats, and streams of sorted readings. Does not own
//! which files make up history (the catalog), nor what is counted from them (recompute).
//!
//! ```text
//! rows ─► write (Parquet) ─► objects (checksums) ─► store
//! store ─► objects (verified blocks) ─► read (pruned, filtered) ─► merge (sorted, each identity once) ─► recompute, SQL
//! ```

pub mod merge;
pub mod objects;
pub mod pieces;
pub mod read;
pub mod selection;
#[cfg(test)]
pub(crate) mod testing;
pub mod write;

pub use merge::{merged, merged_plan};
pub use objects::{Listed, Objects};
pub use pieces::CellPieces;
pub use read::{read_cells, read_series, scan};
pub use selection::{Selection, SeriesSet};
pub use write::{encode_cells, encode_readings, encode_series};

use std::error::Error as StdError;
use std::sync::Arc;

use datafusion::error::DataFusionError;
use parquet::errors::ParquetError;

use crate::error::Error;

/// Our own error if Parquet only carried it, else that this file can't be read.
pub(crate) fn from_parquet(path: &str, error: ParquetError) -> Error {
    match error {
        ParquetError::External(inner) => from_boxed(path, inner),
        // Its bytes are what was written (every block was checked), yet they are not what is expected there.
        other => Error::corrupt(path, other),
    }
}

/// Our own error if DataFusion only carried it.
pub(crate) fn from_datafusion(error: DataFusionError) -> Error {
    match error {
        DataFusionError::External(inner) => from_boxed("read history", inner),
        DataFusionError::Context(_, inner) => from_datafusion(*inner),
        DataFusionError::Shared(shared) => match Arc::try_unwrap(shared) {
            Ok(inner) => from_datafusion(inner),
            Err(shared) => Error::unavailable("read history", shared.to_string()),
        },
        other => Error::unavailable("read history", other),
    }
}

/// Hands our own error through DataFusion.
pub(crate) fn to_datafusion(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

fn from_boxed(what: &str, error: Box<dyn StdError + Send + Sync>) -> Error {
    match error.downcast::<Error>() {
        Ok(own) => *own,
        Err(other) => Error::unavailable(what, other),
    }
}
