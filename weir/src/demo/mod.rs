//! `weir demo`: a server with something to see: two years of real air quality, and a simulated factory, live.
//!
//! Owns what is fed and the three lines to copy. The air-quality data is in the program (see `demo/README.md`).

mod factory;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use batch_layer::catalog::{JobKind, NewJob, ScheduleRow};
use batch_layer::schedule::next_after;
use schemas::time::parse_rfc3339;
use schemas::{Clock, TimeRange};
use serving_layer::Serving;
use serving_layer::http::{Admit, Entrance};
use weir::Settings;
use weir::clock::SystemClock;
use weir::engine::Lock;

use crate::flags::SettingFlags;
use crate::import::{Options, read_parquet};
use crate::logging;
use crate::server::{AddressFile, Server, bind};
use crate::stop::Stop;
use factory::Factory;

/// Hourly readings of three stations; see `demo/README.md` for source and licence.
static AIR: &[u8] = include_bytes!("../../demo/prsa_beijing.parquet");
/// The event times of [`AIR`].
const AIR_FROM: &str = "2014-02-28T16:00:00Z";
const AIR_TO: &str = "2016-02-29T16:00:00Z";
/// Where the demo keeps its data unless told otherwise.
const DATA_DIR: &str = "data/demo";
/// How long to wait for an engine that is full.
const PAUSE: Duration = Duration::from_millis(200);

/// What `weir demo` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// End after so many seconds
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// End as soon as all is fed and the factory ran for a second
    #[arg(long, conflicts_with = "seconds")]
    once: bool,
    /// Where the factory's chance comes from
    #[arg(long, default_value_t = 42)]
    seed: u64,
    #[command(flatten)]
    settings: SettingFlags,
}

/// Serves and feeds until told to end.
pub(crate) async fn run(args: Args, level: Option<&str>) -> anyhow::Result<ExitCode> {
    let chosen = args.settings.has("data_dir");
    let flags = if chosen { args.settings } else { args.settings.with("data_dir", DATA_DIR.to_owned()) };
    let merged = flags.merge(Some(level.unwrap_or("warn")))?;
    logging::start(&merged)?;
    let mut stop = Stop::listen()?;
    let settings = merged.settings;
    let entrance = bind_or_free(&settings).await?;
    let lock = Lock::take(&settings.engine.data_dir)?;
    let _told = AddressFile::write(&settings.engine.data_dir, &entrance)?;
    let mut server = tokio::select! {
        started = Server::start(settings.engine, lock, entrance, Admit::Tokens) => started?,
        () = stop.wished() => return Ok(ExitCode::SUCCESS),
    };
    server.engine.start();
    let outcome = tokio::select! {
        fed = feed(&server, args.seed, args.seconds.or(args.once.then_some(1))) => fed,
        () = stop.wished() => Ok(()),
    };
    server.stop().await;
    outcome.map(|()| ExitCode::SUCCESS)
}

/// The address of the settings, or a free port beside it where it is taken.
async fn bind_or_free(settings: &Settings) -> anyhow::Result<Entrance> {
    match bind(settings).await {
        Ok(entrance) => Ok(entrance),
        Err(error) if is_taken(&error) => {
            let host = settings.listen.rsplit_once(':').map_or("127.0.0.1", |(host, _)| host);
            bind(&Settings { listen: format!("{host}:0"), ..settings.clone() }).await
        }
        Err(error) => Err(error),
    }
}

fn is_taken(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|io| io.kind() == std::io::ErrorKind::AddrInUse)
}

async fn feed(server: &Server, seed: u64, seconds: Option<u64>) -> anyhow::Result<()> {
    let serving = &server.engine.serving;
    schedule_folds(serving).await?;
    import_air(serving).await?;
    tell(&server.url)?;
    let factory = run_factory(serving, seed);
    match seconds {
        None => factory.await,
        Some(seconds) => match tokio::time::timeout(Duration::from_secs(seconds), factory).await {
            Ok(failed) => failed,
            Err(_) => Ok(()),
        },
    }
}

/// Folds every minute, so that views follow while somebody watches.
async fn schedule_folds(serving: &Serving) -> anyhow::Result<()> {
    let (name, cron) = ("fold".to_owned(), "* * * * *".to_owned());
    let next_at = next_after(&cron, SystemClock.now())?;
    let row = ScheduleRow { name, cron, kind: JobKind::Fold, lookback: None, enabled: true, next_at, last_at: None };
    Ok(serving.batch.catalog().put_schedule(row).await?)
}

/// Imports the air-quality data, unless it is there from an earlier run, and has its views made.
async fn import_air(serving: &Serving) -> anyhow::Result<()> {
    let there = "WSPM{device_id=\"Huairou\"}".parse().context("a selector of our own")?;
    if !serving.speed.select(&there).is_empty() {
        return Ok(());
    }
    let mut chunks = Vec::new();
    let options = Options::plain(SystemClock.now().0);
    let reading = tokio::task::spawn_blocking(move || {
        let mut emit = |chunk: crate::import::Chunk, _| {
            chunks.push(chunk.rows);
            Ok(())
        };
        read_parquet(bytes::Bytes::from_static(AIR), &options, &mut emit).map(|()| chunks)
    });
    for rows in reading.await.context("reading the demo's data panicked")?? {
        append(serving, rows).await?;
    }
    serving.flush().await?;
    let now = SystemClock.now();
    let range = TimeRange::new(parse_rfc3339(AIR_FROM)?, parse_rfc3339(AIR_TO)?);
    let reason = "the demo's data was imported".to_owned();
    let job = NewJob { kind: JobKind::Recompute, range, selector: None, reason, priority: 0, not_before: now, now };
    serving.batch.catalog().enqueue(job).await?;
    serving.batch.wake_runner();
    Ok(())
}

/// Appends the factory's readings, second by second, for ever.
async fn run_factory(serving: &Serving, seed: u64) -> anyhow::Result<()> {
    let mut factory = Factory::new(seed)?;
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        append(serving, factory.second(SystemClock.now())).await?;
    }
}

async fn append(serving: &Serving, rows: speed_layer::Rows) -> anyhow::Result<()> {
    loop {
        match serving.speed.append(rows.clone()).await {
            Ok(_) => return Ok(()),
            Err(speed_layer::Error::Overloaded { .. } | speed_layer::Error::Full) => tokio::time::sleep(PAUSE).await,
            Err(error) => return Err(error.into()),
        }
    }
}

/// The three lines to copy.
fn tell(url: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "weir query --url {url} --match 'temperature{{line=\"A\"}}' --by line --from now-5m --step 10s --agg avg,max,count"
    )?;
    writeln!(
        out,
        "weir sql --url {url} \"SELECT device_id, count(*) AS readings, avg(value) AS pm25 FROM readings \
         WHERE metric = 'PM2.5' AND event_time >= '2015-12-01' AND event_time < '2016-01-01' GROUP BY device_id ORDER BY device_id\""
    )?;
    writeln!(out, "{url}/")?;
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_in_the_program_is_whole() {
        let mut readings = 0;
        let mut keys = std::collections::BTreeSet::new();
        let (from, to) = (parse_rfc3339(AIR_FROM).expect("valid"), parse_rfc3339(AIR_TO).expect("valid"));
        let mut emit = |chunk: crate::import::Chunk, _| {
            assert_eq!(chunk.rejected, 0);
            assert!(chunk.rows.times.iter().all(|t| (from..to).contains(t)));
            readings += chunk.rows.values.len();
            keys.extend(chunk.rows.keys);
            Ok(())
        };
        read_parquet(bytes::Bytes::from_static(AIR), &Options::plain(0), &mut emit).expect("readable");
        assert_eq!((readings, keys.len()), (573_013, 33));
    }
}
