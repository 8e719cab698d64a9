//! The serving layer: one answer from both paths, and how far to trust it.
//!
//! Owns: taking the snapshot, the merge, confidence, SQL, HTTP. Does **not** own: the log and hot readings (speed layer),
//! history and views (batch layer). It uses both through their public handles.
//!
//! ```text
//! HTTP, SQL ─► query ─► snapshot ─► cells (views, epochs, raw readings) ─► merge ─► confidence ─► answer
//! ```

pub mod answer;
pub mod calibration;
pub mod confidence;
pub mod error;
pub mod http;
pub mod query;
mod serving;
pub mod sql;

pub use answer::{Answer, Point, SeriesAnswer};
pub use error::{Error, Result};
pub use serving::{Serving, Settings};
