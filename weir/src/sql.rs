//! `weir sql`: a statement, and its rows as a table or in a format for programs.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::ipc::reader::StreamDecoder;
use reqwest::Response;

use crate::client::Door;
use crate::flags::Place;
use crate::logging;
use crate::output::{Format, Table, grouped};

/// Most rows that a table shows: more helps no person, and all must be known before the first is aligned.
const ROWS_SHOWN: usize = 10_000;

/// What `weir sql` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The statement; `-` reads it from standard input
    sql: String,
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
    let statement = if args.sql == "-" { std::io::read_to_string(std::io::stdin())? } else { args.sql };
    let door = Door::open(&args.place, merged.settings, false).await?;
    let told = ask(&door, &statement, args.format).await;
    door.close().await;
    told.map(|()| ExitCode::SUCCESS)
}

async fn ask(door: &Door, sql: &str, format: Format) -> anyhow::Result<()> {
    let request = serde_json::json!({ "sql": sql, "format": format.name() });
    let response = door.post("/v1/sql", &request).await?;
    if format == Format::Table { show(response).await } else { pass_on(response).await }
}

/// Writes the body to stdout as it comes.
async fn pass_on(mut response: Response) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let mut last = b'\n';
    let binary = is_binary(&response);
    while let Some(bytes) = response.chunk().await.context("the answer broke off")? {
        out.write_all(&bytes)?;
        last = bytes.last().copied().unwrap_or(last);
    }
    if last != b'\n' && !binary {
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}

fn is_binary(response: &Response) -> bool {
    let kind = response.headers().get(reqwest::header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("application/vnd.apache"))
}

/// Shows the first rows as a table.
async fn show(mut response: Response) -> anyhow::Result<()> {
    let mut decoder = StreamDecoder::new();
    let mut batches: Vec<RecordBatch> = Vec::new();
    let mut rows = 0;
    while let Some(bytes) = response.chunk().await.context("the answer broke off")? {
        let mut buffer = Buffer::from(bytes);
        while !buffer.is_empty() && rows <= ROWS_SHOWN {
            if let Some(batch) = decoder.decode(&mut buffer).context("the answer is no Arrow stream")? {
                rows += batch.num_rows();
                batches.push(batch);
            }
        }
    }
    if batches.is_empty() {
        let schema = decoder.schema().context("the answer has no columns")?;
        batches.push(RecordBatch::new_empty(schema));
    }
    let more = cut(&mut batches);
    let mut out = std::io::stdout().lock();
    write!(out, "{}", Table::of(&batches)?)?;
    let shown = rows.min(ROWS_SHOWN) as u64;
    match (more, shown) {
        (true, _) => writeln!(out, "(the first {} rows; --format csv has all)", grouped(shown))?,
        (false, 1) => writeln!(out, "(1 row)")?,
        (false, n) => writeln!(out, "({} rows)", grouped(n))?,
    }
    Ok(())
}

/// Leaves as many rows as are shown; returns whether there were more.
fn cut(batches: &mut [RecordBatch]) -> bool {
    let mut left = ROWS_SHOWN;
    let mut more = false;
    for batch in batches.iter_mut() {
        more |= batch.num_rows() > left;
        *batch = batch.slice(0, batch.num_rows().min(left));
        left -= batch.num_rows();
    }
    more
}
