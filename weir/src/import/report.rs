//! What an import tells: a bar while it runs, refused rows, and one line at the end.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

use super::rows::{Chunk, Refusal};
use crate::output::grouped;

/// How many refused rows are told.
const TOLD: usize = 10;

/// What was imported so far.
#[derive(Debug)]
pub(super) struct Report {
    files: usize,
    started: Instant,
    accepted: u64,
    rejected: u64,
    skipped: u64,
    told: usize,
}

/// What a sink did with a chunk.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Readings kept.
    pub(super) accepted: u64,
    /// Readings refused by the server.
    pub(super) rejected: u64,
    /// Why, for the first of them.
    pub(super) refusals: Vec<Refusal>,
}

/// A bar over the bytes of all files; hidden where stderr is no terminal.
pub(super) fn progress(files: &[PathBuf]) -> ProgressBar {
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let bar = ProgressBar::new(files.iter().map(|path| size(path)).sum());
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes} {msg}") {
        bar.set_style(style);
    }
    bar
}

impl Report {
    /// Nothing was imported yet.
    pub(super) fn new(files: usize, started: Instant) -> Self {
        Self { files, started, accepted: 0, rejected: 0, skipped: 0, told: 0 }
    }

    /// A chunk was read.
    pub(super) fn add(&mut self, file: &str, chunk: &Chunk, bar: &ProgressBar) {
        self.rejected += chunk.rejected;
        self.skipped += chunk.skipped;
        self.tell(file, &chunk.refusals, bar);
    }

    /// A chunk was kept.
    pub(super) fn kept(&mut self, file: &str, kept: Kept, bar: &ProgressBar) {
        self.accepted += kept.accepted;
        self.rejected += kept.rejected;
        self.tell(file, &kept.refusals, bar);
        bar.set_message(format!("{} readings", grouped(self.accepted)));
    }

    fn tell(&mut self, file: &str, refusals: &[Refusal], bar: &ProgressBar) {
        for Refusal { line, row, reason } in refusals.iter().take(TOLD - self.told) {
            self.told += 1;
            let place = line.map_or_else(|| format!("{file}: row {}", row + 1), |line| format!("{file}:{line}"));
            bar.suspend(|| eprintln!("{place}: {reason}"));
        }
    }

    /// How far it came, for an error.
    pub(super) fn so_far(&self) -> String {
        format!("{} readings", grouped(self.accepted))
    }

    fn summary(&self) -> String {
        let seconds = self.started.elapsed().as_secs_f64();
        let rate = grouped((self.accepted as f64 / seconds.max(0.001)) as u64);
        let files = if self.files == 1 { "1 file".to_owned() } else { format!("{} files", self.files) };
        let mut text = format!(
            "imported {} readings from {files} in {seconds:.1} s ({rate}/s), {} rejected",
            grouped(self.accepted),
            grouped(self.rejected)
        );
        if self.skipped > 0 {
            text.push_str(&format!(", {} text fields skipped", grouped(self.skipped)));
        }
        text
    }

    /// Prints the last line; the exit status says whether anything was refused.
    pub(super) fn print(&self) -> anyhow::Result<ExitCode> {
        let untold = self.rejected.saturating_sub(self.told as u64);
        if untold > 0 {
            eprintln!("and {} more were rejected", grouped(untold));
        }
        writeln!(std::io::stdout(), "{}", self.summary())?;
        Ok(if self.rejected == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_tells_all() {
        let mut report = Report::new(1, Instant::now());
        let chunk = Chunk { rejected: 3, skipped: 1, ..Chunk::default() };
        report.add("f", &chunk, &ProgressBar::hidden());
        report.kept("f", Kept { accepted: 2_852_123, ..Kept::default() }, &ProgressBar::hidden());
        let text = report.summary();
        assert!(text.starts_with("imported 2,852,123 readings from 1 file in 0."), "{text}");
        assert!(text.ends_with("/s), 3 rejected, 1 text fields skipped"), "{text}");
    }
}
