//! The command line as a whole: subcommands, and how the program says that it failed.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use weir::settings;

use crate::{backtest, backup, check, completions, config, demo, import, query, recompute, serve, sql, token};

/// The exit status of a wrong command line or setting.
const USAGE: u8 = 2;

/// Telemetry in, real-time and exact answers out.
#[derive(Debug, Parser)]
#[command(name = "weir", version, max_term_width = 110, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// What is logged to stderr: error, warn, info, debug, trace, or a filter [env: WEIR_LOG]
    #[arg(long, global = true, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the server
    Serve(serve::Args),
    /// Run the server with real data and a live simulated factory
    Demo(demo::Args),
    /// Import readings from files
    Import(import::Args),
    /// Ask in SQL
    Sql(sql::Args),
    /// Ask for aggregates of series over time
    Query(query::Args),
    /// Compute batch views anew from raw history
    Recompute(recompute::Args),
    /// Verify a data directory: every checksum, catalog against files, coverage, log
    Check(check::Args),
    /// Score confidence on readings with event and arrival times
    Backtest(backtest::Args),
    /// Copy a data directory while its server runs
    Backup(backup::Args),
    /// Make a data directory from a backup, and check it
    Restore(backup::RestoreArgs),
    /// Make, list and revoke the tokens that clients show
    Token(token::Args),
    /// Show settings
    Config(config::Args),
    /// Print completions for a shell
    Completions(completions::Args),
}

/// Tells an error in one line; a pipe that nobody reads any more is none.
pub(crate) fn fail(error: &anyhow::Error) -> ExitCode {
    let broken_pipe = |cause: &(dyn std::error::Error + 'static)| {
        let io = cause.downcast_ref::<std::io::Error>();
        io.is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
    };
    if error.chain().any(broken_pipe) {
        return ExitCode::SUCCESS;
    }
    eprintln!("error: {}", one_line(error));
    if error.is::<settings::Error>() { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
}

/// The error and its causes; a cause that the text before it holds already is left out.
pub(crate) fn one_line(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn causes_are_told_once_in_one_line() {
        let inner = std::io::Error::other("disk\nfull");
        let error = anyhow::Error::new(inner).context("can't write").context("import");
        assert_eq!(one_line(&error), "import: can't write: disk full");
        let told = Err::<(), _>(anyhow::anyhow!("x")).context("reading: x").expect_err("an error");
        assert_eq!(one_line(&told), "reading: x");
    }
}
