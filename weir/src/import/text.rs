//! Formats of lines, read in chunks that end where a line does, so that no file must fit in memory.

use std::io::BufRead;

use anyhow::Context as _;
use schemas::time::Precision;
use speed_layer::decode::{self, RowError};

use super::columns::{Plan, is_plain};
use super::format::Format;
use super::mapped;
use super::rows::{Chunk, Refusal};
use super::{Emit, Options};

/// A chunk grows to this size, bytes.
const CHUNK: usize = 4 << 20;
/// A line may be this long, bytes.
const LINE_MAX: usize = 64 << 20;

/// Reads all of it.
pub(super) fn read(format: Format, reader: impl BufRead, options: &Options, emit: &mut Emit<'_>) -> anyhow::Result<()> {
    let mut lines = Lines { reader, format, buffer: Vec::new(), line: 1, chunk: CHUNK, ended: false };
    match format {
        Format::Csv => read_csv(lines, options, emit),
        Format::Ndjson => {
            while let Some((first, body)) = lines.next()? {
                emit(decoded(decode::Format::Ndjson, &body, options, Precision::Millis, |line| line + first - 1)?)?;
            }
            Ok(())
        }
        Format::LineProtocol => {
            while let Some((first, body)) = lines.next()? {
                emit(decoded(decode::Format::LineProtocol, &body, options, Precision::Nanos, |line| {
                    line + first - 1
                })?)?;
            }
            Ok(())
        }
        Format::Parquet => anyhow::bail!("a Parquet file has no lines"),
    }
}

fn read_csv(mut lines: Lines<impl BufRead>, options: &Options, emit: &mut Emit<'_>) -> anyhow::Result<()> {
    let Some(header) = lines.record()? else { anyhow::bail!("it has no header row") };
    let names = mapped::names(&header)?;
    let header_lines = count_lines(&header);
    if is_plain(&names, &options.mapping) {
        while let Some((first, mut body)) = lines.next()? {
            // The decoder sees the header again before each chunk.
            body.splice(0..0, header.iter().copied());
            emit(decoded(decode::Format::Csv, &body, options, Precision::Millis, |line| {
                (line + first - 1).saturating_sub(header_lines)
            })?)?;
        }
        return Ok(());
    }
    let Some((first, body)) = lines.next()? else { return Ok(()) };
    let plan = Plan::make(&mapped::columns(&names, &body), &options.mapping)?;
    let mut reader = mapped::Reader::new(plan, names, options);
    emit(reader.read(&body, first)?)?;
    while let Some((first, body)) = lines.next()? {
        emit(reader.read(&body, first)?)?;
    }
    Ok(())
}

fn decoded(
    format: decode::Format,
    body: &[u8],
    options: &Options,
    precision: Precision,
    line_in_file: impl Fn(u64) -> u64,
) -> anyhow::Result<Chunk> {
    let decoded = decode::decode(format, body, &options.decode(precision))?;
    let refusal =
        |error: RowError| Refusal { line: error.line.map(&line_in_file), row: error.index, reason: error.reason };
    Ok(Chunk {
        rows: speed_layer::Rows {
            keys: decoded.keys,
            spelled: Vec::new(),
            series: decoded.series,
            times: decoded.times,
            values: decoded.values,
        },
        arrivals: Vec::new(),
        rejected: decoded.rejected,
        refusals: decoded.errors.into_iter().map(refusal).collect(),
        skipped: decoded.skipped,
    })
}

fn count_lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|b| **b == b'\n').count() as u64
}

/// The chunks of a file.
struct Lines<R> {
    reader: R,
    format: Format,
    buffer: Vec<u8>,
    /// The line, from 1, that the buffer starts with.
    line: u64,
    chunk: usize,
    ended: bool,
}

impl<R: BufRead> Lines<R> {
    /// The next chunk, and the number of its first line.
    fn next(&mut self) -> anyhow::Result<Option<(u64, Vec<u8>)>> {
        self.fill(self.chunk)?;
        loop {
            if self.buffer.is_empty() {
                return Ok(None);
            }
            if self.ended {
                return Ok(Some(self.cut(self.buffer.len())));
            }
            if let Some(end) = boundaries(self.format, &self.buffer).last() {
                return Ok(Some(self.cut(*end)));
            }
            self.grow()?;
        }
    }

    /// The first record that is not blank.
    fn record(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        self.fill(self.chunk)?;
        loop {
            let mut start = 0;
            for end in boundaries(self.format, &self.buffer) {
                if !self.buffer[start..end].trim_ascii().is_empty() {
                    return Ok(Some(self.cut(end).1));
                }
                start = end;
            }
            if self.ended {
                let rest = self.cut(self.buffer.len()).1;
                return Ok((!rest.trim_ascii().is_empty()).then_some(rest));
            }
            self.grow()?;
        }
    }

    fn cut(&mut self, end: usize) -> (u64, Vec<u8>) {
        let rest = self.buffer.split_off(end);
        let chunk = std::mem::replace(&mut self.buffer, rest);
        let first = self.line;
        self.line += count_lines(&chunk);
        (first, chunk)
    }

    fn grow(&mut self) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.buffer.len() < LINE_MAX,
            "the record that starts in line {} is longer than {LINE_MAX} bytes; is a quote not closed?",
            self.line
        );
        self.fill(self.buffer.len() * 2)
    }

    fn fill(&mut self, length: usize) -> anyhow::Result<()> {
        while !self.ended && self.buffer.len() < length {
            let bytes = self.reader.fill_buf().context("can't read on")?;
            let n = bytes.len();
            self.ended = n == 0;
            self.buffer.extend_from_slice(bytes);
            self.reader.consume(n);
        }
        Ok(())
    }
}

/// Where records end: after each line end that is not inside quotes.
fn boundaries(format: Format, bytes: &[u8]) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut place = Place::Start;
    for (i, byte) in bytes.iter().enumerate() {
        place = match format {
            Format::Csv => place.after_csv(*byte),
            Format::LineProtocol => place.after_line_protocol(*byte),
            Format::Ndjson | Format::Parquet => Place::Inside,
        };
        if *byte == b'\n' && place != Place::Quoted {
            ends.push(i + 1);
            place = Place::Start;
        }
    }
    ends
}

/// Where in a record a byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At the start of a cell or value.
    Start,
    /// Inside, without quotes.
    Inside,
    /// Inside quotes.
    Quoted,
    /// After a byte that takes the meaning of the next: a quote in quotes (CSV), a backslash (line protocol).
    Escape,
    /// After a backslash outside of quotes.
    EscapeInside,
}

impl Place {
    fn after_csv(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Quoted, b'"') => Self::Escape,
            (Self::Quoted, _) | (Self::Start | Self::Escape, b'"') => Self::Quoted,
            (_, b',') => Self::Start,
            _ => Self::Inside,
        }
    }

    fn after_line_protocol(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Quoted, b'"') => Self::Inside,
            (Self::Quoted, b'\\') => Self::Escape,
            (Self::Quoted | Self::Escape, _) => Self::Quoted,
            // Only a field's value that starts with a quote is text.
            (Self::Start, b'"') => Self::Quoted,
            (Self::EscapeInside, _) => Self::Inside,
            (_, b'\\') => Self::EscapeInside,
            (_, b'=') => Self::Start,
            _ => Self::Inside,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(format: Format, text: &str, chunk: usize) -> Vec<(u64, String)> {
        let mut lines = Lines { reader: text.as_bytes(), format, buffer: Vec::new(), line: 1, chunk, ended: false };
        let mut all = Vec::new();
        while let Some((line, bytes)) = lines.next().expect("readable") {
            all.push((line, String::from_utf8(bytes).expect("text")));
        }
        all
    }

    #[test]
    fn records_end_outside_of_quotes() {
        for (format, text, expected) in [
            (Format::Ndjson, "a\nb\nc", vec![2, 4]),
            (Format::Csv, "a,\"x\ny\"\nb\n", vec![8, 10]),
            (Format::Csv, "a,\"x\"\"\ny\"\nb\n", vec![10, 12]),
            (Format::Csv, "5\" pipe\nb\n", vec![8, 10]),
            (Format::LineProtocol, "m s=\"x\ny\" 1\nm v=1\n", vec![12, 18]),
            (Format::LineProtocol, "m s=\"x\\\"\ny\"\n", vec![12]),
            (Format::LineProtocol, "m\\=\"a v=1\nm v=2\n", vec![10, 16]),
        ] {
            assert_eq!(boundaries(format, text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn chunks_know_their_lines() {
        let text = "one\ntwo\nthree\n";
        let mut lines = Lines {
            reader: std::io::BufReader::with_capacity(5, text.as_bytes()),
            format: Format::Ndjson,
            buffer: Vec::new(),
            line: 1,
            chunk: 4,
            ended: false,
        };
        let mut seen = Vec::new();
        while let Some((line, bytes)) = lines.next().expect("readable") {
            seen.push((line, bytes.len()));
        }
        assert_eq!(seen, [(1, 4), (2, 4), (3, 6)]);
        assert_eq!(chunks(Format::Csv, "", 4), []);
        assert_eq!(chunks(Format::Csv, "no end", 4), [(1, "no end".to_owned())]);
    }

    fn import(format: Format, text: &str) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        let mut emit = |chunk| {
            chunks.push(chunk);
            Ok(())
        };
        read(format, text.as_bytes(), &Options::plain(7), &mut emit).expect("readable");
        chunks
    }

    #[test]
    fn refused_rows_are_named_by_their_line_in_the_file() {
        for (format, text, accepted, lines) in [
            (Format::Csv, "\nmetric,value,timestamp\na,1,1\na,x,2\na,3,3\n", 2, vec![4]),
            (Format::Ndjson, "{\"metric\":\"a\",\"value\":1}\n\nnonsense\n", 1, vec![3]),
            (Format::LineProtocol, "m v=1 1\nm v=\nm s=\"t\"\n", 1, vec![2]),
            (Format::Csv, "time,temp,room\n1,2.5,x\nsoon,2.5,x\n", 1, vec![3]),
        ] {
            let chunks = import(format, text);
            assert_eq!(chunks.iter().map(|c| c.rows.values.len()).sum::<usize>(), accepted, "{text}");
            let told: Vec<u64> = chunks.iter().flat_map(|c| &c.refusals).filter_map(|r| r.line).collect();
            assert_eq!(told, lines, "{text}");
        }
    }
}
