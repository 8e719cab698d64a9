//! `calibration`: how right confidence was, by metric, aggregate and age.

use std::sync::Arc;

use arrow::array::ArrayRef;
use datafusion::catalog::TableProvider;
use futures::FutureExt;
use schemas::time::SECOND;

use super::Statement;
use super::columns::{batch, float, floats, schema, text, texts, truth, truths};
use super::source::{Loaded, table as table_of};
use crate::calibration::CalibrationRow;
use crate::confidence::Score;

/// The table.
pub(super) fn table(statement: Arc<Statement>) -> Arc<dyn TableProvider> {
    let numbers = [
        "resolution_s",
        "age_s",
        "n",
        "coverage",
        "undecided",
        "undecided_coverage",
        "width",
        "brier",
        "base_rate",
        "climatology",
        "ece",
        "completeness_bias",
    ];
    let names = [text("metric"), text("aggregate"), truth("grouped")];
    let fields = schema(names.into_iter().chain(numbers.map(float)).chain([truth("breach")]));
    let columns = Arc::clone(&fields);
    table_of(Loaded::new("calibration", fields, move || {
        let (statement, columns) = (Arc::clone(&statement), Arc::clone(&columns));
        async move {
            let rows = statement.serving.calibration.learned().calibration();
            batch(&columns, arrays(&rows), rows.len())
        }
        .boxed()
    }))
}

fn arrays(rows: &[CalibrationRow]) -> Vec<ArrayRef> {
    let number = |of: fn(&Score) -> f64| floats(rows.iter().map(|r| Some(of(&r.row.score)).filter(|v| v.is_finite())));
    vec![
        texts(rows.iter().map(|r| Some(r.metric.as_str()))),
        texts(rows.iter().map(|r| Some(r.row.aggregate.name()))),
        truths(rows.iter().map(|r| r.row.group)),
        floats(rows.iter().map(|r| Some(r.row.resolution as f64 / SECOND as f64))),
        floats(rows.iter().map(|r| Some(r.row.age as f64 / SECOND as f64))),
        number(|s| s.n),
        number(|s| s.coverage),
        number(|s| s.undecided),
        number(|s| s.undecided_coverage),
        number(|s| s.width),
        number(|s| s.brier),
        number(|s| s.base_rate),
        number(|s| s.climatology),
        number(|s| s.ece),
        number(|s| s.completeness_bias),
        truths(rows.iter().map(|r| r.breach)),
    ]
}
