//! CSV bodies (RFC 4180): a header row names the columns, every further row is a reading.
//!
//! Columns that no field is named after are tags. A row with the wrong number of cells or with bytes that are no
//! UTF-8 is one bad row.

use std::borrow::Cow;

use ::csv::{ByteRecord, ReaderBuilder};
use schemas::Error;

use super::fields::Columns;
use super::lines::{LineCounter, start_of};
use super::rows::{Rows, Tag};
use super::{Decoded, Options, RowError, json_row, number};

/// Decodes a CSV body.
pub(super) fn decode(body: &[u8], options: &Options, mut rows: Rows<'_>) -> Result<Decoded, Error> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(body);
    let mut record = ByteRecord::new();
    let unreadable = |e: ::csv::Error| Error::invalid(format!("body is not CSV: {e}"));
    if !reader.read_byte_record(&mut record).map_err(unreadable)? {
        return Err(Error::invalid("body has no CSV header row"));
    }
    let header = Header::read(&record).map_err(|reason| Error::invalid(format!("CSV header row: {reason}")))?;
    let mut lines = LineCounter::default();
    let mut index = 0;
    while reader.read_byte_record(&mut record).map_err(unreadable)? {
        if let Err(reason) = header.add(&mut rows, &record, options) {
            rows.reject(|| {
                let place = start_of_record(body, &record);
                let line = Some(lines.line_of(body, place));
                RowError { index, line, reason, text: Some(start_of(first_line(&body[place..]))) }
            });
        }
        index += 1;
    }
    Ok(rows.finish())
}

/// The first byte of the record: its position still counts the line ends and blank lines before it.
fn start_of_record(body: &[u8], record: &ByteRecord) -> usize {
    let place = record.position().map_or(0, |p| usize::try_from(p.byte()).unwrap_or(usize::MAX)).min(body.len());
    let blank = body[place..].iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    place + blank
}

fn first_line(rest: &[u8]) -> &[u8] {
    &rest[..memchr::memchr(b'\n', rest).unwrap_or(rest.len())]
}

struct Header {
    columns: Columns,
    names: Vec<String>,
}

impl Header {
    fn read(record: &ByteRecord) -> Result<Self, String> {
        let names: Vec<String> = record
            .iter()
            .map(|name| std::str::from_utf8(name).map(|name| name.trim().to_owned()))
            .collect::<Result<_, _>>()
            .map_err(|_| "it is not UTF-8".to_owned())?;
        Ok(Self { columns: Columns::find(names.iter().map(String::as_str))?, names })
    }

    fn add(&self, rows: &mut Rows<'_>, record: &ByteRecord, options: &Options) -> Result<(), String> {
        if record.len() != self.names.len() {
            return Err(format!("row has {} cells, but the header row has {}", record.len(), self.names.len()));
        }
        let cell = |i: usize| {
            std::str::from_utf8(&record[i])
                .map_err(|_| format!("cell {:?} is not UTF-8", schemas::time::clip(&self.names[i])))
        };
        let optional = |i: Option<usize>| i.map_or(Ok(""), cell);
        let metric = cell(self.columns.metric)?;
        if metric.is_empty() {
            return Err("metric is missing".to_owned());
        }
        let value = value(cell(self.columns.value)?.trim())?;
        let time = number::instant(optional(self.columns.timestamp)?, options)?;
        let mut tags = tags(optional(self.columns.tags)?.trim())?;
        for &i in &self.columns.tag_columns {
            let value = cell(i)?;
            if !value.is_empty() {
                tags.push((Cow::Borrowed(self.names[i].as_str()), Cow::Borrowed(value)));
            }
        }
        let series = rows.series(metric, optional(self.columns.device)?, &tags)?;
        rows.push(series, time, value);
        Ok(())
    }
}

fn tags(cell: &str) -> Result<Vec<Tag<'_>>, String> {
    if cell.is_empty() { Ok(Vec::new()) } else { json_row::tags(cell) }
}

fn value(cell: &str) -> Result<f64, String> {
    match cell {
        "" => Err("value is missing".to_owned()),
        _ if cell.eq_ignore_ascii_case("true") => Ok(1.0),
        _ if cell.eq_ignore_ascii_case("false") => Ok(0.0),
        _ => number::value(cell),
    }
}
