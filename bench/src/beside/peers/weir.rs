//! Weir, as its users run it.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Peer, Running, items, length};
use crate::beside::lines;
use crate::beside::process::first_line;
use crate::beside::questions::{Question, day_series, last_minutes};
use crate::client::{escape, get, post};
use crate::connection::Target;
use crate::lines::{Layout, Shape};
use crate::measure::{Plans, recompute};
use crate::server::Server;
use crate::workload::{METRICS, Plan};

/// The column of Weir.
pub(in crate::beside) const NAME: &str = "weir";

/// Weir's program.
#[derive(Debug)]
pub(in crate::beside) struct Weir {
    /// Where it lies.
    pub(in crate::beside) binary: PathBuf,
}

impl Running for Server {
    fn target(&self) -> Target {
        Self::target(self)
    }

    fn stop(self: Box<Self>) -> anyhow::Result<()> {
        Self::stop(*self).map(drop)
    }
}

impl Peer for Weir {
    fn name(&self) -> &'static str {
        NAME
    }

    fn settings(&self) -> &'static str {
        "defaults: a request is acknowledged after its readings are synced (fdatasync) to the log and visible to queries; \
         on disk after a recompute, with all its views"
    }

    fn version(&self) -> anyhow::Result<String> {
        first_line(&self.binary, &["--version"])
    }

    fn start(&self, dir: &Path) -> anyhow::Result<Box<dyn Running>> {
        Ok(Box::new(Server::start(&self.binary, dir)?))
    }

    fn layout(&self, shape: Shape) -> Layout {
        lines::layout(shape, |lines| post("/api/v2/write?precision=ns", "text/plain", lines))
    }

    fn write_down(&self, target: Target) -> anyhow::Result<()> {
        recompute(target).map(drop)
    }

    fn log_dir(&self) -> Option<&'static str> {
        Some("log")
    }

    fn requests(&self, question: Question, plans: &Plans) -> Vec<Vec<u8>> {
        let query = |selector: &str, (from_ms, to_ms): (i64, i64), rest: &str| {
            get(&format!("/v1/query?match={}&from={from_ms}&to={to_ms}&agg=avg&{rest}", escape(selector)))
        };
        let last = last_minutes(plans);
        let day = (plans.day.start_ms, plans.day.end_ms());
        match question {
            Question::Minutes => {
                let one = |metric: &str| query(&format!("factory{{metric=\"{metric}\"}}"), last, "step=5m&by=device");
                METRICS.iter().map(|metric| one(metric.name)).collect()
            }
            Question::AllMinutes => vec![query("factory", last, "step=5m&by=device,metric")],
            Question::Day => {
                let one = |(device, metric): (u32, &str)| {
                    query(&format!("factory{{device=\"d{device:03}\",metric=\"{metric}\"}}"), day, "step=1m")
                };
                day_series(plans).into_iter().map(one).collect()
            }
            Question::Newest => vec![get(&format!("/v1/realtime?match={}", escape("{}")))],
        }
    }

    fn rows(&self, question: Question, answer: &[u8]) -> anyhow::Result<usize> {
        let answer: Value = serde_json::from_slice(answer)?;
        Ok(match question {
            Question::Newest => length(&answer["series"]),
            _ => items(&answer["series"]).map(|series| length(&series["points"])).sum(),
        })
    }

    fn count(&self, shape: Shape, plan: Plan) -> Vec<u8> {
        let selector = if shape == Shape::Narrow { "factory" } else { "{}" };
        let (from_ms, to_ms) = (plan.start_ms, plan.end_ms());
        let query = format!("match={}&from={from_ms}&to={to_ms}&step=1h&agg=count&by=", escape(selector));
        get(&format!("/v1/query?{query}"))
    }

    fn counted(&self, answer: &[u8]) -> anyhow::Result<u64> {
        let answer: Value = serde_json::from_slice(answer)?;
        let points = items(&answer["series"]).flat_map(|series| items(&series["points"]));
        Ok(points.filter_map(|point| point["data_points"].as_u64()).sum())
    }
}
