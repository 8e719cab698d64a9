//! Batch engines, each measurement a fresh process of Python over one Parquet file of all readings.
//!
//! Owns the Python that runs them and what they are asked for. Does **not** own how (`peers/aggregate.py`).

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use super::report::Report;
use crate::figures::Table;
use crate::machine::mib;

/// Engines, as `--peers` has them.
pub(super) const ENGINES: [&str; 4] = ["duckdb", "polars", "datafusion", "chdb"];
/// What Weir's recompute stands beside.
pub(super) const RECOMPUTE: &str = "last arrival of each reading, with p99";
/// What Weir's SQL stands beside.
pub(super) const HOUR: &str = "last arrival of each reading, average per metric and hour";
/// What is asked for: as the script has it, and in the table.
const VARIANTS: [(&str, &str); 5] = [
    ("plain", "every arrival"),
    ("dedup", "last arrival of each reading"),
    ("dedup99", RECOMPUTE),
    ("hour", "every arrival, average per metric and hour"),
    ("deduphour", HOUR),
];
/// What a batch costs.
const COSTS: [&str; 3] = ["wall s", "CPU s", "peak memory, MiB"];
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/aggregate.py");
const PACKAGES: [&str; 5] = ["duckdb==2.0.0", "polars==2.1.0", "chdb==4.4.0", "datafusion==55.0.0", "pyarrow==26.0.1"];

/// The Python that runs engines.
#[derive(Debug)]
pub(super) struct Python {
    program: PathBuf,
}

/// What the script tells of a run.
#[derive(Debug, Deserialize)]
struct Told {
    wall_s: f64,
    cpu_s: f64,
    peak_bytes: u64,
    rows: u64,
    sum: f64,
}

impl Python {
    /// The one given, or one with the pinned packages under `target`.
    ///
    /// # Errors
    /// It can't be made.
    pub(super) fn new(given: Option<&Path>, target: &Path) -> anyhow::Result<Self> {
        if let Some(given) = given {
            return Ok(Self { program: given.to_owned() });
        }
        let venv = target.join("peers-venv");
        let program = venv.join("bin").join("python");
        if !program.exists() {
            run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        }
        run(Command::new(&program).args(["-m", "pip", "install", "--quiet"]).args(PACKAGES))?;
        Ok(Self { program })
    }

    /// The version of an engine.
    ///
    /// # Errors
    /// It is not installed.
    pub(super) fn version(&self, engine: &str) -> anyhow::Result<String> {
        run(Command::new(&self.program).args([SCRIPT, "version", engine])).map(|text| text.trim().to_owned())
    }

    fn measure(&self, engine: &str, variant: &str, readings: &Path, scratch: &Path) -> anyhow::Result<Told> {
        let mut command = Command::new(&self.program);
        let text = run(command.args([SCRIPT, "run", engine, variant]).args([readings, scratch]))?;
        let line = text.lines().last().context("it told nothing")?;
        serde_json::from_str(line).with_context(|| format!("it told {line:?}"))
    }
}

/// The figures of all variants, in their order.
pub(super) fn figures() -> Vec<String> {
    VARIANTS.iter().flat_map(|(_, name)| COSTS.map(|cost| format!("{name}: {cost}"))).collect()
}

/// Measures all variants of all engines once, in this order.
pub(super) fn round(
    python: &Python,
    engines: &[&str],
    readings: &Path,
    dir: &Path,
    number: usize,
    report: &mut Report,
) {
    for (variant, name) in VARIANTS {
        for engine in engines {
            let scratch = dir.join("aggregated.parquet");
            let measured = python.measure(engine, variant, readings, &scratch).and_then(|told| {
                add_cost(&mut report.batch, engine, name, (told.wall_s, told.cpu_s, mib(told.peak_bytes)));
                report.agree(name, told.rows, told.sum)
            });
            report.check(number, engine, name, measured);
            // There is none if it failed.
            let _ = std::fs::remove_file(scratch);
        }
    }
}

/// Rows of what a batch cost: wall seconds, CPU seconds, peak memory.
pub(super) fn add_cost(table: &mut Table, column: &str, what: &str, (wall_s, cpu_s, peak_mib): (f64, f64, f64)) {
    for (cost, value) in COSTS.iter().zip([wall_s, cpu_s, peak_mib]) {
        table.add(&format!("{what}: {cost}"), column, value);
    }
}

fn run(command: &mut Command) -> anyhow::Result<String> {
    let program = command.get_program().to_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("can't run {}", program.display()))?;
    let error = String::from_utf8_lossy(&output.stderr);
    let error = error.trim().lines().last().unwrap_or_default();
    ensure!(output.status.success(), "{}: {error}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_tells_its_last_word() {
        let error = run(Command::new("sh").args(["-c", "echo a >&2; echo b >&2; exit 2"])).expect_err("2").to_string();
        assert_eq!(error, "exit status: 2: b");
    }

    #[test]
    fn what_the_script_tells_is_read() {
        let told: Told = serde_json::from_value(serde_json::json!(
            {"wall_s": 1.5, "cpu_s": 2, "peak_bytes": 3, "rows": 4, "sum": 5.5, "more": "x"}
        ))
        .expect("all fields");
        assert_eq!((told.wall_s, told.rows), (1.5, 4));
    }
}
