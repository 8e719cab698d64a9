//! `weir`: one program for all of Weir. This page is its table of contents; each subcommand has its own file.

mod backtest;
mod backup;
mod check;
mod cli;
mod client;
mod completions;
mod config;
mod demo;
mod flags;
mod import;
mod logging;
mod output;
mod query;
mod recompute;
mod serve;
mod server;
mod sql;
mod stop;
mod token;
mod trust;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;

use crate::cli::{Cli, Command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return cli::fail(&error.into()),
    };
    let outcome = runtime.block_on(run(cli));
    // What still runs was told to end; nobody waits for what does not listen.
    runtime.shutdown_timeout(Duration::from_millis(200));
    outcome.unwrap_or_else(|error| cli::fail(&error))
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let level = cli.log_level.as_deref();
    match cli.command {
        Command::Serve(args) => serve::run(args, level).await,
        Command::Demo(args) => demo::run(args, level).await,
        Command::Import(args) => import::run(args, level).await,
        Command::Sql(args) => sql::run(args, level).await,
        Command::Query(args) => query::run(args, level).await,
        Command::Recompute(args) => recompute::run(args, level).await,
        Command::Check(args) => check::run(args, level).await,
        Command::Backtest(args) => tokio::task::block_in_place(|| backtest::run(&args)),
        Command::Backup(args) => backup::run(args, level).await,
        Command::Restore(args) => backup::run_restore(args, level).await,
        Command::Token(args) => token::run(args, level).await,
        Command::Config(args) => config::run(args, level),
        Command::Completions(args) => completions::run(&args),
    }
}
