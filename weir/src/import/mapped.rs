//! CSV whose columns are mapped: by flags, or because it is wide.

use csv::{ByteRecord, ReaderBuilder};
use schemas::time::{Precision, clip};

use super::Options;
use super::cells::{instant, is_missing, value};
use super::columns::{Kind, Metric, Plan};
use super::rows::{Builder, Chunk};

/// Rows that tell which columns hold numbers.
const SAMPLE: usize = 1000;

/// The names in a header row.
pub(super) fn names(header: &[u8]) -> anyhow::Result<Vec<String>> {
    let header = header.strip_prefix(b"\xef\xbb\xbf").unwrap_or(header);
    let mut record = ByteRecord::new();
    reader(header).read_byte_record(&mut record)?;
    let names = record.iter().map(|name| Ok(std::str::from_utf8(name)?.trim().to_owned()));
    names.collect::<Result<_, std::str::Utf8Error>>().map_err(|_| anyhow::anyhow!("the header row is not UTF-8"))
}

/// The columns with what their first cells show them to hold.
pub(super) fn columns(names: &[String], body: &[u8]) -> Vec<(String, Kind)> {
    let mut kinds = vec![Kind::Other; names.len()];
    let sample = reader(body).into_byte_records().take(SAMPLE).filter_map(Result::ok);
    for record in sample {
        for (kind, cell) in kinds.iter_mut().zip(record.iter()) {
            match std::str::from_utf8(cell) {
                Ok(cell) if is_missing(cell) => {}
                Ok(cell) if *kind != Kind::Text && (value(cell).is_ok() || is_huge(cell)) => *kind = Kind::Number,
                _ => *kind = Kind::Text,
            }
        }
    }
    names.iter().cloned().zip(kinds).collect()
}

/// Whether a cell is a number too large for a double: its row is refused, but its column holds numbers.
fn is_huge(cell: &str) -> bool {
    let digits = cell.trim().trim_start_matches(['+', '-']);
    digits.starts_with(|c: char| c.is_ascii_digit()) && digits.parse::<f64>().is_ok_and(f64::is_infinite)
}

fn reader(bytes: &[u8]) -> csv::Reader<&[u8]> {
    ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes)
}

/// Reads rows by a plan.
pub(super) struct Reader {
    plan: Plan,
    names: Vec<String>,
    precision: Precision,
    now: i64,
    rows: Builder,
}

impl Reader {
    /// A reader of rows with these columns.
    pub(super) fn new(plan: Plan, names: Vec<String>, options: &Options) -> Self {
        let precision = options.precision.unwrap_or(Precision::Millis);
        Self { plan, names, precision, now: options.now, rows: Builder::default() }
    }

    /// Reads a chunk of whole rows; `first` is the line that it starts with.
    pub(super) fn read(&mut self, body: &[u8], first: u64) -> anyhow::Result<Chunk> {
        let mut reader = reader(body);
        let mut record = ByteRecord::new();
        let mut row = 0;
        while reader.read_byte_record(&mut record)? {
            self.add(&record, row, first + line_before(body, &record));
            row += 1;
        }
        Ok(self.rows.take())
    }

    fn add(&mut self, record: &ByteRecord, row: u64, line: u64) {
        if let Err(reason) = self.try_add(record, row, line) {
            self.rows.refuse(Some(line), row, reason);
        }
    }

    fn try_add(&mut self, record: &ByteRecord, row: u64, line: u64) -> Result<(), String> {
        if record.len() != self.names.len() {
            return Err(format!("row has {} cells, but the header row has {}", record.len(), self.names.len()));
        }
        let Self { plan, names, rows, .. } = self;
        let cell =
            |i: usize| std::str::from_utf8(&record[i]).map_err(|_| format!("cell {:?} is not UTF-8", clip(&names[i])));
        let time = match plan.time {
            Some(i) => instant(cell(i)?, self.precision)?,
            None => self.now,
        };
        let arrival = plan.arrival.map(|i| instant(cell(i)?, self.precision)).transpose()?;
        let device = plan.device.map_or(Ok(""), cell)?;
        let mut tags = Vec::with_capacity(plan.tags.len());
        for &i in &plan.tags {
            tags.push((names[i].as_str(), cell(i)?));
        }
        for &i in &plan.values {
            let text = cell(i)?;
            if plan.wide && is_missing(text) {
                continue;
            }
            let metric = match &plan.metric {
                Metric::Column(column) => cell(*column)?,
                Metric::Named(name) => name,
                Metric::OfValue => names[i].as_str(),
            };
            // In a wide row one bad value leaves the others good.
            match value(text).and_then(|value| Ok((rows.series(metric, device, &tags)?, value))) {
                Ok((series, value)) => rows.push(series, time, value, arrival),
                Err(reason) if plan.wide => {
                    rows.refuse(Some(line), row, format!("column {:?}: {reason}", clip(metric)))
                }
                Err(reason) => return Err(reason),
            }
        }
        Ok(())
    }
}

/// Lines before the record: its position still counts the blank lines in front of it.
fn line_before(body: &[u8], record: &ByteRecord) -> u64 {
    let Some(position) = record.position() else { return 0 };
    let place = usize::try_from(position.byte()).unwrap_or(usize::MAX).min(body.len());
    let blank = body[place..].iter().take_while(|b| matches!(b, b'\r' | b'\n')).filter(|b| **b == b'\n').count();
    position.line() - 1 + blank as u64
}

#[cfg(test)]
mod tests {
    use super::super::columns::Mapping;
    use super::*;

    fn read(header: &str, body: &str, mapping: &Mapping) -> Chunk {
        let names = names(header.as_bytes()).expect("a header");
        let plan = Plan::make(&columns(&names, body.as_bytes()), mapping).expect("a plan");
        let options = Options { mapping: mapping.clone(), ..Options::plain(7) };
        Reader::new(plan, names, &options).read(body.as_bytes(), 2).expect("readable")
    }

    fn told(chunk: &Chunk) -> Vec<String> {
        let rows = &chunk.rows;
        let row = |i: usize| {
            format!(
                "{} {} {}",
                rows.keys[rows.series[i].number().expect("a key of its own") as usize],
                rows.times[i] / 1_000_000,
                rows.values[i]
            )
        };
        (0..rows.values.len()).map(row).collect()
    }

    #[test]
    fn wide_rows_make_a_reading_for_each_number() {
        let chunk =
            read("\u{feff}time, temp ,room,on", "1,20.5,a,true\n2,NA,b,false\n\n3,x,a,true\n", &Mapping::default());
        // One cell of text among numbers makes the column text, hence a tag.
        assert_eq!(told(&chunk)[0], "on{room=\"a\",temp=\"20.5\"} 1 1");
        let chunk = read(
            "time,temp,room",
            "1,20.5,a\n2,NA,b\n\n3,1e400,a\nsoon,1,a\n4,1\n",
            &Mapping { value: None, ..Mapping::default() },
        );
        assert_eq!(told(&chunk), ["temp{room=\"a\"} 1 20.5"]);
        assert_eq!(chunk.refusals.iter().map(|r| r.line).collect::<Vec<_>>(), [Some(5), Some(6), Some(7)]);
    }

    #[test]
    fn flags_name_columns() {
        let mapping = Mapping {
            metric: Some("temperature".into()),
            value: Some("v".into()),
            time: Some("when".into()),
            arrival: None,
            device: Some("id".into()),
            tags: vec!["line".into()],
        };
        let chunk =
            read("id,when,v,line,note", "7,2013-03-01 00:00:00,1.5,A,x\n7,2013-03-01 00:01:00,,A,x\n", &mapping);
        assert_eq!(told(&chunk), ["temperature{device_id=\"7\",line=\"A\"} 1362096000000 1.5"]);
        assert_eq!(chunk.refusals[0].reason, "value is missing");
    }
}
