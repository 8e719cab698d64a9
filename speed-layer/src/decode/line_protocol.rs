//! InfluxDB line protocol: lines of a measurement, tags, fields and a timestamp; a reading for every number.
//!
//! Owns how a line becomes series and readings: the metric is the measurement if the field is named `value`, else
//! `measurement_field`; strings are skipped and counted; a line is taken whole or refused whole. The grammar is in
//! `line_scan`.
//!
//! Series known by their spelling are found by the raw bytes of prefix (measurement and tags) and field name. Others
//! are parsed once per distinct spelling of a body, and looked up by (prefix, raw field name) afterwards: the usual
//! line allocates nothing.

use std::borrow::Cow;

use super::line_scan::{IN_KEY, IN_MEASUREMENT, Scanner, Value, split_unescaped, unescape};
use super::lines::{LineCounter, start_of};
use super::rows::{Map, Rows, Tag};
use super::{Decoded, Options, RowError};
use crate::spellings::{Known, SeriesRef, Spellings};

use schemas::SeriesId;
use schemas::time::clip;

/// Lines that are read under one lock on the spellings: some hundred microseconds.
const LINES_PER_LOOK: usize = 2048;

/// Decodes lines.
pub(super) fn decode(body: &[u8], options: &Options, rows: Rows<'_>, spellings: &Spellings) -> Decoded {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let mut scanner = Scanner::new(body);
    let mut lines = Lines::new(rows);
    let mut counter = LineCounter::default();
    let mut index = 0;
    let mut known = spellings.known();
    while let Some(start) = scanner.next_line() {
        if index % LINES_PER_LOOK as u64 == LINES_PER_LOOK as u64 - 1 {
            drop(known);
            known = spellings.known();
        }
        let outcome = match lines.scan(&mut scanner, options, &mut known) {
            Ok(line) => lines.add(line),
            Err(reason) => {
                scanner.leave_line();
                Err(reason)
            }
        };
        if let Err(reason) = outcome {
            lines.rows.reject(|| RowError {
                index,
                line: Some(counter.line_of(body, start)),
                reason,
                text: Some(start_of(scanner.line_from(start))),
            });
        }
        index += 1;
    }
    lines.rows.finish()
}

/// A line whose grammar is right; its numbers wait in [`Lines::numbers`].
struct Line<'a> {
    prefix: &'a [u8],
    texts: u64,
    time: i64,
}

/// A measurement and its tags, unescaped.
struct Prefix<'a> {
    measurement: Cow<'a, str>,
    tags: Vec<Tag<'a>>,
}

struct Lines<'a, 'k> {
    rows: Rows<'k>,
    prefixes: Vec<Prefix<'a>>,
    prefix_numbers: Map<&'a [u8], u32>,
    series: Map<(u32, &'a [u8]), u32>,
    /// The numeric fields of the line being read, and their series where it is known.
    numbers: Vec<(&'a [u8], f64, Option<SeriesId>)>,
}

impl<'a, 'k> Lines<'a, 'k> {
    fn new(rows: Rows<'k>) -> Self {
        let (prefixes, numbers) = (Vec::new(), Vec::new());
        Self { rows, prefixes, prefix_numbers: Map::default(), series: Map::default(), numbers }
    }

    fn scan(
        &mut self,
        scanner: &mut Scanner<'a>,
        options: &Options,
        known: &mut Known<'_>,
    ) -> Result<Line<'a>, String> {
        self.numbers.clear();
        let prefix = match known.expected().and_then(|expected| scanner.expected_prefix(expected)) {
            Some(prefix) => prefix,
            None => scanner.prefix()?,
        };
        let mut fields = known.fields(prefix);
        let mut texts = 0;
        loop {
            let name = match fields.expected().and_then(|expected| scanner.expected_field_name(expected)) {
                Some(name) => name,
                None => scanner.field_name()?,
            };
            match scanner.value(name)? {
                Value::Number(value) => self.numbers.push((name, value, fields.series(name))),
                Value::Text => texts += 1,
            }
            if !scanner.another_field() {
                break;
            }
        }
        let time = scanner.timestamp(options.precision)?.unwrap_or(options.now);
        Ok(Line { prefix, texts, time })
    }

    fn add(&mut self, line: Line<'a>) -> Result<(), String> {
        let before = self.rows.len();
        if self.numbers.is_empty() {
            self.prefix(line.prefix)?;
        }
        for i in 0..self.numbers.len() {
            let (field, value, known) = self.numbers[i];
            let series = match known {
                Some(id) => Ok(SeriesRef::known(id)),
                None => self.series(line.prefix, field).map(SeriesRef::new),
            };
            match series {
                Ok(series) => self.rows.push(series, line.time, value),
                Err(reason) => {
                    self.rows.truncate(before);
                    return Err(reason);
                }
            }
        }
        self.rows.skip(line.texts);
        Ok(())
    }

    fn prefix(&mut self, raw: &'a [u8]) -> Result<u32, String> {
        if let Some(&number) = self.prefix_numbers.get(raw) {
            return Ok(number);
        }
        let prefix = Prefix::parse(raw)?;
        let number = u32::try_from(self.prefixes.len()).map_err(|_| "the body has too many series".to_owned())?;
        self.prefixes.push(prefix);
        self.prefix_numbers.insert(raw, number);
        Ok(number)
    }

    fn series(&mut self, raw: &'a [u8], field: &'a [u8]) -> Result<u32, String> {
        let prefix = self.prefix(raw)?;
        if let Some(&series) = self.series.get(&(prefix, field)) {
            return Ok(series);
        }
        let name = std::str::from_utf8(field).map_err(|_| format!("field {:?} is not UTF-8", start_of(field)))?;
        let Prefix { measurement, tags } = &self.prefixes[prefix as usize];
        let metric = match &*unescape(name, IN_KEY) {
            "value" => Cow::Borrowed(&**measurement),
            field => Cow::Owned(format!("{measurement}_{field}")),
        };
        let tags: Vec<(&str, &str)> = tags.iter().map(|(name, value)| (&**name, &**value)).collect();
        let series = self.rows.new_series(&metric, &tags)?;
        self.rows.spelled(raw, field, series);
        self.series.insert((prefix, field), series);
        Ok(series)
    }
}

impl<'a> Prefix<'a> {
    fn parse(raw: &'a [u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(raw).map_err(|_| "measurement and tags are not UTF-8".to_owned())?;
        let mut parts = split_unescaped(text, ',');
        let measurement = match parts.next() {
            None | Some("") => return Err("measurement is missing".to_owned()),
            Some(measurement) => unescape(measurement, IN_MEASUREMENT),
        };
        let tags: Vec<Tag<'a>> = parts.map(parse_tag).collect::<Result<_, _>>()?;
        let mut names: Vec<&str> = tags.iter().map(|(name, _)| &**name).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(format!("tag {:?} stands twice", clip(pair[0]))),
            None => Ok(Self { measurement, tags }),
        }
    }
}

fn parse_tag(text: &str) -> Result<Tag<'_>, String> {
    let mut parts = split_unescaped(text, '=');
    let name = parts.next().unwrap_or_default();
    match (name, parts.next(), parts.next()) {
        ("", None, _) => Err("a comma is followed by no tag".to_owned()),
        ("", Some(_), _) => Err("a tag has no name".to_owned()),
        (name, None | Some(""), _) => Err(format!("tag {:?} has no value", clip(name))),
        (name, Some(_), Some(_)) => Err(format!("tag {:?} has an unescaped = in its value", clip(name))),
        (name, Some(value), None) => Ok((unescape(name, IN_KEY), unescape(value, IN_KEY))),
    }
}
