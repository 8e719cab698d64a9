//! Answers out: how long a query takes, and whether its answer holds what was sent.

use std::time::{Duration, Instant};

use fastrand::Rng;
use serde::Serialize;
use serde_json::Value;

use super::{Latency, Plans, WINDOW_MS};
use crate::client::{Client, escape, get};
use crate::machine::{Meter, Spent};
use crate::server::Server;
use crate::workload::{METRICS, Plan};

/// Runs before the clock counts; the first one is told apart.
const WARM_UP: usize = 10;
/// Series that the query for a day takes in turn.
const DAY_SERIES: usize = 50;
/// A query that answers for every series runs once for so many runs of a light one.
const HEAVY_PART: usize = 5;

/// All queries, asked at one stage.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Queries {
    /// Average of one metric per device over the last five minutes.
    pub(crate) last_minutes: Asked,
    /// Average of every series over the last five minutes.
    pub(crate) all_minutes: Asked,
    /// One series over a day, a bucket each minute.
    pub(crate) day: Asked,
    /// The newest value of every series.
    pub(crate) newest: Asked,
    /// Differences between answers and what was sent.
    pub(crate) wrong: Vec<String>,
}

/// One query, asked many times.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Asked {
    /// From the request's first byte to the answer's last.
    pub(crate) latency: Latency,
    /// The very first time.
    pub(crate) first_ms: f64,
    /// CPU milliseconds of the server for one.
    pub(crate) server_cpu_ms: f64,
    /// Bytes of the largest answer.
    pub(crate) bytes: usize,
    /// The part of the counted readings that batch views had counted; `None` where answers do not say.
    pub(crate) batch_part: Option<f64>,
    /// While asking.
    pub(crate) spent: Spent,
    #[serde(skip)]
    answer: Value,
}

/// Asks each query about these stretches `runs` times, one after the other; the heavy ones less often.
///
/// # Errors
/// The server refuses one.
pub(crate) fn queries(server: &Server, day: Plan, main: Plan, runs: usize) -> anyhow::Result<Queries> {
    let heavy_runs = runs.div_ceil(HEAVY_PART);
    let queries = Queries {
        last_minutes: ask(server, &last_minutes_paths(main), runs)?,
        all_minutes: ask(server, &[all_minutes_path(main)], heavy_runs)?,
        day: ask(server, &day_paths(day), runs)?,
        newest: ask(server, &[format!("/v1/realtime?match={}", escape("{}"))], heavy_runs)?,
        wrong: Vec::new(),
    };
    let found = count(&mut server.client()?, main)?;
    let devices = main.devices as usize;
    let all = devices * METRICS.len();
    let checks = [
        ("devices in the last 5 minutes", points(&queries.last_minutes.answer).count(), devices),
        ("series in the last 5 minutes", points(&queries.all_minutes.answer).count(), all),
        ("minutes of a day", points(&queries.day.answer).count(), 24 * 60),
        ("newest values", series(&queries.newest.answer).count(), all),
        ("readings of one metric", found as usize, main.identities_per_metric() as usize),
    ];
    let differ = checks.iter().filter(|(_, found, expected)| found != expected);
    let wrong = differ.map(|(what, found, expected)| format!("{what}: {found} instead of {expected}")).collect();
    Ok(Queries { wrong, ..queries })
}

/// How many readings of the first metric are counted in the time of a plan.
///
/// # Errors
/// The server refuses.
pub(crate) fn count(client: &mut Client, plan: Plan) -> anyhow::Result<u64> {
    let path = query_path(METRICS[0].name, (plan.start_ms, plan.end_ms()), "step=1h&agg=count&by=");
    Ok(total(&client.json(&path)?, "data_points"))
}

/// The path of a query about a range of event time.
pub(crate) fn query_path(selector: &str, (from_ms, to_ms): (i64, i64), rest: &str) -> String {
    format!("/v1/query?match={}&from={from_ms}&to={to_ms}&{rest}", escape(selector))
}

/// What queries ask, by name, and the paths that ask it in turn.
pub(crate) fn questions(plans: &Plans) -> [(&'static str, Vec<String>); 3] {
    [
        ("last 5 minutes, one metric, average per device", last_minutes_paths(plans.main)),
        ("last 5 minutes, average of every series", vec![all_minutes_path(plans.main)]),
        ("one series, one day, 1-minute buckets", day_paths(plans.day)),
    ]
}

fn last_minutes_paths(plan: Plan) -> Vec<String> {
    let range = (plan.end_ms() - WINDOW_MS, plan.end_ms());
    METRICS.iter().map(|metric| query_path(metric.name, range, "step=5m&agg=avg&by=device_id")).collect()
}

fn all_minutes_path(plan: Plan) -> String {
    query_path("{}", (plan.end_ms() - WINDOW_MS, plan.end_ms()), "step=5m&agg=avg")
}

fn day_paths(plan: Plan) -> Vec<String> {
    let mut rng = Rng::with_seed(5);
    let range = (plan.start_ms, plan.end_ms());
    let one = |_| {
        let (device, metric) = (rng.u32(0..plan.devices), &METRICS[rng.usize(0..METRICS.len())]);
        query_path(&format!("{}{{device_id=\"d{device:03}\"}}", metric.name), range, "step=1m&agg=avg")
    };
    (0..DAY_SERIES).map(one).collect()
}

fn ask(server: &Server, paths: &[String], runs: usize) -> anyhow::Result<Asked> {
    let mut client = server.client()?;
    let requests: Vec<Vec<u8>> = paths.iter().map(|path| get(path)).collect();
    let mut turns = requests.iter().cycle();
    let mut once = |client: &mut Client| -> anyhow::Result<(Duration, Vec<u8>)> {
        let request = turns.next().map_or(&[][..], Vec::as_slice);
        let begun = Instant::now();
        let response = client.expect(request)?;
        Ok((begun.elapsed(), response.body))
    };
    let (first, body) = once(&mut client)?;
    let answer: Value = serde_json::from_slice(&body)?;
    for _ in 1..WARM_UP {
        once(&mut client)?;
    }
    let meter = Meter::start(server.pid())?;
    let (mut times, mut bytes) = (Vec::with_capacity(runs), body.len());
    for _ in 0..runs {
        let (time, body) = once(&mut client)?;
        times.push(time);
        bytes = bytes.max(body.len());
    }
    let spent = meter.spent()?;
    let counted = total(&answer, "data_points");
    Ok(Asked {
        latency: Latency::of(times),
        first_ms: first.as_secs_f64() * 1e3,
        server_cpu_ms: spent.server_cpu_s * 1e3 / runs as f64,
        bytes,
        batch_part: (counted > 0).then(|| total(&answer, "batch_points") as f64 / counted as f64),
        spent,
        answer,
    })
}

fn series(answer: &Value) -> impl Iterator<Item = &Value> {
    answer["series"].as_array().into_iter().flatten()
}

fn points(answer: &Value) -> impl Iterator<Item = &Value> {
    series(answer).flat_map(|series| series["points"].as_array().into_iter().flatten())
}

/// Readings that each point of an answer counts.
pub(crate) fn data_points(answer: &Value) -> impl Iterator<Item = u64> {
    points(answer).filter_map(|point| point["data_points"].as_u64())
}

/// The sum of a field over all points of an answer.
pub(crate) fn total(answer: &Value, field: &str) -> u64 {
    points(answer).filter_map(|point| point[field].as_u64()).sum()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn answers_are_counted() {
        let point = |n: u64| json!({"data_points": n, "batch_points": n / 2});
        let answer = json!({"series": [{"points": [point(4), point(6)]}, {"points": [point(2)]}, {"metric": "x"}]});
        assert_eq!((series(&answer).count(), points(&answer).count()), (3, 3));
        assert_eq!((total(&answer, "data_points"), total(&answer, "batch_points")), (12, 6));
        assert_eq!(total(&json!({}), "data_points"), 0);
    }

    #[test]
    fn paths_ask_for_what_was_planned() {
        let plans = Plans::new(1_767_571_200_000, 10_000_000);
        let last = last_minutes_paths(plans.main);
        assert_eq!(last.len(), METRICS.len());
        assert!(last[0].starts_with("/v1/query?match=temperature&from="), "{}", last[0]);
        let day = day_paths(plans.day);
        assert_eq!(day.len(), DAY_SERIES);
        assert!(
            day.iter().all(|path| path.contains("%7Bdevice_id%3D%22d0") && path.ends_with("step=1m&agg=avg")),
            "{day:?}"
        );
    }
}
