//! Metric queries: the snapshot becomes points.
//!
//! Owns: which sources count a bucket, when raw readings must be asked, grouping, and the form of the answer. Does
//! **not** own: the arithmetic of aggregates (`schemas`), reading of files (batch layer), the meaning of scores
//! ([`crate::confidence`]).
//!
//! ```text
//! snapshot ─► segments (one per partition, one per gap between) ─► merge: view (+) epochs after its cut ─► steps
//!                                                   └─► cells that only raw readings can tell ─► resolve ─┘
//! ```
//!
//! MRG-1: in each segment a log position counts either in the view or in the epochs after its cut, never in both.

mod answer;
mod assess;
mod cells;
mod explain;
mod groups;
mod merge;
mod points;
mod raw;
mod segments;
mod spread;

pub(crate) use assess::{Asked, Assessed, Assessor, readings_of};
pub use cells::{CellQuery, cells};
pub use points::{CellPoint, SeriesCells};
