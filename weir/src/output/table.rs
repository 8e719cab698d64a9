//! A plain table: a header, a line, rows; numbers to the right.

use std::fmt;

use anyhow::Context as _;
use arrow::array::{Array, AsArray as _, RecordBatch};
use arrow::datatypes::{DataType, Float64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// Digits of a number that a person is shown.
const DIGITS: usize = 6;
/// A longer cell does not widen its column.
const WIDTH_MAX: usize = 60;

/// Rows of text under names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    names: Vec<String>,
    /// Whether a column stands to the right.
    right: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table with these columns.
    pub(crate) fn new(names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Self { right: vec![false; names.len()], names, rows: Vec::new() }
    }

    /// With the columns from this one on to the right.
    pub(crate) fn with_numbers_from(mut self, first: usize) -> Self {
        self.right.iter_mut().skip(first).for_each(|right| *right = true);
        self
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| cell.replace(['\n', '\r', '\t'], " ")).collect());
    }

    /// The rows of these batches, which share a schema.
    pub(crate) fn of(batches: &[RecordBatch]) -> anyhow::Result<Self> {
        let Some(first) = batches.first() else { return Ok(Self::default()) };
        let schema = first.schema();
        let mut table = Self::new(&schema.fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>());
        table.right = schema.fields().iter().map(|f| f.data_type().is_numeric()).collect();
        for batch in batches {
            table.add(batch)?;
        }
        Ok(table)
    }

    fn add(&mut self, batch: &RecordBatch) -> anyhow::Result<()> {
        let options = FormatOptions::default().with_timestamp_tz_format(Some("%Y-%m-%dT%H:%M:%S%.fZ"));
        let mut columns = Vec::with_capacity(batch.num_columns());
        for column in batch.columns() {
            let formatter = ArrayFormatter::try_new(column.as_ref(), &options);
            columns
                .push((column, formatter.with_context(|| format!("can't show a column of {}", column.data_type()))?));
        }
        for row in 0..batch.num_rows() {
            self.row(columns.iter().map(|(column, formatter)| match column.data_type() {
                DataType::Float64 if column.is_valid(row) => number(column.as_primitive::<Float64Type>().value(row)),
                _ => formatter.value(row).to_string(),
            }));
        }
        Ok(())
    }

    fn widths(&self) -> Vec<usize> {
        let width = |i: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(i)).map(|cell| cell.chars().count());
            cells.max().unwrap_or(0).min(WIDTH_MAX).max(self.names[i].chars().count())
        };
        (0..self.names.len()).map(width).collect()
    }

    fn line(&self, f: &mut fmt::Formatter<'_>, cells: &[String], widths: &[usize]) -> fmt::Result {
        let mut line = String::new();
        for ((cell, width), right) in cells.iter().zip(widths).zip(&self.right) {
            let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
            let (before, after) = if *right { (padding.as_str(), "") } else { ("", padding.as_str()) };
            line.extend([before, cell, after, "  "]);
        }
        writeln!(f, "{}", line.trim_end())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        self.line(f, &self.names, &widths)?;
        let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
        self.line(f, &rule, &widths)?;
        self.rows.iter().try_for_each(|row| self.line(f, row, &widths))
    }
}

/// A number with as many digits as a person wants to see; never rounded before the point.
fn number(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let magnitude = value.abs().log10().floor();
    if !(-5.0..15.0).contains(&magnitude) {
        return format!("{value:.prec$e}", prec = DIGITS - 1);
    }
    let decimals = (DIGITS as f64 - 1.0 - magnitude).max(0.0) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (25.333_333_333, "25.3333"),
            (1.0, "1"),
            (0.0, "0"),
            (-0.5, "-0.5"),
            (1_234_567.891, "1234568"),
            (1e20, "1.00000e20"),
            (0.000_123_456_789, "0.000123457"),
            (100.0, "100"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["name", "n"]);
        table.right[1] = true;
        table.row(["a\nb".to_owned(), "1".to_owned()]);
        table.row(["longer".to_owned(), "100".to_owned()]);
        assert_eq!(table.to_string(), "name      n\n------  ---\na b       1\nlonger  100\n");
    }
}
