//! The rows of a running statement, with its deadline and in types that every reader knows.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::execution::SendableRecordBatchStream;
use futures::{FutureExt, StreamExt};
use tokio::time::{Instant, timeout_at};

use super::SqlStream;
use super::failure::of_datafusion;
use crate::error::{Error, Result};

/// The rows until the deadline.
pub(super) fn of(rows: SendableRecordBatchStream, deadline: Instant, timeout: Duration) -> SqlStream {
    let schema = plain_schema(&rows.schema());
    let plain = Arc::clone(&schema);
    let next = move |rows: Option<SendableRecordBatchStream>| {
        let plain = Arc::clone(&plain);
        async move {
            let mut rows = rows?;
            match next(&mut rows, deadline, timeout, &plain).await? {
                Ok(batch) => Some((Ok(batch), Some(rows))),
                Err(error) => Some((Err(error), None)),
            }
        }
    };
    SqlStream { schema, batches: futures::stream::unfold(Some(rows), next).boxed() }
}

async fn next(
    rows: &mut SendableRecordBatchStream,
    deadline: Instant,
    timeout: Duration,
    schema: &SchemaRef,
) -> Option<Result<RecordBatch>> {
    // A panic in one statement must not take down who waits for it.
    let polled = AssertUnwindSafe(rows.next()).catch_unwind();
    match timeout_at(deadline, polled).await {
        Err(_) => Some(Err(Error::Timeout(timeout.as_secs()))),
        Ok(Err(_)) => Some(Err(Error::Unavailable("the statement panicked".to_owned()))),
        Ok(Ok(None)) => None,
        Ok(Ok(Some(Err(error)))) => Some(Err(of_datafusion(&error))),
        Ok(Ok(Some(Ok(batch)))) => Some(plain_batch(&batch, schema)),
    }
}

fn plain_schema(schema: &Schema) -> SchemaRef {
    Arc::new(Schema::new(schema.fields().iter().map(plain_field).collect::<Vec<_>>()))
}

fn plain_field(field: &FieldRef) -> Field {
    Field::new(field.name(), plain_type(field.data_type()), field.is_nullable())
}

/// Views and dictionaries serve the engine; many readers of Arrow do not know them.
fn plain_type(kind: &DataType) -> DataType {
    match kind {
        DataType::Utf8View | DataType::Dictionary(..) => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::List(item) => DataType::List(Arc::new(plain_field(item))),
        other => other.clone(),
    }
}

fn plain_batch(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| cast(column, field.data_type())).collect::<Result<Vec<_>, _>>();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let plain = columns.and_then(|columns| RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options));
    plain.map_err(|e| Error::Unavailable(format!("can't write down a row: {e}")))
}
