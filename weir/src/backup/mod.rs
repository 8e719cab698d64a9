//! `weir backup` and `weir restore`: a copy of a data directory, made while its server runs, that proves itself.
//!
//! Owns the order of the copy and what a backup consists of. Does not own how each part is copied consistently (log,
//! catalog, objects).
//!
//! ```text
//! hold: nothing is deleted ─► log ─► catalog ─► objects that it names, verified ─► manifest ─► let go
//! ```
//!
//! - BAK-1: the log is copied before the catalog. Frames that are deleted from the log meanwhile are in history, and the
//!   catalog that is copied later says so; those that are in both are told apart by their position.
//! - BAK-2: while it is made, no object is condemned, so that all that the copied catalog names can be copied.
//! - BAK-3: the manifest is written last. A folder without one, or with anything else in it, is no backup.
//!
//! So every reading that was acknowledged before the backup began is in it once; later ones may be.

mod manifest;
mod restore;

use std::fs::{DirBuilder, File};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use batch_layer::catalog::Catalog;
use batch_layer::history::Objects;
use batch_layer::store;
use schemas::{Clock as _, LogPosition};
use weir::EngineSettings;
use weir::clock::SystemClock;

use crate::flags::SettingFlags;
use crate::logging;
use manifest::{Entry, Manifest, sha256_of_file};

pub(crate) use restore::RestoreArgs;
pub(crate) use restore::run as run_restore;

/// For so long nothing is deleted after the last sign of life of a backup.
const HOLD: Duration = Duration::from_secs(15 * 60);
/// A sign of life is given every so many objects.
const RENEW_OBJECTS: usize = 100;

/// What `weir backup` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder to make it in: new or empty
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    #[command(flatten)]
    settings: SettingFlags,
}

/// Makes a backup and tells.
pub(crate) async fn run(args: Args, level: Option<&str>) -> anyhow::Result<ExitCode> {
    let merged = args.settings.merge(level)?;
    logging::start_quiet(&merged)?;
    let settings = merged.settings.engine;
    let file = settings.data_dir.join("catalog.db");
    ensure!(file.is_file(), "there is no data directory {}", settings.data_dir.display());
    make_empty(&args.to)?;
    let catalog = Catalog::open(&file).await.context("can't open the catalog")?;
    let held = hold_name();
    let made = make(&settings, &catalog, &held, &args.to).await;
    let let_go = catalog.let_go(&held).await;
    catalog.close().await;
    let manifest = made?;
    let_go?;
    let bytes: u64 = manifest.files.iter().map(|file| file.bytes).sum();
    println!(
        "backup of {} in {}: {} files, {bytes} bytes, up to log position {}",
        settings.data_dir.display(),
        args.to.display(),
        manifest.files.len(),
        manifest.position
    );
    Ok(ExitCode::SUCCESS)
}

async fn make(settings: &EngineSettings, catalog: &Catalog, held: &str, to: &Path) -> anyhow::Result<Manifest> {
    let made_at = SystemClock.now();
    catalog.hold(held, made_at, HOLD).await?;
    let (log, log_to) = (settings.data_dir.join("log"), to.join("log"));
    make_dir(&log_to)?;
    let log = tokio::task::spawn_blocking(move || speed_layer::copy_log(&log, &log_to)).await?;
    let log = log.context("can't copy the log")?;
    catalog.copy_to(&to.join("catalog.db")).await.context("can't copy the catalog")?;
    let copied = Catalog::open(&to.join("catalog.db")).await.context("can't open the copied catalog")?;
    let (version, objects) = (copied.load_version().await?, copied.all_objects().await?);
    // Its side files must be gone before its hash is taken.
    copied.close().await;
    let first = log.positions.map(|(first, _)| first);
    ensure!(
        first.is_none_or(|first| first <= version.flushed.next()),
        "the log begins at {first:?}, but history ends at {}: a backup would lack readings",
        version.flushed
    );
    let history = Objects::new(store::open(&settings.batch.history)?);
    let mut paths = vec!["catalog.db".to_owned()];
    paths.extend(log.names.iter().map(|name| format!("log/{name}")));
    for (i, (object, _)) in objects.iter().enumerate() {
        if i % RENEW_OBJECTS == 0 {
            catalog.hold(held, SystemClock.now(), HOLD).await?;
        }
        let path = format!("history/{}", object.path);
        write_new(&to.join(&path), &history.get(object).await?)?;
        paths.push(path);
    }
    let position = log.positions.map_or(version.flushed, |(_, next)| LogPosition(next.0 - 1).max(version.flushed));
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        let (bytes, sha256) = sha256_of_file(&to.join(&path))?;
        files.push(Entry { path, bytes, sha256 });
    }
    sync_tree(to)?;
    let manifest = Manifest::new(made_at, settings.batch.base, position, files);
    manifest.write(to)?;
    sync_tree(to)?;
    Ok(manifest)
}

/// A name that no other backup has.
fn hold_name() -> String {
    format!("{}-{}", std::process::id(), SystemClock.now().0)
}

fn make_dir(dir: &Path) -> anyhow::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.with_context(|| format!("can't create {}", dir.display()))
}

/// Makes a folder, or takes an empty one.
fn make_empty(dir: &Path) -> anyhow::Result<()> {
    make_dir(dir)?;
    let mut entries = std::fs::read_dir(dir).with_context(|| format!("can't list {}", dir.display()))?;
    ensure!(entries.next().is_none(), "{} is not empty", dir.display());
    Ok(())
}

/// Makes the names of all that lies below a folder durable.
fn sync_tree(dir: &Path) -> anyhow::Result<()> {
    let failed = || format!("can't sync {}", dir.display());
    for entry in std::fs::read_dir(dir).with_context(failed)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        }
    }
    File::open(dir).and_then(|dir| dir.sync_all()).with_context(failed)
}

/// Writes a file that must not exist yet, its folders included. Their names are not durable yet.
fn write_new(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    make_dir(path.parent().unwrap_or(Path::new(".")))?;
    let written = || {
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    written().with_context(|| format!("can't write {}", path.display()))
}
