//! `readings`: every reading once, the last arrival of each identity; and `late_readings`, a view of it.
//!
//! Owns which files and hot epochs make up which stretch of event time. Does not own the merge (history).
//!
//! Partitions of history do not overlap in event time and an identity has one event time, so each stretch is merged on
//! its own: as many files are open at once as one stretch has, not as many as there are.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, TimestampNanosecondArray, UInt64Array};
use arrow::datatypes::{DataType, SchemaRef};
use batch_layer::history::{Selection, merged};
use datafusion::catalog::TableProvider;
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::error::Result as DfResult;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{LogicalPlanBuilder, cast, col, lit};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use schemas::epoch::{Epoch, HotReading, Snapshot};
use schemas::history::SCAN;
use schemas::history::{ReadingColumns, StoredReading};
use schemas::{SeriesId, SeriesKey, TimeRange};

use super::columns::{self, counts, floats, instants};
use super::source::{Ask, Part, Source, table as table_of};
use super::{Statement, filters, names};
use crate::error::{Error, Result};
use crate::sql::failure::of_datafusion;

/// Most rows of one batch.
const BATCH_ROWS: usize = 8192;

/// Columns of tables of readings.
pub(super) fn schema() -> SchemaRef {
    let rest = [
        columns::instant("event_time"),
        columns::instant("arrival_time"),
        columns::float("value"),
        columns::whole("position"),
    ];
    columns::schema(names::fields().chain(rest))
}

/// The table.
pub(super) fn table(statement: Arc<Statement>) -> Arc<dyn TableProvider> {
    table_of(Readings { statement, schema: schema() })
}

/// The readings that arrived more than `after` behind their event time.
pub(super) fn late(readings: Arc<dyn TableProvider>, after: Duration) -> DfResult<Arc<dyn TableProvider>> {
    let nanos = |column: &str| cast(col(column), DataType::Int64);
    let lateness =
        (cast(nanos("arrival_time") - nanos("event_time"), DataType::Float64) / lit(1e9)).alias("lateness_s");
    let all = schema().fields().iter().map(|field| col(field.name())).chain([lateness]).collect::<Vec<_>>();
    let plan = LogicalPlanBuilder::scan("readings", provider_as_source(readings), None)?
        .project(all)?
        .filter(col("lateness_s").gt(lit(after.as_secs_f64())))?
        .build()?;
    Ok(Arc::new(ViewTable::new(plan, None)))
}

#[derive(Debug)]
struct Readings {
    statement: Arc<Statement>,
    schema: SchemaRef,
}

impl Source for Readings {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn parts(&self, ask: &Ask<'_>) -> DfResult<Vec<Part>> {
        let snapshot = self.statement.snapshot();
        let chosen = filters::series_of(ask.session, &snapshot.series, ask.filters)?;
        let range = filters::range_of("event_time", ask.filters);
        // A reading of a series that only its epoch names is asked for, too, when all are.
        let all = chosen.len() == snapshot.series.len();
        if chosen.is_empty() && !all {
            return Ok(Vec::new());
        }
        let mut ids: Vec<SeriesId> = chosen.iter().map(|s| s.id).collect();
        ids.sort_unstable();
        let reader = Arc::new(Reader {
            statement: Arc::clone(&self.statement),
            names: Names::new(&self.statement, &snapshot),
            columns: ask.columns.clone(),
            schema: Arc::clone(&ask.schema),
            series: (!all).then(|| ids.into()),
            hot: unflushed(&snapshot),
        });
        let stretches = stretches(&snapshot, &reader.hot, range);
        let each = stretches.len().div_ceil(ask.parallelism()).max(1);
        Ok(stretches.chunks(each).map(|some| reader.part(some)).collect())
    }
}

/// The epochs that no file holds; all others are in files.
fn unflushed(snapshot: &Snapshot) -> Vec<Arc<Epoch>> {
    snapshot.epochs.iter().filter(|e| e.hot && e.last > snapshot.version.flushed).cloned().collect()
}

/// The partitions and the gaps between them that hold readings of `range`.
fn stretches(snapshot: &Snapshot, hot: &[Arc<Epoch>], range: TimeRange) -> Arc<[TimeRange]> {
    let mut all = Vec::new();
    let mut next = range.start;
    for partition in snapshot.version.partitions_in(range) {
        let span = partition.span.intersect(&range);
        all.extend([TimeRange { start: next, end: span.start }, span]);
        next = span.end;
    }
    all.push(TimeRange { start: next, end: range.end });
    all.retain(|stretch| {
        let touched = || hot.iter().any(|epoch| epoch.touches(*stretch));
        !stretch.is_empty() && (touched() || !snapshot.version.files_in(*stretch).is_empty())
    });
    all.into()
}

/// The names of series by id.
#[derive(Debug)]
pub(super) struct Names {
    statement: Arc<Statement>,
    known: HashMap<SeriesId, SeriesKey>,
}

impl Names {
    pub(super) fn new(statement: &Arc<Statement>, snapshot: &Snapshot) -> Self {
        let known = snapshot.series.iter().map(|s| (s.id, s.key.clone())).collect();
        Self { statement: Arc::clone(statement), known }
    }

    /// The name of a series; the snapshot does not list those with quarantined readings only.
    fn of(&self, id: SeriesId) -> Result<SeriesKey> {
        let known = self.known.get(&id).cloned().or_else(|| self.statement.serving.speed.key(id));
        known.ok_or_else(|| Error::Unavailable(format!("series {} has no name", id.0)))
    }
}

/// The asked columns of a batch of columns [`SCAN`], numbered as in [`schema`].
pub(super) fn named(names: &Names, scanned: &RecordBatch, wanted: &[usize], schema: &SchemaRef) -> Result<RecordBatch> {
    let readings = ReadingColumns::of(scanned)?;
    let runs: Vec<(SeriesKey, usize)> = readings
        .series
        .chunk_by(|a, b| a == b)
        .map(|run| Ok((names.of(SeriesId(run[0]))?, run.len())))
        .collect::<Result<_>>()?;
    let runs: Vec<(&SeriesKey, usize)> = runs.iter().map(|(key, rows)| (key, *rows)).collect();
    let column = |i: &usize| -> Result<ArrayRef> {
        Ok(match i {
            0..4 => names::runs(*i, &runs)?,
            4 => instants(readings.times.iter().copied().map(Some)),
            5 => instants(readings.arrivals.iter().copied().map(Some)),
            6 => floats(readings.values.iter().copied().map(Some)),
            _ => counts(readings.positions.iter().copied().map(Some)),
        })
    };
    columns::batch(schema, wanted.iter().map(column).collect::<Result<_>>()?, scanned.num_rows())
}

/// Columns [`SCAN`] of these readings.
pub(super) fn scanned(readings: &[StoredReading]) -> Result<RecordBatch> {
    let instants = |of: fn(&StoredReading) -> i64| -> ArrayRef {
        Arc::new(TimestampNanosecondArray::from_iter_values(readings.iter().map(of)).with_timezone("UTC"))
    };
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(UInt64Array::from_iter_values(readings.iter().map(|r| r.series.0))),
        instants(|r| r.time),
        instants(|r| r.arrival),
        Arc::new(Float64Array::from_iter_values(readings.iter().map(|r| r.value))),
        Arc::new(UInt64Array::from_iter_values(readings.iter().map(|r| r.position))),
    ];
    columns::batch(&SCAN, arrays, readings.len())
}

/// What all parts of one scan share.
#[derive(Debug)]
struct Reader {
    statement: Arc<Statement>,
    names: Names,
    columns: Vec<usize>,
    schema: SchemaRef,
    /// Sorted by id; all where `None`.
    series: Option<Arc<[SeriesId]>>,
    hot: Vec<Arc<Epoch>>,
}

impl Reader {
    fn part(self: &Arc<Self>, stretches: &[TimeRange]) -> Part {
        let (reader, stretches) = (Arc::clone(self), stretches.to_vec());
        let open = move |tasks: Arc<TaskContext>| {
            let reader = Arc::clone(&reader);
            let read = move |stretch| reader.read(stretch, Arc::clone(&tasks));
            futures::stream::iter(stretches.clone()).flat_map(read).boxed()
        };
        Part::new(Arc::clone(&self.schema), open)
    }

    /// The readings of one stretch, in batches of bounded size.
    fn read(self: &Arc<Self>, stretch: TimeRange, tasks: Arc<TaskContext>) -> BoxStream<'static, Result<RecordBatch>> {
        let batches = match self.merge(stretch, tasks) {
            Ok(batches) => batches,
            Err(error) => return futures::stream::iter([Err(error)]).boxed(),
        };
        let reader = Arc::clone(self);
        let pieces = |batch: RecordBatch| {
            let starts = (0..batch.num_rows()).step_by(BATCH_ROWS);
            let piece = move |start| batch.slice(start, BATCH_ROWS.min(batch.num_rows() - start));
            futures::stream::iter(starts.map(piece).map(Ok))
        };
        let name = move |scanned: RecordBatch| {
            std::future::ready(named(&reader.names, &scanned, &reader.columns, &reader.schema))
        };
        batches.map_ok(pieces).try_flatten().and_then(name).boxed()
    }

    fn merge(&self, stretch: TimeRange, tasks: Arc<TaskContext>) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let serving = &self.statement.serving;
        let hot = self.hot.iter().filter(|epoch| epoch.touches(stretch));
        let hot = hot.map(|epoch| self.hot_batch(epoch, stretch)).collect::<Result<_>>()?;
        let selection = Selection { series: self.series.clone().into(), range: stretch, up_to: None };
        let files = self.statement.snapshot().version.files_in(stretch);
        let batches = merged(serving.batch.objects(), files, hot, selection, tasks)?;
        Ok(batches.map_err(|e| of_datafusion(&e)).boxed())
    }

    /// The readings of an epoch inside `stretch`, in the order of files.
    fn hot_batch(&self, epoch: &Epoch, stretch: TimeRange) -> Result<RecordBatch> {
        let asked = |id: &SeriesId| self.series.as_ref().is_none_or(|ids| ids.binary_search(id).is_ok());
        let stored = |series: SeriesId, r: HotReading| StoredReading {
            series,
            time: r.time,
            arrival: epoch.arrival(r.frame).0,
            value: r.value,
            position: epoch.position(r.frame).0,
        };
        let readings: Vec<StoredReading> = epoch
            .series
            .iter()
            .filter(|(id, _)| asked(id))
            .flat_map(|(id, series)| series.arrivals(stretch).map(|r| stored(*id, r)))
            .collect();
        scanned(&readings)
    }
}
