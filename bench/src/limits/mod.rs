//! Limits: what the server holds, how it comes back, what a publish and dirty cells cost a reader.
//!
//! Owns the order, the command and the table. Does **not** own how each is measured (one file per part). Each part has a
//! server and a directory of its own.

mod confidence;
mod memory;
mod merge;
mod publish;
mod start;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::{Args, ValueEnum};

use crate::machine::{Machine, commit, now_ms};
use crate::measure::progress;
use crate::place::{self, Place};

/// Measures what the server holds, and what a reader notices.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// A tenth of the readings, series and partitions
    #[arg(long)]
    quick: bool,
    /// What to measure
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PARTS", default_values_t = Part::value_variants().to_vec())]
    parts: Vec<Part>,
    /// Write the table there, too
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

/// What can be measured alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Memory with many readings, and with many series
    Memory,
    /// Starts after a kill, with everything in the log and with everything in history
    Start,
    /// A publish of many partitions under the eyes of readers
    Publish,
    /// Merged answers beside those of batch views alone
    Merge,
    /// Answers with confidence beside answers without
    Confidence,
}

/// Where a part is measured.
struct Ground<'a> {
    weir: &'a Path,
    dir: &'a Path,
    now_ms: i64,
    /// Amounts are divided by this.
    divisor: u32,
}

/// A table with what is wanted beside what was measured.
#[derive(Debug, Default)]
struct Findings {
    rows: Vec<(String, String, String)>,
    wrong: Vec<String>,
}

impl Findings {
    /// A figure for which there is a target.
    fn row(&mut self, what: impl Into<String>, wanted: &str, measured: String) {
        self.rows.push((what.into(), wanted.to_owned(), measured));
    }

    /// Tells an answer that was not what it had to be.
    fn check(&mut self, what: &str, found: u64, expected: u64) {
        if found != expected {
            self.wrong.push(format!("{what}: {found} instead of {expected}"));
        }
    }

    fn markdown(&self) -> String {
        let mut text = "| what | wanted | measured |\n|---|---|---|\n".to_owned();
        for (what, wanted, measured) in &self.rows {
            text += &format!("| {what} | {wanted} | {measured} |\n");
        }
        self.wrong.iter().for_each(|wrong| text += &format!("\n**Wrong**, {wrong}\n"));
        text
    }
}

/// Measures the parts, prints the table and writes it down.
///
/// # Errors
/// Weir can't be found, or something failed; what was measured is shown all the same.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let weir = options.place.weir()?;
    let dir = options.place.dir()?;
    let machine = Machine::of(dir.path())?;
    let mut findings = Findings::default();
    for part in &options.parts {
        progress(&format!("{part:?}").to_lowercase());
        let dir = dir.path().join("part");
        std::fs::create_dir(&dir)?;
        let divisor = if options.quick { 10 } else { 1 };
        let ground = Ground { weir: &weir, dir: &dir, now_ms: now_ms()?, divisor };
        let measured = match part {
            Part::Memory => memory::measure(&ground, &mut findings),
            Part::Start => start::measure(&ground, &mut findings),
            Part::Publish => publish::measure(&ground, &mut findings),
            Part::Merge => merge::measure(&ground, &mut findings),
            Part::Confidence => confidence::measure(&ground, &mut findings),
        };
        if let Err(error) = measured {
            findings.wrong.push(format!("{part:?} failed: {error:#}"));
        }
        std::fs::remove_dir_all(&dir).with_context(|| format!("can't remove {}", dir.display()))?;
    }
    let command = std::env::args().collect::<Vec<_>>().join(" ");
    let text = format!("{}\n\n`{command}` (weir-bench of {})\n\n{}", machine.describe(), commit(), findings.markdown());
    println!("{text}");
    if let Some(path) = &options.out {
        place::write(path, &text)?;
    }
    ensure!(findings.wrong.is_empty(), "something failed");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_stands_under_the_table() {
        let mut findings = Findings::default();
        findings.row("memory", "1 GiB", "2 GiB".to_owned());
        findings.check("readings", 7, 7);
        findings.check("readings", 7, 8);
        let text = findings.markdown();
        assert!(text.ends_with("| memory | 1 GiB | 2 GiB |\n\n**Wrong**, readings: 7 instead of 8\n"), "{text}");
    }
}
