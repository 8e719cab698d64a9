//! Readings from a file: `weir import` into a new data directory.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde::Serialize;

use super::query::count;
use crate::columns::write_parquet;
use crate::machine::children_cpu_s;
use crate::server::Server;
use crate::workload::Plan;

/// An import of a whole file, its start and its last flush included.
#[derive(Debug, Serialize)]
pub(crate) struct Import {
    /// Readings in the file.
    pub(crate) points: u64,
    /// Its size.
    pub(crate) file_bytes: u64,
    /// Seconds on the wall.
    pub(crate) wall_s: f64,
    /// CPU seconds.
    pub(crate) cpu_s: f64,
    /// Differences between what was in the file and what is there.
    pub(crate) wrong: Vec<String>,
}

/// Writes a plan as Parquet, imports it into a new directory in `dir`, and counts what is there.
///
/// # Errors
/// The import fails, or no server starts over its directory.
pub(crate) fn import(weir: &Path, dir: &Path, plan: Plan) -> anyhow::Result<Import> {
    let (file, data) = (dir.join("import.parquet"), dir.join("imported"));
    let points = write_parquet(File::create(&file)?, plan).context("can't write the file to import")?;
    let (cpu_s, begun) = (children_cpu_s()?, Instant::now());
    let mut command = Command::new(weir);
    command.arg("import").arg("--data-dir").arg(&data).arg(&file).current_dir(dir).stdin(Stdio::null());
    let output = command.output().with_context(|| format!("can't run {}", weir.display()))?;
    let (wall_s, cpu_s) = (begun.elapsed().as_secs_f64(), children_cpu_s()? - cpu_s);
    ensure!(output.status.success(), "the import failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    let server = Server::start(weir, &data)?;
    let (found, expected) = (count(&mut server.client()?, plan)?, plan.identities_per_metric());
    server.stop()?;
    let differs = found != expected;
    let wrong = differs.then(|| format!("imported readings of one metric: {found} instead of {expected}"));
    Ok(Import {
        points,
        file_bytes: std::fs::metadata(&file)?.len(),
        wall_s,
        cpu_s,
        wrong: wrong.into_iter().collect(),
    })
}
