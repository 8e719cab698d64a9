//! The tables that a statement can name.
//!
//! Owns their names, columns and what of a filter reaches the place that is read. Filters are hints throughout: what a
//! table yields too much, DataFusion drops. Does not own how anything is counted.

mod calibration;
mod catalog;
mod columns;
mod filters;
mod metrics;
mod names;
mod quarantine;
mod readings;
mod realtime;
mod source;

use std::sync::{Arc, OnceLock, mpsc};

use datafusion::error::Result as DfResult;
use datafusion::prelude::SessionContext;
use schemas::epoch::Snapshot;
use schemas::selector::Selector;
use tokio::runtime::Handle;

pub(super) use self::metrics::check;
pub(super) use self::source::Io;
use crate::serving::Serving;

/// All names.
pub(super) const NAMES: [&str; 11] = [
    "readings",
    "realtime_metrics",
    "batch_metrics",
    "unified_metrics",
    "late_readings",
    "quarantine",
    "reconciliation",
    "jobs",
    "generations",
    "schedules",
    "calibration",
];

/// What the tables of one statement share.
#[derive(Debug)]
struct Statement {
    serving: Serving,
    /// Whose threads do not stand back.
    home: Handle,
    snapshot: OnceLock<Arc<Snapshot>>,
}

impl Statement {
    /// The one snapshot of the statement (SQL-1), taken when it is first asked for: a statement over `jobs` needs none.
    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(self.snapshot.get_or_init(|| {
            // Not by this thread: it stands back behind others, and would keep them waiting for the state's lock.
            let (tell, told) = mpsc::sync_channel(1);
            let speed = self.serving.speed.clone();
            self.home.spawn(async move {
                // All series may be many: the tasks of this thread go to others meanwhile.
                tokio::task::block_in_place(|| drop(tell.send(Arc::new(speed.snapshot(&Selector::all())))));
            });
            told.recv().unwrap_or_else(|_| Arc::new(self.serving.speed.snapshot(&Selector::all())))
        }))
    }
}

/// Gives a session the tables, all of one snapshot.
pub(super) fn register(context: &SessionContext, serving: &Serving, home: Handle) -> DfResult<()> {
    let statement = Arc::new(Statement { serving: serving.clone(), home, snapshot: OnceLock::new() });
    let readings = readings::table(Arc::clone(&statement));
    let late = readings::late(Arc::clone(&readings), serving.settings.late_after)?;
    let tables = [
        ("readings", readings),
        ("late_readings", late),
        ("realtime_metrics", realtime::table(Arc::clone(&statement))),
        ("batch_metrics", metrics::batch(Arc::clone(&statement))),
        ("unified_metrics", metrics::unified(Arc::clone(&statement))),
        ("quarantine", quarantine::table(Arc::clone(&statement))),
        ("reconciliation", catalog::reconciliation(Arc::clone(&statement))),
        ("jobs", catalog::jobs(Arc::clone(&statement))),
        ("generations", catalog::generations(Arc::clone(&statement))),
        ("schedules", catalog::schedules(Arc::clone(&statement))),
        ("calibration", calibration::table(statement)),
    ];
    for (name, table) in tables {
        context.register_table(name, table)?;
    }
    Ok(())
}
