//! The steps on the disk that make objects durable, and their order.
//!
//! Owns the staging directory and which directories are known to be durable. Everything here blocks.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::fs::File;
use std::hash::BuildHasher;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path as FsPath, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use object_store::{Error as StoreError, Result};

/// The directory below the root where files wait for their names.
pub(super) const STAGING: &str = ".staging";

/// The directory and what is known of it. All methods block.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) root: PathBuf,
    staging: PathBuf,
    /// Tells this store's staging files from those of others, also where every process has number 1.
    nonce: u64,
    next_staging: AtomicU64,
    /// Directories whose own names, up to the root's, are known to be durable.
    durable: Mutex<HashSet<PathBuf>>,
}

impl Disk {
    pub(super) fn new(root: PathBuf) -> Self {
        let (staging, nonce) = (root.join(STAGING), RandomState::new().hash_one(std::process::id()));
        Self { root, staging, nonce, next_staging: AtomicU64::new(0), durable: Mutex::default() }
    }

    /// Removes what killed processes left behind. A file that is still being written is locked by its writer.
    pub(super) fn clear_staging(&self) -> std::io::Result<()> {
        create_private(&self.staging)?;
        for entry in self.staging.read_dir()? {
            let path = entry?.path();
            match File::open(&path) {
                Ok(file) if file.try_lock().is_ok() => std::fs::remove_file(&path)?,
                // Locked by its writer, or its writer was done with it just now.
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    pub(super) fn stage(&self) -> Result<Staged> {
        let name = format!("{:016x}-{}", self.nonce, self.next_staging.fetch_add(1, Ordering::Relaxed));
        let path = self.staging.join(name);
        let file = File::create_new(&path).map_err(|e| failed(&path, e))?;
        let staged = Staged { file, path };
        staged.file.lock().map_err(|e| failed(&staged.path, e))?;
        Ok(staged)
    }

    /// Gives a staged and synced file its name (STORE-1).
    pub(super) fn commit(&self, staged: Staged, target: &FsPath, replace: bool) -> Result<()> {
        self.make_parent(target)?;
        if replace {
            std::fs::rename(&staged.path, target).map_err(|e| failed(target, e))?;
            return sync_parent(target);
        }
        self.link_new(&staged.path, target)
    }

    /// Gives a durable file a second name that nothing has yet.
    fn link_new(&self, file: &FsPath, target: &FsPath) -> Result<()> {
        match std::fs::hard_link(file, target) {
            // The name must not outlive a sync that failed: a retry would find it and take it for durable.
            Ok(()) => sync_parent(target).inspect_err(|_| drop(std::fs::remove_file(target))),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                // Its writer may have died before this sync, and our caller may now count on what is there.
                sync_parent(target)?;
                Err(StoreError::AlreadyExists { path: target.display().to_string(), source: e.into() })
            }
            Err(e) => Err(failed(target, e)),
        }
    }

    pub(super) fn copy(&self, from: &FsPath, to: &FsPath, replace: bool) -> Result<()> {
        File::open(from).and_then(|f| f.sync_all()).map_err(|e| failed(from, e))?;
        self.make_parent(to)?;
        if !replace {
            return self.link_new(from, to);
        }
        let mut staged = self.stage()?;
        let copied = File::open(from).and_then(|mut f| std::io::copy(&mut f, &mut staged.file));
        copied.and_then(|_| staged.file.sync_all()).map_err(|e| failed(to, e))?;
        self.commit(staged, to, true)
    }

    pub(super) fn rename(&self, from: &FsPath, to: &FsPath, replace: bool) -> Result<()> {
        File::open(from).and_then(|f| f.sync_all()).map_err(|e| failed(from, e))?;
        self.make_parent(to)?;
        if !replace {
            self.link_new(from, to)?;
            return self.remove(from);
        }
        std::fs::rename(from, to).map_err(|e| failed(to, e))?;
        sync_parent(to)?;
        sync_parent(from)
    }

    pub(super) fn remove(&self, file: &FsPath) -> Result<()> {
        std::fs::remove_file(file).map_err(|e| failed(file, e))?;
        sync_parent(file)
    }

    /// Makes the directory of `file` and makes its name durable, up to the root. A directory that exists is not trusted
    /// to be durable: whoever made it may have died before its sync, or may not have come to it yet.
    fn make_parent(&self, file: &FsPath) -> Result<()> {
        let parent = file.parent().expect("an object lies below the root");
        if self.known().contains(parent) && parent.is_dir() {
            return Ok(());
        }
        std::fs::create_dir_all(parent).map_err(|e| failed(parent, e))?;
        let below_root = parent.ancestors().take_while(|dir| *dir != self.root);
        for dir in below_root {
            sync_parent(dir)?;
        }
        self.known().insert(parent.to_owned());
        Ok(())
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashSet<PathBuf>> {
        // A set of paths is whole after every insert, also when its holder panicked.
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file without a name of its own yet; its staging name goes when it is dropped.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) file: File,
    pub(super) path: PathBuf,
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Renamed ones are gone already; another that can't be removed is removed when the store is opened next.
        drop(std::fs::remove_file(&self.path));
    }
}

/// Creates the root and makes its name durable, and those of the directories above it.
pub(super) fn create_root(root: &FsPath) -> std::io::Result<()> {
    let root = std::path::absolute(root)?;
    let missing: Vec<&FsPath> = root.ancestors().take_while(|dir| !dir.exists()).collect();
    create_private(&root)?;
    missing.iter().filter_map(|dir| dir.parent()).try_for_each(sync_dir)?;
    // Who made the rest may have died before its sync. Not all of it need be ours to read, or on a disk at all.
    root.ancestors().skip(1 + missing.len()).for_each(|dir| drop(sync_dir(dir)));
    Ok(())
}

fn create_private(dir: &FsPath) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

fn sync_dir(dir: &FsPath) -> std::io::Result<()> {
    File::open(dir)?.sync_all()
}

fn sync_parent(path: &FsPath) -> Result<()> {
    let parent = path.parent().expect("what lies below the root has a parent");
    sync_dir(parent).map_err(|e| failed(parent, e))
}

pub(super) fn failed(path: &FsPath, source: std::io::Error) -> StoreError {
    match source.kind() {
        ErrorKind::NotFound => StoreError::NotFound { path: path.display().to_string(), source: source.into() },
        _ => {
            let what = format!("{}: {source}", path.display());
            StoreError::Generic { store: "DurableLocal", source: std::io::Error::new(source.kind(), what).into() }
        }
    }
}
