//! The columns that name a series: `metric_key`, `metric`, `device_id`, `tags`.
//!
//! Rows come in runs of one series, so each text is made once for a run and shared by its rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringViewArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::Field;
use schemas::SeriesKey;

use super::columns::text;
use crate::error::{Error, Result};

/// The names of these columns; every table of series begins with them.
pub(super) const COLUMNS: [&str; 4] = ["metric_key", "metric", "device_id", "tags"];

/// These columns.
pub(super) fn fields() -> impl Iterator<Item = Field> {
    COLUMNS.into_iter().map(text)
}

/// One text of a series: the `i`-th of [`COLUMNS`].
fn text_of(i: usize, key: &SeriesKey) -> Option<String> {
    match i {
        0 => Some(key.text().to_owned()),
        1 => Some(key.metric().to_owned()),
        2 => key.device_id().map(Into::into),
        _ => Some(key.tags_json()),
    }
}

/// The `i`-th of [`COLUMNS`], for one row of each series.
pub(super) fn each<'a>(i: usize, keys: impl IntoIterator<Item = &'a SeriesKey>) -> ArrayRef {
    Arc::new(StringViewArray::from_iter(keys.into_iter().map(|key| text_of(i, key))))
}

/// The `i`-th of [`COLUMNS`], for runs of so many rows.
pub(super) fn runs(i: usize, runs: &[(&SeriesKey, usize)]) -> Result<ArrayRef> {
    let values = each(i, runs.iter().map(|(key, _)| *key));
    let numbers = (0_u32..).zip(runs).flat_map(|(run, (_, rows))| std::iter::repeat_n(run, *rows));
    take(&values, &UInt32Array::from_iter_values(numbers), None)
        .map_err(|e| Error::Unavailable(format!("can't name series: {e}")))
}
