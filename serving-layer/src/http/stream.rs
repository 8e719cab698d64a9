//! Long lists, written while they are sent.
//!
//! Owns cutting them into chunks, so that memory does not grow with the answer. Does not own the rows.

use std::convert::Infallible;

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use serde::Serialize;
use serde_json::{Map, Value};

/// A chunk is sent when it has this many bytes.
pub(super) const CHUNK_BYTES: usize = 64 << 10;

/// Answers a JSON object: `items` as an array called `name`, then the fields of `rest`.
pub(super) fn list<I>(name: &str, items: I, rest: &Map<String, Value>) -> Response
where
    I: Iterator<Item: Serialize> + Send + 'static,
{
    json(Chunks::new(name, items, rest))
}

/// Answers a JSON text that comes in pieces, written while they are sent.
pub(super) fn json(mut pieces: impl Iterator<Item: Into<Bytes>> + Send + 'static) -> Response {
    let first = pieces.next().map(Into::into).unwrap_or_default();
    let body = match pieces.next() {
        None => Body::from(first),
        Some(second) => {
            let start = futures::stream::iter([first, second.into()]);
            Body::from_stream(start.chain(in_turns(pieces)).map(Ok::<Bytes, Infallible>))
        }
    };
    let mut response = body.into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Pieces, before each of which others get their turn: a long answer holds nobody up, and what is written so far is sent.
fn in_turns(pieces: impl Iterator<Item: Into<Bytes>> + Send + 'static) -> impl Stream<Item = Bytes> + Send {
    futures::stream::unfold(pieces, |mut pieces| async move {
        tokio::task::yield_now().await;
        pieces.next().map(|piece| (piece.into(), pieces))
    })
}

struct Chunks<I> {
    items: I,
    buffer: Vec<u8>,
    tail: Option<Vec<u8>>,
    first: bool,
}

impl<I> Chunks<I> {
    fn new(name: &str, items: I, rest: &Map<String, Value>) -> Self {
        let mut tail = b"]".to_vec();
        for (name, value) in rest {
            tail.extend_from_slice(format!(",{}:{value}", Value::from(name.as_str())).as_bytes());
        }
        tail.push(b'}');
        Self { items, buffer: format!("{{{}:[", Value::from(name)).into_bytes(), tail: Some(tail), first: true }
    }
}

impl<I: Iterator<Item: Serialize>> Iterator for Chunks<I> {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let tail = self.tail.take()?;
        for item in self.items.by_ref() {
            if !std::mem::take(&mut self.first) {
                self.buffer.push(b',');
            }
            serde_json::to_writer(&mut self.buffer, &item).expect("rows are plain data with text keys");
            if self.buffer.len() >= CHUNK_BYTES {
                self.tail = Some(tail);
                return Some(std::mem::take(&mut self.buffer).into());
            }
        }
        self.buffer.extend_from_slice(&tail);
        Some(std::mem::take(&mut self.buffer).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn text(count: u64) -> String {
        let rest = Map::from_iter([("b".to_owned(), Value::from("x")), ("c".to_owned(), Value::Array(vec![]))]);
        let response = list("a", 0..count, &rest);
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("whole");
        String::from_utf8(bytes.to_vec()).expect("text")
    }

    #[tokio::test]
    async fn the_chunks_make_one_document() {
        assert_eq!(text(0).await, r#"{"a":[],"b":"x","c":[]}"#);
        assert_eq!(text(2).await, r#"{"a":[0,1],"b":"x","c":[]}"#);
        let long: Value = serde_json::from_str(&text(100_000).await).expect("json");
        assert_eq!(long["a"].as_array().map(Vec::len), Some(100_000));
        assert_eq!(long["b"], "x");
    }

    #[test]
    fn chunks_are_bounded() {
        let sizes: Vec<usize> = Chunks::new("a", 0..100_000, &Map::new()).map(|chunk| chunk.len()).collect();
        assert!(sizes.len() > 5 && sizes.iter().all(|size| *size < CHUNK_BYTES + 100));
    }
}
