//! The log: every accepted batch, in order, on disk before it is acknowledged.
//!
//! Owns segments, frames, group commit, replay and truncation. Does not own what frames mean (shards).
//!
//! ```text
//! segment = header, then groups, then zeros (preallocated)
//! header  = magic, version, number, salt, first position, end of the segment before, CRC       64 bytes
//! group   = magic, salt, length, first position, frames, end of the group before, CRC, then frames
//! frame   = length, CRC, payload (version, arrival time, definitions, columns)
//! ```
//!
//! - LOG-1: a group is acknowledged only after its bytes were synced.
//! - LOG-2: bytes before a mark that a later header states were durable: bad ones are corruption and stop the start.
//!   Bytes after the last mark may be a torn tail and are cut.
//! - LOG-3: a segment is never written again after a failed write or sync, nor after a restart.

mod copy;
mod frame;
mod packed;
mod replay;
mod segment;
mod writer;

pub use copy::{CopiedLog, copy_log};
pub(crate) use frame::Frame;
pub(crate) use replay::{Replayed, replay};
pub(crate) use writer::{Append, LogHandle, LogSettings, Sink, spawn};

#[cfg(test)]
mod tests;
