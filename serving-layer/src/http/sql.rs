//! `POST /v1/sql`.
//!
//! Owns the request and the sending of rows while they are made. Does not own SQL (`crate::sql`) nor the formats
//! (encode).
//!
//! The first rows are collected before the status is sent, so that most errors are still told as such; an error after
//! that breaks the body off, which no client can take for its end. A client that goes drops the statement.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures::StreamExt as _;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use utoipa::ToSchema;

use super::App;
use super::body::read_json;
use super::encode::{Encode, Format};
use super::error::{Problem, ProblemBody, Result};
use crate::sql::SqlStream;

/// Bytes collected before the status is sent.
const HEAD_BYTES: usize = 256 << 10;
/// Chunks that may wait for the client.
const CHUNKS: usize = 4;
/// A client may be this late with taking its answer ...
const PATIENCE: Duration = Duration::from_secs(20);
/// ... where it takes so many bytes a second: a slow one must not hold the place of a statement, of which there are few.
const LEAST_RATE: f64 = 65_536.0;

/// A statement and the form of its answer.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct SqlBody {
    /// One statement that only reads.
    sql: String,
    /// json (default), ndjson, csv, arrow or parquet.
    format: Option<String>,
}

/// Answers an SQL statement.
///
/// Tables: readings, realtime_metrics, batch_metrics, unified_metrics, late_readings, quarantine, reconciliation, jobs,
/// generations, schedules, calibration.
#[utoipa::path(
    post,
    path = "/v1/sql",
    tag = "answers",
    request_body(content = SqlBody, content_type = "application/json"),
    responses(
        (status = 200, description = "The rows", content(
            (Vec<serde_json::Value> = "application/json"),
            (String = "application/x-ndjson"),
            (String = "text/csv"),
            (Vec<u8> = "application/vnd.apache.arrow.stream"),
            (Vec<u8> = "application/vnd.apache.parquet"),
        )),
        (status = "default", description = "No answer", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn sql(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Result<Response> {
    let request: SqlBody = read_json(&app, &headers, body, &["sql", "format"]).await?;
    let format: Format = request.format.as_deref().unwrap_or("json").parse()?;
    let place = app.admit_statement().await?;
    let statement = app.within_timeout(app.serving.sql(&request.sql, place)).await?;
    let mut rows = Rows { encoder: format.encoder(&statement.schema)?, statement, done: false };
    let head = app.within_timeout(rows.take(HEAD_BYTES)).await?;
    let body = if rows.done { Body::from(head) } else { send(head, rows, PATIENCE) };
    let mut response = body.into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
    Ok(response)
}

/// A running statement and the form of its rows.
struct Rows {
    statement: SqlStream,
    encoder: Box<dyn Encode>,
    done: bool,
}

impl Rows {
    /// The next bytes: `least` of them unless the answer ends before.
    async fn take(&mut self, least: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while bytes.len() < least && !self.done {
            match self.statement.batches.next().await {
                Some(batch) => self.encoder.batch(&batch?, &mut bytes)?,
                None => {
                    self.encoder.finish(&mut bytes)?;
                    self.done = true;
                }
            }
        }
        Ok(bytes)
    }
}

/// Sends what is left while it is made.
fn send(head: Vec<u8>, rows: Rows, patience: Duration) -> Body {
    let (chunks, body) = mpsc::channel::<io::Result<Bytes>>(CHUNKS);
    let whole = Arc::new(AtomicBool::new(false));
    let sent = Arc::clone(&whole);
    tokio::spawn(async move {
        match pump(head, rows, &chunks, patience).await {
            Ok(()) => sent.store(true, Ordering::Release),
            Err(problem) => tracing::warn!(reason = problem.detail(), "an answer to SQL was broken off"),
        }
    });
    // The channel may be full when the answer is broken off: that is told behind what it holds.
    let end = futures::stream::once(async move {
        if whole.load(Ordering::Acquire) {
            Ok(Bytes::new())
        } else {
            Err(io::Error::other("the answer was broken off"))
        }
    });
    Body::from_stream(ReceiverStream::new(body).chain(end))
}

async fn pump(
    head: Vec<u8>,
    mut rows: Rows,
    chunks: &mpsc::Sender<io::Result<Bytes>>,
    most_patience: Duration,
) -> Result<()> {
    let mut bytes = head;
    let mut patience = most_patience;
    loop {
        let (size, asked) = (bytes.len(), Instant::now());
        match timeout(patience, chunks.send(Ok(bytes.into()))).await {
            Err(_) => return Err(Problem::bad("the client took too long to take the answer")),
            Ok(Err(_)) => return Ok(()),
            Ok(Ok(())) if rows.done => return Ok(()),
            Ok(Ok(())) => {}
        }
        let earned = Duration::from_secs_f64(size as f64 / LEAST_RATE);
        patience = (patience.saturating_sub(asked.elapsed()) + earned).min(most_patience);
        bytes = tokio::select! {
            biased;
            () = chunks.closed() => return Ok(()),
            bytes = rows.take(1) => bytes?,
        };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::error::Error;
    use arrow::array::{Int64Array, RecordBatch};
    use arrow::datatypes::{DataType, Field, Schema};

    fn rows(batches: Vec<Result<usize, Error>>) -> Rows {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
        let of = Arc::clone(&schema);
        let batch = move |n: usize| {
            let column = Int64Array::from_iter_values(0..n as i64);
            RecordBatch::try_new(Arc::clone(&of), vec![Arc::new(column)]).expect("fits")
        };
        let batches = batches.into_iter().map(move |b| b.map(&batch)).collect::<Vec<_>>();
        let encoder = Format::Ndjson.encoder(&schema).expect("any schema");
        let statement = SqlStream { schema, batches: futures::stream::iter(batches).boxed() };
        Rows { statement, encoder, done: false }
    }

    #[tokio::test]
    async fn all_rows_arrive() {
        let mut rows = rows((0..100).map(|_| Ok(1000)).collect());
        let head = rows.take(1).await.expect("good");
        let body = send(head, rows, PATIENCE);
        let bytes = axum::body::to_bytes(body, usize::MAX).await.expect("whole");
        assert_eq!(bytes.iter().filter(|b| **b == b'\n').count(), 100_000);
    }

    #[tokio::test]
    async fn an_error_breaks_the_body_off() {
        let mut rows = rows(vec![Ok(1), Err(Error::Timeout(1))]);
        let head = rows.take(1).await.expect("good");
        let body = send(head, rows, PATIENCE);
        assert!(axum::body::to_bytes(body, usize::MAX).await.is_err());
    }

    #[tokio::test]
    async fn a_client_that_goes_ends_the_statement() {
        let (dropped, was_dropped) = tokio::sync::oneshot::channel::<()>();
        let mut rows = rows(vec![Ok(1)]);
        let head = rows.take(1).await.expect("good");
        rows.statement.batches = futures::stream::once(async move {
            let _dropped = dropped;
            std::future::pending().await
        })
        .boxed();
        drop(send(head, rows, PATIENCE));
        assert!(was_dropped.await.is_err(), "the statement was dropped, not answered");
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_broken_off() {
        let (dropped, was_dropped) = tokio::sync::oneshot::channel::<()>();
        let mut rows = rows((0..100).map(|_| Ok(1_000)).collect());
        let head = rows.take(1).await.expect("good");
        let kept = move |batch| {
            let _ends_with_the_statement = &dropped;
            batch
        };
        rows.statement.batches = rows.statement.batches.map(kept).boxed();
        let body = send(head, rows, Duration::from_millis(20));
        assert!(was_dropped.await.is_err(), "the place is free");
        let mut chunks = body.into_data_stream();
        for _ in 0..CHUNKS {
            assert!(chunks.next().await.is_some_and(|chunk| chunk.is_ok()), "what was made before");
        }
        assert!(chunks.next().await.is_some_and(|chunk| chunk.is_err()), "nobody takes it for its end");
    }
}
