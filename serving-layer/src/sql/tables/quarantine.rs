//! `quarantine`: readings that claim to be from too far in the future or the past. They count nowhere.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use batch_layer::history::{Selection, scan};
use datafusion::catalog::TableProvider;
use datafusion::error::Result as DfResult;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use schemas::epoch::{Epoch, Quarantined, Snapshot};
use schemas::history::{ReadingColumns, StoredReading};
use schemas::view::{FileRef, ObjectRef};
use schemas::{LogPosition, SeriesId};

use super::Statement;
use super::columns::{self, texts};
use super::readings::{self, Names, named, scanned};
use super::source::{Ask, Part, Source, table as table_of};
use crate::error::Result;

/// Why a reading is quarantined: it says it happened after it came, or long before.
fn reason(event: i64, arrival: i64) -> &'static str {
    if event > arrival { "future" } else { "past" }
}

/// The table.
pub(super) fn table(statement: Arc<Statement>) -> Arc<dyn TableProvider> {
    let fields = readings::schema().fields().iter().map(|f| f.as_ref().clone()).collect::<Vec<_>>();
    let schema = columns::schema(fields.into_iter().chain([columns::text("reason")]));
    table_of(Quarantine { statement, schema })
}

#[derive(Debug)]
struct Quarantine {
    statement: Arc<Statement>,
    schema: SchemaRef,
}

impl Source for Quarantine {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn parts(&self, ask: &Ask<'_>) -> DfResult<Vec<Part>> {
        let snapshot = self.statement.snapshot();
        let names = Names::new(&self.statement, &snapshot);
        let reader =
            Arc::new(Reader { statement: Arc::clone(&self.statement), snapshot, names, schema: self.schema() });
        let columns = ask.columns.clone();
        let open = move |_| {
            let (reader, columns) = (Arc::clone(&reader), columns.clone());
            let all = async move { Reader::read(reader).await };
            let project = move |batch: RecordBatch| {
                let projected = batch.project(&columns);
                std::future::ready(
                    projected.map_err(|e| crate::Error::Unavailable(format!("can't project a table: {e}"))),
                )
            };
            futures::stream::once(all).try_flatten().and_then(project).boxed()
        };
        Ok(vec![Part::new(Arc::clone(&ask.schema), open)])
    }
}

struct Reader {
    statement: Arc<Statement>,
    snapshot: Arc<Snapshot>,
    names: Names,
    schema: SchemaRef,
}

impl Reader {
    /// What was flushed at the time of the snapshot from files, the rest from memory: no reading twice.
    async fn read(self: Arc<Self>) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let batch = &self.statement.serving.batch;
        let flushed = self.snapshot.version.flushed;
        let selection = Selection { up_to: Some(flushed), ..Selection::ALL };
        let files = batch.catalog().quarantine_files().await?;
        let objects = batch.objects().clone();
        let stored = futures::stream::iter(files).flat_map(move |(object, rows)| {
            scan(objects.clone(), Arc::new(whole(object, rows)), selection.clone()).map_err(crate::Error::from)
        });
        let later = self.snapshot.epochs.iter().filter(|epoch| epoch.last > flushed);
        let hot: Vec<StoredReading> =
            later.flat_map(|epoch| epoch.quarantine.iter().map(|q| in_memory(epoch, q))).collect();
        let all = stored.chain(futures::stream::iter([scanned(&hot)]));
        Ok(all.and_then(move |batch| std::future::ready(self.row(&batch))).boxed())
    }

    fn row(&self, scanned: &RecordBatch) -> Result<RecordBatch> {
        let plain = readings::schema();
        let all: Vec<usize> = (0..plain.fields().len()).collect();
        let named = named(&self.names, scanned, &all, &plain)?;
        let mut arrays = named.columns().to_vec();
        let readings = ReadingColumns::of(scanned)?;
        arrays.push(texts(readings.times.iter().zip(readings.arrivals).map(|(event, at)| Some(reason(*event, *at)))));
        columns::batch(&self.schema, arrays, named.num_rows())
    }
}

/// A file of which only the number of rows is known.
fn whole(object: ObjectRef, rows: u64) -> FileRef {
    FileRef {
        object,
        positions: (LogPosition::START, LogPosition(u64::MAX)),
        event_bounds: (i64::MIN, i64::MAX),
        series_bounds: (SeriesId(0), SeriesId(u64::MAX)),
        rows,
        sum: None,
    }
}

fn in_memory(epoch: &Epoch, quarantined: &Quarantined) -> StoredReading {
    StoredReading {
        series: quarantined.series,
        time: quarantined.time,
        arrival: epoch.arrival(quarantined.frame).0,
        value: quarantined.value,
        position: epoch.position(quarantined.frame).0,
    }
}
