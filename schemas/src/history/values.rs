//! The values of readings in columns: as doubles, or as decimals where that loses nothing.
//!
//! Owns which of the two a value becomes, and the way back. Does not own what a decimal is ([`crate::decimal`]).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Float64Builder, Int64Builder, UInt8Builder};
use arrow::datatypes::{Int64Type, UInt8Type};

use super::{Columns, StoredReading};
use crate::decimal;
use crate::error::{Error, Result};

/// The values of a batch of a file of readings.
///
/// # Errors
/// A column is missing or of another type, a reading has no value, or a scale is unknown.
pub(super) fn read(columns: &Columns<'_>) -> Result<ArrayRef> {
    let values = columns.floats("value")?;
    if values.null_count() == 0 {
        return Ok(Arc::new(values.clone()));
    }
    let decimals = columns.get("decimal")?.as_primitive_opt::<Int64Type>().ok_or_else(|| columns.wrong("decimal"))?;
    let scales = columns.get("scale")?.as_primitive_opt::<UInt8Type>().ok_or_else(|| columns.wrong("scale"))?;
    let value = |i: usize| {
        if values.is_valid(i) {
            return Some(values.value(i));
        }
        let scale = scales.is_valid(i).then(|| scales.value(i)).filter(|scale| decimal::is_scale(*scale))?;
        decimals.is_valid(i).then(|| decimal::decode(decimals.value(i), scale))
    };
    let told: Option<Vec<f64>> = (0..values.len()).map(value).collect();
    let told = told.ok_or_else(|| Error::corrupt("column value", "a reading has none, or a decimal of no known scale"));
    Ok(Arc::new(Float64Array::from(told?)))
}

/// The columns `value`, `decimal` and `scale` of these readings; each run of one series has a scale of its own.
pub(super) fn write(readings: &[StoredReading]) -> [ArrayRef; 3] {
    let rows = readings.len();
    let mut values = Float64Builder::with_capacity(rows);
    let mut decimals = Int64Builder::with_capacity(rows);
    let mut scales = UInt8Builder::with_capacity(rows);
    let mut found = Vec::new();
    for run in readings.chunk_by(|a, b| a.series == b.series) {
        let Some(scale) = decimal::scale_of(run.iter().map(|r| r.value)) else {
            run.iter().for_each(|r| values.append_value(r.value));
            decimals.append_nulls(run.len());
            scales.append_nulls(run.len());
            continue;
        };
        found.clear();
        found.extend(run.iter().map_while(|r| decimal::encode(r.value, scale)));
        if found.len() == run.len() {
            values.append_nulls(run.len());
            decimals.append_slice(&found);
            scales.append_value_n(scale, run.len());
            continue;
        }
        for reading in run {
            let decimal = decimal::encode(reading.value, scale);
            values.append_option(decimal.is_none().then_some(reading.value));
            decimals.append_option(decimal);
            scales.append_option(decimal.is_some().then_some(scale));
        }
    }
    [Arc::new(values.finish()), Arc::new(decimals.finish()), Arc::new(scales.finish())]
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, RecordBatch, UInt8Array};

    use super::*;
    use crate::history::{NUMBERS, ReadingColumns, readings_to_batch, scanned};
    use crate::series::SeriesId;
    use crate::time::MILLISECOND;

    fn stored(values: &[f64]) -> Vec<StoredReading> {
        let reading = |value: &f64| StoredReading {
            series: SeriesId(1),
            time: 2,
            arrival: 3 * MILLISECOND,
            value: *value,
            position: 5,
        };
        values.iter().map(reading).collect()
    }

    #[test]
    fn readings_read_back() {
        for values in [&[4.0, 21.35][..], &[1.0 / 3.0, -0.0], &[0.5, -0.0, 1e15, 1e300], &[]] {
            let readings = stored(values);
            let batch = scanned(&readings_to_batch(&readings)).expect("own columns");
            let columns = ReadingColumns::of(&batch).expect("own columns");
            let bits = |readings: &[StoredReading]| readings.iter().map(|r| r.value.to_bits()).collect::<Vec<_>>();
            let found: Vec<StoredReading> = (0..columns.len()).map(|i| columns.get(i)).collect();
            assert_eq!((&found, bits(&found)), (&readings, bits(&readings)));
        }
    }

    #[test]
    fn a_reading_without_a_value_and_an_unknown_scale_are_corrupt() {
        let good = readings_to_batch(&stored(&[0.5, 1.5]));
        let replaced = |name: &str, column: ArrayRef| {
            let (mut columns, at) = (good.columns().to_vec(), NUMBERS.index_of(name).expect(name));
            columns[at] = column;
            RecordBatch::try_new(Arc::clone(&NUMBERS), columns).expect("of the same type")
        };
        for batch in [
            replaced("scale", Arc::new(UInt8Array::from(vec![Some(1), None]))),
            replaced("decimal", Arc::new(Int64Array::from(vec![None, Some(1)]))),
            replaced("scale", Arc::new(UInt8Array::from(vec![1, 10]))),
        ] {
            assert!(scanned(&batch).is_err());
        }
    }

    /// Files from before decimals hold doubles alone.
    #[test]
    fn values_alone_are_enough() {
        let batch = readings_to_batch(&stored(&[1.0 / 3.0]));
        let kept: Vec<usize> = ["series_id", "event_time", "arrival_time", "value", "position"]
            .iter()
            .map(|name| NUMBERS.index_of(name).expect(name))
            .collect();
        let batch = scanned(&batch.project(&kept).expect("columns")).expect("enough");
        assert_eq!(ReadingColumns::of(&batch).expect("own columns").values, [1.0 / 3.0]);
    }
}
