//! Threads of its own for each statement.
//!
//! Owns the thread that plans, the runtime that the operators run on, and the channel to who asked. What somebody writes
//! decides how long an operator works without yielding, so no statement shares a thread with another one or with
//! ingest; and its threads stand back behind all others, so that readings wait less for a processor. Does not
//! own the reading of tables, which all statements share (`shared`).
//!
//! ```text
//! sql() ─ text ─► thread: gate ─► plan ─► operators ─ batches ─► SqlStream
//!       ◄─ schema or refusal ─┘              ▲ tables, read by threads that stand back, too
//! ```

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::failure::of_datafusion;
use super::shared::stand_back;
use super::watch::Watch;
use super::{SqlStream, gate, plain, session};
use crate::error::{Error, Result};
use crate::serving::Serving;

/// Stack of the threads: parser, planner and operators recurse over the statement.
const STACK_BYTES: usize = 64 << 20;
/// Batches that are made before they are asked for.
const AHEAD: usize = 2;

/// A batch, an error, or (`None`) the end: a channel that closes without an end tells of a panic.
type Message = Option<Result<RecordBatch>>;

/// What `work` makes of a statement, with the stack that statements need; the caller waits.
///
/// # Errors
/// No thread can be started, or it panicked.
pub(super) fn on_large_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, work).map_err(no_thread)?;
        thread.join().map_err(|_| Error::Unavailable("checking the statement panicked".to_owned()))
    })
}

fn no_thread(error: std::io::Error) -> Error {
    Error::Unavailable(format!("can't start a thread: {error}"))
}

/// Starts a statement.
pub(super) async fn start(serving: Serving, sql: String, place: OwnedSemaphorePermit) -> Result<SqlStream> {
    let time = serving.settings.query_timeout;
    let (tell, told) = oneshot::channel();
    let (rows, found) = mpsc::channel(AHEAD);
    // From here on, dropping this future ends the statement.
    let rest = Rest { found, left: time, time, watch: Ended(Watch::default()) };
    let reading = serving.statements.reading()?;
    let work = Work { watch: rest.watch.0.clone(), home: Handle::current(), reading, serving, sql };
    let place = Arc::new(place);
    let thread = thread::Builder::new().name("sql".to_owned()).stack_size(STACK_BYTES);
    thread.spawn(move || work.run(tell, rows, place)).map_err(no_thread)?;
    let schema = timeout(time, told).await.map_err(|_| Error::Timeout(time.as_secs()))?;
    let schema = schema.map_err(|_| Error::Unavailable("planning the statement panicked".to_owned()))??;
    let batches = futures::stream::unfold(Some(rest), async |rest| rest?.next().await).boxed();
    Ok(SqlStream { schema, batches })
}

/// What a statement needs to run.
struct Work {
    watch: Watch,
    /// Where everything else goes on.
    home: Handle,
    /// Where tables are read.
    reading: Handle,
    serving: Serving,
    sql: String,
}

impl Work {
    fn run(
        self,
        tell: oneshot::Sender<Result<SchemaRef>>,
        rows: mpsc::Sender<Message>,
        place: Arc<OwnedSemaphorePermit>,
    ) {
        // Those that this thread starts inherit it.
        stand_back();
        // Who asked may be gone; then nobody needs to be told.
        let runtime = match runtime(place) {
            Ok(runtime) => runtime,
            Err(error) => return drop(tell.send(Err(error))),
        };
        runtime.block_on(async {
            match self.plan().await {
                Err(error) => drop(tell.send(Err(error))),
                Ok(stream) => {
                    if tell.send(Ok(plain::schema(&stream.schema()))).is_ok() {
                        forward(stream, rows).await;
                    }
                }
            }
        });
        // An operator that does not yield must not hold this thread as well.
        runtime.shutdown_background();
    }

    async fn plan(self) -> Result<SendableRecordBatchStream> {
        let statement = gate::check(&self.sql)?;
        session::plan(&self.serving, statement, self.watch, (self.home, self.reading)).await
    }
}

fn runtime(place: Arc<OwnedSemaphorePermit>) -> Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(session::partitions()).thread_stack_size(STACK_BYTES).thread_name("sql-work").enable_all();
    // The runtime keeps this until its last thread has ended.
    builder.on_thread_stop(move || drop(Arc::clone(&place)));
    builder.build().map_err(|e| Error::Unavailable(format!("can't start threads: {e}")))
}

async fn forward(mut stream: SendableRecordBatchStream, rows: mpsc::Sender<Message>) {
    let schema = plain::schema(&stream.schema());
    loop {
        let next = tokio::select! {
            biased;
            () = rows.closed() => return,
            next = stream.next() => next,
        };
        let message = next.map(|batch| match batch {
            Ok(batch) => plain::batch(&batch, &schema),
            Err(error) => Err(of_datafusion(&error)),
        });
        let last = !matches!(message, Some(Ok(_)));
        if rows.send(message).await.is_err() || last {
            return;
        }
    }
}

/// Ends the statement when it is dropped.
struct Ended(Watch);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The batches still to come. Time counts while somebody waits: a slow reader does not end a statement.
struct Rest {
    found: mpsc::Receiver<Message>,
    left: Duration,
    time: Duration,
    watch: Ended,
}

impl Rest {
    async fn next(mut self) -> Option<(Result<RecordBatch>, Option<Self>)> {
        let started = Instant::now();
        let message = timeout(self.left, self.found.recv()).await;
        self.left = self.left.saturating_sub(started.elapsed());
        match message {
            Err(_) => Some((Err(Error::Timeout(self.time.as_secs())), None)),
            Ok(None) => Some((Err(Error::Unavailable("the statement panicked".to_owned())), None)),
            Ok(Some(None)) => None,
            Ok(Some(Some(Err(error)))) => Some((Err(error), None)),
            Ok(Some(Some(Ok(batch)))) => Some((Ok(batch), Some(self))),
        }
    }
}
