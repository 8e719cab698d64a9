//! Decoding: from the bytes that a sender posted to readings in columns, and reasons for every row refused.
//!
//! Owns the wire formats (JSON, NDJSON, CSV, Arrow streams, InfluxDB line protocol), content codings, and the words in
//! which a sender is told what is wrong. Does **not** own: naming rules (`schemas::series`), what happens to a reading
//! afterwards, HTTP status codes, or the clock (arrival time is an argument).
//!
//! Invariants: decoding never panics and takes time and memory linear in the body; one bad row hurts only itself
//! unless the format cannot tell rows apart any more; the columns of [`Decoded`] are of one length.
//!
//! ```text
//! bytes -> body (gzip, zstd) -> json | csv | arrow_stream | line_protocol -> rows -> Decoded
//!                                    \ fields, number: names and numbers shared by all /
//! ```

mod arrow_check;
mod arrow_columns;
mod arrow_stream;
pub mod body;
mod csv;
mod fields;
mod json;
mod json_row;
mod line_protocol;
mod line_scan;
mod lines;
mod number;
mod rows;

#[cfg(test)]
mod tests;

use schemas::SeriesKey;
use schemas::limits::Limits;
use schemas::time::Precision;

use self::rows::Rows;
use crate::spellings::{SeriesRef, Spelled, Spellings};

/// How many refused rows are described; the rest are only counted.
pub const MAX_ERRORS: usize = 100;

/// What a body decoded to: good rows in columns, bad rows with their reasons.
///
/// `series`, `times` and `values` are of one length; row `i` is the value of `series[i]` at `times[i]`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Decoded {
    /// The distinct series of this body that were not known by their spelling, in the order in which they were first
    /// named; every one has a row.
    pub keys: Vec<SeriesKey>,
    /// Spellings of these keys.
    pub spelled: Vec<Spelled>,
    /// The series of each row: known, or one of `keys`.
    pub series: Vec<SeriesRef>,
    /// The event time of each row, in nanoseconds.
    pub times: Vec<i64>,
    /// The value of each row; finite.
    pub values: Vec<f64>,
    /// How many rows were refused; of line protocol, how many lines.
    pub rejected: u64,
    /// Why, for the first [`MAX_ERRORS`] of them.
    pub errors: Vec<RowError>,
    /// Of the refused, how many because the sender may not write their series.
    pub forbidden: u64,
    /// String fields of line protocol: counted and reported, not an error.
    pub skipped: u64,
}

/// Why one row was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowError {
    /// The row's number from 0: array element, data line, CSV row or Arrow row.
    pub index: u64,
    /// The line of the body from 1 where the row starts, if the format has lines.
    pub line: Option<u64>,
    /// What is wrong, in words for the sender.
    pub reason: String,
    /// The start of the row as it was sent, clipped, if it is text.
    pub text: Option<String>,
}

/// The wire format of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// One JSON object or an array of them.
    Json,
    /// One JSON object a line.
    Ndjson,
    /// CSV (RFC 4180) with a header row.
    Csv,
    /// An Arrow IPC stream.
    ArrowStream,
    /// InfluxDB line protocol.
    LineProtocol,
}

/// What the sender said beside the body, and when it arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// The unit of bare numeric timestamps.
    pub precision: Precision,
    /// The arrival time in nanoseconds: the event time of rows that have none.
    pub now: i64,
}

/// Decodes a body.
///
/// # Errors
/// The rows cannot be told apart at all: the body is empty where the format needs something, JSON syntax is broken,
/// the CSV header is unusable, or the bytes are no Arrow stream. Everything smaller is a [`RowError`].
pub fn decode(format: Format, body: &[u8], options: &Options) -> Result<Decoded, schemas::Error> {
    decode_known(format, body, options, &Spellings::default())
}

/// Decodes a body of somebody who may write the series within these limits only. None is looked up by its spelling, so
/// that each is spelled out and asked about.
///
/// # Errors
/// As [`decode`]; a row of another series is a [`RowError`].
pub fn decode_within(
    format: Format,
    body: &[u8],
    options: &Options,
    limits: &Limits,
) -> Result<Decoded, schemas::Error> {
    let spellings = Spellings::default();
    decode_rows(format, body, options, Rows::within(&spellings, limits), &spellings)
}

/// Decodes a body; a series that is known by its spelling needs no key.
pub(crate) fn decode_known(
    format: Format,
    body: &[u8],
    options: &Options,
    spellings: &Spellings,
) -> Result<Decoded, schemas::Error> {
    decode_rows(format, body, options, Rows::new(spellings), spellings)
}

fn decode_rows(
    format: Format,
    body: &[u8],
    options: &Options,
    rows: Rows<'_>,
    spellings: &Spellings,
) -> Result<Decoded, schemas::Error> {
    if body.is_empty() {
        return Err(schemas::Error::invalid("body is empty"));
    }
    match format {
        Format::Json => json::decode_document(body, options, rows),
        Format::Ndjson => Ok(json::decode_lines(body, options, rows)),
        Format::Csv => csv::decode(body, options, rows),
        Format::ArrowStream => arrow_stream::decode(body, options, rows),
        Format::LineProtocol => Ok(line_protocol::decode(body, options, rows, spellings)),
    }
}
