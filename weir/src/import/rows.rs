//! Rows under construction, for formats whose columns are mapped here.

use std::collections::HashMap;

use schemas::SeriesKey;
use schemas::series::DEVICE_TAG;
use speed_layer::SeriesRef;

/// How many refused rows a chunk describes; the rest are only counted.
const REFUSALS: usize = 20;

/// Part of a file: good rows, and what is wrong with the others.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    /// Good rows.
    pub(crate) rows: speed_layer::Rows,
    /// When each of them arrived, nanoseconds; empty where no column tells it.
    pub(crate) arrivals: Vec<i64>,
    /// How many rows were refused.
    pub(crate) rejected: u64,
    /// Why, for the first of them.
    pub(crate) refusals: Vec<Refusal>,
    /// Text fields of line protocol, which are no readings.
    pub(crate) skipped: u64,
}

/// Why a row was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Its line in the file, from 1, where the format has lines.
    pub(crate) line: Option<u64>,
    /// Its number from 0, in the file for Parquet, else in the chunk.
    pub(crate) row: u64,
    /// What is wrong.
    pub(crate) reason: String,
}

/// Collects rows.
#[derive(Debug, Default)]
pub(super) struct Builder {
    chunk: Chunk,
    by_spelling: HashMap<Vec<u8>, u32>,
    /// The series of the last row: files often go on with it.
    last: Option<u32>,
    last_spelling: Vec<u8>,
    spelling: Vec<u8>,
}

impl Builder {
    /// Adds a good row.
    pub(super) fn push(&mut self, series: u32, time: i64, value: f64, arrival: Option<i64>) {
        self.chunk.arrivals.extend(arrival);
        self.chunk.rows.series.push(SeriesRef::new(series));
        self.chunk.rows.times.push(time);
        self.chunk.rows.values.push(value);
    }

    /// Refuses a row.
    pub(super) fn refuse(&mut self, line: Option<u64>, row: u64, reason: String) {
        self.chunk.rejected += 1;
        if self.chunk.refusals.len() < REFUSALS {
            self.chunk.refusals.push(Refusal { line, row, reason });
        }
    }

    /// The number of the series with this metric, device (empty: none) and tags.
    pub(super) fn series(&mut self, metric: &str, device: &str, tags: &[(&str, &str)]) -> Result<u32, String> {
        self.spelling.clear();
        for part in [metric, device].into_iter().chain(tags.iter().flat_map(|(name, value)| [*name, *value])) {
            self.spelling.extend_from_slice(&part.len().to_le_bytes());
            self.spelling.extend_from_slice(part.as_bytes());
        }
        if let Some(last) = self.last
            && self.spelling == self.last_spelling
        {
            return Ok(last);
        }
        let number = match self.by_spelling.get(&self.spelling) {
            Some(number) => *number,
            None => self.new_series(metric, device, tags)?,
        };
        std::mem::swap(&mut self.spelling, &mut self.last_spelling);
        self.last = Some(number);
        Ok(number)
    }

    fn new_series(&mut self, metric: &str, device: &str, tags: &[(&str, &str)]) -> Result<u32, String> {
        if metric.is_empty() {
            return Err("metric is missing".to_owned());
        }
        let mut all = tags.to_vec();
        if !device.is_empty() && !all.contains(&(DEVICE_TAG, device)) {
            all.push((DEVICE_TAG, device));
        }
        let key = SeriesKey::new(metric, &all).map_err(|e| e.to_string())?;
        let number = u32::try_from(self.chunk.rows.keys.len()).map_err(|_| "too many series".to_owned())?;
        self.chunk.rows.keys.push(key);
        self.by_spelling.insert(self.spelling.clone(), number);
        Ok(number)
    }

    /// What was collected; the next rows begin anew.
    pub(super) fn take(&mut self) -> Chunk {
        std::mem::take(self).chunk
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_numbered_once() {
        let mut rows = Builder::default();
        let a = rows.series("t", "d", &[("line", "A")]).expect("valid");
        let b = rows.series("t", "d", &[("line", "B")]).expect("valid");
        assert_eq!((a, b), (0, 1));
        assert_eq!(rows.series("t", "d", &[("line", "A")]), Ok(0));
        assert!(rows.series("", "d", &[]).is_err());
        rows.push(a, 1, 2.0, None);
        rows.refuse(Some(3), 2, "bad".into());
        let chunk = rows.take();
        assert_eq!(chunk.rows.keys[0].text(), "t{device_id=\"d\",line=\"A\"}");
        assert_eq!((chunk.rejected, chunk.rows.values.len()), (1, 1));
        assert_eq!(rows.series("u", "", &[]), Ok(0));
    }
}
