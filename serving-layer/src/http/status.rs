//! `GET /v1/status`: how both layers stand.
//!
//! Owns the form of the report and its bounds. Everything in it is taken from one status of the speed layer and the
//! version that it names, so positions and coverage fit together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use batch_layer::ScrubStatus;
use batch_layer::catalog::{DamageRow, JobRow};
use schemas::view::{HistoryVersion, Partition};
use schemas::{EventTime, LogPosition, Tally};
use serde::Serialize;
use speed_layer::{Ledger, Room, Status};
use utoipa::ToSchema;

use super::error::{ProblemBody, Result};
use super::{App, BODIES_BYTES};

/// Most epochs and partitions that are listed, the newest.
const LISTED: usize = 1000;
/// How many of the newest jobs are counted.
const JOBS_COUNTED: u32 = 1000;

/// How the server stands.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StatusBody {
    /// Whether requests are welcome.
    ready: bool,
    /// Weir's clock.
    time: String,
    /// Every reading up to this log position is counted.
    position: u64,
    /// Every reading up to this log position is in history.
    flushed_position: u64,
    /// The current generation of batch views.
    generation: u64,
    /// The greatest event time counted.
    watermark: Option<String>,
    /// How many series are known.
    series: usize,
    /// The speed layer.
    speed: SpeedStatus,
    /// The batch layer.
    batch: BatchStatus,
    /// The disks that data lies on.
    disk: DiskStatus,
    /// What waits and what is under way.
    queues: Queues,
    /// Where all readings are, and whether that adds up.
    ledger: LedgerStatus,
    /// What the scrubber has verified, and what is damaged.
    integrity: IntegrityStatus,
    /// Readings refused and requests turned away since the start, by reason.
    shed: BTreeMap<&'static str, u64>,
}

/// The conservation ledger.
#[derive(Debug, Serialize, ToSchema)]
struct LedgerStatus {
    /// Whether all equations hold: `log = memory + flushed` and `flushed = history`, in number and in sum.
    adds_up: bool,
    /// All that the log ever held: what was flushed at the start, and every durable frame since.
    log: TallyStatus,
    /// In memory and not in history yet.
    memory: TallyStatus,
    /// Flushed ever.
    flushed: TallyStatus,
    /// In files of readings and of quarantine.
    history: TallyStatus,
}

/// What the scrubber has verified since the start, and what is damaged.
#[derive(Debug, Serialize, ToSchema)]
struct IntegrityStatus {
    /// Objects found whole.
    scrubbed_objects: u64,
    /// Bytes found whole.
    scrubbed_bytes: u64,
    /// When the scrubber had last read everything.
    pass_finished_at: Option<String>,
    /// What is wrong with the catalog.
    catalog: Vec<String>,
    /// Damaged objects.
    damaged: Vec<DamageStatus>,
}

/// A damaged object.
#[derive(Debug, Serialize, ToSchema)]
struct DamageStatus {
    /// Its path below history's root.
    path: String,
    /// What is wrong with it.
    reason: String,
    /// When that was found.
    found_at: String,
    /// What is done about it, or what a person should do.
    remedy: String,
}

impl From<ScrubStatus> for IntegrityStatus {
    fn from(status: ScrubStatus) -> Self {
        let damage = |DamageRow { path, reason, found_at, remedy, .. }| {
            let found_at = schemas::ArrivalTime::to_string(&found_at);
            DamageStatus { path, reason, found_at, remedy }
        };
        Self {
            scrubbed_objects: status.objects,
            scrubbed_bytes: status.bytes,
            pass_finished_at: status.finished_at,
            catalog: status.catalog,
            damaged: status.damaged.into_iter().map(damage).collect(),
        }
    }
}

/// Readings of one place.
#[derive(Debug, Serialize, ToSchema)]
struct TallyStatus {
    /// How many.
    readings: u64,
    /// The sum of their numbers, as 32 hexadecimal digits: equal for the same readings in any order.
    sum: String,
}

impl From<Tally> for TallyStatus {
    fn from(tally: Tally) -> Self {
        Self { readings: tally.readings, sum: format!("{:032x}", tally.sum) }
    }
}

/// How the speed layer stands.
#[derive(Debug, Serialize, ToSchema)]
struct SpeedStatus {
    /// Log positions that it has not counted: none, as readings are acknowledged after they are counted.
    lag: u64,
    /// Seconds between the clock and the greatest event time counted.
    freshness_s: Option<f64>,
    /// Readings in memory.
    hot_readings: u64,
    /// Readings that no epoch is sealed over.
    open_readings: u64,
    /// Sealed epochs in memory.
    epochs_total: usize,
    /// The newest of them.
    epochs: Vec<EpochStatus>,
}

/// A sealed epoch in memory.
#[derive(Debug, Serialize, ToSchema)]
struct EpochStatus {
    /// Its first log position.
    first: u64,
    /// Its last log position.
    last: u64,
    /// Arrivals in it.
    readings: u64,
    /// Whether its readings are in memory.
    hot: bool,
    /// Whether history has it.
    flushed: bool,
}

/// How the batch layer stands.
#[derive(Debug, Serialize, ToSchema)]
struct BatchStatus {
    /// Log positions that are not in history.
    lag: u64,
    /// Seconds between the clock and the event time before which batch views count everything.
    freshness_s: Option<f64>,
    /// Epochs in history that batch views have not counted.
    uncovered_epochs: usize,
    /// Partitions of history.
    partitions_total: usize,
    /// How many of them hold readings that their views have not counted.
    dirty_partitions: usize,
    /// The newest of them.
    coverage: Vec<PartitionStatus>,
    /// The newest jobs, by state.
    jobs: BTreeMap<&'static str, u64>,
}

/// A partition of history.
#[derive(Debug, Serialize, ToSchema)]
struct PartitionStatus {
    /// Its first event time.
    from: String,
    /// The first event time after.
    to: String,
    /// The log position up to which its view counted.
    cut: u64,
    /// The log position of the last reading in it.
    touched: u64,
    /// Whether it holds readings that its view has not counted.
    dirty: bool,
    /// Readings that its view counted.
    readings: u64,
    /// The generation that its view came with.
    generation: Option<u64>,
    /// Files of readings.
    files: usize,
}

/// The disks that data lies on.
#[derive(Debug, Serialize, ToSchema)]
struct DiskStatus {
    /// Bytes free on the fullest of them.
    free_bytes: Option<u64>,
    /// Bytes that are kept free.
    reserve_bytes: u64,
    /// Whether readings are refused until there is room.
    full: bool,
}

/// What waits and what is under way.
#[derive(Debug, Serialize, ToSchema)]
struct Queues {
    /// Queries that run.
    queries_running: usize,
    /// Queries that may run at once.
    queries_at_once: usize,
    /// Bytes of bodies that wait to be decoded.
    body_bytes: usize,
    /// Jobs that wait.
    jobs_queued: u64,
}

/// How both layers stand.
#[utoipa::path(
    get,
    path = "/v1/status",
    tag = "operations",
    responses(
        (status = 200, description = "The report", body = StatusBody),
        (status = "default", description = "No answer", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn status(State(app): State<Arc<App>>) -> Result<Json<StatusBody>> {
    let status = app.serving.speed.status();
    let jobs = count(&app.serving.batch.catalog().jobs(JOBS_COUNTED).await?);
    let now = app.serving.clock.now();
    let at_once = app.serving.settings.queries_at_once.max(1);
    Ok(Json(StatusBody {
        ready: app.ready.load(Ordering::Acquire),
        time: now.to_string(),
        position: status.position.0,
        flushed_position: status.version.flushed.0,
        generation: status.version.generation,
        watermark: status.watermark.map(|t| t.to_string()),
        series: status.series,
        disk: disk_status(app.serving.speed.room()),
        queues: Queues {
            queries_running: at_once.saturating_sub(app.queries.available_permits()),
            queries_at_once: at_once,
            body_bytes: BODIES_BYTES.saturating_sub(app.bodies.left()),
            jobs_queued: jobs.get("queued").copied().unwrap_or(0),
        },
        speed: speed_status(&status, now.0),
        batch: batch_status(&status, now.0, jobs),
        ledger: ledger_status(&app.serving.speed.ledger()),
        integrity: app.serving.batch.scrub_status().into(),
        shed: app.shed_counts(),
    }))
}

fn disk_status(room: &Room) -> DiskStatus {
    DiskStatus { free_bytes: room.free(), reserve_bytes: room.reserve(), full: room.is_short() }
}

fn ledger_status(ledger: &Ledger) -> LedgerStatus {
    LedgerStatus {
        adds_up: ledger.equations().iter().all(|(_, holds)| *holds),
        log: ledger.logged.into(),
        memory: ledger.unflushed.into(),
        flushed: ledger.totals.flushed.into(),
        history: ledger.totals.history.into(),
    }
}

fn speed_status(status: &Status, now: i64) -> SpeedStatus {
    let epoch = |&(first, last, readings, hot): &(LogPosition, LogPosition, u64, bool)| EpochStatus {
        first: first.0,
        last: last.0,
        readings,
        hot,
        flushed: last <= status.version.flushed,
    };
    SpeedStatus {
        lag: 0,
        freshness_s: status.watermark.map(|t| seconds(now, t)),
        hot_readings: status.hot_readings,
        open_readings: status.open_readings,
        epochs_total: status.epochs.len(),
        epochs: status.epochs.iter().rev().take(LISTED).rev().map(epoch).collect(),
    }
}

fn batch_status(status: &Status, now: i64, jobs: BTreeMap<&'static str, u64>) -> BatchStatus {
    let version = &status.version;
    BatchStatus {
        lag: status.position.0.saturating_sub(version.flushed.0),
        freshness_s: counted_until(version, status.watermark).map(|t| seconds(now, t)),
        uncovered_epochs: version.uncovered.len(),
        partitions_total: version.partitions.len(),
        dirty_partitions: version.partitions.iter().filter(|p| p.dirty()).count(),
        coverage: version.partitions.iter().rev().take(LISTED).rev().map(partition_status).collect(),
        jobs,
    }
}

fn partition_status(partition: &Partition) -> PartitionStatus {
    PartitionStatus {
        from: partition.span.start.to_string(),
        to: partition.span.end.to_string(),
        cut: partition.cut().0,
        touched: partition.touched.0,
        dirty: partition.dirty(),
        readings: partition.view.as_ref().map_or(0, |view| view.readings),
        generation: partition.view.as_ref().map(|view| view.generation),
        files: partition.files.len(),
    }
}

/// The event time before which batch views count all of history: the start of the first dirty partition, else the end
/// of the last.
fn counted_until(version: &HistoryVersion, watermark: Option<EventTime>) -> Option<EventTime> {
    match version.partitions.iter().find(|p| p.dirty()) {
        Some(dirty) => Some(dirty.span.start),
        None => version.partitions.last().map(|last| watermark.map_or(last.span.end, |t| t.min(last.span.end))),
    }
}

fn seconds(now: i64, t: EventTime) -> f64 {
    (now.saturating_sub(t.0) as f64 / schemas::time::SECOND as f64).max(0.0)
}

fn count(jobs: &[JobRow]) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::from(["queued", "running", "succeeded", "failed", "cancelled"].map(|state| (state, 0)));
    for job in jobs {
        *counts.entry(job.state.name()).or_default() += 1;
    }
    counts
}
