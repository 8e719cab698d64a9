//! `weir backtest`: how right confidence would have been on readings whose arrival is known.
//!
//! Owns the reading of such files, the tables, the samples and the diagram. Does **not** own the model, its learning nor the
//! replay (`serving_layer::confidence`): they are the code that serves.
//!
//! ```text
//! files ─► rows by arrival ─► replay (simulated clock) ─► samples ─► scores, baseline ─► tables
//! ```

mod baseline;
mod diagram;
mod load;
mod report;
mod samples;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use schemas::partial::Aggregate;
use schemas::time::{DAY, HOUR, MINUTE, Precision, SECOND, parse_duration};
use schemas::{EventTime, Resolution};
use serving_layer::confidence::{Ask, Outcome, Plan, Sample, Scores, Settings, replay};

use self::baseline::Baseline;
use self::load::Readings;
use self::samples::Samples;

/// Aggregates that are asked for.
const AGGREGATES: [&str; 7] = ["count", "sum", "avg", "min", "max", "last", "p95"];
/// Ages after a bucket's end at which it is asked for.
const AGES: [i64; 18] = [
    0,
    5 * SECOND,
    15 * SECOND,
    30 * SECOND,
    MINUTE,
    2 * MINUTE,
    5 * MINUTE,
    10 * MINUTE,
    30 * MINUTE,
    HOUR,
    2 * HOUR,
    6 * HOUR,
    DAY,
    2 * DAY,
    4 * DAY,
    7 * DAY,
    14 * DAY,
    21 * DAY,
];
/// Buckets of days are asked for after days, too; others no later than this.
const LATE: i64 = DAY;
/// Of a bucket, ages below this share of its width are one.
const FINE: i64 = 1_000;
/// Buckets whose label is awaited at once, for each metric.
const WATCHED: usize = 20_000;

/// What `weir backtest` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// CSV or Parquet with columns metric, device_id, event_time, arrival_time, value; also as .gz or .zst
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Width of the buckets
    #[arg(long, value_name = "DURATION", default_value = "1m")]
    resolution: Resolution,
    /// Probability that intervals are to hold
    #[arg(long, value_name = "FRACTION", default_value_t = 0.95, value_parser = fraction)]
    level: f64,
    /// The fraction within which a final value counts as the one shown
    #[arg(long, value_name = "FRACTION", default_value_t = 0.01, value_parser = fraction)]
    max_rel_err: f64,
    /// The value over all devices of a metric, instead of that of each
    #[arg(long)]
    group: bool,
    /// No reading is waited for longer than this: what comes later is backfill
    #[arg(long, value_name = "DURATION", default_value = "60d", value_parser = duration)]
    horizon_max: i64,
    /// Unit of numeric timestamps: s, ms, us or ns [default: ms]
    #[arg(long, value_name = "UNIT")]
    precision: Option<Precision>,
    /// Write every single prediction to this CSV file
    #[arg(long, value_name = "OUT.csv")]
    samples: Option<PathBuf>,
    /// Draw the reliability of the probabilities and the coverage of the intervals
    #[arg(long, value_name = "OUT.svg")]
    diagram: Option<PathBuf>,
}

fn fraction(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(value) if 0.0 < value && value < 1.0 => Ok(value),
        _ => Err("is no number between 0 and 1".to_owned()),
    }
}

fn duration(text: &str) -> Result<i64, String> {
    match parse_duration(text) {
        Ok(nanos) if nanos > 0 => Ok(nanos),
        Ok(_) => Err("must be positive".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Replays the files and prints the tables.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let readings = Readings::load(&args.files, args.precision)?;
    let plan = plan(args);
    let mut told = Told::new(args, &readings)?;
    let learner = replay(&readings.rows, &plan, &mut |sample| told.hear(sample));
    told.finish()?;
    for class in readings.names.classes() {
        let horizon = learner.horizon(class);
        eprintln!("{}: less than 0.1 % arrive later than {}", readings.names.metric(class), report::span(horizon));
    }
    if let Some(path) = &args.diagram {
        let svg = diagram::draw(&told.scores, args.level);
        std::fs::write(path, svg).with_context(|| format!("can't write {}", path.display()))?;
    }
    print!("{}", report::summary(&readings, told.young, told.early));
    print!("{}", report::table(&told.scores, &told.baseline));
    Ok(ExitCode::SUCCESS)
}

fn plan(args: &Args) -> Plan {
    let width = args.resolution.nanos();
    let makes_sense = |age: &i64| *age == 0 || (*age >= width / FINE && (*age <= LATE || width >= DAY));
    let ask = Ask { level: args.level, eps: args.max_rel_err, floor: 0.0 };
    Plan {
        resolution: args.resolution,
        single: !args.group,
        group: args.group,
        ages: AGES.into_iter().filter(makes_sense).collect(),
        wanted: AGGREGATES.iter().map(|name| name.parse().expect("names of aggregates")).collect(),
        ask,
        settings: Settings { horizon_max: args.horizon_max, ask, ..Settings::default() },
        watched_max: WATCHED,
    }
}

/// What becomes of the predictions.
struct Told<'a> {
    readings: &'a Readings,
    ask: Ask,
    wanted: Vec<Aggregate>,
    scores: Scores,
    baseline: Baseline,
    samples: Option<Samples>,
    /// Buckets that can't be scored: the file ends before they are final.
    young: u64,
    /// Buckets that were asked for before anything was learned that stands behind the answer, which said so.
    early: u64,
    failed: Option<anyhow::Error>,
}

impl<'a> Told<'a> {
    fn new(args: &Args, readings: &'a Readings) -> anyhow::Result<Self> {
        let samples = args.samples.as_deref().map(Samples::create).transpose()?;
        let plan = plan(args);
        Ok(Self {
            readings,
            ask: plan.ask,
            wanted: plan.wanted,
            scores: Scores::default(),
            baseline: Baseline::default(),
            samples,
            young: 0,
            early: 0,
            failed: None,
        })
    }

    fn hear(&mut self, sample: &Sample<'_>) {
        if let Some(samples) = &mut self.samples
            && self.failed.is_none()
        {
            self.failed = samples.write(sample, &self.wanted, &self.readings.names).err();
        }
        let is_final = sample.bucket.end.0.saturating_add(sample.horizon) <= self.readings.last_arrival;
        if !is_final {
            self.young += 1;
            return;
        }
        if !sample.prediction.calibrated {
            self.early += 1;
            return;
        }
        for aggregate in &self.wanted {
            let Some(outcome) = self.outcome(sample, *aggregate) else { continue };
            let now = EventTime(sample.bucket.end.0.saturating_add(sample.age));
            self.baseline.add(&outcome, now, sample.horizon, self.ask.level);
            self.scores.add(&outcome);
        }
    }

    fn outcome(&self, sample: &Sample<'_>, aggregate: Aggregate) -> Option<Outcome> {
        let i = aggregate.index();
        let (shown, truth) = (sample.shown[i], sample.truth[i]);
        let complete = (shown / truth).min(1.0);
        let bias = if aggregate == Aggregate::Count { sample.prediction.completeness - complete } else { f64::NAN };
        Some(Outcome {
            class: sample.stratum.class,
            group: sample.stratum.group,
            resolution: sample.stratum.width,
            aggregate,
            age: sample.age,
            shown,
            forecast: sample.prediction.forecasts[i]?,
            truth,
            tolerance: self.ask.eps * shown.abs().max(self.ask.floor),
            completeness_bias: bias,
        })
    }

    /// Writes what is left.
    fn finish(&mut self) -> anyhow::Result<()> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        self.samples.as_mut().map_or(Ok(()), Samples::finish)
    }
}
