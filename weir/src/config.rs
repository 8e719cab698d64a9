//! `weir config`: what is set, and why.

use std::io::Write as _;
use std::process::ExitCode;

use weir::settings::{KEYS, Merged};

use crate::flags::SettingFlags;
use crate::output::Table;

/// What `weir config` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

/// What can be asked about settings.
#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print every setting, its value, where it came from and what it means
    Explain(Explain),
}

/// What `weir config explain` takes: the flags whose effect shall be shown.
#[derive(Debug, clap::Args)]
struct Explain {
    #[command(flatten)]
    settings: SettingFlags,
}

/// Explains the settings.
pub(crate) fn run(args: Args, level: Option<&str>) -> anyhow::Result<ExitCode> {
    let Command::Explain(explain) = args.command;
    let merged = explain.settings.merge(level)?;
    write!(std::io::stdout(), "{}", table(&merged))?;
    Ok(ExitCode::SUCCESS)
}

fn table(merged: &Merged) -> Table {
    let mut table = Table::new(&["setting", "value", "from", "meaning"]);
    for key in KEYS {
        let (value, origin) = (key.show(&merged.settings), merged.origin(key).to_string());
        table.row([key.name.to_owned(), value, origin, key.about.to_owned()]);
    }
    table
}
