//! Shards: the state that is a fold over the log.
//!
//! [`Shard`] owns all series of some devices; [`SpeedState`] owns the shards, the epochs and the batch side's latest
//! word, and is what replaying the log rebuilds. Plain values: no clocks, no tasks, no files. The one lock round
//! [`SpeedState`] lives in the handle.

mod heard;
mod series;
mod state;
mod window;

pub use heard::Heard;
pub(crate) use series::{Folded, Shard};
pub(crate) use state::{SpeedState, StateSettings};
