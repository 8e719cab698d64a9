//! A metric query's answer as JSON text.
//!
//! Owns the form of an answer. Points are written straight into bytes, as an answer may have millions: what all of them
//! share is written once and copied, as are numbers that stand twice, and the date of an instant is worked out once a
//! day. Does not own the values.

use std::ops::Range;

use schemas::EventTime;
use schemas::decimal::{SCALE_MAX, encode};
use schemas::time::{DAY, SECOND};
use serde::Serialize;

use super::stream::CHUNK_BYTES;
use crate::answer::{Answer, Confidence, Interval, Point, SeriesAnswer, Source, Value};
use crate::confidence::State;

/// A point with a single aggregate has about so many bytes; a chunk has room for one more.
const POINT_BYTES: usize = 512;

/// An answer as pieces of text.
pub(super) struct AnswerText {
    answer: Answer,
    /// The series and the point that come next.
    at: (usize, usize),
    writer: PointWriter,
    state: Progress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Begin,
    Series,
    End,
}

impl AnswerText {
    pub(super) fn new(answer: Answer) -> Self {
        let names = Names::of(answer.series.iter().flat_map(|s| &s.points).next());
        Self { answer, at: (0, 0), writer: PointWriter::new(names), state: Progress::Begin }
    }

    /// Appends series until there is enough for a chunk; whether all are written.
    fn series(&mut self, out: &mut Vec<u8>) -> bool {
        while let Some(series) = self.answer.series.get(self.at.0) {
            if self.at.1 == 0 {
                begin(series, self.at.0 == 0, out);
            }
            for point in &series.points[self.at.1..] {
                if self.at.1 > 0 {
                    out.push(b',');
                }
                self.writer.write(point, out);
                self.at.1 += 1;
                if out.len() >= CHUNK_BYTES {
                    return false;
                }
            }
            out.extend_from_slice(b"]}");
            self.at = (self.at.0 + 1, 0);
        }
        true
    }

    fn end(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"],\"as_of\":");
        write(&self.answer.as_of, out);
        out.extend_from_slice(b",\"missing\":");
        write(&self.answer.missing, out);
        out.push(b'}');
    }
}

impl Iterator for AnswerText {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        if self.state == Progress::End {
            return None;
        }
        let mut out = Vec::with_capacity(CHUNK_BYTES + POINT_BYTES);
        if self.state == Progress::Begin {
            out.extend_from_slice(b"{\"series\":[");
            self.state = Progress::Series;
        }
        if self.series(&mut out) {
            self.end(&mut out);
            self.state = Progress::End;
        }
        Some(out)
    }
}

/// Opens a series up to its first point.
fn begin(series: &SeriesAnswer, first: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(if first { b"{\"metric\":" } else { b",{\"metric\":" });
    write(&series.metric, out);
    out.extend_from_slice(b",\"tags\":");
    write(&series.tags, out);
    out.extend_from_slice(b",\"points\":[");
}

/// Writes points one after the other.
struct PointWriter {
    names: Names,
    times: Times,
    origin: Repeated<Origin>,
    completeness: Repeated<u64>,
    score: Repeated<Option<u64>>,
    final_share: Repeated<u64>,
    /// Where the text of each value of the point stands.
    values: Vec<Range<usize>>,
    numbers: Numbers,
}

impl PointWriter {
    fn new(names: Names) -> Self {
        Self {
            names,
            times: Times::default(),
            origin: Repeated::default(),
            completeness: Repeated::default(),
            score: Repeated::default(),
            final_share: Repeated::default(),
            values: Vec::new(),
            numbers: Numbers::default(),
        }
    }

    fn write(&mut self, point: &Point, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"time\":\"");
        self.times.write(point.time, out);
        out.push(b'"');
        self.write_values(&point.values, out);
        self.origin.write(Origin::of(point), Origin::write, out);
        if let Some(confidence) = &point.confidence {
            self.write_confidence(confidence, out);
            self.write_intervals(&point.values, out);
        }
        out.push(b'}');
    }

    fn write_confidence(&mut self, confidence: &Confidence, out: &mut Vec<u8>) {
        let number = |bits: &u64, text: &mut Vec<u8>| Numbers::default().write(f64::from_bits(*bits), text);
        out.extend_from_slice(b",\"completeness\":");
        self.completeness.write(confidence.completeness.to_bits(), number, out);
        let score = |bits: &Option<u64>, text: &mut Vec<u8>| match bits {
            Some(bits) => number(bits, text),
            None => text.extend_from_slice(b"null"),
        };
        out.extend_from_slice(b",\"confidence_score\":");
        self.score.write(confidence.score.map(f64::to_bits), score, out);
        out.extend_from_slice(b",\"final_share\":");
        self.final_share.write(confidence.final_share.to_bits(), number, out);
        let calibrated = confidence.calibrated;
        out.extend_from_slice(if calibrated { b",\"calibrated\":true" } else { b",\"calibrated\":false" });
    }

    fn write_values(&mut self, values: &[Value], out: &mut Vec<u8>) {
        self.values.clear();
        for (name, value) in self.names.fields.iter().zip(values) {
            out.extend_from_slice(name);
            let start = out.len();
            match value.value {
                Some(value) => self.numbers.write(value, out),
                None => out.extend_from_slice(b"null"),
            }
            self.values.push(start..out.len());
        }
    }

    fn write_intervals(&mut self, values: &[Value], out: &mut Vec<u8>) {
        out.extend_from_slice(b",\"interval\":{");
        for (name, place) in &self.names.sorted {
            out.extend_from_slice(name);
            match values[*place].interval {
                Some(Interval { low, high }) => {
                    out.extend_from_slice(b"{\"low\":");
                    self.numbers.write_bound(low, &values[*place], &self.values[*place], out);
                    out.extend_from_slice(b",\"high\":");
                    self.numbers.write_bound(high, &values[*place], &self.values[*place], out);
                    out.push(b'}');
                }
                None => out.extend_from_slice(b"null"),
            }
        }
        out.push(b'}');
    }
}

/// Numbers as serde writes them, quick where they are short decimals of about one length.
#[derive(Default)]
struct Numbers {
    /// The scale of the newest decimal.
    scale: u8,
}

impl Numbers {
    /// A bound of an interval, which often is the value itself, whose text stands at `text`.
    fn write_bound(&mut self, bound: f64, value: &Value, text: &Range<usize>, out: &mut Vec<u8>) {
        if value.value.is_some_and(|value| value.to_bits() == bound.to_bits()) {
            out.extend_from_within(text.clone());
        } else {
            self.write(bound, out);
        }
    }

    fn write(&mut self, value: f64, out: &mut Vec<u8>) {
        match self.decimal(value) {
            Some((integer, scale)) => write_decimal(integer, scale, out),
            None => write(&value, out),
        }
    }

    /// The decimal that a value is, if it is one that is written without an exponent.
    fn decimal(&mut self, value: f64) -> Option<(i64, u8)> {
        const LEAST: f64 = 1e-5;
        if value.abs() < LEAST && value != 0.0 {
            return None;
        }
        let told = |scale: u8| encode(value, scale).map(|integer| (integer, scale));
        let (mut integer, mut scale) = told(self.scale).or_else(|| told(SCALE_MAX)).or_else(|| told(0))?;
        while scale > 0 && integer % 10 == 0 {
            (integer, scale) = (integer / 10, scale - 1);
        }
        // A value that happens to be shorter says nothing of the others.
        self.scale = self.scale.max(scale);
        Some((integer, scale))
    }
}

/// Appends `integer / 10^scale`, with one digit behind the point at least.
fn write_decimal(integer: i64, scale: u8, out: &mut Vec<u8>) {
    if integer < 0 {
        out.push(b'-');
    }
    let power = 10_u64.pow(u32::from(scale));
    let (whole, mut fraction) = (integer.unsigned_abs() / power, integer.unsigned_abs() % power);
    write(&whole, out);
    let mut behind = [b'0'; SCALE_MAX as usize];
    let digits = usize::from(scale.max(1));
    for digit in behind[..digits].iter_mut().rev() {
        *digit += (fraction % 10) as u8;
        fraction /= 10;
    }
    out.push(b'.');
    out.extend_from_slice(&behind[..digits]);
}

/// Where the values of a point come from and how settled they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Origin {
    data_points: u64,
    batch_points: u64,
    speed_points: u64,
    source: Source,
    state: Option<State>,
}

impl Origin {
    fn of(point: &Point) -> Self {
        let &Point { data_points, batch_points, speed_points, source, confidence, .. } = point;
        Self { data_points, batch_points, speed_points, source, state: confidence.map(|c| c.state) }
    }

    fn write(&self, out: &mut Vec<u8>) {
        for (name, count) in [
            (",\"data_points\":", self.data_points),
            (",\"batch_points\":", self.batch_points),
            (",\"speed_points\":", self.speed_points),
        ] {
            out.extend_from_slice(name.as_bytes());
            write(&count, out);
        }
        let source = (",\"source\":\"", self.source.name());
        let state = self.state.map(|state| (",\"state\":\"", state.name()));
        for (name, text) in std::iter::once(source).chain(state) {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(text.as_bytes());
            out.push(b'"');
        }
    }
}

/// Something that often is the same from one point to the next, and its text.
struct Repeated<T> {
    last: Option<T>,
    text: Vec<u8>,
}

impl<T> Default for Repeated<T> {
    fn default() -> Self {
        Self { last: None, text: Vec::new() }
    }
}

impl<T: PartialEq> Repeated<T> {
    /// Appends the text of `next`, which `write` makes.
    fn write(&mut self, next: T, write: impl FnOnce(&T, &mut Vec<u8>), out: &mut Vec<u8>) {
        if self.last.as_ref() != Some(&next) {
            self.text.clear();
            write(&next, &mut self.text);
            self.last = Some(next);
        }
        out.extend_from_slice(&self.text);
    }
}

fn write(value: &impl Serialize, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("plain data with text keys, into memory");
}

/// The names of the aggregates, which all points share.
struct Names {
    /// In the order they were asked for, as `,"name":`.
    fields: Vec<Vec<u8>>,
    /// Sorted, with their places among the values, as `"name":`, after the first with a comma.
    sorted: Vec<(Vec<u8>, usize)>,
}

impl Names {
    fn of(point: Option<&Point>) -> Self {
        let names: Vec<&str> = point.into_iter().flat_map(|p| &p.values).map(|v| v.aggregate.name()).collect();
        let mut places: Vec<(&str, usize)> = names.iter().copied().zip(0..).collect();
        places.sort_unstable();
        let comma = |i: usize| if i == 0 { "" } else { "," };
        let sorted = places.iter().enumerate();
        Self {
            fields: names.iter().map(|name| format!(",\"{name}\":").into_bytes()).collect(),
            sorted: sorted.map(|(i, (name, at))| (format!("{}\"{name}\":", comma(i)).into_bytes(), *at)).collect(),
        }
    }
}

/// Instants as RFC 3339, quick where many of one day follow each other.
#[derive(Default)]
struct Times {
    /// A day, counted from 1970, and its date with the `T` behind.
    day: Option<(i64, String)>,
}

impl Times {
    /// Appends what `Display` writes.
    fn write(&mut self, time: EventTime, out: &mut Vec<u8>) {
        let (day, rest) = (time.0.div_euclid(DAY), time.0.rem_euclid(DAY));
        if rest % SECOND != 0 {
            out.extend_from_slice(time.to_string().as_bytes());
            return;
        }
        if self.day.as_ref().is_none_or(|(known, _)| *known != day) {
            let mut date = time.to_string();
            date.truncate("1970-01-01T".len());
            self.day = Some((day, date));
        }
        if let Some((_, date)) = &self.day {
            out.extend_from_slice(date.as_bytes());
        }
        let second = rest / SECOND;
        let digits = |n: i64| [b'0' + (n / 10) as u8, b'0' + (n % 10) as u8];
        let ([a, b], [c, d], [e, f]) = (digits(second / 3600), digits(second / 60 % 60), digits(second % 60));
        out.extend_from_slice(&[a, b, b':', c, d, b':', e, f, b'Z']);
    }
}

#[cfg(test)]
mod tests;
