//! The tables that a backtest prints.

use schemas::partial::Aggregate;
use schemas::time::{DAY, HOUR, MINUTE, SECOND};
use serving_layer::confidence::{Score, Scores};

use super::baseline::Baseline;
use super::load::Readings;
use crate::output::{Table, grouped};

const COLUMNS: [&str; 12] = [
    "agg",
    "age",
    "n",
    "coverage",
    "open",
    "coverage_open",
    "width",
    "width/baseline",
    "brier",
    "climatology",
    "ece",
    "completeness_bias",
];

/// What was replayed, and what of the answers is not in the tables.
pub(super) fn summary(readings: &Readings, young: u64, early: u64) -> String {
    let rows = grouped(readings.rows.len() as u64);
    let metrics = readings.names.classes().count();
    format!(
        "{rows} readings of {metrics} metrics. Not scored: {} answers that said they were not calibrated yet, {} about buckets \
         that were not final when the readings ended\n\n",
        grouped(early),
        grouped(young)
    )
}

/// Each aggregate at each age, and over all ages.
pub(super) fn table(scores: &Scores, baseline: &Baseline) -> String {
    let rows = scores.rows();
    let mut ages: Vec<i64> = rows.iter().map(|row| row.age).collect();
    ages.sort_unstable();
    ages.dedup();
    let mut table = Table::new(&COLUMNS).with_numbers_from(1);
    let mut all = Table::new(&COLUMNS).with_numbers_from(1);
    for aggregate in Aggregate::ALL {
        if !rows.iter().any(|row| row.aggregate == aggregate) {
            continue;
        }
        for age in &ages {
            let score = scores.sum(|_, _, a, at| a == aggregate && at == *age);
            if score.n > 0.0 {
                table.row(cells(aggregate.name(), &span(*age), &score, baseline.ratio(aggregate, Some(*age))));
            }
        }
        let score = scores.sum(|_, _, a, _| a == aggregate);
        all.row(cells(aggregate.name(), "all", &score, baseline.ratio(aggregate, None)));
    }
    let score = scores.sum(|_, _, _, _| true);
    all.row(cells("all", "all", &Score { width: f64::NAN, ..score }, None));
    format!("{table}\n{all}")
}

fn cells(aggregate: &str, age: &str, score: &Score, ratio: Option<f64>) -> Vec<String> {
    let share = |value: f64| if value.is_finite() { format!("{value:.4}") } else { "-".to_owned() };
    vec![
        aggregate.to_owned(),
        age.to_owned(),
        format!("{:.0}", score.n),
        share(score.coverage),
        format!("{:.0}", score.undecided),
        share(score.undecided_coverage),
        if score.width.is_finite() { format!("{:.4}", score.width) } else { "-".to_owned() },
        ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.3}")),
        share(score.brier),
        share(score.climatology),
        share(score.ece),
        share(score.completeness_bias),
    ]
}

/// A span of time, as people write it.
pub(super) fn span(nanos: i64) -> String {
    for (unit, name) in [(DAY, "d"), (HOUR, "h"), (MINUTE, "m")] {
        if nanos >= unit && nanos % unit == 0 {
            return format!("{}{name}", nanos / unit);
        }
    }
    if nanos >= 10 * MINUTE {
        return format!("{:.1}h", nanos as f64 / HOUR as f64);
    }
    let seconds = nanos as f64 / SECOND as f64;
    if nanos % SECOND == 0 { format!("{seconds:.0}s") } else { format!("{seconds:.3}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short() {
        let cases =
            [(0, "0s"), (5 * SECOND, "5s"), (90 * SECOND, "90s"), (HOUR, "1h"), (DAY, "1d"), (1_500_000_000, "1.500s")];
        for (nanos, text) in cases {
            assert_eq!(span(nanos), text);
        }
    }
}
