//! Figures of several rounds and peers, and the tables they make.
//!
//! Owns medians, spreads, ratios and the form of a cell. Does **not** own what is measured. A round that failed leaves
//! its cell without a value and a trouble that says why.

use crate::measure::digits;
use crate::report::big;

/// Figures that stand in one table.
#[derive(Debug)]
pub(crate) struct Table {
    title: &'static str,
    note: String,
    columns: Vec<String>,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    name: String,
    /// One cell per column, with a value per round.
    cells: Vec<Vec<f64>>,
}

impl Table {
    /// An empty table; the first column is what the others are compared with.
    pub(crate) fn new(title: &'static str, note: String, columns: Vec<String>) -> Self {
        Self { title, note, columns, rows: Vec::new() }
    }

    /// Keeps places for figures, in this order.
    pub(crate) fn order(mut self, figures: Vec<String>) -> Self {
        let cells = vec![Vec::new(); self.columns.len()];
        self.rows.extend(figures.into_iter().map(|name| Row { name, cells: cells.clone() }));
        self
    }

    /// Adds the value of one round. What has no column is a mistake of ours, and is not shown.
    pub(crate) fn add(&mut self, row: &str, column: &str, value: f64) {
        let Some(column) = self.columns.iter().position(|c| c == column) else { return };
        let at = self.rows.iter().position(|r| r.name == row).unwrap_or_else(|| {
            self.rows.push(Row { name: row.to_owned(), cells: vec![Vec::new(); self.columns.len()] });
            self.rows.len() - 1
        });
        self.rows[at].cells[column].push(value);
    }

    /// The table as Markdown; nothing where nothing was measured.
    pub(crate) fn markdown(&self) -> String {
        let mut rows = self.rows.iter().filter(|row| row.cells.iter().any(|cell| !cell.is_empty())).peekable();
        if rows.peek().is_none() {
            return String::new();
        }
        let mut text = format!("### {}\n\n{}\n\n| figure |", self.title, self.note);
        self.columns.iter().for_each(|column| text += &format!(" {column} |"));
        text += &format!("\n|---|{}\n", "---:|".repeat(self.columns.len()));
        for row in rows {
            let first = median(&row.cells[0]);
            text += &format!("| {} |", row.name);
            for (i, values) in row.cells.iter().enumerate() {
                let base = first.filter(|_| i > 0);
                text += &format!(" {} |", cell(values, base));
            }
            text.push('\n');
        }
        text + "\n"
    }
}

/// Median, spread, and how many times `base` the median is.
fn cell(values: &[f64], base: Option<f64>) -> String {
    let Some(median) = median(values) else { return "–".to_owned() };
    let mut text = short(median);
    if values.len() > 1 {
        let (min, max) = values.iter().fold((median, median), |(min, max), v| (v.min(min), v.max(max)));
        text += &format!(" ({}–{})", short(min), short(max));
    }
    if let Some(base) = base.filter(|base| *base > 0.0) {
        text += &format!(", ×{}", digits(median / base));
    }
    text
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

/// A value as it stands in a cell.
pub(crate) fn short(value: f64) -> String {
    if value >= 1e4 { big(value) } else { digits(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_show_median_spread_and_ratio() {
        assert_eq!(cell(&[3.0, 1.0, 2.0], None), "2.00 (1.00–3.00)");
        assert_eq!(cell(&[2e6], Some(4e6)), "2.00 M, ×0.500");
        assert_eq!(cell(&[1.0, 2.0], None), "1.50 (1.00–2.00)");
        assert_eq!(cell(&[], Some(1.0)), "–");
    }

    #[test]
    fn rows_keep_their_order_and_columns_their_values() {
        let table = Table::new("T", "n".to_owned(), vec!["weir".to_owned(), "peer".to_owned()]);
        assert_eq!(table.markdown(), "");
        let mut table = table.order(vec!["b".to_owned(), "never measured".to_owned()]);
        table.add("a", "weir", 2.0);
        table.add("b", "peer", 3.0);
        table.add("a", "peer", 1.0);
        table.add("a", "nobody", 9.0);
        let text = table.markdown();
        assert!(
            text.ends_with(
                "| figure | weir | peer |\n|---|---:|---:|\n| b | – | 3.00 |\n| a | 2.00 | 1.00, ×0.500 |\n\n"
            ),
            "{text}"
        );
    }
}
