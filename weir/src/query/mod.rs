//! `weir query`: aggregates of series over time.

mod flatten;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::client::{Door, instant};
use crate::flags::Place;
use crate::logging;
use crate::output::{Format, write_batch};

/// What `weir query` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which series, such as 'temperature{device_id=~"press-.*",line!="B"}'
    #[arg(long = "match", short, value_name = "SELECTOR", required = true)]
    selector: String,
    /// First event time: RFC 3339, a date, epoch milliseconds, or now-1h [default: one hour before --to]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<String>,
    /// First event time after [default: now]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    to: Option<String>,
    /// Width of a point, such as 10s, 1m, 1h or 1d [default: by the range]
    #[arg(long, value_name = "DURATION")]
    step: Option<String>,
    /// Aggregates: count, sum, avg, min, max, first, last, stddev, p50, p90, p95, p99
    #[arg(long, value_name = "LIST", default_value = "avg")]
    agg: String,
    /// Tags to keep; absent: every series on its own; empty: all together
    #[arg(long, value_name = "LIST")]
    by: Option<String>,
    /// Which layer answers: unified, batch or speed
    #[arg(long)]
    view: Option<String>,
    /// A superseded generation to ask
    #[arg(long, value_name = "GENERATION")]
    as_of: Option<String>,
    /// The least confidence that is accepted, 0 to 1
    #[arg(long, value_name = "FRACTION")]
    min_confidence: Option<String>,
    /// What becomes of points below it: as_is, omit or fail
    #[arg(long, value_name = "CHOICE")]
    on_violation: Option<String>,
    /// The probability that an interval holds the final value [default: 0.95]
    #[arg(long, value_name = "FRACTION")]
    level: Option<String>,
    /// The fraction within which the final value counts as the one shown [default: the setting epsilon]
    #[arg(long, value_name = "FRACTION")]
    max_rel_err: Option<String>,
    /// The form of the answer
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    place: Place,
}

/// Asks and prints.
pub(crate) async fn run(args: Args, level: Option<&str>) -> anyhow::Result<ExitCode> {
    let merged = args.place.merge(level)?;
    logging::start_quiet(&merged)?;
    args.format.check_terminal()?;
    let door = Door::open(&args.place, merged.settings, false).await?;
    let answer = ask(&door, &args).await;
    door.close().await;
    print(&answer?, &args)?;
    Ok(ExitCode::SUCCESS)
}

async fn ask(door: &Door, args: &Args) -> anyhow::Result<String> {
    let (from, to) = (args.from.as_deref().map(instant), args.to.as_deref().map(instant));
    let given = [
        ("from", &from),
        ("to", &to),
        ("step", &args.step),
        ("by", &args.by),
        ("view", &args.view),
        ("as_of", &args.as_of),
        ("min_confidence", &args.min_confidence),
        ("on_violation", &args.on_violation),
        ("level", &args.level),
        ("max_rel_err", &args.max_rel_err),
    ];
    let mut parameters = vec![("match", args.selector.as_str()), ("agg", args.agg.as_str())];
    parameters.extend(given.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))));
    door.get("/v1/query", &parameters).await?.text().await.context("the answer broke off")
}

fn print(text: &str, args: &Args) -> anyhow::Result<()> {
    if args.format == Format::Json {
        return Ok(writeln!(std::io::stdout(), "{}", text.trim_end())?);
    }
    let answer: flatten::Answer = serde_json::from_str(text).context("the answer is not of the agreed form")?;
    let aggregates: Vec<&str> = args.agg.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    let full = args.format != Format::Table;
    write_batch(args.format, &answer.rows(&aggregates, full)?)?;
    for missing in &answer.missing {
        eprintln!("warning: missing in this answer: {missing}");
    }
    Ok(())
}
