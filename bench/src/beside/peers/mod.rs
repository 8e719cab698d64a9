//! The servers that are measured, Weir among them: how each is started, written to and asked.
//!
//! Owns the list of them and what they have in common. One file per server. Durability is spelled out by each: a rate
//! says nothing without it.

mod influx;
mod postgres;
mod victoria;
mod weir;

use std::path::Path;

use serde_json::Value;

pub(super) use weir::{NAME as WEIR, Weir};

use super::process::Process;
use super::questions::Question;
use crate::connection::Target;
use crate::lines::{Layout, Shape};
use crate::measure::{Plans, settle};
use crate::workload::Plan;

/// A server that can be measured.
pub(super) trait Peer {
    /// As `--peers` has it.
    fn name(&self) -> &'static str;

    /// What it does before it acknowledges, and what was set otherwise.
    fn settings(&self) -> &'static str;

    /// Its version.
    ///
    /// # Errors
    /// It is not installed.
    fn version(&self) -> anyhow::Result<String>;

    /// Starts it over `dir`, which is empty, ready for readings.
    ///
    /// # Errors
    /// It does not come up.
    fn start(&self, dir: &Path) -> anyhow::Result<Box<dyn Running>>;

    /// How it takes readings.
    fn layout(&self, shape: Shape) -> Layout;

    /// Waits until what it puts off is done.
    ///
    /// # Errors
    /// It has ended.
    fn rest(&self, target: Target) -> anyhow::Result<()> {
        settle(target.pid)
    }

    /// Makes it write down what is only in its log and memory.
    ///
    /// # Errors
    /// It refuses.
    fn write_down(&self, _target: Target) -> anyhow::Result<()> {
        Ok(())
    }

    /// Where its log of what it has yet to write down lies under its directory.
    fn log_dir(&self) -> Option<&'static str>;

    /// Requests that ask the question, taken in turn.
    fn requests(&self, question: Question, plans: &Plans) -> Vec<Vec<u8>>;

    /// How many rows an answer has.
    ///
    /// # Errors
    /// It is no answer.
    fn rows(&self, question: Question, answer: &[u8]) -> anyhow::Result<usize>;

    /// Asks how many readings it holds in the time of a plan.
    fn count(&self, shape: Shape, plan: Plan) -> Vec<u8>;

    /// How many an answer to that says.
    ///
    /// # Errors
    /// It is no answer.
    fn counted(&self, answer: &[u8]) -> anyhow::Result<u64>;
}

/// A server that runs. It ends when it is dropped.
pub(super) trait Running {
    /// Where requests go.
    fn target(&self) -> Target;

    /// Stops it.
    ///
    /// # Errors
    /// It does not stop.
    fn stop(self: Box<Self>) -> anyhow::Result<()>;
}

/// The process of a peer.
struct Child {
    process: Process,
    target: Target,
}

impl Running for Child {
    fn target(&self) -> Target {
        self.target
    }

    fn stop(self: Box<Self>) -> anyhow::Result<()> {
        self.process.stop()
    }
}

/// All servers beside Weir.
pub(super) fn others() -> Vec<Box<dyn Peer>> {
    vec![
        Box::new(victoria::Victoria),
        Box::new(influx::Influx),
        Box::new(postgres::Postgres { timescale: false }),
        Box::new(postgres::Postgres { timescale: true }),
    ]
}

/// The length of an array in an answer, 0 if it is none.
fn length(value: &Value) -> usize {
    value.as_array().map_or(0, Vec::len)
}

/// The items of an array in an answer.
fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
