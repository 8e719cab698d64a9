//! Counters of the speed layer: one struct of handles, passed in.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::ledger::Ledger;

/// The reason of a refusal, from a closed set.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reason {
    /// A word.
    pub reason: &'static str,
}

/// Where readings of the ledger are.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Stage {
    /// A word.
    pub stage: &'static str,
}

/// An equation of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Equation {
    /// Its name, such as `LED-1`.
    pub equation: &'static str,
}

/// A gauge that is left out while nobody knows its value.
#[derive(Debug, Clone, Default)]
pub struct Known(Arc<Mutex<Option<u64>>>);

impl Known {
    /// What is known now.
    pub fn set(&self, value: Option<u64>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = value;
    }

    fn get(&self) -> Option<u64> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EncodeMetric for Known {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        self.get().map_or(Ok(()), |value| encoder.encode_gauge(&value))
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }

    fn is_empty(&self) -> bool {
        self.get().is_none()
    }
}

/// Handles of all counters.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Readings acknowledged.
    pub readings: Counter,
    /// Readings not accepted, by reason.
    pub refused: Family<Reason, Counter>,
    /// Readings that arrived out of order.
    pub out_of_order: Counter,
    /// Readings that say again what an epoch in memory counts.
    pub repeated: Counter,
    /// Readings that correct what an epoch in memory counts: their bucket became disordered.
    pub corrected: Counter,
    /// Readings of which memory can't tell whether they are new.
    pub doubtful: Counter,
    /// Readings too far in the future.
    pub quarantined: Family<Reason, Counter>,
    /// Frames appended to the log.
    pub frames: Counter,
    /// Seconds per sync of the log.
    pub sync_seconds: Histogram,
    /// Failed writes or syncs of the log.
    pub log_failures: Counter,
    /// Bytes free on the fullest disk.
    pub disk_free: Known,
    /// Readings in memory.
    pub hot_readings: Gauge,
    /// Series known.
    pub series: Gauge,
    /// Epochs in memory, the open one apart.
    pub epochs: Gauge,
    /// Epochs flushed to history.
    pub flushes: Counter,
    /// Flushes that failed and will be tried again.
    pub flush_failures: Counter,
    /// Readings in the ledger, by where they are.
    pub ledger_readings: Family<Stage, Gauge>,
    /// Whether an equation of the ledger is broken.
    pub ledger_broken: Family<Equation, Gauge>,
    /// How often an equation of the ledger was found broken that held before.
    pub ledger_mismatches: Family<Equation, Counter>,
}

impl Metrics {
    /// Registers all counters.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            readings: Counter::default(),
            refused: Family::default(),
            out_of_order: Counter::default(),
            repeated: Counter::default(),
            corrected: Counter::default(),
            doubtful: Counter::default(),
            quarantined: Family::default(),
            frames: Counter::default(),
            sync_seconds: Histogram::new(exponential_buckets(0.000_05, 2.0, 16)),
            log_failures: Counter::default(),
            disk_free: Known::default(),
            hot_readings: Gauge::default(),
            series: Gauge::default(),
            epochs: Gauge::default(),
            flushes: Counter::default(),
            flush_failures: Counter::default(),
            ledger_readings: Family::default(),
            ledger_broken: Family::default(),
            ledger_mismatches: Family::default(),
        };
        let speed = registry.sub_registry_with_prefix("weir_speed");
        speed.register("readings", "Readings acknowledged", metrics.readings.clone());
        speed.register("readings_refused", "Readings not accepted, by reason", metrics.refused.clone());
        speed.register(
            "readings_out_of_order",
            "Readings older than the newest of their series",
            metrics.out_of_order.clone(),
        );
        speed.register("readings_repeated", "Readings counted before with the same value", metrics.repeated.clone());
        speed.register("readings_corrected", "Readings counted before with another value", metrics.corrected.clone());
        speed.register(
            "readings_doubtful",
            "Late readings of which memory can't tell whether they are new",
            metrics.doubtful.clone(),
        );
        speed.register(
            "readings_quarantined",
            "Readings too far from the clock, by reason",
            metrics.quarantined.clone(),
        );
        speed.register("log_frames", "Frames appended to the log", metrics.frames.clone());
        speed.register("log_sync_seconds", "Time of a log sync", metrics.sync_seconds.clone());
        speed.register("log_failures", "Failed writes or syncs of the log", metrics.log_failures.clone());
        speed.register("disk_free_bytes", "Bytes free on the fullest disk of the data", metrics.disk_free.clone());
        speed.register("hot_readings", "Readings in memory", metrics.hot_readings.clone());
        speed.register("series", "Series known", metrics.series.clone());
        speed.register("epochs", "Sealed epochs in memory", metrics.epochs.clone());
        speed.register("flushes", "Epochs flushed to history", metrics.flushes.clone());
        speed.register("flush_failures", "Flushes that failed and are tried again", metrics.flush_failures.clone());
        let ledger = registry.sub_registry_with_prefix("weir_ledger");
        ledger.register("readings", "Readings in the ledger, by where they are", metrics.ledger_readings.clone());
        ledger.register("broken", "Whether an equation of the ledger is broken", metrics.ledger_broken.clone());
        ledger.register("mismatches", "Equations found broken that held before", metrics.ledger_mismatches.clone());
        metrics
    }

    /// Tells where readings are; returns the equations that are broken and were not before.
    pub(crate) fn tell_ledger(&self, ledger: &Ledger) -> Vec<&'static str> {
        for (stage, tally) in ledger.stages() {
            let readings = i64::try_from(tally.readings).unwrap_or(i64::MAX);
            self.ledger_readings.get_or_create(&Stage { stage }).set(readings);
        }
        let mut news = Vec::new();
        for (equation, holds) in ledger.equations() {
            let label = Equation { equation };
            let broken_before = self.ledger_broken.get_or_create(&label).set(i64::from(!holds)) != 0;
            let mismatches = self.ledger_mismatches.get_or_create(&label);
            if !holds && !broken_before {
                mismatches.inc();
                news.push(equation);
            }
        }
        news
    }

    /// Counts `n` readings that were not accepted.
    pub fn refuse(&self, reason: &'static str, n: u64) {
        if n > 0 {
            self.refused.get_or_create(&Reason { reason }).inc_by(n);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_knows_is_not_told() {
        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry);
        let told = || {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).expect("encodes");
            text.lines().filter(|line| line.contains("disk_free")).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(told(), [""; 0]);
        metrics.disk_free.set(Some(7));
        assert_eq!(told().last().map(String::as_str), Some("weir_speed_disk_free_bytes 7"));
        metrics.disk_free.set(None);
        assert_eq!(told(), [""; 0]);
    }
}
