//! Starts: after a kill with a log to replay, and after a clean stop. What was acknowledged must be there again.

use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::{Bench, ingest, query};
use crate::lines::Shape;
use crate::server::Server;
use crate::workload::Plan;

/// How the server came back.
#[derive(Debug, Serialize)]
pub(crate) struct Starts {
    /// Readings that were only in the log when it was killed, as it told; `None` where it did not.
    pub(crate) unflushed: Option<u64>,
    /// From its start to ready, after the kill.
    pub(crate) killed_s: f64,
    /// How long the clean stop took.
    pub(crate) stop_s: f64,
    /// From its start to ready, after the clean stop.
    pub(crate) stopped_s: f64,
    /// Differences between what was acknowledged and what is there.
    pub(crate) wrong: Vec<String>,
}

/// Sends a tail, kills the server, starts it, stops it, starts it again.
///
/// # Errors
/// The server does not come back.
pub(crate) fn starts(server: Server, bench: &Bench, dir: &Path, tail: Plan) -> anyhow::Result<Starts> {
    ingest(server.target(), tail, &bench.sending(Shape::Narrow.layout()))?;
    let unflushed = unflushed(&server.client()?.json("/v1/status")?);
    let mut wrong = Vec::new();
    let mut check = |server: &Server, when: &str| -> anyhow::Result<()> {
        let (found, expected) = (query::count(&mut server.client()?, tail)?, tail.identities_per_metric());
        if found != expected {
            wrong.push(format!("readings of one metric {when}: {found} instead of {expected}"));
        }
        Ok(())
    };
    check(&server, "before the kill")?;
    server.kill()?;
    let server = bench.server_over(dir)?;
    let killed_s = server.ready_in.as_secs_f64();
    check(&server, "after the kill")?;
    let stop_s = server.stop()?.as_secs_f64();
    let server = bench.server_over(dir)?;
    let stopped_s = server.ready_in.as_secs_f64();
    check(&server, "after the stop")?;
    server.stop()?;
    Ok(Starts { unflushed, killed_s, stop_s, stopped_s, wrong })
}

/// Readings that no file of history has, as the server's status tells.
pub(crate) fn unflushed(status: &Value) -> Option<u64> {
    let open = status["speed"]["open_readings"].as_u64()?;
    let epochs = status["speed"]["epochs"].as_array().into_iter().flatten();
    let sealed = epochs.filter(|epoch| epoch["flushed"] == false).filter_map(|epoch| epoch["readings"].as_u64());
    Some(open + sealed.sum::<u64>())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn open_and_sealed_readings_are_not_flushed() {
        let epochs = json!([{"flushed": true, "readings": 5}, {"flushed": false, "readings": 3}]);
        assert_eq!(unflushed(&json!({"speed": {"open_readings": 2, "epochs": epochs}})), Some(5));
        assert_eq!(unflushed(&json!({})), None);
    }
}
