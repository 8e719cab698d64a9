//! PostgreSQL, and TimescaleDB where its extension is installed.
//!
//! It refuses to run as root: a child of root runs as user `postgres`.

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use chrono::DateTime;

use super::{Child, Peer, Running};
use crate::beside::process::{Process, first_line, free_port};
use crate::beside::questions::{NEWEST_MS, Question, day_series, last_minutes};
use crate::connection::{Protocol, Target};
use crate::lines::{Layout, Shape, push_decimal};
use crate::measure::{Plans, settle};
use crate::session::{Session, copy, query};
use crate::workload::{METRICS, Plan, Reading};

const INSTALLED: &str = "/usr/lib/postgresql";
const SHARED: &str = "/usr/share/postgresql";
const USER: &str = "postgres";
const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
shared_buffers = 3GB
max_wal_size = 8GB
checkpoint_timeout = 15min
work_mem = 128MB
maintenance_work_mem = 1GB
max_parallel_workers = 2
max_parallel_workers_per_gather = 2
fsync = on
synchronous_commit = on
";

/// PostgreSQL.
#[derive(Debug)]
pub(super) struct Postgres {
    /// Whether its tables are TimescaleDB's.
    pub(super) timescale: bool,
}

impl Peer for Postgres {
    fn name(&self) -> &'static str {
        if self.timescale { "timescaledb" } else { "postgresql" }
    }

    fn settings(&self) -> &'static str {
        if self.timescale {
            "as postgresql, tables made hypertables of an hour a chunk, not compressed"
        } else {
            "fsync = on, synchronous_commit = on: a request is a COPY of text and a transaction, synced before it is \
             acknowledged; index on (device, metric, ts) and a BRIN index on ts; every arrival is kept, duplicates, too; \
             shared_buffers = 3GB, max_wal_size = 8GB; VACUUM ANALYZE and CHECKPOINT before it is asked; its own \
             protocol, simple queries"
        }
    }

    fn version(&self) -> anyhow::Result<String> {
        let version = newest()?;
        let own = first_line(program(&version, "postgres"), &["--version"])?;
        if self.timescale {
            let control = Path::new(SHARED).join(&version).join("extension/timescaledb.control");
            ensure!(control.exists(), "the extension timescaledb is not installed");
        }
        Ok(own)
    }

    fn start(&self, dir: &Path) -> anyhow::Result<Box<dyn Running>> {
        let version = newest()?;
        let (data, log) = (dir.join("data"), dir.with_extension("log"));
        fs::create_dir_all(dir)?;
        let owner = owner()?;
        if let Some((user, group)) = owner {
            chown(dir, Some(user), Some(group)).with_context(|| format!("can't give {} away", dir.display()))?;
        }
        let mut init = command(&program(&version, "initdb"), owner, &data);
        init.args(["-U", USER, "-A", "trust", "--no-locale", "-E", "UTF8"]);
        let made = init.output().context("can't run initdb")?;
        ensure!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr).trim());
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let preload = if self.timescale { "shared_preload_libraries = 'timescaledb'\n" } else { "" };
        let mut settings = fs::OpenOptions::new().append(true).open(data.join("postgresql.conf"))?;
        write!(settings, "{SETTINGS}port = {}\n{preload}", address.port())?;
        let serve = command(&program(&version, "postgres"), owner, &data);
        let process = Process::start(serve, log, || Session::connect(address).is_ok())?;
        let target = Target { address, pid: process.pid(), protocol: Protocol::Postgres };
        let mut session = Session::connect(address)?;
        for statement in tables(self.timescale) {
            session.exchange(&query(&statement)).with_context(|| statement)?;
        }
        Ok(Box::new(Child { process, target }))
    }

    fn layout(&self, shape: Shape) -> Layout {
        match shape {
            Shape::Narrow => Layout { shape, push: push_narrow, wrap: |rows| copy("points", rows) },
            Shape::Wide => Layout { shape, push: push_wide, wrap: |rows| copy("machine", rows) },
        }
    }

    fn rest(&self, target: Target) -> anyhow::Result<()> {
        let mut session = Session::connect(target.address)?;
        session.exchange(&query("VACUUM ANALYZE"))?;
        session.exchange(&query("CHECKPOINT"))?;
        settle(target.pid)
    }

    fn log_dir(&self) -> Option<&'static str> {
        Some("data/pg_wal")
    }

    fn requests(&self, question: Question, plans: &Plans) -> Vec<Vec<u8>> {
        let last = last_minutes(plans);
        let day = within((plans.day.start_ms, plans.day.end_ms()));
        match question {
            Question::Minutes => {
                let one = |metric: usize| {
                    let which = format!("metric = {metric} AND {}", within(last));
                    query(&format!("SELECT device, avg(value) FROM points WHERE {which} GROUP BY device"))
                };
                (0..METRICS.len()).map(one).collect()
            }
            Question::AllMinutes => vec![query(&format!(
                "SELECT device, metric, avg(value) FROM points WHERE {} GROUP BY device, metric",
                within(last)
            ))],
            Question::Day => {
                let one = |(device, metric): (u32, &str)| {
                    let metric = METRICS.iter().position(|m| m.name == metric).unwrap_or_default();
                    query(&format!(
                        "SELECT date_trunc('minute', ts) AS m, avg(value) FROM points \
                         WHERE device = {device} AND metric = {metric} AND {day} GROUP BY m ORDER BY m"
                    ))
                };
                day_series(plans).into_iter().map(one).collect()
            }
            Question::Newest => vec![query(&format!(
                "SELECT DISTINCT ON (device, metric) device, metric, value FROM points WHERE {} \
                 ORDER BY device, metric, ts DESC",
                within((last.1 - NEWEST_MS, last.1))
            ))],
        }
    }

    fn rows(&self, _question: Question, answer: &[u8]) -> anyhow::Result<usize> {
        Ok(answer.iter().filter(|byte| **byte == b'\n').count())
    }

    fn count(&self, shape: Shape, plan: Plan) -> Vec<u8> {
        let within = within((plan.start_ms, plan.end_ms()));
        if shape == Shape::Narrow {
            return query(&format!("SELECT count(*) FROM points WHERE {within}"));
        }
        let counts: Vec<String> = METRICS.iter().map(|metric| format!("count({})", metric.name)).collect();
        query(&format!("SELECT {} FROM machine WHERE {within}", counts.join(" + ")))
    }

    fn counted(&self, answer: &[u8]) -> anyhow::Result<u64> {
        let answer = String::from_utf8_lossy(answer);
        answer.trim().parse().with_context(|| format!("{answer:?} is no count"))
    }
}

fn within((from_ms, to_ms): (i64, i64)) -> String {
    let time = |ms: i64| format!("to_timestamp({}.{:03})", ms.div_euclid(1000), ms.rem_euclid(1000));
    format!("ts >= {} AND ts < {}", time(from_ms), time(to_ms))
}

/// The newest version that is installed.
fn newest() -> anyhow::Result<String> {
    let installed = fs::read_dir(INSTALLED).context("PostgreSQL is not installed")?;
    let versions = installed.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let newest = versions.filter(|v| program(v, "postgres").exists()).max_by_key(|v| v.parse::<u32>().unwrap_or(0));
    newest.context("PostgreSQL is not installed")
}

fn program(version: &str, name: &str) -> PathBuf {
    Path::new(INSTALLED).join(version).join("bin").join(name)
}

/// User and group to run as, if we are root.
fn owner() -> anyhow::Result<Option<(u32, u32)>> {
    if fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").context("can't read /etc/passwd")?;
    let user = users.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields[0] == USER);
    let user = user.filter(|fields| fields.len() > 3).context("there is no user postgres")?;
    Ok(Some((user[2].parse()?, user[3].parse()?)))
}

fn command(program: &Path, owner: Option<(u32, u32)>, data: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg("-D").arg(data).current_dir("/");
    if let Some((user, group)) = owner {
        command.uid(user).gid(group);
    }
    command
}

fn tables(timescale: bool) -> Vec<String> {
    let columns: Vec<String> = METRICS.iter().map(|metric| format!("{} float8", metric.name)).collect();
    let mut statements = vec![
        "CREATE TABLE points (ts timestamptz NOT NULL, device smallint NOT NULL, metric smallint NOT NULL, \
         value float8 NOT NULL)"
            .to_owned(),
        format!("CREATE TABLE machine (ts timestamptz NOT NULL, device smallint NOT NULL, {})", columns.join(", ")),
    ];
    if timescale {
        statements.push("CREATE EXTENSION timescaledb".to_owned());
        let hyper =
            |table| format!("SELECT create_hypertable('{table}', 'ts', chunk_time_interval => interval '1 hour')");
        statements.extend(["points", "machine"].map(hyper));
    }
    statements.push("CREATE INDEX ON points (device, metric, ts)".to_owned());
    statements.push("CREATE INDEX ON points USING brin (ts)".to_owned());
    statements.push("CREATE INDEX ON machine (device, ts)".to_owned());
    statements
}

/// A row of `points`. Writing to a vector does not fail.
fn push_narrow(out: &mut Vec<u8>, readings: &[Reading]) {
    let first = readings[0];
    push_key(out, first);
    let _ = write!(out, "\t{}\t", first.metric);
    push_decimal(out, first.value, METRICS[first.metric].decimals);
    out.push(b'\n');
}

/// A row of `machine`; a metric that was not read is null.
fn push_wide(out: &mut Vec<u8>, readings: &[Reading]) {
    push_key(out, readings[0]);
    for (i, metric) in METRICS.iter().enumerate() {
        out.push(b'\t');
        match readings.iter().find(|reading| reading.metric == i) {
            Some(reading) => push_decimal(out, reading.value, metric.decimals),
            None => out.extend_from_slice(b"\\N"),
        }
    }
    out.push(b'\n');
}

fn push_key(out: &mut Vec<u8>, reading: Reading) {
    let time = DateTime::from_timestamp_millis(reading.time_ms).unwrap_or_default();
    let _ = write!(out, "{}\t{}", time.format("%Y-%m-%d %H:%M:%S%.3f+00"), reading.device);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Arrival;

    #[test]
    fn rows_are_those_of_copy() {
        let reading = Reading { time_ms: 1_700_000_000_001, device: 7, metric: 1, value: 0.5, arrival: Arrival::Late };
        let (mut narrow, mut wide) = (Vec::new(), Vec::new());
        push_narrow(&mut narrow, &[reading]);
        push_wide(&mut wide, &[reading]);
        assert_eq!(narrow, b"2023-11-14 22:13:20.001+00\t7\t1\t0.500\n");
        assert!(wide.starts_with(b"2023-11-14 22:13:20.001+00\t7\t\\N\t0.500\t\\N\t"));
        assert_eq!(wide.iter().filter(|byte| **byte == b'\t').count(), 1 + METRICS.len());
    }
}
