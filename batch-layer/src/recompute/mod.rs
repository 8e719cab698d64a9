//! Exact cells from raw history, and the two other ways to come to cells: folding epochs into a view, and comparing.
//!
//! Owns the counting of sorted readings and the merging of sorted cells. Does not own which partitions are recomputed when
//! (jobs, schedule), nor publishing.

mod plan;
mod run;

pub use plan::{Difference, compare, fold};
pub use run::{Counted, Recomputed, recompute, resolved};
