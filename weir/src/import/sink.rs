//! Where imported readings go: straight into the engine, or over HTTP to the server that owns the data directory.
//!
//! Owns waiting where the other side is full. Order is kept: one batch is sent after the other.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arrow::array::{
    ArrayRef, DictionaryArray, Float64Array, RecordBatch, StringArray, TimestampNanosecondArray, UInt32Array,
};
use arrow::datatypes::UInt32Type;
use arrow::ipc::writer::StreamWriter;
use reqwest::header::RETRY_AFTER;
use reqwest::{Response, StatusCode};
use schemas::SeriesKey;
use schemas::series::DEVICE_TAG;
use serde::Deserialize;
use speed_layer::Rows;
use weir::{Engine, EngineComponents, EngineSettings};

use super::report::Kept;
use super::rows::Refusal;
use crate::client::{Door, Owner, refusal};
use crate::flags::Place;

/// Rows of one request.
const BATCH: usize = 20_000;
/// How long to wait for an engine that is full.
const PAUSE: Duration = Duration::from_millis(100);
/// A server that is full is asked again after the time it says, but not later than this.
const PAUSE_MAX: Duration = Duration::from_secs(30);
const ARROW: &str = "application/vnd.apache.arrow.stream";

/// Takes readings.
#[derive(Debug)]
pub(super) enum Sink {
    /// The engine of this process.
    Engine(Box<Engine>),
    /// A server.
    Server(Box<Door>),
}

/// A server's answer to readings.
#[derive(Debug, Deserialize)]
struct Receipt {
    accepted: u64,
    rejected: u64,
    #[serde(default)]
    errors: Vec<ReceiptError>,
}

#[derive(Debug, Deserialize)]
struct ReceiptError {
    index: u64,
    reason: String,
}

impl Sink {
    /// The server that was named or owns the data directory; else the directory's engine, opened here.
    pub(super) async fn open(place: &Place, settings: EngineSettings) -> anyhow::Result<Self> {
        match Owner::find(place, &settings)? {
            Owner::Server(url) => Ok(Self::Server(Box::new(Door::to(url, &place.trust)?))),
            Owner::Us(lock) => {
                let mut engine = Engine::open_locked(lock, settings, EngineComponents::default()).await?;
                engine.start();
                Ok(Self::Engine(Box::new(engine)))
            }
        }
    }

    /// Keeps rows; durable when it returns.
    pub(super) async fn send(&self, rows: Rows) -> anyhow::Result<Kept> {
        match self {
            Self::Engine(engine) => append(engine, rows).await,
            Self::Server(door) => post(door, &rows).await,
        }
    }

    /// Makes all of it part of history, where the engine is ours.
    pub(super) async fn close(self) -> anyhow::Result<()> {
        match self {
            Self::Engine(engine) => engine.close().await.context("the last flush failed; the log keeps its readings"),
            Self::Server(door) => {
                door.close().await;
                Ok(())
            }
        }
    }
}

/// Appends rows, waiting while the engine is full.
pub(super) async fn append(engine: &Engine, rows: Rows) -> anyhow::Result<Kept> {
    loop {
        match engine.serving.speed.append(rows.clone()).await {
            Ok(appended) => return Ok(Kept { accepted: appended.readings, ..Kept::default() }),
            Err(speed_layer::Error::Overloaded { .. }) => tokio::time::sleep(PAUSE).await,
            Err(error) => return Err(error.into()),
        }
    }
}

async fn post(door: &Door, rows: &Rows) -> anyhow::Result<Kept> {
    let mut kept = Kept::default();
    for body in bodies(rows)? {
        let receipt = post_one(door, body).await?;
        kept.accepted += receipt.accepted;
        kept.rejected += receipt.rejected;
        kept.refusals.extend(receipt.errors.into_iter().map(|e| Refusal {
            line: None,
            row: e.index,
            reason: e.reason,
        }));
    }
    Ok(kept)
}

async fn post_one(door: &Door, body: bytes::Bytes) -> anyhow::Result<Receipt> {
    loop {
        let response = door.send("/v1/readings", ARROW, body.clone()).await?;
        match response.status() {
            StatusCode::OK => return response.json().await.context("the receipt is no JSON"),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                tokio::time::sleep(retry_after(&response)).await;
            }
            StatusCode::BAD_REQUEST => return partly(response).await,
            _ => return Err(refusal(response).await),
        }
    }
}

/// An answer with 400 is a receipt where good rows were kept, else a problem.
async fn partly(response: Response) -> anyhow::Result<Receipt> {
    let text = response.text().await.context("the receipt broke off")?;
    serde_json::from_str(&text).map_err(|_| {
        let problem: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        anyhow::anyhow!("the server refused: {}", problem["detail"].as_str().unwrap_or(&text))
    })
}

fn retry_after(response: &Response) -> Duration {
    let header = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    Duration::from_secs(header.unwrap_or(1)).min(PAUSE_MAX)
}

/// The rows as Arrow streams of bounded length.
fn bodies(rows: &Rows) -> anyhow::Result<Vec<bytes::Bytes>> {
    let batch = batch(rows).context("can't put the rows into columns")?;
    let starts = (0..batch.num_rows()).step_by(BATCH);
    starts.map(|start| encode(&batch.slice(start, BATCH.min(batch.num_rows() - start)))).collect()
}

fn encode(batch: &RecordBatch) -> anyhow::Result<bytes::Bytes> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema())?;
    writer.write(batch)?;
    Ok(writer.into_inner()?.into())
}

fn batch(rows: &Rows) -> Result<RecordBatch, arrow::error::ArrowError> {
    // Files are decoded without spellings: every series comes with its key.
    let numbers: UInt32Array = rows.series.iter().map(|series| series.number()).collect();
    let dictionary = |text: &dyn Fn(&SeriesKey) -> Option<String>| -> Result<ArrayRef, arrow::error::ArrowError> {
        let texts: StringArray = rows.keys.iter().map(text).collect();
        Ok(Arc::new(DictionaryArray::<UInt32Type>::try_new(numbers.clone(), Arc::new(texts))?))
    };
    RecordBatch::try_from_iter_with_nullable([
        ("metric", dictionary(&|key| Some(key.metric().to_owned()))?, false),
        ("device_id", dictionary(&|key| key.device_id().map(Into::into))?, true),
        ("tags", dictionary(&other_tags)?, true),
        ("timestamp", Arc::new(TimestampNanosecondArray::from(rows.times.clone())) as ArrayRef, false),
        ("value", Arc::new(Float64Array::from(rows.values.clone())) as ArrayRef, false),
    ])
}

/// The tags beside the device as a JSON object; `None` where there are none.
fn other_tags(key: &SeriesKey) -> Option<String> {
    let tags = key.tags().filter(|(name, _)| *name != DEVICE_TAG);
    let map: serde_json::Map<String, serde_json::Value> =
        tags.map(|(name, value)| (name.to_owned(), value.into())).collect();
    (!map.is_empty()).then(|| serde_json::Value::Object(map).to_string())
}

#[cfg(test)]
mod tests {
    use schemas::time::Precision;
    use speed_layer::SeriesRef;
    use speed_layer::decode::{Format, Options, decode};

    use super::*;

    #[test]
    fn a_server_reads_back_what_is_sent() {
        let keys = [
            SeriesKey::new("t", &[("device_id", "a"), ("line", "x\"y")]),
            SeriesKey::new("t", &[]),
            SeriesKey::new("u", &[("device_id", "b")]),
        ];
        let keys: Vec<SeriesKey> = keys.into_iter().map(|key| key.expect("valid")).collect();
        let count = BATCH + 5;
        let series = (0..3).map(SeriesRef::new).cycle().take(count).collect();
        let times: Vec<i64> = (0..).take(count).collect();
        let values: Vec<f64> = times.iter().map(|t| *t as f64 / 3.0).collect();
        let rows = Rows { keys, spelled: Vec::new(), series, times, values };
        let bodies = bodies(&rows).expect("encoded");
        assert_eq!(bodies.len(), 2);
        let mut row = 0;
        for body in bodies {
            let options = Options { precision: Precision::Millis, now: 0 };
            let decoded = decode(Format::ArrowStream, &body, &options).expect("readable");
            assert_eq!(decoded.rejected, 0, "{:?}", decoded.errors.first());
            for i in 0..decoded.series.len() {
                assert_eq!(
                    decoded.keys[decoded.series[i].number().expect("a key of its own") as usize],
                    rows.keys[rows.series[row].number().expect("a key of its own") as usize]
                );
                assert_eq!((decoded.times[i], decoded.values[i]), (rows.times[row], rows.values[row]));
                row += 1;
            }
        }
        assert_eq!(row, count);
    }
}
