//! VictoriaMetrics, single node.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use serde_json::Value;

use super::{Child, Peer, Running, items, length};
use crate::beside::lines;
use crate::beside::process::{Process, first_line, free_port};
use crate::beside::questions::{Question, day_series, last_minutes};
use crate::client::{Client, escape, get, post};
use crate::connection::{Protocol, Target};
use crate::lines::{Layout, Shape};
use crate::measure::{Plans, settle};
use crate::workload::{METRICS, Plan};

const BINARY: &str = "victoria-metrics";

/// VictoriaMetrics.
#[derive(Debug)]
pub(super) struct Victoria;

impl Peer for Victoria {
    fn name(&self) -> &'static str {
        "victoria-metrics"
    }

    fn settings(&self) -> &'static str {
        "no log: a request is acknowledged once it is parsed into memory, and reaches the disk within about 5 s, so a \
         crash loses the last seconds; -retentionPeriod=10y -search.disableCache"
    }

    fn version(&self) -> anyhow::Result<String> {
        // Debian's build does not know its own version, but says whether it is there.
        let own = first_line(BINARY, &["--version"]);
        let package = first_line("dpkg-query", &["-W", "-f", "${Version}", BINARY]);
        package.map(|version| format!("{BINARY} {version}")).or(own)
    }

    fn start(&self, dir: &Path) -> anyhow::Result<Box<dyn Running>> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let mut command = Command::new(BINARY);
        command.arg(format!("-httpListenAddr={address}")).arg(format!("-storageDataPath={}", dir.display()));
        command.args(["-retentionPeriod=10y", "-search.disableCache", "-loggerLevel=WARN"]);
        let is_ready = || Client::connect(address).and_then(|mut client| client.expect(&get("/health"))).is_ok();
        let process = Process::start(command, dir.with_extension("log"), is_ready)?;
        let target = Target { address, pid: process.pid(), protocol: Protocol::Http };
        Ok(Box::new(Child { process, target }))
    }

    fn layout(&self, shape: Shape) -> Layout {
        lines::layout(shape, |lines| post("/write", "text/plain", lines))
    }

    fn rest(&self, target: Target) -> anyhow::Result<()> {
        target.connect()?.ask(&get("/internal/force_flush"))?;
        settle(target.pid)
    }

    fn log_dir(&self) -> Option<&'static str> {
        None
    }

    fn requests(&self, question: Question, plans: &Plans) -> Vec<Vec<u8>> {
        // A range ends with a reading and does not hold that at its start.
        let instant = |query: &str| {
            let time = (last_minutes(plans).1 / 1000) - 1;
            get(&format!("/api/v1/query?query={}&time={time}", escape(query)))
        };
        let (from, to) = (plans.day.start_ms / 1000 + 60, plans.day.end_ms() / 1000);
        let day = |(device, metric): (u32, &str)| {
            let query = format!("avg_over_time(factory_value{{device=\"d{device:03}\",metric=\"{metric}\"}}[1m])");
            get(&format!("/api/v1/query_range?query={}&start={from}&end={to}&step=60", escape(&query)))
        };
        match question {
            Question::Minutes => {
                let one = |metric: &str| instant(&format!("avg_over_time(factory_value{{metric=\"{metric}\"}}[5m])"));
                METRICS.iter().map(|metric| one(metric.name)).collect()
            }
            Question::AllMinutes => vec![instant("avg_over_time(factory_value[5m])")],
            Question::Day => day_series(plans).into_iter().map(day).collect(),
            Question::Newest => vec![instant("last_over_time(factory_value[1m])")],
        }
    }

    fn rows(&self, question: Question, answer: &[u8]) -> anyhow::Result<usize> {
        let answer: Value = serde_json::from_slice(answer)?;
        let result = &answer["data"]["result"];
        Ok(match question {
            Question::Day => items(result).map(|series| length(&series["values"])).sum(),
            _ => length(result),
        })
    }

    fn count(&self, shape: Shape, plan: Plan) -> Vec<u8> {
        let which = if shape == Shape::Narrow { "factory_value" } else { "{__name__=~\"machine_.*\"}" };
        let (time, seconds) = (plan.end_ms() / 1000 - 1, (plan.end_ms() - plan.start_ms) / 1000);
        let query = escape(&format!("sum(count_over_time({which}[{seconds}s]))"));
        get(&format!("/api/v1/query?query={query}&time={time}"))
    }

    fn counted(&self, answer: &[u8]) -> anyhow::Result<u64> {
        let answer: Value = serde_json::from_slice(answer)?;
        let count = answer["data"]["result"][0]["value"][1].as_str().context("no count")?;
        count.parse().with_context(|| format!("{count:?} is no count"))
    }
}
