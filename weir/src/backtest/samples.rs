//! Every single prediction as a row of a CSV file.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use anyhow::Context as _;
use schemas::partial::Aggregate;
use schemas::time::SECOND;
use serving_layer::confidence::Sample;

use super::load::Names;

/// The file.
pub(super) struct Samples {
    out: csv::Writer<BufWriter<File>>,
}

impl Samples {
    /// Makes the file, or empties it.
    pub(super) fn create(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("can't write {}", path.display()))?;
        let mut out = csv::Writer::from_writer(BufWriter::new(file));
        out.write_record([
            "metric",
            "device_id",
            "bucket",
            "age_s",
            "agg",
            "v_now",
            "low",
            "high",
            "confidence_score",
            "completeness",
            "calibrated",
            "state",
        ])?;
        Ok(Self { out })
    }

    /// Writes what was foretold of a bucket, as it is served: scores to four decimals, completeness to six.
    pub(super) fn write(&mut self, sample: &Sample<'_>, wanted: &[Aggregate], names: &Names) -> anyhow::Result<()> {
        let state = if sample.age >= sample.horizon { "final" } else { "settling" };
        let (metric, device) = (names.metric(sample.stratum.class), names.device(sample.source));
        let bucket = sample.bucket.start.to_string();
        let age = (sample.age / SECOND).to_string();
        let down = |value: f64, units: f64| (value * units + 1e-9).floor() / units;
        let completeness = format!("{:.6}", down(sample.prediction.completeness, 1e6));
        let calibrated = sample.prediction.calibrated.to_string();
        for aggregate in wanted {
            let i = aggregate.index();
            let Some(forecast) = sample.prediction.forecasts[i] else { continue };
            let score = format!("{:.4}", down(forecast.score, 1e4));
            let [shown, low, high] = [sample.shown[i], forecast.low, forecast.high].map(|v| v.to_string());
            self.out.write_record([
                metric,
                device,
                &bucket,
                &age,
                aggregate.name(),
                &shown,
                &low,
                &high,
                &score,
                &completeness,
                &calibrated,
                state,
            ])?;
        }
        Ok(())
    }

    /// Writes what is left.
    pub(super) fn finish(&mut self) -> anyhow::Result<()> {
        self.out.flush().context("can't write the samples")?;
        self.out.get_ref().get_ref().sync_all().context("can't write the samples")
    }
}
