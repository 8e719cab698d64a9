//! Bodies as they arrive.
//!
//! Owns the limits on what is read: bytes, time, and bytes of all requests together. Does **not** own decompression
//! (`speed_layer::decode::body`) nor what the bytes mean.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use futures::StreamExt as _;
use serde::de::DeserializeOwned;
use speed_layer::decode::body::{BodyError, Encoding, decompress};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::App;
use super::buffers::{Buffer, Buffers};
use super::error::{Problem, Result};
use super::params::unknown;

/// A body must have arrived after this long.
const DEADLINE: Duration = Duration::from_secs(30);
/// How much and how long is read of a body that was refused: a sender that still writes would not see the answer.
const DRAIN_BYTES: usize = 256 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(5);
/// Memory that is set aside for a body which was only announced.
const RESERVE_BYTES: usize = 1 << 20;
/// Most times that a body may be larger than what was sent; gzip can reach 1032.
const RATIO_MAX: usize = 1000;
/// Longest JSON document that asks for something.
const REQUEST_BYTES: usize = 256 << 10;

/// How large a body may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Bytes as sent, where they are compressed.
    pub(super) compressed: usize,
    /// Bytes of what was meant.
    pub(super) plain: usize,
    /// How long it may take to arrive.
    pub(super) deadline: Duration,
}

/// Where bodies are kept until they are decoded.
#[derive(Debug)]
pub(super) struct Room {
    /// One permit for each byte.
    bytes: Arc<Semaphore>,
    buffers: Arc<Buffers>,
}

impl Room {
    /// Room for this many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        Self { bytes: Arc::new(Semaphore::new(bytes)), buffers: Arc::default() }
    }

    /// How many bytes there is room for.
    pub(super) fn left(&self) -> usize {
        self.bytes.available_permits()
    }
}

/// A body as it was sent.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) bytes: Buffer,
    pub(super) encoding: Encoding,
    limits: Limits,
    /// Its share of the bytes that all bodies may take together.
    _share: Option<OwnedSemaphorePermit>,
}

impl Received {
    /// The body without its coding.
    pub(super) fn plain(&self) -> Result<std::borrow::Cow<'_, [u8]>> {
        Ok(decompress(self.encoding, &self.bytes, self.limits.plain, RATIO_MAX)?)
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge { .. } => Self::new(StatusCode::PAYLOAD_TOO_LARGE, error.to_string()),
            BodyError::Corrupt(_) => Self::bad(error.to_string()),
            BodyError::Unsupported(_) => Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error.to_string())
                .with(ACCEPT_ENCODING, HeaderValue::from_static("gzip, zstd")),
        }
    }
}

/// Reads a body within the limits for readings.
pub(super) async fn receive(app: &App, headers: &HeaderMap, body: Body) -> Result<Received> {
    let settings = &app.serving.settings;
    let limits = Limits { compressed: settings.body_bytes, plain: settings.decompressed_bytes, deadline: DEADLINE };
    receive_within(&app.bodies, headers, body, limits).await
}

async fn receive_within(room: &Room, headers: &HeaderMap, body: Body, limits: Limits) -> Result<Received> {
    let mut stream = body.into_data_stream();
    let (encoding, expected, limit) = match start(headers, limits) {
        Ok(start) => start,
        // Who asked whether to send at all has sent nothing yet.
        Err(problem) if headers.contains_key(EXPECT) => return Err(problem),
        Err(problem) => return Err(drained(&mut stream, problem).await),
    };
    match tokio::time::timeout(limits.deadline, collect(room, &mut stream, (expected, limit))).await {
        Ok(Ok((bytes, share))) => Ok(Received { bytes, encoding, limits, _share: share }),
        Ok(Err(problem)) => Err(drained(&mut stream, problem).await),
        Err(_) => {
            let detail = format!("the body did not arrive within {} s", limits.deadline.as_secs());
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail))
        }
    }
}

/// The coding of a body, how many bytes are announced, and how many may follow.
fn start(headers: &HeaderMap, limits: Limits) -> Result<(Encoding, usize, usize)> {
    let encoding = encoding_of(headers)?;
    let limit = if encoding == Encoding::Identity { limits.plain } else { limits.compressed };
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    match length.unwrap_or(0) {
        length if length > limit => Err(too_large(limit)),
        length => Ok((encoding, length, limit)),
    }
}

fn encoding_of(headers: &HeaderMap) -> Result<Encoding> {
    let mut names = Vec::new();
    for value in headers.get_all(CONTENT_ENCODING) {
        let text = value.to_str().map_err(|_| BodyError::Unsupported("content encoding is not text".to_owned()))?;
        names.push(text);
    }
    Ok(Encoding::parse(&names.join(","))?)
}

async fn collect(
    room: &Room,
    stream: &mut BodyDataStream,
    (expected, limit): (usize, usize),
) -> Result<(Buffer, Option<OwnedSemaphorePermit>)> {
    let mut bytes = room.buffers.take(expected.min(RESERVE_BYTES));
    let mut share: Option<OwnedSemaphorePermit> = None;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| Problem::bad(format!("the body could not be read: {error}")))?;
        if bytes.len() + chunk.len() > limit {
            return Err(too_large(limit));
        }
        let size = u32::try_from(chunk.len()).map_err(|_| too_large(limit))?;
        let more = Arc::clone(&room.bytes).try_acquire_many_owned(size);
        let more = more.map_err(|_| Problem::overloaded("too many bodies are being read", 1))?;
        match &mut share {
            Some(share) => share.merge(more),
            None => share = Some(more),
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok((bytes, share))
}

/// The problem, after what is left of the body was read and forgotten, within bounds.
async fn drained(stream: &mut BodyDataStream, problem: Problem) -> Problem {
    let drain = async {
        let mut left = DRAIN_BYTES;
        while let Some(Ok(chunk)) = stream.next().await {
            match left.checked_sub(chunk.len()) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // Running out of time only means that a sender who still writes may miss the answer.
    let _ = tokio::time::timeout(DRAIN_TIME, drain).await;
    problem
}

fn too_large(limit: usize) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("body is larger than {limit} bytes"))
}

/// The media type of a body, in lower case without parameters; `None`: not said, or only that somebody's tool sent it.
pub(super) fn media_type(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(CONTENT_TYPE)?.to_str().unwrap_or("?");
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    // What curl says of any --data.
    (!essence.is_empty() && essence != "application/x-www-form-urlencoded").then_some(essence)
}

/// Reads a JSON object that asks for something; `known` are the fields of `T`.
pub(super) async fn read_json<T: DeserializeOwned>(
    app: &App,
    headers: &HeaderMap,
    body: Body,
    known: &[&str],
) -> Result<T> {
    let limits = Limits { compressed: REQUEST_BYTES, plain: REQUEST_BYTES, deadline: DEADLINE };
    let received = receive_within(&app.bodies, headers, body, limits).await?;
    match media_type(headers).as_deref() {
        None | Some("application/json" | "text/json") => {}
        Some(other) => {
            let detail =
                format!("content type {:?} is not taken here: send application/json", schemas::time::clip(other));
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
        }
    }
    parse_json(&received.plain()?, known)
}

fn parse_json<T: DeserializeOwned>(text: &[u8], known: &[&str]) -> Result<T> {
    let invalid = |error: serde_json::Error| Problem::bad(format!("body is not as expected: {error}"));
    let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(text).map_err(invalid)?;
    if let Some(name) = fields.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(Problem::bad(unknown("field", name, known)));
    }
    serde_json::from_slice(text).map_err(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { compressed: 10, plain: 100, deadline: Duration::from_millis(20) };

    fn headers(pairs: &[(axum::http::HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).expect("valid"))).collect()
    }

    async fn status(pairs: &[(axum::http::HeaderName, &str)], body: impl Into<Body>, room: usize) -> u16 {
        let room = Room::new(room);
        match receive_within(&room, &headers(pairs), body.into(), LIMITS).await {
            Ok(received) => received.plain().map_or_else(|problem| problem.status().as_u16(), |_| 200),
            Err(problem) => problem.status().as_u16(),
        }
    }

    #[tokio::test]
    async fn limits_hold_before_and_while_reading() {
        assert_eq!(status(&[], vec![b'x'; 100], 1000).await, 200);
        assert_eq!(status(&[], vec![b'x'; 101], 1000).await, 413);
        assert_eq!(status(&[(CONTENT_LENGTH, "101")], "short", 1000).await, 413);
        assert_eq!(status(&[(CONTENT_ENCODING, "gzip")], vec![b'x'; 11], 1000).await, 413, "compressed limit");
        assert_eq!(status(&[(CONTENT_ENCODING, "gzip")], "no gzip", 1000).await, 400);
        assert_eq!(status(&[(CONTENT_ENCODING, "br")], "x", 1000).await, 415);
        assert_eq!(status(&[], vec![b'x'; 100], 99).await, 503, "no room");
    }

    #[tokio::test]
    async fn a_stalled_body_times_out() {
        let stalled = Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>());
        assert_eq!(status(&[], stalled, 1000).await, 408);
    }

    #[test]
    fn media_types_are_compared_without_parameters() {
        let of = |text: &str| media_type(&headers(&[(CONTENT_TYPE, text)]));
        assert_eq!(of("Application/JSON; charset=utf-8").as_deref(), Some("application/json"));
        assert_eq!(of("application/x-www-form-urlencoded"), None);
        assert_eq!(media_type(&HeaderMap::new()), None);
    }

    #[test]
    fn unknown_fields_are_named() {
        #[derive(Debug, serde::Deserialize)]
        struct Wanted {
            #[allow(dead_code, reason = "only its name matters")]
            kind: String,
        }
        let refused =
            |text: &str| parse_json::<Wanted>(text.as_bytes(), &["kind", "from"]).expect_err(text).detail().to_owned();
        assert!(refused("{\"kid\":1}").contains("unknown field \"kid\": did you mean \"kind\"?"));
        assert!(refused("{}").contains("missing field `kind`"));
        assert!(refused("{\"kind\":1}").contains("expected a string"));
        assert!(refused("{\"kind\":\"a\",\"kind\":\"b\"}").contains("duplicate field"));
        assert!(refused("[1]").contains("expected a map"));
    }
}
