//! The values and pure functions that every layer of Weir shares.
//!
//! Owns: time and buckets, series, readings, partials (the arithmetic of every aggregate), epochs, batch views and
//! generations, the snapshot, queries and selectors, Arrow schemas of what is stored, object paths and the catalog's
//! migrations. Does **not** own: clocks, files, sockets, tasks, SQL connections. Nothing here does I/O.
//!
//! The speed path and the batch path meet only in this crate, so that both count with the same code.

pub mod time;
pub mod series;
pub mod reading;
pub mod bucket;
pub mod partial;
pub mod cells;
pub mod epoch;
pub mod view;
pub mod lateness;
pub mod selector;
pub mod query;
pub mod history;
pub mod paths;
pub mod gap;
pub mod migrations;
pub mod error;

pub use error::{Error, Result};
pub use time::{ArrivalTime, Clock, EventTime, TimeRange};
pub use series::{SeriesId, SeriesKey};
pub use reading::{Batch, LogPosition};
pub use bucket::Resolution;
pub use partial::Partial;
