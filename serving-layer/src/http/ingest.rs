//! Readings from a body into the speed layer.
//!
//! Owns where decoding runs, what becomes of a body that is bad in part, and counting what was not taken. Does not own
//! wire formats (`speed_layer::decode`) or the form of answers (readings, influx).

use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use schemas::LogPosition;
use schemas::limits::Limits;
use schemas::time::Precision;
use speed_layer::decode::body::Encoding;
use speed_layer::decode::{Decoded, Format, Options, RowError, decode_within};
use speed_layer::{Durability, Rows, SpeedLayer};

use super::App;
use super::access::Within;
use super::body::Received;
use super::error::{Problem, Result};

/// Bodies up to this size are decoded where they arrive: a task of their own would cost more.
const INLINE_BYTES: usize = 64 << 10;

/// What becomes of good rows beside bad ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Policy {
    /// They are kept.
    Partial,
    /// They are refused, too.
    AllOrNothing,
}

/// What became of a body.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Readings kept.
    pub(super) accepted: u64,
    /// Rows refused because they are bad.
    pub(super) rejected: u64,
    /// Log position of the last reading kept, or the current one.
    pub(super) position: LogPosition,
    /// Why rows were refused, the first of them.
    pub(super) errors: Vec<RowError>,
    /// String fields that are no readings.
    pub(super) skipped: u64,
}

/// Decodes a body; where no format was said, one that can be recognized. What the sender may not write is refused row by
/// row.
pub(super) async fn decoded(
    app: &App,
    within: &Within,
    body: Received,
    format: Option<Format>,
    precision: Precision,
) -> Result<Decoded> {
    let options = Options { precision, now: app.serving.clock.now().0 };
    let result = if body.encoding == Encoding::Identity && body.bytes.len() <= INLINE_BYTES {
        decode_now(&app.serving.speed, &body, format, &options, within.limits().map(Arc::as_ref))
    } else {
        let permit = app.admit_decoder().await?;
        let (speed, limits) = (app.serving.speed.clone(), within.limits().cloned());
        App::apart(move || {
            let _permit = permit;
            decode_now(&speed, &body, format, &options, limits.as_deref())
        })
        .await?
    };
    result.inspect_err(|_| app.refuse("unreadable_body", 1))
}

fn decode_now(
    speed: &SpeedLayer,
    body: &Received,
    format: Option<Format>,
    options: &Options,
    limits: Option<&Limits>,
) -> Result<Decoded> {
    let bytes = body.plain()?;
    let format = match format {
        Some(format) => format,
        None => recognized(&bytes)?,
    };
    Ok(match limits {
        Some(limits) => decode_within(format, &bytes, options, limits)?,
        None => speed.decode(format, &bytes, options)?,
    })
}

/// JSON is recognized by its first character.
fn recognized(bytes: &[u8]) -> Result<Format> {
    match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'[' | b'{') => Ok(Format::Json),
        None => Err(Problem::bad("body is empty")),
        Some(_) => {
            Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content type is missing, and the body is no JSON"))
        }
    }
}

/// Makes decoded readings durable and visible.
pub(super) async fn keep(app: &App, mut decoded: Decoded, policy: Policy) -> Result<Outcome> {
    let (rejected, skipped) = (decoded.rejected, decoded.skipped);
    let errors = std::mem::take(&mut decoded.errors);
    app.refuse("invalid", rejected - decoded.forbidden);
    app.refuse("forbidden", decoded.forbidden);
    app.refuse("string_field", skipped);
    if rejected > 0 && policy == Policy::AllOrNothing {
        app.refuse("all_or_nothing", decoded.series.len() as u64);
        decoded = Decoded::default();
    }
    let readings = decoded.series.len() as u64;
    let Decoded { keys, spelled, series, times, values, .. } = decoded;
    let mut told = times.clone();
    let rows = Rows { keys, spelled, series, times, values };
    let appended = app.serving.speed.append(rows).await.inspect_err(|error| {
        app.refuse(reason(error), readings);
        if !matches!(error, speed_layer::Error::Invalid(_)) {
            app.serving.calibration.holes.shed(&mut told, app.serving.clock.now());
        }
    })?;
    Ok(Outcome { accepted: appended.readings, rejected, position: appended.position, errors, skipped })
}

fn reason(error: &speed_layer::Error) -> &'static str {
    match error {
        speed_layer::Error::Overloaded { .. } => "overloaded",
        speed_layer::Error::Full => "disk_full",
        speed_layer::Error::Invalid(_) => "too_many_series",
        _ => "unavailable",
    }
}

/// Adds what a sender should know beside the body of the answer.
pub(super) fn mark(app: &App, skipped: u64, response: &mut Response) {
    if skipped > 0 {
        response.headers_mut().insert("x-weir-skipped", HeaderValue::from(skipped));
    }
    if let Durability::Interval(_) = app.serving.speed.settings().durability {
        response.headers_mut().insert("x-weir-durability", HeaderValue::from_static("interval"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_is_recognized() {
        for (body, status) in [("[]", 0), (" \n{", 0), ("", 400), ("  ", 400), ("a,b", 415), ("m v=1", 415)] {
            let got = recognized(body.as_bytes()).map_or_else(|problem| problem.status().as_u16(), |_| 0);
            assert_eq!(got, status, "{body:?}");
        }
    }
}
