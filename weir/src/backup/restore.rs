//! `weir restore`: a backup becomes a data directory, or nothing is written.
//!
//! Everything is looked at first: that the folder holds what its manifest names and nothing else, no links, and that every
//! hash is right. Then it is copied beside the target, hashed again on the way, given its name, and checked as
//! `weir check` does.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use weir::Settings;
use weir::settings::Merged;

use super::manifest::{Entry, MANIFEST, MANIFEST_HASH, Manifest, sha256_of_file};
use super::{make_dir, make_empty, sync_tree};
use crate::{check, logging};

/// What `weir restore` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct RestoreArgs {
    /// The folder of the backup
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// The data directory to make: new or empty
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
}

/// Restores and tells what a check of it finds.
pub(crate) async fn run(args: RestoreArgs, level: Option<&str>) -> anyhow::Result<ExitCode> {
    let mut merged = Merged::default();
    if let Some(level) = level {
        merged.settings.log_level = level.to_owned();
    }
    logging::start_quiet(&merged)?;
    let manifest = Manifest::read(&args.from).context("this backup can't be restored")?;
    verify(&args.from, &manifest).context("this backup can't be restored")?;
    copy(&args.from, &manifest, &args.data_dir)?;
    println!("restored {} files up to log position {}", manifest.files.len(), manifest.position);
    check::run_on(settings(&args.data_dir, &manifest)?).await
}

fn settings(data_dir: &Path, manifest: &Manifest) -> anyhow::Result<Settings> {
    let mut settings = Settings { engine: weir::EngineSettings::new(data_dir), ..Settings::default() };
    let base = manifest.base_resolution.parse().context(MANIFEST)?;
    (settings.engine.speed.base, settings.engine.batch.base) = (base, base);
    Ok(settings)
}

/// Refuses a folder that holds anything but what the manifest names, or other bytes.
fn verify(from: &Path, manifest: &Manifest) -> anyhow::Result<()> {
    let named: BTreeSet<&str> = manifest.files.iter().map(|entry| entry.path.as_str()).collect();
    let mut found = BTreeSet::new();
    list(from, "", &mut found)?;
    for path in &found {
        let own = [MANIFEST, MANIFEST_HASH].contains(&path.as_str());
        ensure!(own || named.contains(path.as_str()), "{path} is in the folder, but not in {MANIFEST}");
    }
    for entry in &manifest.files {
        ensure!(found.contains(&entry.path), "{} is missing", entry.path);
        compare(&from.join(&entry.path), entry)?;
    }
    Ok(())
}

/// All files below a folder; links and whatever else is no file are refused, wherever they lead.
fn list(dir: &Path, prefix: &str, found: &mut BTreeSet<String>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(dir).with_context(|| format!("can't list {}", dir.display()))? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let Ok(name) = entry.file_name().into_string() else { bail!("{:?} is no name of ours", entry.file_name()) };
        let path = format!("{prefix}{name}");
        if kind.is_dir() {
            list(&entry.path(), &format!("{path}/"), found)?;
        } else if kind.is_file() {
            found.insert(path);
        } else {
            bail!("{path} is a link, or no file at all");
        }
    }
    Ok(())
}

fn compare(path: &Path, entry: &Entry) -> anyhow::Result<()> {
    let (bytes, sha256) = sha256_of_file(path)?;
    let right = (bytes, &sha256) == (entry.bytes, &entry.sha256);
    ensure!(right, "{} has {bytes} bytes of SHA-256 {sha256}, not {} of {}", entry.path, entry.bytes, entry.sha256);
    Ok(())
}

/// Copies all files beside the target and gives them its name once all are durable.
fn copy(from: &Path, manifest: &Manifest, target: &Path) -> anyhow::Result<()> {
    make_empty(target)?;
    let target = std::fs::canonicalize(target).with_context(|| format!("can't find {}", target.display()))?;
    let (parent, name) = target.parent().zip(target.file_name()).context("the target has no name")?;
    let staging = parent.join(format!(".{}.restoring", name.to_string_lossy()));
    make_empty(&staging)?;
    let copied = manifest.files.iter().try_for_each(|entry| copy_one(from, entry, &staging));
    let renamed = copied.and_then(|()| {
        sync_tree(&staging)?;
        // Over the empty folder that it is to be.
        std::fs::rename(&staging, &target).with_context(|| format!("can't name {}", target.display()))?;
        Ok(File::open(parent)?.sync_all()?)
    });
    renamed.inspect_err(|_| drop(std::fs::remove_dir_all(&staging)))
}

fn copy_one(from: &Path, entry: &Entry, staging: &Path) -> anyhow::Result<()> {
    let target = staging.join(&entry.path);
    make_dir(target.parent().unwrap_or(staging))?;
    let copied = || {
        std::fs::copy(from.join(&entry.path), &target)?;
        File::open(&target)?.sync_all()
    };
    copied().with_context(|| format!("can't copy {}", entry.path))?;
    // What lay there a moment ago need not be what was copied.
    compare(&target, entry)
}
