//! Many sorted streams of readings as one, run by run.
//!
//! Files hold each series in a long run, and the runs of different files mostly lie behind one another: so it is found
//! out how many rows of the least input come before the head of all others, and these are copied at once. Row by row,
//! as a merge of columns of any kind must go, costs several times as much.
//!
//! Owns the order among inputs: of equal rows those of the earlier input come first. Does not own deduplication.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use arrow::array::{ArrayRef, Float64Array, TimestampNanosecondArray, UInt64Array};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::error::Result as DfResult;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream};
use futures::{Stream, StreamExt};
use schemas::history::{ReadingColumns, SCAN};

use super::dedup::columns_of;

/// Rows of a batch of the output, at least, as long as there are more.
const BATCH_ROWS: usize = 8192;

/// What rows are sorted by.
type Key = (u64, i64, u64);

fn key(columns: &ReadingColumns<'_>, row: usize) -> Key {
    (columns.series[row], columns.times[row], columns.positions[row])
}

/// One sorted stream, and the batch that its next row lies in.
struct Input {
    stream: SendableRecordBatchStream,
    batch: Option<RecordBatch>,
    /// The next row.
    at: usize,
}

/// The merged stream.
pub(super) struct Gallop {
    inputs: Vec<Input>,
    /// The next row of every input that has a batch, the least on top.
    heads: BinaryHeap<Reverse<(Key, usize)>>,
    /// Inputs that must tell their next batch before anything else can be told.
    hungry: Vec<usize>,
    out: Rows,
}

impl Gallop {
    /// Merges these streams of columns [`SCAN`], each sorted by series, event time and position.
    pub(super) fn new(streams: Vec<SendableRecordBatchStream>) -> Self {
        let inputs: Vec<Input> = streams.into_iter().map(|stream| Input { stream, batch: None, at: 0 }).collect();
        let hungry = (0..inputs.len()).collect();
        Self { inputs, heads: BinaryHeap::new(), hungry, out: Rows::default() }
    }

    /// Fetches the next batch of every input that has none.
    fn poll_feed(&mut self, cx: &mut Context<'_>) -> Poll<DfResult<()>> {
        while let Some(number) = self.hungry.last().copied() {
            let input = &mut self.inputs[number];
            match ready!(input.stream.poll_next_unpin(cx)).transpose()? {
                Some(batch) if batch.num_rows() == 0 => {}
                Some(batch) => {
                    self.heads.push(Reverse((key(&columns_of(&batch)?, 0), number)));
                    (input.batch, input.at) = (Some(batch), 0);
                    self.hungry.pop();
                }
                None => {
                    self.hungry.pop();
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Copies all rows of the least input that come before the head of every other. False when there are none at all.
    fn step(&mut self) -> DfResult<bool> {
        let Some(Reverse((_, number))) = self.heads.pop() else { return Ok(false) };
        let input = &mut self.inputs[number];
        let batch = input.batch.take().expect("an input with a head has a batch");
        let columns = columns_of(&batch)?;
        let end = match self.heads.peek() {
            Some(Reverse(next)) => gallop(&columns, input.at, |row| (row, number) < *next),
            None => columns.len(),
        };
        self.out.extend(&columns, input.at, end);
        if end < columns.len() {
            self.heads.push(Reverse((key(&columns, end), number)));
            (input.batch, input.at) = (Some(batch), end);
        } else {
            self.hungry.push(number);
        }
        Ok(true)
    }
}

/// The first row after `from` that does not come `before`; `from` itself does. Steps double, so that short runs cost
/// little and long ones a logarithm.
fn gallop(columns: &ReadingColumns<'_>, from: usize, before: impl Fn(Key) -> bool) -> usize {
    let (mut known, mut step) = (from, 1);
    while known + step < columns.len() && before(key(columns, known + step)) {
        known += step;
        step *= 2;
    }
    let (mut low, mut high) = (known + 1, (known + step).min(columns.len()));
    while low < high {
        let middle = low + (high - low) / 2;
        if before(key(columns, middle)) { low = middle + 1 } else { high = middle }
    }
    low
}

impl Stream for Gallop {
    type Item = DfResult<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Err(error) = ready!(self.poll_feed(cx)) {
                return Poll::Ready(Some(Err(error)));
            }
            while self.hungry.is_empty() && self.out.len() < BATCH_ROWS {
                if !self.step()? {
                    let rest = (self.out.len() > 0).then(|| self.out.take());
                    return Poll::Ready(rest);
                }
            }
            if self.out.len() >= BATCH_ROWS {
                let batch = self.out.take();
                return Poll::Ready(Some(batch));
            }
        }
    }
}

impl RecordBatchStream for Gallop {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&SCAN)
    }
}

/// Rows under construction, in the columns [`SCAN`].
#[derive(Default)]
struct Rows {
    series: Vec<u64>,
    times: Vec<i64>,
    arrivals: Vec<i64>,
    values: Vec<f64>,
    positions: Vec<u64>,
}

impl Rows {
    fn len(&self) -> usize {
        self.series.len()
    }

    fn extend(&mut self, columns: &ReadingColumns<'_>, start: usize, end: usize) {
        self.series.extend_from_slice(&columns.series[start..end]);
        self.times.extend_from_slice(&columns.times[start..end]);
        self.arrivals.extend_from_slice(&columns.arrivals[start..end]);
        self.values.extend_from_slice(&columns.values[start..end]);
        self.positions.extend_from_slice(&columns.positions[start..end]);
    }

    /// The rows as a batch; none are left.
    fn take(&mut self) -> DfResult<RecordBatch> {
        let Self { series, times, arrivals, values, positions } = std::mem::take(self);
        let instants = |values: Vec<i64>| TimestampNanosecondArray::from(values).with_timezone("UTC");
        let columns: Vec<ArrayRef> = vec![
            Arc::new(UInt64Array::from(series)),
            Arc::new(instants(times)),
            Arc::new(instants(arrivals)),
            Arc::new(Float64Array::from(values)),
            Arc::new(UInt64Array::from(positions)),
        ];
        Ok(RecordBatch::try_new(Arc::clone(&SCAN), columns)?)
    }
}
