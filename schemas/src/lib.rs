//! The values and pure functions that every layer of Weir shares.
//!
//! Owns: time and buckets, series, readings, partials (the arithmetic of every aggregate), epochs, batch views and
//! generations, the snapshot, queries and selectors, Arrow schemas of what is stored, object paths and the catalog's
//! migrations. Does **not** own: clocks, files, sockets, tasks, SQL connections. Nothing here does I/O.
//!
//! The speed path and the batch path meet only in this crate, so that both count with the same code.

pub mod bucket;
pub mod cells;
pub mod decimal;
pub mod epoch;
pub mod error;
pub mod gap;
pub mod history;
pub mod lateness;
pub mod ledger;
pub mod limits;
pub mod migrations;
pub mod partial;
pub mod paths;
pub mod query;
pub mod reading;
pub mod selector;
pub mod series;
pub mod time;
pub mod view;

pub use bucket::Resolution;
pub use error::{Error, Result};
pub use ledger::Tally;
pub use partial::Partial;
pub use reading::{Batch, LogPosition};
pub use series::{SeriesId, SeriesKey};
pub use time::{ArrivalTime, Clock, EventTime, TimeRange};
