//! The speed layer: readings in, durable at once, counted at once.
//!
//! Owns: decoding, the log, the series registry, shards and epochs, hot readings, `realtime_metrics`. Does **not** own:
//! history and batch views (batch layer), answers (serving layer). It learns of batch views only as a
//! [`schemas::view::HistoryVersion`], and hands sealed epochs to a [`HistorySink`].
//!
//! ```text
//! decode ─► registry ─► log (sync) ─► shards ─► open epoch ─► seal ─► HistorySink
//!                                        └────► snapshot
//! ```

pub mod decode;
mod error;
mod flush;
#[cfg(fuzzing)]
pub mod fuzzing;
mod handle;
mod ledger;
mod log;
mod metrics;
mod registry;
mod room;
mod settings;
mod shard;
mod spellings;

pub use error::{Error, Result};
pub use flush::HistorySink;
pub use handle::{Appended, Components, Recovered, Rows, SpeedLayer, Status};
pub use ledger::Ledger;
pub use log::{CopiedLog, copy_log};
pub use metrics::Metrics;
pub use room::Room;
pub use settings::{Durability, Settings};
pub use shard::Heard;
pub use spellings::{SeriesRef, Spelled};
