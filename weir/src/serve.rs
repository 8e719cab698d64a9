//! `weir serve`: the server.

use std::io::Write as _;
use std::process::ExitCode;

use serving_layer::http::Admit;

use crate::flags::SettingFlags;
use crate::logging;
use crate::server::{AddressFile, Server, bind};
use crate::stop::Stop;

/// What `weir serve` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    settings: SettingFlags,
}

/// Serves until told to end.
pub(crate) async fn run(args: Args, level: Option<&str>) -> anyhow::Result<ExitCode> {
    let merged = args.settings.merge(level)?;
    logging::start(&merged)?;
    let mut stop = Stop::listen()?;
    let settings = merged.settings;
    let data_dir = settings.engine.data_dir.clone();
    // Bound first: where that is refused, no data directory shall appear.
    let entrance = bind(&settings).await?;
    let lock = weir::engine::Lock::take(&data_dir)?;
    let _told = AddressFile::write(&data_dir, &entrance)?;
    let mut server = tokio::select! {
        started = Server::start(settings.engine, lock, entrance, Admit::Tokens) => started?,
        // Nothing was acknowledged yet: there is nothing to flush.
        () = stop.wished() => return Ok(ExitCode::SUCCESS),
    };
    server.engine.start();
    writeln!(std::io::stdout(), "weir listens on {}", server.url)?;
    tracing::info!(url = server.url, data = %data_dir.display(), "ready");
    stop.wished().await;
    tracing::info!("stopping");
    server.stop().await;
    Ok(ExitCode::SUCCESS)
}
