//! Objects in the store, put once and checked on every read.
//!
//! Owns paths, checksums and the comparison that makes a repeated put harmless; also the cache of Parquet footers. Does
//! not own what is inside the objects.
//!
//! A put whose answer is lost may have landed or not. What is there afterwards tells: under a name that says what the
//! bytes are, the same bytes are the put itself.
//!
//! - OBJ-1: no byte is handed out before the block that holds it was compared with its checksum. Parquet's own pages
//!   carry none: a flipped bit would otherwise become a wrong answer.
//! - OBJ-2: an object never changes. Its path names its content, so whatever is cached by path stays true.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, TryStreamExt};
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use schemas::paths::{ObjectKind, object_path};
use schemas::view::{BLOCK_BYTES, ObjectRef};
use schemas::{ArrivalTime, LogPosition};
use twox_hash::XxHash3_64;

use crate::claim::CLAIM;
use crate::error::{Error, Result};
use crate::metrics::StoreFaults;

/// So often an object is read before its bytes are called wrong: the first ones may have been spoilt on the way.
const READS: usize = 3;
/// Most bytes of decoded Parquet footers kept.
const FOOTERS_BYTES: usize = 64 << 20;
/// Bytes read at the end of a file to get its footer in one go; most footers are smaller.
const FOOTER_HINT: usize = 64 << 10;

/// An object that is in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its path.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// When it was written, as the store says.
    pub modified: ArrivalTime,
}

/// Puts, gets and verifies objects of one store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    footers: Arc<Mutex<Footers>>,
    faults: StoreFaults,
}

impl Objects {
    /// The objects of this store.
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store, footers: Arc::default(), faults: StoreFaults::default() }
    }

    /// The same objects; what goes wrong with them is counted here.
    pub(crate) fn counted(self, faults: StoreFaults) -> Self {
        Self { faults, ..self }
    }

    /// Stores these bytes under a path that names their content. Putting the same again changes nothing, so that a put
    /// whose answer was lost can be repeated. Other bytes under that path are damage, and are replaced.
    ///
    /// # Errors
    /// The store fails.
    pub async fn put(&self, kind: ObjectKind, part: &str, position: LogPosition, bytes: Bytes) -> Result<ObjectRef> {
        let path = object_path(kind, part, position, XxHash3_64::oneshot(&bytes));
        let object = ObjectRef { path, bytes: bytes.len() as u64, block_sums: sums(&bytes) };
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.store.put_opts(&location(&object.path)?, bytes.clone().into(), options).await {
            Ok(_) => {}
            Err(error) => self.find_put(&object, bytes, error).await?,
        }
        Ok(object)
    }

    /// What a put that was answered with an error has left in the store.
    async fn find_put(&self, object: &ObjectRef, bytes: Bytes, error: StoreError) -> Result<()> {
        let existed = matches!(error, StoreError::AlreadyExists { .. });
        match self.verify(object).await {
            // Same length and same checksums of every block: the same bytes, put by us, now or before.
            Ok(()) if existed => Ok(()),
            Ok(()) => {
                self.faults.count("lost_answer");
                Ok(())
            }
            Err(wrong @ Error::Corrupt { .. }) if existed => self.put_anew(object, bytes, &wrong).await,
            Err(unread) if existed => Err(Error::unavailable(format!("put {}, which exists", object.path), unread)),
            Err(_) => Err(Error::unavailable(format!("put {}", object.path), error)),
        }
    }

    /// Other bytes under a path that names its content: a put broke off, or they are damaged.
    async fn put_anew(&self, object: &ObjectRef, bytes: Bytes, wrong: &Error) -> Result<()> {
        tracing::warn!(error = %wrong, "an object is written anew");
        self.faults.count("damaged_object");
        let put = self.store.put(&location(&object.path)?, bytes.into()).await;
        put.map(drop).map_err(|e| Error::unavailable(format!("put {}", object.path), e))
    }

    /// All bytes of an object, verified.
    ///
    /// # Errors
    /// The object is missing or corrupt, or the store fails.
    pub async fn get(&self, object: &ObjectRef) -> Result<Bytes> {
        Ok(self.read(object, None).await?.remove(0))
    }

    /// A range of an object's bytes, verified.
    ///
    /// # Errors
    /// The object is missing, corrupt or shorter than the range, or the store fails.
    pub async fn get_range(&self, object: &ObjectRef, range: Range<u64>) -> Result<Bytes> {
        Ok(self.get_ranges(object, std::slice::from_ref(&range)).await?.remove(0))
    }

    /// Several ranges at once: each touched block is read and verified once.
    async fn get_ranges(&self, object: &ObjectRef, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        if let Some(range) = ranges.iter().find(|r| r.end > object.bytes || r.start > r.end) {
            return Err(Error::corrupt(&object.path, format!("{range:?} is asked of {} bytes", object.bytes)));
        }
        let runs = block_runs(object, ranges);
        let fetched = self.read(object, Some(&runs)).await?;
        Ok(ranges.iter().map(|range| cut_out(range, &runs, &fetched)).collect())
    }

    /// All bytes of an object, or these runs of whole blocks, verified.
    async fn read(&self, object: &ObjectRef, runs: Option<&[Range<u64>]>) -> Result<Vec<Bytes>> {
        let mut read = self.read_once(object, runs).await;
        for _ in 1..READS {
            if !matches!(read, Err(Error::Corrupt { .. })) {
                break;
            }
            self.faults.count("wrong_bytes");
            read = self.read_once(object, runs).await;
        }
        read
    }

    async fn read_once(&self, object: &ObjectRef, runs: Option<&[Range<u64>]>) -> Result<Vec<Bytes>> {
        let location = location(&object.path)?;
        let Some(runs) = runs else {
            let read = async { self.store.get(&location).await?.bytes().await };
            let bytes = read.await.map_err(|e| unreadable(&object.path, e))?;
            check_length(object, bytes.len() as u64)?;
            verify_blocks(object, 0, &bytes)?;
            return Ok(vec![bytes]);
        };
        let fetched = match self.store.get_ranges(&location, runs).await {
            Ok(fetched) => fetched,
            Err(e) => return Err(self.why_unreadable(object, e).await),
        };
        for (run, bytes) in runs.iter().zip(&fetched) {
            if bytes.len() as u64 != run.end - run.start {
                return Err(Error::corrupt(
                    &object.path,
                    format!("{} bytes at {} instead of {}", bytes.len(), run.start, run.end - run.start),
                ));
            }
            verify_blocks(object, run.start, bytes)?;
        }
        Ok(fetched)
    }

    /// Some stores answer a range beyond the end with an error of no particular kind: a wrong length tells damage.
    async fn why_unreadable(&self, object: &ObjectRef, error: StoreError) -> Error {
        let Ok(location) = location(&object.path) else { return unreadable(&object.path, error) };
        match self.store.head(&location).await {
            Ok(meta) => check_length(object, meta.size).err().unwrap_or_else(|| unreadable(&object.path, error)),
            Err(_) => unreadable(&object.path, error),
        }
    }

    /// Reads an object and compares every block with its checksum.
    ///
    /// # Errors
    /// The object is missing or corrupt, or the store fails.
    pub async fn verify(&self, object: &ObjectRef) -> Result<()> {
        self.get(object).await.map(drop)
    }

    /// Removes an object; one that does not exist is fine.
    ///
    /// # Errors
    /// The store fails.
    pub async fn delete(&self, path: &str) -> Result<()> {
        match self.store.delete(&location(path)?).await {
            Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(e) => Err(Error::unavailable(format!("delete {path}"), e)),
        }
    }

    /// All objects, in no particular order.
    ///
    /// # Errors
    /// The store fails.
    pub async fn list(&self) -> Result<Vec<Listed>> {
        let listed = self.store.list(None).map_ok(|meta| Listed {
            path: meta.location.to_string(),
            bytes: meta.size,
            // Of an object from beyond the reach of nanoseconds nobody knows the age.
            modified: ArrivalTime(meta.last_modified.timestamp_nanos_opt().unwrap_or(i64::MAX)),
        });
        let objects = listed.try_filter(|listed| std::future::ready(listed.path != CLAIM));
        objects.try_collect().await.map_err(|e| Error::unavailable("list objects", e))
    }

    /// The Parquet reader of an object.
    pub fn reader(&self, object: &ObjectRef) -> ObjectReader {
        ObjectReader { objects: self.clone(), object: object.clone() }
    }

    fn footers(&self) -> std::sync::MutexGuard<'_, Footers> {
        // Whatever a panicking holder left is at worst a cache with a wrong size.
        self.footers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads Parquet from an object, every byte of it verified.
#[derive(Debug, Clone)]
pub struct ObjectReader {
    objects: Objects,
    object: ObjectRef,
}

impl AsyncFileReader for ObjectReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        async move { self.objects.get_range(&self.object, range).await.map_err(carried) }.boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, parquet::errors::Result<Vec<Bytes>>> {
        async move { self.objects.get_ranges(&self.object, &ranges).await.map_err(carried) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        async move {
            if let Some(footer) = self.objects.footers().get(&self.object.path) {
                return Ok(footer);
            }
            let bytes = self.object.bytes;
            let reader = ParquetMetaDataReader::new()
                .with_page_index_policy(PageIndexPolicy::Optional)
                .with_prefetch_hint(Some(FOOTER_HINT));
            let footer = Arc::new(reader.load_and_finish(&mut *self, bytes).await?);
            self.objects.footers().insert(self.object.path.clone(), Arc::clone(&footer));
            Ok(footer)
        }
        .boxed()
    }
}

/// Decoded footers, the least recently used of which go first.
#[derive(Debug, Default)]
struct Footers {
    by_path: HashMap<String, (u64, Arc<ParquetMetaData>)>,
    bytes: usize,
    uses: u64,
}

impl Footers {
    fn get(&mut self, path: &str) -> Option<Arc<ParquetMetaData>> {
        self.uses += 1;
        let (used, footer) = self.by_path.get_mut(path)?;
        *used = self.uses;
        Some(Arc::clone(footer))
    }

    fn insert(&mut self, path: String, footer: Arc<ParquetMetaData>) {
        self.uses += 1;
        self.bytes += footer.memory_size();
        if let Some((_, old)) = self.by_path.insert(path, (self.uses, footer)) {
            self.bytes -= old.memory_size();
        }
        while self.bytes > FOOTERS_BYTES && self.by_path.len() > 1 {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let oldest = self.by_path.iter().min_by_key(|(_, (used, _))| *used).map(|(path, _)| path.clone());
        if let Some((_, footer)) = oldest.and_then(|path| self.by_path.remove(&path)) {
            self.bytes -= footer.memory_size();
        }
    }
}

/// The checksum of each block, in order.
fn sums(bytes: &[u8]) -> Arc<[u64]> {
    bytes.chunks(BLOCK_BYTES as usize).map(XxHash3_64::oneshot).collect()
}

/// Compares these bytes, which start at a block's start, with the checksums.
fn verify_blocks(object: &ObjectRef, start: u64, bytes: &[u8]) -> Result<()> {
    let first = (start / BLOCK_BYTES) as usize;
    for (i, block) in bytes.chunks(BLOCK_BYTES as usize).enumerate() {
        if object.block_sums.get(first + i) != Some(&XxHash3_64::oneshot(block)) {
            let at = start + i as u64 * BLOCK_BYTES;
            return Err(Error::corrupt(&object.path, format!("the block at byte {at} does not match its checksum")));
        }
    }
    Ok(())
}

fn check_length(object: &ObjectRef, bytes: u64) -> Result<()> {
    if bytes == object.bytes {
        return Ok(());
    }
    Err(Error::corrupt(&object.path, format!("it has {bytes} bytes instead of {}", object.bytes)))
}

/// Whole blocks that hold these ranges, as sorted ranges of bytes that neither touch nor overlap.
fn block_runs(object: &ObjectRef, ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let whole = |r: &Range<u64>| {
        let end = r.end.div_ceil(BLOCK_BYTES).saturating_mul(BLOCK_BYTES).min(object.bytes);
        r.start / BLOCK_BYTES * BLOCK_BYTES..end
    };
    let mut blocks: Vec<Range<u64>> = ranges.iter().filter(|r| !r.is_empty()).map(whole).collect();
    blocks.sort_unstable_by_key(|r| r.start);
    let mut runs: Vec<Range<u64>> = Vec::with_capacity(blocks.len());
    for block in blocks {
        match runs.last_mut() {
            Some(last) if block.start <= last.end => last.end = last.end.max(block.end),
            _ => runs.push(block),
        }
    }
    runs
}

/// The bytes of one range from the runs, one of which holds all of it.
fn cut_out(range: &Range<u64>, runs: &[Range<u64>], fetched: &[Bytes]) -> Bytes {
    if range.is_empty() {
        return Bytes::new();
    }
    let i = runs.partition_point(|run| run.end <= range.start);
    let at = |offset: u64| (offset - runs[i].start) as usize;
    fetched[i].slice(at(range.start)..at(range.end))
}

fn location(path: &str) -> Result<Path> {
    Path::parse(path).map_err(|e| Error::corrupt(path, e))
}

fn unreadable(path: &str, error: StoreError) -> Error {
    match error {
        // Who asks for an object was told of it by the catalog.
        StoreError::NotFound { .. } => Error::corrupt(path, "it does not exist"),
        other => Error::unavailable(format!("read {path}"), other),
    }
}

fn carried(error: Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

#[cfg(test)]
mod tests;
