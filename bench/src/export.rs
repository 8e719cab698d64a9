//! The workload as a file, so that anybody can feed it to any engine.
//!
//! Owns the command and which form a file has. Does **not** own the readings (`workload`) nor how they are written down
//! (`lines`, `columns`). The same flags always make the same bytes.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use chrono::{DateTime, Utc};
use clap::{Args, ValueEnum};

use crate::columns::{write_arrow, write_parquet};
use crate::lines::{Layout, Shape, json};
use crate::workload::{DEVICES, Factory, METRICS, Plan};

/// Writes the readings of a factory in order of arrival: 1 % late, 0.1 % sent twice.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How readings are written down
    #[arg(long, value_enum)]
    form: Form,
    /// Readings, up to a whole tick, without those that are sent twice
    #[arg(long, value_name = "N", default_value_t = 10_000_000)]
    points: u64,
    /// Devices, with 20 metrics each
    #[arg(long, value_name = "N", default_value_t = DEVICES, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    devices: u32,
    /// Milliseconds between the readings of a series
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(i64).range(1..=86_400_000))]
    step_ms: i64,
    /// Event time of the first reading
    #[arg(long, value_name = "TIME", default_value = "2026-01-01T00:00:00Z")]
    from: DateTime<Utc>,
    /// Another seed makes other readings
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: u64,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// How readings are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Line protocol, a reading a line
    Narrow,
    /// Line protocol, a device's tick a line
    Wide,
    /// A JSON object a line
    Json,
    /// An Arrow IPC stream
    Arrow,
    /// Parquet
    Parquet,
}

impl Options {
    fn plan(&self) -> Plan {
        let per_tick = u64::from(self.devices) * METRICS.len() as u64;
        let ticks = i64::try_from(self.points.div_ceil(per_tick)).unwrap_or(i64::MAX);
        let (seed, devices, step_ms) = (self.seed, self.devices, self.step_ms);
        Plan { seed, devices, start_ms: self.from.timestamp_millis(), step_ms, ticks }
    }
}

/// Writes the file and tells how many readings it holds.
///
/// # Errors
/// It can't be written.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    ensure!(options.points > 0, "there is nothing to write");
    let path = options.out.display();
    let file = File::create(&options.out).with_context(|| format!("can't make {path}"))?;
    let readings = write(file, options.form, options.plan()).with_context(|| format!("can't write {path}"))?;
    println!("{readings} readings in {path}");
    Ok(())
}

fn write(file: impl Write + Send, form: Form, plan: Plan) -> anyhow::Result<u64> {
    match form {
        Form::Narrow => write_lines(file, &Shape::Narrow.layout(), plan),
        Form::Wide => write_lines(file, &Shape::Wide.layout(), plan),
        Form::Json => write_lines(file, &json(), plan),
        Form::Arrow => write_arrow(BufWriter::new(file), plan),
        Form::Parquet => write_parquet(file, plan),
    }
}

fn write_lines(file: impl Write, layout: &Layout, plan: Plan) -> anyhow::Result<u64> {
    let mut file = BufWriter::new(file);
    let mut text = Vec::new();
    let written = Factory::new(plan).for_each(|arrivals| {
        text.clear();
        layout.shape.lines(arrivals).for_each(|line| (layout.push)(&mut text, line));
        Ok(file.write_all(&text)?)
    })?;
    file.flush()?;
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan = Plan { seed: 1, devices: 3, start_ms: 1_700_000_000_000, step_ms: 1000, ticks: 50 };

    fn lines(form: Form) -> (u64, usize) {
        let mut text = Vec::new();
        let readings = write(&mut text, form, PLAN).expect("written");
        (readings, String::from_utf8(text).expect("ascii").lines().count())
    }

    #[test]
    fn every_form_holds_every_reading() {
        let (readings, narrow) = lines(Form::Narrow);
        assert_eq!((narrow as u64, lines(Form::Json)), (readings, (readings, narrow)));
        let (points, wide) = lines(Form::Wide);
        assert!(points == readings && wide < narrow / 5, "{wide} of {narrow}");
        for form in [Form::Arrow, Form::Parquet] {
            assert_eq!(write(Vec::new(), form, PLAN).expect("written"), readings, "{form:?}");
        }
    }
}
