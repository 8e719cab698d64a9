//! The report: a Markdown table for people, JSON for programs.
//!
//! Owns names, units and form of the figures. Does **not** own the measuring. A figure is added as soon as it is known,
//! so that what was measured is shown even if a later measurement fails.

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::machine::{Machine, commit};
use crate::measure::{Asked, Disk, Import, Ingest, Latency, Queries, Recompute, Starts, digits};

/// What is known so far.
#[derive(Debug)]
pub(crate) struct Report {
    machine: String,
    command: String,
    version: String,
    commit: String,
    rows: Vec<(String, String)>,
    raw: Map<String, Value>,
    wrong: Vec<String>,
}

impl Report {
    /// A report of measurements on this machine, made by this command line.
    pub(crate) fn new(machine: &Machine, command: String) -> Self {
        let mut report = Self {
            machine: machine.describe(),
            command,
            version: "weir".to_owned(),
            commit: commit(),
            rows: Vec::new(),
            raw: Map::new(),
            wrong: Vec::new(),
        };
        report.keep("machine", machine);
        let fastest = digits(machine.sync.min_ms);
        report.row("disk: write and sync 4 KiB", format!("fastest {fastest} ms, {}", machine.sync.show()));
        report
    }

    /// What the server says of itself.
    pub(crate) fn version(&mut self, health: &Value) {
        if let Some(version) = health["version"].as_str() {
            self.version = format!("weir {version}");
        }
    }

    /// Requests with a single reading.
    pub(crate) fn single(&mut self, latency: &Latency) {
        self.keep("ingest_single", latency);
        self.row("ingest, single readings, 1 connection: request", latency.show());
    }

    /// Ingest in batches, in one form.
    pub(crate) fn ingest(&mut self, shape: &str, ingest: &Ingest) {
        self.keep(&format!("ingest_{shape}"), ingest);
        let row = |what: &str| format!("ingest, {shape}: {what}");
        let others = ingest.spent.others_share() * 100.0;
        let rate = format!(
            "{} points/s ({} points; others had {others:.0} % of the machine)",
            big(ingest.points_per_s()),
            big(ingest.points as f64)
        );
        self.row(row("acknowledged after fsync"), rate);
        let cpu = |cpu_s| digits(ingest.per_million(cpu_s));
        let cost = format!("{} s, {} s until idle", cpu(ingest.spent.server_cpu_s), cpu(ingest.settled_cpu_s));
        self.row(row("server CPU per million points"), cost);
        let again = if ingest.sent_again > 0 { format!(" ({} sent again)", ingest.sent_again) } else { String::new() };
        self.row(row("request"), ingest.request.show() + &again);
    }

    /// What a server holds, and what it must.
    pub(crate) fn counted(&mut self, what: &str, found: u64, expected: u64) {
        if found != expected {
            self.wrong.push(format!("{what}: {found} instead of {expected}"));
        }
    }

    /// An import of a file.
    pub(crate) fn import(&mut self, form: &str, import: &Import) {
        self.keep(&format!("import_{form}"), import);
        let (points, bytes) = (import.points as f64, import.file_bytes as f64);
        let (rate, cpu_s) = (big(points / import.wall_s), digits(import.cpu_s * 1e6 / points));
        let note = format!("{} readings of {} bytes each", big(points), digits(bytes / points));
        self.row(format!("import, {form}"), format!("{rate} readings/s ({note}), CPU {cpu_s} s per million"));
        self.wrong("import", &import.wrong);
    }

    /// Queries at one stage.
    pub(crate) fn queries(&mut self, stage: &str, queries: &Queries) {
        self.keep(&format!("queries_{}", stage.replace(' ', "_")), queries);
        let mut row = |what: &str, asked: &Asked| {
            let mut notes = vec![format!("first {} ms", digits(asked.first_ms)), format!("{} kB", asked.bytes / 1000)];
            notes.extend(asked.batch_part.map(|part| format!("{:.0} % from batch views", part * 100.0)));
            self.row(format!("query {stage}: {what}"), format!("{} ({})", asked.latency.show(), notes.join(", ")));
        };
        row("last 5 minutes, average per device of one metric", &queries.last_minutes);
        row("last 5 minutes, average of every series", &queries.all_minutes);
        row("one series, one day, 1-minute buckets", &queries.day);
        row("newest value of all series", &queries.newest);
        self.wrong(stage, &queries.wrong);
    }

    /// A recompute of everything.
    pub(crate) fn recompute(&mut self, recompute: &Recompute) {
        self.keep("recompute", recompute);
        let (rows, seconds) = (big(recompute.rows as f64), digits(recompute.job_s));
        let others = recompute.spent.others_share() * 100.0;
        let note = format!("({rows} rows in {seconds} s; others had {others:.0} % of the machine)");
        self.row("recompute", format!("{} rows/s {note}", big(recompute.rows_per_s())));
        self.row("flush before the recompute", format!("{} s", digits(recompute.flush_s)));
    }

    /// What lies on disk.
    pub(crate) fn disk(&mut self, disk: Disk) {
        self.keep("disk", disk);
        let per_reading = |bytes: u64| format!("{} bytes", digits(bytes as f64 / disk.points as f64));
        self.row("disk per reading, raw history", per_reading(disk.readings_bytes));
        self.row("disk per reading, with views and catalog", per_reading(disk.kept_bytes));
        self.row("disk, log", format!("{} bytes", big(disk.log_bytes as f64)));
    }

    /// How the server came back.
    pub(crate) fn starts(&mut self, starts: &Starts) {
        self.keep("starts", starts);
        let log = starts.unflushed.map_or("an unknown number of".to_owned(), |n| big(n as f64));
        let seconds = |s: f64| format!("{} s", digits(s));
        self.row(format!("start after kill -9, {log} readings to replay"), seconds(starts.killed_s));
        self.row("clean stop", seconds(starts.stop_s));
        self.row("start after a clean stop", seconds(starts.stopped_s));
        self.wrong("starts", &starts.wrong);
    }

    /// Answers that did not hold what was sent: figures of a server that answers wrongly say nothing.
    pub(crate) fn wrong_answers(&self) -> &[String] {
        &self.wrong
    }

    /// The table.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!("{} ({}), {}\n", self.version, self.commit, self.machine);
        text += &format!("`{}`\n\n| figure | value |\n|---|---|\n", self.command);
        for (figure, value) in &self.rows {
            text += &format!("| {figure} | {value} |\n");
        }
        for wrong in &self.wrong {
            text += &format!("\n**Wrong answer**, {wrong}\n");
        }
        text
    }

    /// Everything that was measured.
    pub(crate) fn json(&self) -> Value {
        json!({
            "version": self.version,
            "commit": self.commit,
            "command": self.command,
            "figures": self.raw,
            "wrong_answers": self.wrong,
        })
    }

    fn row(&mut self, figure: impl Into<String>, value: String) {
        self.rows.push((figure.into(), value));
    }

    fn keep(&mut self, name: &str, figures: impl Serialize) {
        // Plain data with text keys: this can't fail; if it did, the table would still show them.
        let value = serde_json::to_value(figures).unwrap_or_default();
        self.raw.insert(name.to_owned(), value);
    }

    fn wrong(&mut self, stage: &str, wrong: &[String]) {
        self.wrong.extend(wrong.iter().map(|wrong| format!("{stage}: {wrong}")));
    }
}

/// A large number in thousands or millions.
pub(crate) fn big(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{} M", digits(v / 1e6)),
        v if v >= 1e3 => format!("{} k", digits(v / 1e3)),
        v => format!("{v:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn figures_stand_in_the_table_and_in_the_json() {
        let machine = Machine::of(Path::new(env!("CARGO_MANIFEST_DIR"))).expect("this machine");
        let mut report = Report::new(&machine, "weir-bench --quick".to_owned());
        report.version(&json!({"version": "1.2.3"}));
        report.disk(Disk { points: 10, readings_bytes: 25, kept_bytes: 300, log_bytes: 7 });
        report.wrong("starts", &["7 instead of 8".to_owned()]);
        let text = report.markdown();
        assert!(text.starts_with("weir 1.2.3 (") && text.contains("`weir-bench --quick`"), "{text}");
        assert!(text.contains("| disk per reading, raw history | 2.50 bytes |\n"), "{text}");
        assert!(text.ends_with("\n**Wrong answer**, starts: 7 instead of 8\n"), "{text}");
        assert_eq!(report.json()["figures"]["disk"]["kept_bytes"], 300);
    }

    #[test]
    fn large_numbers_are_short() {
        let shown: Vec<String> = [12.0, 4_000.0, 1_234_567.0].map(big).into();
        assert_eq!(shown, ["12", "4.00 k", "1.23 M"]);
    }
}
