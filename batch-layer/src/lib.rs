//! The batch layer: all history as Parquet, the catalog that says what is in it, and the exact views made from it.
//!
//! Owns: object storage, files of readings and cells, the catalog, flush, recompute, fold, audit, publish, jobs and
//! schedules, compaction and check. Does **not** own: the log and hot readings (speed layer), answers (serving layer).
//!
//! ```text
//! sealed epoch ─► flush ─► history ─► recompute ─► views ─► publish ─► version ─► Adopter
//! ```

pub mod access;
pub mod catalog;
mod check;
mod claim;
mod compact;
pub mod error;
mod flush;
pub mod history;
mod layer;
mod mend;
mod metrics;
mod orphans;
pub mod recompute;
mod reserve;
mod runner;
pub mod schedule;
mod scrub;
mod settings;
pub mod store;
mod views;

pub use check::{Checked, Finding};
pub use error::{Error, Result};
pub use layer::{Adopter, BatchLayer, Components, Opened};
pub use metrics::{Metrics, StoreFaults};
pub use reserve::Reserve;
pub use scrub::ScrubStatus;
pub use settings::Settings;
pub use views::ViewCells;
