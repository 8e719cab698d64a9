//! The questions that all servers are asked, and the asking.
//!
//! Owns what is asked and how many rows a whole answer has: who answers less is faster for no good reason. Does **not**
//! own how a server is asked (`peers`).

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use fastrand::Rng;

use super::peers::Peer;
use crate::connection::Target;
use crate::measure::{Latency, Plans, WINDOW_MS};
use crate::workload::METRICS;

/// Runs before the clock counts.
const WARM_UP: usize = 5;
/// Series that the question for a day takes in turn.
const DAY_SERIES: usize = 50;
/// The newest value of a series is not older than this, for servers that need a range.
pub(super) const NEWEST_MS: i64 = 60_000;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    /// Average of one metric per device over the last five minutes.
    Minutes,
    /// Average of every series over the last five minutes.
    AllMinutes,
    /// One series over a day, a bucket each minute.
    Day,
    /// The newest value of every series.
    Newest,
}

/// How long to ask.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Runs of a light question; of a heavy one, a fifth.
    pub(super) runs: usize,
    /// No run begins after this.
    pub(super) time: Duration,
}

impl Question {
    /// All of them.
    pub(super) const ALL: [Self; 4] = [Self::Minutes, Self::AllMinutes, Self::Day, Self::Newest];

    /// Its name in the table.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Minutes => "last 5 minutes, one metric, average per device",
            Self::AllMinutes => "last 5 minutes, average of every series",
            Self::Day => "one series, one day, 1-minute buckets",
            Self::Newest => "newest value of every series",
        }
    }

    fn rows(self, plans: &Plans) -> usize {
        let devices = plans.main.devices as usize;
        match self {
            Self::Minutes => devices,
            Self::AllMinutes | Self::Newest => devices * METRICS.len(),
            Self::Day => 24 * 60,
        }
    }

    fn is_heavy(self) -> bool {
        matches!(self, Self::AllMinutes | Self::Newest)
    }
}

/// The last five minutes of the main plan.
pub(super) fn last_minutes(plans: &Plans) -> (i64, i64) {
    (plans.main.end_ms() - WINDOW_MS, plans.main.end_ms())
}

/// The series that are asked for a day: device and metric.
pub(super) fn day_series(plans: &Plans) -> Vec<(u32, &'static str)> {
    let mut rng = Rng::with_seed(5);
    let mut one = || (rng.u32(0..plans.day.devices), METRICS[rng.usize(0..METRICS.len())].name);
    (0..DAY_SERIES).map(|_| one()).collect()
}

/// Asks a question again and again.
///
/// # Errors
/// The server refuses, or its first answer is not whole.
pub(super) fn ask(
    peer: &dyn Peer,
    target: Target,
    question: Question,
    plans: &Plans,
    patience: Patience,
) -> anyhow::Result<Latency> {
    let requests = peer.requests(question, plans);
    let mut connection = target.connect()?;
    let first = requests.first().context("there is nothing to ask")?;
    let (rows, expected) = (peer.rows(question, &connection.ask(first)?)?, question.rows(plans));
    ensure!(rows == expected, "an answer of {rows} rows instead of {expected}: {}", question.name());
    let runs = if question.is_heavy() { patience.runs.div_ceil(5) } else { patience.runs };
    let mut times = Vec::with_capacity(runs);
    let began = Instant::now();
    for (run, request) in requests.iter().cycle().take(WARM_UP + runs).enumerate() {
        let begun = Instant::now();
        connection.ask(request)?;
        if run >= WARM_UP {
            times.push(begun.elapsed());
        }
        if began.elapsed() > patience.time && !times.is_empty() {
            break;
        }
    }
    Ok(Latency::of(times))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::beside::peers::others;

    #[test]
    fn every_server_is_asked_for_the_same() {
        let plans = Plans::new(1_767_571_200_000, 10_000_000);
        for peer in others() {
            let asked = |question| peer.requests(question, &plans).len();
            let lengths = Question::ALL.map(asked);
            assert_eq!(lengths, [METRICS.len(), 1, DAY_SERIES, 1], "{}", peer.name());
        }
    }

    #[test]
    fn rows_are_counted_in_the_words_of_each_server() {
        let answers = [
            ("victoria-metrics", r#"{"data":{"result":[{"values":[[1,"2"],[2,"3"]]}]}}"#),
            ("influxdb", r#"{"results":[{"series":[{"values":[[1,2.0],[2,null],[3,1.0]]}]}]}"#),
            ("postgresql", "1\t2\n2\t3\n"),
        ];
        for (name, answer) in answers {
            let peer = others().into_iter().find(|peer| peer.name() == name).expect("a peer");
            assert_eq!(peer.rows(Question::Day, answer.as_bytes()).expect("an answer"), 2, "{name}");
        }
    }
}
