//! `weir token`: who may use the server of a data directory.
//!
//! Works on the catalog itself, with or without a running server, which notices within half a second. Whoever can write the
//! data directory needs no token for it.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use batch_layer::access::{NewToken, Scope, Token};
use batch_layer::catalog::Catalog;
use schemas::limits::Limits;
use schemas::time::parse_duration;
use schemas::{ArrivalTime, Clock as _};
use weir::clock::SystemClock;
use weir::engine::Lock;

use crate::flags::SettingFlags;
use crate::logging;
use crate::output::Table;

/// Who the audit log says it was.
const ACTOR: &str = "command line";

/// What `weir token` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a token and print it, once
    Create(Create),
    /// List all tokens
    List(List),
    /// Make a token useless from now on
    Revoke(Revoke),
}

#[derive(Debug, clap::Args)]
struct Create {
    /// What it is for
    #[arg(long)]
    name: String,
    /// What it allows: write, read, batch, rules, admin; several with commas
    #[arg(long, value_delimiter = ',', required = true, value_parser = scope)]
    scope: Vec<Scope>,
    /// Only series of this metric; a * at its end: of all that begin so; may be given several times
    #[arg(long, value_name = "NAME|PREFIX*")]
    metric: Vec<String>,
    /// Only series of this device; a * at its end: of all that begin so; may be given several times
    #[arg(long, value_name = "ID|PREFIX*")]
    device: Vec<String>,
    /// For how long, such as 90d; for ever if absent
    #[arg(long, value_name = "DURATION")]
    expires: Option<String>,
    #[command(flatten)]
    settings: SettingFlags,
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    settings: SettingFlags,
}

#[derive(Debug, clap::Args)]
struct Revoke {
    /// Its id, as the list shows it
    id: String,
    #[command(flatten)]
    settings: SettingFlags,
}

fn scope(text: &str) -> Result<Scope, String> {
    text.trim().parse().map_err(|error: batch_layer::Error| error.to_string())
}

/// Does what was asked.
pub(crate) async fn run(args: Args, level: Option<&str>) -> anyhow::Result<ExitCode> {
    let (Command::Create(Create { settings, .. })
    | Command::List(List { settings })
    | Command::Revoke(Revoke { settings, .. })) = &args.command;
    let merged = settings.merge(level)?;
    logging::start_quiet(&merged)?;
    let dir = &merged.settings.engine.batch.dir;
    let there = matches!(args.command, Command::Create(_)) || dir.join("catalog.db").exists();
    anyhow::ensure!(there, "there is no data directory {}", dir.display());
    let catalog = open(dir).await?;
    let done = match &args.command {
        Command::Create(create) => make(&catalog, create).await,
        Command::List(_) => list(&catalog).await,
        Command::Revoke(revoke) => catalog.revoke_token(ACTOR, &revoke.id, SystemClock.now()).await.map_err(Into::into),
    };
    catalog.close().await;
    done.map(|()| ExitCode::SUCCESS)
}

/// The catalog of a data directory, which is made where there is none: a first token may come before the first start.
async fn open(dir: &Path) -> anyhow::Result<Catalog> {
    // Taken for a moment, as the first to come makes the directory; a running server has made it.
    let _making = if Lock::is_held(dir) { None } else { Some(Lock::take(dir)?) };
    Ok(Catalog::open(&dir.join("catalog.db")).await?)
}

async fn make(catalog: &Catalog, create: &Create) -> anyhow::Result<()> {
    let now = SystemClock.now();
    let expires_at = match &create.expires {
        Some(text) => {
            let nanos = parse_duration(text).with_context(|| format!("--expires {text}"))?;
            Some(ArrivalTime(now.0.checked_add(nanos).context("--expires: too far away")?))
        }
        None => None,
    };
    let limits = Limits::new(create.metric.iter().map(String::as_str), create.device.iter().map(String::as_str))?;
    let new = NewToken { name: create.name.clone(), scopes: create.scope.clone(), limits, expires_at };
    let (token, secret) = catalog.create_token(ACTOR, new, now).await?;
    writeln!(std::io::stdout(), "{}", secret.reveal())?;
    eprintln!("token {} was made; it is shown this once, only its hash is kept", token.id);
    Ok(())
}

async fn list(catalog: &Catalog) -> anyhow::Result<()> {
    let mut table = Table::new(&["id", "name", "scopes", "limits", "created_at", "expires_at", "state"]);
    let now = SystemClock.now();
    let time = |time: Option<ArrivalTime>| time.map_or_else(String::new, |time| time.to_string());
    for token in catalog.tokens().await? {
        let scopes: Vec<&str> = token.scopes.iter().map(|scope| scope.name()).collect();
        let limits = token.limits.as_ref().map_or_else(String::new, |limits| limits.to_string());
        let state = state(&token, now);
        let (created_at, expires_at) = (time(Some(token.created_at)), time(token.expires_at));
        table.row([token.id, token.name, scopes.join(","), limits, created_at, expires_at, state.to_owned()]);
    }
    Ok(write!(std::io::stdout(), "{table}")?)
}

fn state(token: &Token, now: ArrivalTime) -> &'static str {
    match token {
        Token { revoked_at: Some(_), .. } => "revoked",
        token if token.ended(now) => "expired",
        _ => "valid",
    }
}
