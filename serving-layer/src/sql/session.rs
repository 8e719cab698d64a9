//! From checked text to running rows: a session of DataFusion for one statement.
//!
//! Owns what a session can do: Weir's tables and the allowed functions, no files, no settings to look at, no temporary
//! files, memory of its own. Does not own the deadline of the rows (stream).

use std::sync::Arc;
use std::thread;

use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::execution::{SendableRecordBatchStream, SessionState};
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::{SQLOptions, SessionConfig, SessionContext};
use datafusion::sql::parser::Statement;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::failure::of_datafusion;
use super::{functions, gate, tables};
use crate::error::{Error, Result};
use crate::serving::Serving;

/// Stack of the thread that plans: the planner recurses over the statement.
const STACK_BYTES: usize = 64 << 20;
/// Most partitions that one statement works on at once.
const PARTITIONS_MAX: usize = 8;

/// Plans a statement and starts it.
pub(super) async fn start(serving: Serving, sql: String, deadline: Instant) -> Result<SendableRecordBatchStream> {
    let seconds = serving.settings.query_timeout.as_secs();
    let runtime = Handle::current();
    let (tell, told) = oneshot::channel();
    // Planning can't be interrupted: when the deadline passes it goes on for as long as the gate's budget allows, and
    // nobody waits for what it finds.
    let plan = move || {
        let started = gate::check(&sql).and_then(|statement| runtime.block_on(plan(&serving, statement)));
        // The asker may be gone.
        let _ = tell.send(started);
    };
    let thread = thread::Builder::new().name("sql-plan".to_owned()).stack_size(STACK_BYTES).spawn(plan);
    thread.map_err(|e| Error::Unavailable(format!("can't start a thread to plan: {e}")))?;
    match timeout_at(deadline, told).await {
        Err(_) => Err(Error::Timeout(seconds)),
        Ok(Err(_)) => Err(Error::Unavailable("planning the statement panicked".to_owned())),
        Ok(Ok(started)) => started,
    }
}

async fn plan(serving: &Serving, statement: gate::Checked) -> Result<SendableRecordBatchStream> {
    let context = SessionContext::new_with_state(state(serving)?);
    tables::register(&context, serving).map_err(|e| of_datafusion(&e))?;
    let planned = async {
        let statement = Statement::Statement(Box::new(statement));
        let plan = context.state().statement_to_plan(statement).await?;
        let read_only = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        read_only.verify_plan(&plan)?;
        let frame = context.execute_logical_plan(plan).await?;
        let tasks = Arc::new(frame.task_ctx());
        execute_stream(frame.create_physical_plan().await?, tasks)
    };
    planned.await.map_err(|e| of_datafusion(&e))
}

fn state(serving: &Serving) -> Result<SessionState> {
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(GreedyMemoryPool::new(serving.settings.sql_memory_bytes)))
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
        .build_arc()
        .map_err(|e| of_datafusion(&e))?;
    let partitions = thread::available_parallelism().map_or(1, usize::from).min(PARTITIONS_MAX);
    let config = SessionConfig::new()
        .with_information_schema(false)
        .with_target_partitions(partitions)
        .with_default_catalog_and_schema("weir", "public")
        .set_str("datafusion.execution.time_zone", "UTC");
    let builder = SessionStateBuilder::new().with_config(config).with_runtime_env(runtime);
    Ok(functions::register(builder).build())
}
