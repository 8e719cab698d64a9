//! From a checked statement to running rows: a session of DataFusion for one statement.
//!
//! Owns what a session can do: Weir's tables and the allowed functions, no files, no settings to look at, no temporary
//! files, memory of its own. Does not own the threads that it runs on (worker).

use std::sync::Arc;
use std::thread;

use datafusion::error::Result as DfResult;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::execution::{SendableRecordBatchStream, SessionState};
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::{SQLOptions, SessionConfig, SessionContext};
use datafusion::sql::parser::Statement;
use tokio::runtime::Handle;

use super::failure::of_datafusion;
use super::watch::{Watch, WatchJoins};
use super::{functions, gate, tables};
use crate::error::Result;
use crate::serving::Serving;

/// Most partitions that one statement works on at once.
const PARTITIONS_MAX: usize = 8;

/// How many partitions a statement works on at once.
pub(super) fn partitions() -> usize {
    thread::available_parallelism().map_or(1, usize::from).min(PARTITIONS_MAX)
}

/// Plans a statement and starts it, its snapshot being taken on the runtime `home` and its tables read on `reading`.
pub(super) async fn plan(
    serving: &Serving,
    statement: gate::Checked,
    watch: Watch,
    (home, reading): (Handle, Handle),
) -> Result<SendableRecordBatchStream> {
    let planned = async {
        let context = SessionContext::new_with_state(state(serving, watch, reading)?);
        tables::register(&context, serving, home)?;
        let statement = Statement::Statement(Box::new(statement));
        let plan = context.state().statement_to_plan(statement).await?;
        let read_only = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        read_only.verify_plan(&plan)?;
        let (state, plan) = context.execute_logical_plan(plan).await?.into_parts();
        let plan = state.optimize(&plan)?;
        tables::check(&plan, serving.speed.settings().base)?;
        let plan = state.query_planner().create_physical_plan(&plan, &state).await?;
        execute_stream(plan, state.task_ctx())
    };
    planned.await.map_err(|e| of_datafusion(&e))
}

fn state(serving: &Serving, watch: Watch, reading: Handle) -> DfResult<SessionState> {
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(serving.statements.memory(serving.settings.sql_memory_bytes))
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
        .build_arc()?;
    let config = SessionConfig::new()
        .with_information_schema(false)
        .with_target_partitions(partitions())
        .with_default_catalog_and_schema("weir", "public")
        .set_str("datafusion.execution.time_zone", "UTC")
        .with_extension(Arc::new(tables::Io(reading)));
    let builder = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_physical_optimizer_rule(Arc::new(WatchJoins(watch)));
    Ok(functions::register(builder).build())
}
