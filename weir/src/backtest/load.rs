//! Readings of files, with the times of their arrival.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use schemas::SeriesKey;
use schemas::time::Precision;
use serving_layer::confidence::{ClassId, Row, SourceId};

use crate::import::{Chunk, read_with_arrivals};

/// So many refused rows are described.
const DESCRIBED: usize = 5;

/// What the numbers in rows are called.
#[derive(Debug, Default)]
pub(super) struct Names {
    classes: BTreeMap<ClassId, String>,
    sources: BTreeMap<SourceId, String>,
    class_of: BTreeMap<String, ClassId>,
    source_of: BTreeMap<String, SourceId>,
}

impl Names {
    fn class(&mut self, metric: &str) -> ClassId {
        number(metric, &mut self.class_of, &mut self.classes)
    }

    /// The number of a series' source: what its device is called, and its other tags, where it has some.
    fn source(&mut self, key: &SeriesKey) -> SourceId {
        let device = key.device_id().map_or_else(|| key.text().to_owned(), Into::into);
        let tags = key.text().strip_prefix(key.metric()).unwrap_or_default();
        let number = number(tags, &mut self.source_of, &mut self.sources);
        self.sources.insert(number, device);
        number
    }

    /// All metrics.
    pub(super) fn classes(&self) -> impl Iterator<Item = ClassId> {
        self.classes.keys().copied()
    }

    /// The name of a metric.
    pub(super) fn metric(&self, class: ClassId) -> &str {
        self.classes.get(&class).map_or("", String::as_str)
    }

    /// The name of a device; of a group it is `*`.
    pub(super) fn device(&self, source: Option<SourceId>) -> &str {
        source.map_or("*", |source| self.sources.get(&source).map_or("", String::as_str))
    }
}

fn number(name: &str, numbers: &mut BTreeMap<String, u64>, names: &mut BTreeMap<u64, String>) -> u64 {
    if let Some(number) = numbers.get(name) {
        return *number;
    }
    let number = numbers.len() as u64 + 1;
    numbers.insert(name.to_owned(), number);
    names.insert(number, name.to_owned());
    number
}

/// Readings in order of arrival.
#[derive(Debug, Default)]
pub(super) struct Readings {
    /// The readings.
    pub(super) rows: Vec<Row>,
    /// What their numbers are called.
    pub(super) names: Names,
    /// When the last of them arrived.
    pub(super) last_arrival: i64,
}

impl Readings {
    /// Reads files. Rows that are no readings are told and left out.
    pub(super) fn load(files: &[PathBuf], precision: Option<Precision>) -> anyhow::Result<Self> {
        let mut readings = Self::default();
        for file in files {
            readings.read(file, precision).with_context(|| file.display().to_string())?;
        }
        anyhow::ensure!(!readings.rows.is_empty(), "there is no reading in these files");
        // What arrived at once keeps its order.
        readings.rows.sort_by_key(|row| row.arrival);
        readings.last_arrival = readings.rows.last().map_or(0, |row| row.arrival);
        Ok(readings)
    }

    fn read(&mut self, file: &Path, precision: Option<Precision>) -> anyhow::Result<()> {
        let (mut rejected, mut described) = (0, 0);
        read_with_arrivals(file, precision, &mut |chunk: Chunk| {
            rejected += chunk.rejected;
            for refusal in chunk.refusals.iter().take(DESCRIBED - described) {
                described += 1;
                let place = refusal.line.map_or(format!("row {}", refusal.row), |line| format!("line {line}"));
                eprintln!("{}: {place}: {}", file.display(), refusal.reason);
            }
            self.add(&chunk);
            Ok(())
        })?;
        if rejected > 0 {
            eprintln!("{}: {rejected} rows are no readings and were left out", file.display());
        }
        Ok(())
    }

    fn add(&mut self, chunk: &Chunk) {
        let rows = &chunk.rows;
        let known: Vec<(ClassId, SourceId)> =
            rows.keys.iter().map(|key| (self.names.class(key.metric()), self.names.source(key))).collect();
        for (i, arrival) in chunk.arrivals.iter().enumerate() {
            let key = rows.series[i].number().expect("files are read without spellings") as usize;
            let (class, source) = known[key];
            let (event, value) = (rows.times[i], rows.values[i]);
            self.rows.push(Row { class, source, event, arrival: *arrival, value });
        }
    }
}
