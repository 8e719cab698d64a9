//! What all statements share: places to run in, memory, and those who read tables.
//!
//! Owns how much of both there is, and the threads that read tables for all statements. A statement has memory of its own
//! within that of all, so that one can't take what all others need. Does not own the wait for a place, nor what is told to
//! whom there is none for, nor the threads of a statement (`worker`).

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::error::Result as DfResult;
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryLimit, MemoryPool, MemoryReservation};
use thread_priority::{ThreadPriority, set_current_thread_priority};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Semaphore;

use super::failure::to_datafusion;
use super::session::partitions;
use crate::error::{Error, Result};
use crate::serving::Settings;

/// A statement that found no memory may find some so many seconds later.
const RETRY_S: u64 = 2;
/// The priority of all threads of SQL, of 100: on Linux a niceness of 15, a thirtieth of a processor that others want.
const PRIORITY: u8 = 10;

/// What statements share; held by the handle of the serving layer.
#[derive(Debug)]
pub struct Shared {
    /// One permit for each statement that may run; kept until its last thread has ended.
    pub(crate) places: Arc<Semaphore>,
    memory: Arc<dyn MemoryPool>,
    /// What `memory` has in all.
    bytes: usize,
    /// Its threads read tables; from the first statement on.
    readers: Mutex<Option<Runtime>>,
}

impl Shared {
    /// As many places and as much memory as the settings say.
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            places: Arc::new(Semaphore::new(settings.sql_at_once.max(1))),
            memory: Arc::new(GreedyMemoryPool::new(settings.sql_memory_total_bytes)),
            bytes: settings.sql_memory_total_bytes,
            readers: Mutex::default(),
        }
    }

    /// Where tables are read: decoding and counting keep a processor busy, and must not keep those busy that take readings.
    pub(super) fn reading(&self) -> Result<Handle> {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = &*readers {
            return Ok(runtime.handle().clone());
        }
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(partitions()).thread_name("sql-read").on_thread_start(stand_back).enable_all();
        let runtime = builder.build().map_err(|e| Error::Unavailable(format!("can't start threads: {e}")))?;
        Ok(readers.insert(runtime).handle().clone())
    }

    /// The memory of a new statement: at most so many bytes, and no more than there is for all, or it would be told to try
    /// again where that can't help.
    pub(super) fn memory(&self, bytes: usize) -> Arc<dyn MemoryPool> {
        Arc::new(Memory { own: GreedyMemoryPool::new(bytes.min(self.bytes)), all: Arc::clone(&self.memory) })
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let readers = self.readers.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Who drops this may be a task, which must not wait.
        readers.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

/// From here on this thread, and those that it starts, stand back behind all others.
pub(super) fn stand_back() {
    let lowered = ThreadPriority::try_from(PRIORITY)
        .map_err(str::to_owned)
        .and_then(|priority| set_current_thread_priority(priority).map_err(|error| format!("{error:?}")));
    if let Err(error) = lowered {
        tracing::warn!(error, "a statement can't stand back behind others");
    }
}

/// The memory of one statement.
#[derive(Debug)]
struct Memory {
    own: GreedyMemoryPool,
    all: Arc<dyn MemoryPool>,
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} within {}", self.own, self.all)
    }
}

impl MemoryPool for Memory {
    fn name(&self) -> &'static str {
        "statement"
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.own.grow(reservation, additional);
        self.all.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.own.shrink(reservation, shrink);
        self.all.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> DfResult<()> {
        self.own.try_grow(reservation, additional)?;
        if self.all.try_grow(reservation, additional).is_ok() {
            return Ok(());
        }
        self.own.shrink(reservation, additional);
        let reason = "other statements use the memory that there is for SQL".to_owned();
        Err(to_datafusion(Error::Overloaded { reason, retry_after_s: RETRY_S }))
    }

    fn reserved(&self) -> usize {
        self.own.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.own.memory_limit()
    }
}

#[cfg(test)]
mod tests {
    use datafusion::execution::memory_pool::MemoryConsumer;

    use super::super::failure::of_datafusion;
    use super::*;

    #[test]
    fn a_statement_has_memory_of_its_own_within_that_of_all() {
        let settings = Settings { sql_memory_total_bytes: 150, ..Settings::default() };
        let shared = Shared::new(&settings);
        let (one, other) = (shared.memory(100), shared.memory(100));
        let first = MemoryConsumer::new("first").register(&one);
        let second = MemoryConsumer::new("second").register(&other);
        first.try_grow(90).expect("its own");
        let refused = first.try_grow(20).expect_err("more than its own");
        assert!(matches!(of_datafusion(&refused), Error::TooLarge(_)), "{refused}");
        let refused = second.try_grow(70).expect_err("more than is left");
        assert!(matches!(of_datafusion(&refused), Error::Overloaded { .. }), "{refused}");
        assert_eq!((one.reserved(), other.reserved(), shared.memory.reserved()), (90, 0, 90));
        drop(first);
        second.try_grow(70).expect("the first is gone");
        drop(second);
        assert_eq!(shared.memory.reserved(), 0);
    }

    #[test]
    fn more_than_there_is_for_all_is_too_much_not_too_early() {
        let shared = Shared::new(&Settings { sql_memory_total_bytes: 100, ..Settings::default() });
        let statement = MemoryConsumer::new("only").register(&shared.memory(1_000));
        let refused = statement.try_grow(200).expect_err("more than there is");
        assert!(matches!(of_datafusion(&refused), Error::TooLarge(_)), "{refused}");
    }
}
