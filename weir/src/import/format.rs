//! Which format a file has: by its name, else by how it begins.

use std::io::BufRead;
use std::path::Path;

use clap::ValueEnum;

/// A format of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// CSV with a header row
    Csv,
    /// Parquet
    Parquet,
    /// InfluxDB line protocol
    #[value(alias = "lp", alias = "influx")]
    LineProtocol,
    /// One JSON object a line
    #[value(alias = "jsonl")]
    Ndjson,
}

/// The format of a file whose content, decompressed, starts as the reader does.
pub(super) fn detect(path: &Path, reader: &mut impl BufRead) -> anyhow::Result<Format> {
    let by_name = of_name(path);
    if by_name == Some(Format::Parquet) {
        return Ok(Format::Parquet);
    }
    let start = reader.fill_buf()?;
    let by_content = of_content(start);
    // A misnamed Parquet file would only make thousands of bad lines.
    if by_content == Some(Format::Parquet) {
        return Ok(Format::Parquet);
    }
    by_name.or(by_content).ok_or_else(|| match start.trim_ascii_start().first() {
        None => anyhow::anyhow!("it is empty"),
        Some(b'[') => anyhow::anyhow!("a JSON array can't be read line by line: make it NDJSON, as with jq -c '.[]'"),
        _ => anyhow::anyhow!(
            "neither name nor content tells the format: say --format csv, parquet, line-protocol or ndjson"
        ),
    })
}

fn of_name(path: &Path) -> Option<Format> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    let name = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(&name);
    match name.rsplit_once('.')?.1 {
        "csv" => Some(Format::Csv),
        "parquet" | "pq" => Some(Format::Parquet),
        "lp" | "line" | "influx" => Some(Format::LineProtocol),
        "ndjson" | "jsonl" => Some(Format::Ndjson),
        _ => None,
    }
}

fn of_content(start: &[u8]) -> Option<Format> {
    if start.starts_with(b"PAR1") {
        return Some(Format::Parquet);
    }
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
    let mut lines = start.split(|b| *b == b'\n').map(<[u8]>::trim_ascii);
    let line = lines.find(|line| !line.is_empty() && !line.starts_with(b"#"))?;
    // Line protocol has fields behind a space; the header row of a CSV file has no `=`.
    let has = |wanted: u8| line.contains(&wanted);
    match line.first()? {
        b'{' => Some(Format::Ndjson),
        b'[' => None,
        _ if has(b' ') && has(b'=') => Some(Format::LineProtocol),
        _ if has(b',') => Some(Format::Csv),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_content_tell_formats() {
        for (name, content, expected) in [
            ("a.csv", "metric,value\n", Some(Format::Csv)),
            ("A.CSV.GZ", "metric,value\n", Some(Format::Csv)),
            ("a.parquet", "", Some(Format::Parquet)),
            ("a.csv", "PAR1...", Some(Format::Parquet)),
            ("a.lp.zst", "m v=1", Some(Format::LineProtocol)),
            ("a.jsonl", "{}", Some(Format::Ndjson)),
            ("a", "m,t=1 v=2 3\n", Some(Format::LineProtocol)),
            ("a.txt", "# comment\n\nm v=2\n", Some(Format::LineProtocol)),
            ("a.json", "\u{feff} {\"metric\":\"t\"}\n", Some(Format::Ndjson)),
            ("-", "time,a b,c\n1,2,3\n", Some(Format::Csv)),
            ("a.json", "[{}]", None),
            ("a", "", None),
            ("a", "hello", None),
        ] {
            let found = detect(Path::new(name), &mut content.as_bytes());
            assert_eq!(found.as_ref().ok(), expected.as_ref(), "{name} {content:?}");
        }
        let array = detect(Path::new("a.json"), &mut &b"[1]"[..]).expect_err("an array").to_string();
        assert!(array.contains("NDJSON"), "{array}");
    }
}
