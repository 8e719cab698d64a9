//! Where is measured, and which program.
//!
//! Owns the flags for both and what they default to. Does **not** own what lies in the directories.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use tempfile::TempDir;

use crate::server;

/// Where data directories are made, and the server's program.
#[derive(Debug, Clone, Args)]
pub(crate) struct Place {
    /// Make the data directories here, on the disk to be measured; default: this build's target directory
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The server's program; default: weir of this build's release profile
    #[arg(long, value_name = "FILE")]
    weir: Option<PathBuf>,
}

impl Place {
    /// The server's program: the one given, or that of this build.
    ///
    /// # Errors
    /// It is not there.
    pub(crate) fn weir(&self) -> anyhow::Result<PathBuf> {
        match &self.weir {
            Some(binary) => binary.canonicalize().with_context(|| format!("can't find {}", binary.display())),
            None => server::release_binary(),
        }
    }

    /// A new directory in the one given, or where this program was built; removed when it is dropped.
    ///
    /// # Errors
    /// It can't be made.
    pub(crate) fn dir(&self) -> anyhow::Result<TempDir> {
        let parent = self.dir.as_deref().map_or_else(target_dir, |dir| Ok(dir.to_owned()))?;
        let parent = parent.canonicalize().with_context(|| format!("can't find {}", parent.display()))?;
        let made = tempfile::Builder::new().prefix("weir-bench-").tempdir_in(&parent);
        made.with_context(|| format!("can't make a directory in {}", parent.display()))
    }
}

/// The directory that this program was built in.
///
/// # Errors
/// This program has no place.
pub(crate) fn target_dir() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("can't find this program")?;
    Ok(own.ancestors().nth(2).context("this program lies in no directory")?.to_owned())
}

/// Writes a file that was asked for.
///
/// # Errors
/// It can't be written.
pub(crate) fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("can't write {}", path.display()))
}
