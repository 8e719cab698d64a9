//! A local object store whose acknowledged puts survive a power cut.
//!
//! `object_store::local::LocalFileSystem` never syncs, so what it acknowledged is gone after a power cut. Here a put is
//!
//! ```text
//! write .staging/N ─► fsync it ─► link or rename to its name ─► fsync the directory, and every parent not known durable
//! ```
//!
//! Owns the meaning of every operation of a store. Does not own the steps on the disk (`disk`), nor reading: reads and
//! lists go to a `LocalFileSystem` over the same root.
//!
//! - STORE-1: an object has its name only after its bytes are durable; a put returns only after its name is.
//! - STORE-2: what lies in `.staging` is no object: it is never listed and never read.

use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyMode, CopyOptions, Error as StoreError, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, RenameTargetMode,
    Result, UploadPart,
};

use super::disk::{Disk, STAGING, Staged, create_root, failed};
use crate::error;

/// Deletes that run at the same time; each waits for one fsync.
const DELETES_AT_ONCE: usize = 10;

/// Objects as files below a directory, every change of which is durable when it is acknowledged.
#[derive(Debug, Clone)]
pub struct DurableLocal {
    inner: LocalFileSystem,
    disk: Arc<Disk>,
}

impl DurableLocal {
    /// Opens the store below `root`, which is created where it does not exist, readable by its owner only. Staging files
    /// that no living process holds are removed.
    ///
    /// # Errors
    /// The root is a symbolic link or no directory, or can't be created.
    pub fn open(root: impl AsRef<FsPath>) -> error::Result<Self> {
        let root = root.as_ref();
        if root.symlink_metadata().is_ok_and(|m| m.is_symlink()) {
            return Err(error::Error::Refused(format!(
                "{} is a symbolic link: name the directory itself",
                root.display()
            )));
        }
        let failed = |e: std::io::Error| error::Error::unavailable(format!("open store {}", root.display()), e);
        create_root(root).map_err(failed)?;
        let root = root.canonicalize().map_err(failed)?;
        let disk = Disk::new(root);
        disk.clear_staging().map_err(failed)?;
        let inner =
            LocalFileSystem::new_with_prefix(&disk.root).map_err(|e| error::Error::unavailable("open store", e))?;
        Ok(Self { inner, disk: Arc::new(disk) })
    }

    /// The file of an object.
    fn file(&self, location: &Path) -> Result<PathBuf> {
        if is_staging(location) {
            let source = "this name is reserved".into();
            return Err(StoreError::NotSupported { source });
        }
        self.inner.path_to_filesystem(location)
    }

    /// Runs blocking work on the disk where it may block.
    async fn on_disk<T: Send + 'static>(&self, work: impl FnOnce(&Disk) -> Result<T> + Send + 'static) -> Result<T> {
        let disk = Arc::clone(&self.disk);
        tokio::task::spawn_blocking(move || work(&disk)).await?
    }
}

impl std::fmt::Display for DurableLocal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DurableLocal({})", self.disk.root.display())
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for DurableLocal {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let replace = match opts.mode {
            PutMode::Overwrite => true,
            PutMode::Create => false,
            PutMode::Update(_) => return Err(not_implemented("put of mode `Update`")),
        };
        if !opts.attributes.is_empty() {
            return Err(not_implemented("put with attributes"));
        }
        let target = self.file(location)?;
        self.on_disk(move |disk| {
            let mut staged = disk.stage()?;
            let written = payload.iter().try_for_each(|part| staged.file.write_all(part));
            written.and_then(|()| staged.file.sync_all()).map_err(|e| failed(&target, e))?;
            disk.commit(staged, &target, replace)
        })
        .await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        if !opts.attributes.is_empty() {
            return Err(not_implemented("multipart put with attributes"));
        }
        let target = self.file(location)?;
        let staged = self.on_disk(Disk::stage).await?;
        let written = Arc::new(AtomicU64::new(0));
        Ok(Box::new(Upload {
            disk: Arc::clone(&self.disk),
            staged: Some(Arc::new(staged)),
            target,
            promised: 0,
            written,
        }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.file(location)?;
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.file(location)?;
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let delete = move |location: Result<Path>| {
            let store = store.clone();
            async move {
                let location = location?;
                let file = store.file(&location)?;
                store.on_disk(move |disk| disk.remove(&file)).await?;
                Ok(location)
            }
        };
        locations.map(delete).buffered(DELETES_AT_ONCE).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        without_staging(self.inner.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        without_staging(self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let mut listed = self.inner.list_with_delimiter(prefix).await?;
        listed.common_prefixes.retain(|p| !is_staging(p));
        listed.objects.retain(|o| !is_staging(&o.location));
        Ok(listed)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let (from, to) = (self.file(from)?, self.file(to)?);
        let replace = options.mode == CopyMode::Overwrite;
        self.on_disk(move |disk| disk.copy(&from, &to, replace)).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let (from, to) = (self.file(from)?, self.file(to)?);
        let replace = options.target_mode == RenameTargetMode::Overwrite;
        self.on_disk(move |disk| disk.rename(&from, &to, replace)).await
    }
}

/// Parts written into one staging file, each at its place.
#[derive(Debug)]
struct Upload {
    disk: Arc<Disk>,
    staged: Option<Arc<Staged>>,
    target: PathBuf,
    promised: u64,
    written: Arc<AtomicU64>,
}

impl Upload {
    fn over(&self) -> StoreError {
        failed(&self.target, std::io::Error::other("the upload is over"))
    }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let Some(staged) = self.staged.clone() else { return std::future::ready(Err(self.over())).boxed() };
        let (mut at, written) = (self.promised, Arc::clone(&self.written));
        self.promised += data.content_length() as u64;
        let write = move || {
            for part in &data {
                staged.file.write_all_at(part, at).map_err(|e| failed(&staged.path, e))?;
                at += part.len() as u64;
                written.fetch_add(part.len() as u64, Ordering::AcqRel);
            }
            Ok(())
        };
        async move { tokio::task::spawn_blocking(write).await? }.boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let staged = self.staged.take().ok_or_else(|| self.over())?;
        if self.written.load(Ordering::Acquire) != self.promised {
            return Err(failed(&self.target, std::io::Error::other("not all parts were written")));
        }
        let staged = Arc::into_inner(staged).ok_or_else(|| self.over())?;
        let (disk, target) = (Arc::clone(&self.disk), self.target.clone());
        let commit = move || {
            staged.file.sync_all().map_err(|e| failed(&target, e))?;
            disk.commit(staged, &target, true)
        };
        tokio::task::spawn_blocking(commit).await??;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn abort(&mut self) -> Result<()> {
        self.staged.take().map(drop).ok_or_else(|| self.over())
    }
}

fn is_staging(location: &Path) -> bool {
    location.parts().next().is_some_and(|first| first.as_ref() == STAGING)
}

fn without_staging(listed: BoxStream<'static, Result<ObjectMeta>>) -> BoxStream<'static, Result<ObjectMeta>> {
    listed.try_filter(|meta| std::future::ready(!is_staging(&meta.location))).boxed()
}

fn not_implemented(operation: &str) -> StoreError {
    StoreError::NotImplemented { operation: operation.into(), implementer: "DurableLocal".into() }
}
