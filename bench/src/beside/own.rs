//! What is measured of Weir alone: questions after a recompute and while readings arrive, Arrow, single readings, the
//! recompute and SQL that stand beside the batch engines.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::batch::{HOUR, RECOMPUTE, add_cost};
use super::pace::while_arriving;
use super::peers::{Peer, WEIR, Weir};
use super::questions::{Patience, Question, ask};
use super::report::Report;
use super::round::{add_ingest, add_latency};
use crate::client::post;
use crate::columns::ArrowRequests;
use crate::connection::Target;
use crate::figures::Table;
use crate::lines::{Request, Requests, Shape};
use crate::machine::{Meter, forget_peak, mib, peak_bytes};
use crate::measure::{BATCH_LINES, CONNECTIONS, Ingest, Plans, ingest_slices, recompute, settle, singles};
use crate::server::Server;
use crate::workload::Plan;

/// How many readings arrive a second while questions are asked.
const ARRIVING_PER_S: f64 = 500_000.0;
/// Readings made for that; about 60 bytes each.
const ARRIVING_POINTS: std::ops::RangeInclusive<u64> = 2_000_000..=10_000_000;
/// Milliseconds between ticks: event time then goes as fast as the clock.
const ARRIVING_STEP_MS: i64 = 8;
/// Requests with a single reading.
const SINGLES: usize = 1000;
/// The same question as `HOUR` of the batch engines.
const SQL: &str =
    "SELECT metric, date_trunc('hour', event_time) AS hour, avg(value) AS average FROM readings GROUP BY 1, 2";

/// Questions to the server that the narrow stage left, after its recompute and while readings arrive.
///
/// # Errors
/// The server refuses or answers less than all.
pub(super) fn questions(
    weir: &Weir,
    target: Target,
    plans: &Plans,
    patience: Patience,
    table: &mut Table,
) -> anyhow::Result<()> {
    for question in Question::ALL {
        let latency = ask(weir, target, question, plans, patience)?;
        add_latency(table, WEIR, &format!("after a recompute: {}", question.name()), &latency);
    }
    let requests = arriving(weir, plans);
    let seconds = requests.iter().map(|request| request.points).sum::<u64>() as f64 / ARRIVING_PER_S;
    // One part of the time is left for warming up.
    let time = Duration::from_secs_f64(seconds / (Question::ALL.len() + 1) as f64);
    let all =
        || Question::ALL.map(|question| (question, ask(weir, target, question, plans, Patience { time, ..patience })));
    let (answers, arrived) = while_arriving(target, &requests, ARRIVING_PER_S, CONNECTIONS, || Ok(all()))?;
    ensure!(!arrived.ran_out, "readings ran out while questions were asked");
    table.add("while readings arrive: readings/s that did", WEIR, arrived.points_per_s);
    for (question, latency) in answers {
        add_latency(table, WEIR, &format!("while readings arrive: {}", question.name()), &latency?);
    }
    Ok(())
}

fn arriving(weir: &Weir, plans: &Plans) -> Vec<Request> {
    let points = plans.main.identities().clamp(*ARRIVING_POINTS.start(), *ARRIVING_POINTS.end());
    let start_ms = plans.main.end_ms();
    let ticks = (points / plans.main.per_tick()) as i64;
    let plan = Plan { seed: 45, start_ms, step_ms: ARRIVING_STEP_MS, ticks, ..plans.main };
    let mut requests = Requests::new(plan, weir.layout(Shape::Narrow), BATCH_LINES, 1);
    requests.slice(u64::MAX).unwrap_or_default().into_iter().flatten().collect()
}

/// Single readings, then Arrow, the recompute and SQL over what it brought.
///
/// # Errors
/// The server does not come up or refuses.
pub(super) fn columns(weir: &Weir, plans: &Plans, dir: &Path, report: &mut Report) -> anyhow::Result<()> {
    let table = &mut report.own;
    let dir = dir.join("weir-arrow");
    std::fs::create_dir_all(&dir)?;
    let server = Server::start(&weir.binary, &dir)?;
    let target = server.target();
    add_latency(table, WEIR, "single readings, 1 connection, request", &singles(&server, plans.day, SINGLES)?);
    arrow(target, plans.day)?;
    add_ingest(table, WEIR, "Arrow IPC", &arrow(target, plans.main)?);
    table.add("Arrow IPC ingest, peak memory, MiB", WEIR, mib(peak_bytes(target.pid)?));
    settle(target.pid)?;
    forget_peak(target.pid)?;
    let done = recompute(target)?;
    table.add("recompute, readings/s", WEIR, done.rows_per_s());
    table.add("flush before the recompute, s", WEIR, done.flush_s);
    add_cost(&mut report.batch, WEIR, RECOMPUTE, (done.job_s, done.spent.server_cpu_s, mib(peak_bytes(target.pid)?)));
    settle(target.pid)?;
    sql(target, report).context("SQL")?;
    server.stop().map(drop)
}

fn arrow(target: Target, plan: Plan) -> anyhow::Result<Ingest> {
    let mut requests = ArrowRequests::new(plan, BATCH_LINES, CONNECTIONS);
    ingest_slices(target, CONNECTIONS, |points| requests.slice(points))
}

fn sql(target: Target, report: &mut Report) -> anyhow::Result<()> {
    forget_peak(target.pid)?;
    let mut connection = target.connect()?;
    let request = post("/v1/sql", "application/json", json!({"sql": SQL}).to_string().as_bytes());
    let meter = Meter::start(target.pid)?;
    let answer = connection.ask(&request)?;
    let spent = meter.spent()?;
    let rows: Vec<Value> = serde_json::from_slice(&answer)?;
    add_cost(&mut report.batch, WEIR, HOUR, (spent.wall_s, spent.server_cpu_s, mib(peak_bytes(target.pid)?)));
    let sum = rows.iter().filter_map(|row| row["average"].as_f64()).sum();
    report.agree(HOUR, rows.len() as u64, sum)
}
