//! Answers on stdout: tables for people, formats for programs.

mod table;

use std::io::{IsTerminal as _, Write};

use anyhow::Context as _;
use arrow::array::RecordBatch;
use clap::ValueEnum;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

pub(crate) use table::Table;

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A table for people
    Table,
    /// JSON, as the server answers it
    Json,
    /// CSV with a header row
    Csv,
    /// An Arrow IPC stream
    Arrow,
    /// A Parquet file
    Parquet,
}

impl Format {
    /// Its name in a request.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Table | Self::Arrow => "arrow",
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        }
    }

    /// Refuses to write bytes that no terminal can show to one.
    pub(crate) fn check_terminal(self) -> anyhow::Result<()> {
        let binary = matches!(self, Self::Arrow | Self::Parquet);
        anyhow::ensure!(
            !(binary && std::io::stdout().is_terminal()),
            "--format {} writes bytes that a terminal can't show: send them to a file, as in `... > answer.{0}`",
            self.name()
        );
        Ok(())
    }
}

/// Writes one batch to stdout.
pub(crate) fn write_batch(format: Format, batch: &RecordBatch) -> anyhow::Result<()> {
    let mut out = std::io::BufWriter::new(std::io::stdout());
    write_to(&mut out, format, batch).context("can't write the answer")?;
    Ok(out.flush()?)
}

fn write_to(out: &mut (impl Write + Send), format: Format, batch: &RecordBatch) -> anyhow::Result<()> {
    match format {
        Format::Table => write!(out, "{}", Table::of(std::slice::from_ref(batch))?)?,
        Format::Csv => arrow::csv::Writer::new(out).write(batch)?,
        Format::Arrow => {
            let mut writer = arrow::ipc::writer::StreamWriter::try_new(out, &batch.schema())?;
            writer.write(batch)?;
            writer.finish()?;
        }
        Format::Parquet => {
            let zstd = Compression::ZSTD(ZstdLevel::default());
            let properties = WriterProperties::builder().set_compression(zstd).build();
            let mut writer = ArrowWriter::try_new(out, batch.schema(), Some(properties))?;
            writer.write(batch)?;
            writer.close()?;
        }
        Format::Json => {
            let mut writer = arrow::json::ArrayWriter::new(out);
            writer.write(batch)?;
            writer.finish()?;
        }
    }
    Ok(())
}

/// A number with its thousands set apart: `2,852,123`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float64Array, StringArray};

    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (2_852_123, "2,852,123")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn each_format_is_written() {
        let columns: [(&str, arrow::array::ArrayRef); 2] = [
            ("metric", Arc::new(StringArray::from(vec![Some("t"), None]))),
            ("avg", Arc::new(Float64Array::from(vec![Some(1.5), None]))),
        ];
        let batch = RecordBatch::try_from_iter(columns).expect("columns of one length");
        let written = |format| {
            let mut out = Vec::new();
            write_to(&mut out, format, &batch).expect("written");
            out
        };
        assert_eq!(written(Format::Csv), b"metric,avg\nt,1.5\n,\n");
        assert_eq!(&written(Format::Parquet)[..4], b"PAR1");
        assert_eq!(&written(Format::Arrow)[..4], [0xff; 4]);
        assert!(written(Format::Json).starts_with(b"[{"));
        assert!(written(Format::Table).starts_with(b"metric"));
    }
}
