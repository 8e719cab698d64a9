//! The report of a comparison: who took part with which settings, three tables, and what failed.
//!
//! Owns the text. Does **not** own the tables' form (`figures`).

use std::collections::BTreeMap;

use anyhow::ensure;

use super::batch::{ENGINES, figures};
use super::peers::{WEIR, others};
use super::{Options, PATIENCE};
use crate::figures::Table;
use crate::machine::{Machine, commit};

/// Sums of the same averages may differ by this part.
const AGREE_PART: f64 = 1e-9;

/// What is known so far.
#[derive(Debug)]
pub(super) struct Report {
    head: String,
    parties: Vec<String>,
    failed: Vec<String>,
    /// Rows and sum of averages of each batch answer, as the first told them.
    answers: BTreeMap<&'static str, (u64, f64)>,
    /// Servers side by side.
    pub(super) servers: Table,
    /// Weir alone.
    pub(super) own: Table,
    /// Batch engines, and Weir's batch layer.
    pub(super) batch: Table,
}

impl Report {
    /// A report of measurements on this machine, made by this command line.
    pub(super) fn new(machine: &Machine, command: String, options: &Options) -> Self {
        let wanted = |name: &str| options.peers.iter().any(|peer| peer == name);
        let columns = |names: Vec<&str>| {
            let wanted = names.into_iter().filter(|name| wanted(name)).map(str::to_owned);
            std::iter::once(WEIR.to_owned()).chain(wanted).collect::<Vec<_>>()
        };
        let (rounds, runs) = (options.rounds, PATIENCE.runs);
        let head = format!(
            "{}; {}; writing and syncing 4 KiB: {}\n\n`{command}` (weir-bench of {})\n\nCells: median of {rounds} rounds \
             (least–most), × median of weir. The client shares the machine.\n\n",
            machine.describe(),
            std::env::consts::ARCH,
            machine.sync.show(),
            commit()
        );
        let servers = format!(
            "{} readings at 200 devices × 20 metrics (1 % late, 0.1 % sent twice) and a thin day before them; 4 \
             connections, 5,000 lines a request; questions one after the other, {runs} times (the two heavy ones {}), \
             answers checked to be whole, readings counted.",
            options.points,
            runs.div_ceil(5)
        );
        let batch = "All readings of the narrow ingest, in order of arrival, in one Parquet file; count, average, least \
                     and greatest per series and minute unless said otherwise; a fresh process each, without its start; \
                     answers that differ are told as failed. \
                     Weir: a recompute of its own history into 10-second buckets (sketches only where a bucket holds 64 readings), and SQL over \
                     `readings`; the memory is that of the whole server. DataFusion's p99 is approximate."
            .to_owned();
        Self {
            head,
            parties: Vec::new(),
            failed: Vec::new(),
            answers: BTreeMap::new(),
            servers: Table::new("Servers", servers, columns(others().iter().map(|peer| peer.name()).collect())),
            own: Table::new("Weir alone", "On the same machine, in the same rounds.".to_owned(), columns(Vec::new())),
            batch: Table::new("Batch", batch, columns(ENGINES.to_vec())).order(figures()),
        }
    }

    /// Notes whether a party is there, and says so.
    pub(super) fn present(&mut self, name: &str, version: anyhow::Result<String>, settings: &str) -> bool {
        let (text, is_here) = match version {
            Ok(version) => (format!("{version}; {settings}"), true),
            Err(error) => (format!("not available here: {error:#}"), false),
        };
        self.parties.push(format!("- **{name}**: {text}\n"));
        is_here
    }

    /// Holds a batch answer against that of whoever told it first.
    ///
    /// # Errors
    /// They differ by more than the order of summing explains.
    pub(super) fn agree(&mut self, what: &'static str, rows: u64, sum: f64) -> anyhow::Result<()> {
        let first = *self.answers.entry(what).or_insert((rows, sum));
        let is_close = (sum - first.1).abs() <= AGREE_PART * first.1.abs();
        ensure!(rows == first.0 && is_close, "{rows} rows with sum {sum}, another engine told {first:?}");
        Ok(())
    }

    /// Keeps why a stage failed.
    pub(super) fn check(&mut self, round: usize, name: &str, stage: &str, result: anyhow::Result<()>) {
        if let Err(error) = result {
            self.failed(round, format!("{name}, {stage}: {error:#}"));
        }
    }

    /// Keeps what failed.
    pub(super) fn failed(&mut self, round: usize, what: String) {
        eprintln!("weir-bench: failed: {what}");
        self.failed.push(format!("- round {round}: {what}\n"));
    }

    /// Whether anything failed.
    pub(super) fn has_failures(&self) -> bool {
        !self.failed.is_empty()
    }

    /// All of it.
    pub(super) fn markdown(&self) -> String {
        let mut text = format!("## Weir beside its peers\n\n{}", self.head);
        text += &self.parties.concat();
        text.push('\n');
        text += &[&self.servers, &self.own, &self.batch].map(Table::markdown).concat();
        if self.has_failures() {
            text += &format!("### What failed\n\n{}", self.failed.concat());
        }
        text
    }
}
