//! What Prometheus is told of calibration, worked out when it asks.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::gauge::ConstGauge;

use super::{Calibration, LEVEL};

/// Tells how right confidence was, over all metrics.
#[derive(Debug)]
pub struct Gauges(Arc<Calibration>);

impl Gauges {
    /// Of this calibration.
    pub fn new(calibration: Arc<Calibration>) -> Self {
        Self(calibration)
    }
}

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let learned = self.0.learned();
        let all = learned.scores.sum(|_, _, _, _| true);
        let rows = learned.scores.rows();
        let breaches = rows.iter().filter(|row| row.breaches(LEVEL)).count();
        let mut tell = |name: &str, help: &str, value: f64| {
            let gauge = ConstGauge::new(if value.is_finite() { value } else { 0.0 });
            let metric = encoder.encode_descriptor(name, help, None, prometheus_client::metrics::MetricType::Gauge)?;
            gauge.encode(metric)
        };
        tell("weir_confidence_forecasts", "Forecasts set beside what became of them, after forgetting", all.n)?;
        if all.n > 0.0 {
            tell("weir_confidence_coverage", "The share of 95 % intervals that held the final value", all.coverage)?;
            tell("weir_confidence_calibration_error", "Expected calibration error of confidence_score", all.ece)?;
        }
        tell(
            "weir_confidence_breaches",
            "Kinds of forecasts (metric, aggregate, age) whose coverage left its band",
            breaches as f64,
        )
    }
}
