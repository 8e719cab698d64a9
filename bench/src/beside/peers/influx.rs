//! InfluxDB 1.x.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use super::{Child, Peer, Running, items};
use crate::beside::lines;
use crate::beside::process::{Process, first_line, free_port};
use crate::beside::questions::{NEWEST_MS, Question, day_series, last_minutes};
use crate::client::{Client, escape, get, post};
use crate::connection::{Protocol, Target};
use crate::lines::{Layout, Shape};
use crate::measure::{Plans, settle};
use crate::workload::{METRICS, Plan};

const BINARY: &str = "influxd";
/// What it has not written down `COLD` after the last write, it writes down then.
const COLD: Duration = Duration::from_secs(10);
/// It looks for that once a second.
const LOOKS: Duration = Duration::from_secs(3);

/// InfluxDB 1.x.
#[derive(Debug)]
pub(super) struct Influx;

impl Peer for Influx {
    fn name(&self) -> &'static str {
        "influxdb"
    }

    fn settings(&self) -> &'static str {
        "log on, wal-fsync-delay = 0s: a request is synced to the log before it is acknowledged; index inmem, shards of \
         a day, cache-snapshot-write-cold-duration = 10s so that it settles"
    }

    fn version(&self) -> anyhow::Result<String> {
        first_line(BINARY, &["version"])
    }

    fn start(&self, dir: &Path) -> anyhow::Result<Box<dyn Running>> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let file = dir.with_extension("conf");
        std::fs::write(&file, settings(dir, address, free_port()?)).context("can't write its settings")?;
        let mut command = Command::new(BINARY);
        command.arg("run").arg("-config").arg(&file);
        let is_ready = || Client::connect(address).and_then(|mut client| client.expect(&get("/ping"))).is_ok();
        let process = Process::start(command, dir.with_extension("log"), is_ready)?;
        let create = "q=CREATE+DATABASE+bench+WITH+DURATION+INF+SHARD+DURATION+1d";
        Client::connect(address)?.expect(&post("/query", "application/x-www-form-urlencoded", create.as_bytes()))?;
        let target = Target { address, pid: process.pid(), protocol: Protocol::Http };
        Ok(Box::new(Child { process, target }))
    }

    fn layout(&self, shape: Shape) -> Layout {
        lines::layout(shape, |lines| post("/write?db=bench&precision=ns", "text/plain", lines))
    }

    fn rest(&self, target: Target) -> anyhow::Result<()> {
        sleep(COLD + LOOKS);
        settle(target.pid)
    }

    fn log_dir(&self) -> Option<&'static str> {
        Some("wal")
    }

    fn requests(&self, question: Question, plans: &Plans) -> Vec<Vec<u8>> {
        let query = |text: &str| get(&format!("/query?db=bench&epoch=ms&q={}", escape(text)));
        let within = |(from_ms, to_ms): (i64, i64)| format!("time >= {from_ms}ms AND time < {to_ms}ms");
        let last = last_minutes(plans);
        let day = within((plans.day.start_ms, plans.day.end_ms()));
        let select = |what: &str, which: &str, by: &str| {
            query(&format!("SELECT {what}(value) FROM factory WHERE {which} GROUP BY {by}"))
        };
        match question {
            Question::Minutes => {
                let one = |name: &str| select("mean", &format!("metric = '{name}' AND {}", within(last)), "device");
                METRICS.iter().map(|metric| one(metric.name)).collect()
            }
            Question::AllMinutes => vec![select("mean", &within(last), "device, metric")],
            Question::Day => {
                let one = |(device, metric): (u32, &str)| {
                    let which = format!("device = 'd{device:03}' AND metric = '{metric}' AND {day}");
                    select("mean", &which, "time(1m)")
                };
                day_series(plans).into_iter().map(one).collect()
            }
            Question::Newest => vec![select("last", &within((last.1 - NEWEST_MS, last.1)), "device, metric")],
        }
    }

    fn rows(&self, _question: Question, answer: &[u8]) -> anyhow::Result<usize> {
        let answer: Value = serde_json::from_slice(answer)?;
        let values = items(&answer["results"]).flat_map(|result| items(&result["series"]));
        let rows = values.flat_map(|series| items(&series["values"]));
        // Minutes without readings have null.
        Ok(rows.filter(|row| !row[1].is_null()).count())
    }

    fn count(&self, shape: Shape, plan: Plan) -> Vec<u8> {
        let what = if shape == Shape::Narrow { "count(value) FROM factory" } else { "count(*) FROM machine" };
        let (from_ms, to_ms) = (plan.start_ms, plan.end_ms());
        let query = escape(&format!("SELECT {what} WHERE time >= {from_ms}ms AND time < {to_ms}ms"));
        get(&format!("/query?db=bench&epoch=ms&q={query}"))
    }

    fn counted(&self, answer: &[u8]) -> anyhow::Result<u64> {
        let answer: Value = serde_json::from_slice(answer)?;
        // The time, then a count for each field.
        let row = items(&answer["results"][0]["series"][0]["values"][0]);
        Ok(row.skip(1).filter_map(Value::as_u64).sum())
    }
}

fn settings(dir: &Path, address: SocketAddr, backup_port: u16) -> String {
    let (dir, cold_s) = (dir.display(), COLD.as_secs());
    format!(
        r#"reporting-disabled = true
bind-address = "127.0.0.1:{backup_port}"
[meta]
dir = "{dir}/meta"
[data]
dir = "{dir}/data"
wal-dir = "{dir}/wal"
index-version = "inmem"
wal-fsync-delay = "0s"
cache-snapshot-write-cold-duration = "{cold_s}s"
[monitor]
store-enabled = false
[http]
bind-address = "{address}"
log-enabled = false
[logging]
level = "warn"
"#
    )
}
