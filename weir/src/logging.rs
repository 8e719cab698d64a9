//! What is logged, and where: stderr, so that stdout holds answers only.

use std::io::IsTerminal as _;

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;
use weir::settings::{Key, Merged, Origin};

/// Starts logging for a program that goes on serving.
pub(crate) fn start(merged: &Merged) -> anyhow::Result<()> {
    start_with(&merged.settings.log_level)
}

/// Starts logging for a command that does one thing: only warnings, unless somebody asked for more.
pub(crate) fn start_quiet(merged: &Merged) -> anyhow::Result<()> {
    let asked = Key::named("log_level").is_some_and(|key| merged.origin(key) != Origin::Default);
    start_with(if asked { &merged.settings.log_level } else { "warn" })
}

fn start_with(level: &str) -> anyhow::Result<()> {
    let filter =
        EnvFilter::try_new(level).with_context(|| format!("{level:?} is not a log level such as info or debug"))?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // Tests start it more than once in one process: the first stays.
    let _ = subscriber.try_init();
    Ok(())
}
