//! The figures of a case, and a table for each kind of growth.
//!
//! Owns which figures there are, their names and units. Does **not** own the form of a cell (`figures`) or of a curve
//! (`plot`).

use clap::ValueEnum as _;

use super::Results;
use super::cases::{Case, FACTORS, Kind};
use super::run::Measured;
use crate::figures::Table;
use crate::machine::mib;
use crate::measure::{Asked, Latency, Queries};
use crate::report::big;

/// Figures that share a unit, and a panel of the plot.
pub(super) struct Panel {
    /// What is measured.
    pub(super) title: String,
    /// Its unit.
    pub(super) unit: &'static str,
    /// One figure, or several.
    pub(super) figures: Vec<Figure>,
}

/// One value of each case.
pub(super) struct Figure {
    /// What tells it from others of its panel.
    pub(super) name: &'static str,
    /// Its value.
    pub(super) value: Box<dyn Fn(&Measured) -> f64>,
}

/// A question's name, and where its figures stand.
type Question = (&'static str, fn(&Queries) -> &Asked);

const QUESTIONS: [Question; 4] = [
    ("last 5 minutes, one metric, per device", |queries| &queries.last_minutes),
    ("last 5 minutes, every series", |queries| &queries.all_minutes),
    ("one series, one day, 1-minute buckets", |queries| &queries.day),
    ("newest value of every series", |queries| &queries.newest),
];

/// All panels, in order.
pub(super) fn panels() -> Vec<Panel> {
    let mut panels = vec![
        one("narrow ingest", "points/s", |m| m.ingest.points_per_s()),
        one("server CPU until idle", "s per million points", |m| m.ingest.per_million(m.ingest.settled_cpu_s)),
        latency("request of 5,000 lines".to_owned(), |m| m.ingest.request),
    ];
    let fresh = |(name, of): Question| latency(name.to_owned(), move |m| of(&m.fresh).latency);
    let counted = |(name, of): Question| latency(format!("after a recompute: {name}"), move |m| of(&m.counted).latency);
    panels.extend(QUESTIONS.map(fresh));
    panels.push(one("recompute", "readings/s", |m| m.recompute.rows_per_s()));
    panels.extend(QUESTIONS.map(counted));
    panels.extend([
        one("start after kill -9", "s", |m| m.start_s),
        one("only in the log then", "readings", |m| m.unflushed as f64),
        one("peak memory while readings arrive", "MiB", |m| mib(m.ingest_peak)),
        one("peak memory of questions, recompute", "MiB", |m| mib(m.batch_peak)),
        one("raw history on disk", "bytes per reading", |m| m.disk.readings_bytes as f64 / m.disk.points as f64),
        one("all but the log on disk", "bytes per reading", |m| m.disk.kept_bytes as f64 / m.disk.points as f64),
        one("had by others while readings arrived", "% of the machine", |m| m.ingest.spent.others_share() * 100.0),
        one("had by others during the recompute", "% of the machine", |m| m.recompute.spent.others_share() * 100.0),
    ]);
    panels
}

fn one(title: &str, unit: &'static str, value: impl Fn(&Measured) -> f64 + 'static) -> Panel {
    Panel { title: title.to_owned(), unit, figures: vec![Figure { name: "", value: Box::new(value) }] }
}

fn latency(title: String, of: impl Fn(&Measured) -> Latency + Copy + 'static) -> Panel {
    let figures = vec![
        Figure { name: "p50", value: Box::new(move |m| of(m).p50_ms) },
        Figure { name: "p99", value: Box::new(move |m| of(m).p99_ms) },
    ];
    Panel { title, unit: "ms", figures }
}

/// What was measured of the points of a kind that did not fail.
pub(super) fn of_kind(results: &Results, kind: Kind) -> impl Iterator<Item = (u32, &Case, &Measured)> {
    FACTORS.into_iter().filter_map(move |factor| {
        let (case, measured) = results.iter().find(|(case, _)| case.is_point(kind, factor))?;
        Some((factor, case, measured))
    })
}

/// A table for each kind.
pub(super) fn markdown(results: &Results) -> String {
    Kind::value_variants().iter().map(|kind| table(results, *kind).markdown()).collect()
}

fn table(results: &Results, kind: Kind) -> Table {
    let points: Vec<(u32, &Case, &Measured)> = of_kind(results, kind).collect();
    let columns = points.iter().map(|(factor, case, _)| column(kind, *factor, case)).collect();
    let mut table = Table::new(title(kind), note(kind).to_owned(), columns);
    for panel in panels() {
        for figure in &panel.figures {
            let names = [figure.name, panel.unit].join(" ");
            let row = format!("{}, {}", panel.title, names.trim_start());
            for (factor, case, measured) in &points {
                table.add(&row, &column(kind, *factor, case), (figure.value)(measured));
            }
        }
    }
    table
}

fn title(kind: Kind) -> &'static str {
    match kind {
        Kind::Readings => "Growth of readings",
        Kind::Series => "Growth of series",
        Kind::History => "Growth of history",
    }
}

fn note(kind: Kind) -> &'static str {
    match kind {
        Kind::Readings => "The same series, each second, for a longer time. × the first column.",
        Kind::Series => "As many readings in as much time, of more series. × the first column.",
        Kind::History => "The same readings after more days of recomputed history. × the first column.",
    }
}

fn column(kind: Kind, factor: u32, case: &Case) -> String {
    let amount = match kind {
        Kind::Readings => format!("{} readings", big(case.main.identities() as f64)),
        Kind::Series => format!("{} series", big(case.main.per_tick() as f64)),
        Kind::History => format!("{} days", case.days()),
    };
    format!("×{factor}: {amount}")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::growth::cases::Size;
    use crate::measure::{Disk, Ingest, Queries, Recompute};

    /// Figures as if all cases had been measured; ingest is as fast as the case has readings.
    pub(in crate::growth) fn made_up() -> Results {
        let measured = |case: &Case| Measured {
            ingest: Ingest {
                points: case.main.identities(),
                spent: crate::machine::Spent { wall_s: 1.0, ..Default::default() },
                ..Ingest::default()
            },
            ingest_peak: 1 << 20,
            start_s: 0.5,
            unflushed: 7,
            fresh: Queries::default(),
            recompute: Recompute { job_s: 2.0, rows: 10, ..Recompute::default() },
            disk: Disk { points: 10, readings_bytes: 25, kept_bytes: 50, log_bytes: 1 },
            counted: Queries::default(),
            batch_peak: 3 << 20,
            wrong: Vec::new(),
        };
        Case::all(Kind::value_variants(), &Size::WHOLE, 1_767_571_234_567)
            .into_iter()
            .map(|case| (case.clone(), measured(&case)))
            .collect()
    }

    #[test]
    fn each_kind_has_a_table_of_all_figures() {
        let text = markdown(&made_up());
        let heads: Vec<&str> = text.lines().filter(|line| line.starts_with("| figure")).collect();
        assert_eq!(
            heads,
            [
                "| figure | ×1: 1.25 M readings | ×4: 4.99 M readings | ×16: 20.0 M readings |",
                "| figure | ×1: 4.00 k series | ×4: 16.0 k series | ×16: 64.0 k series |",
                "| figure | ×1: 10 days | ×4: 40 days | ×16: 160 days |",
            ]
        );
        assert!(text.contains("| narrow ingest, points/s | 1.25 M | 4.99 M, ×4.00 | 20.0 M, ×16.0 |\n"), "{text}");
        assert_eq!(text.matches("| raw history on disk, bytes per reading | 2.50 |").count(), 3, "{text}");
        assert_eq!(text.matches("| newest value of every series, p99 ms |").count(), 3, "{text}");
    }

    #[test]
    fn a_case_that_failed_leaves_no_column() {
        let mut results = made_up();
        results.retain(|(case, _)| !case.is_point(Kind::History, 4));
        assert!(markdown(&results).contains("| figure | ×1: 10 days | ×16: 160 days |"));
    }
}
