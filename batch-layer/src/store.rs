//! Where objects are kept: a directory, memory, or an S3 bucket, all behind `object_store::ObjectStore`.
//!
//! Owns the choice of store by URL and [`DurableLocal`], a local store whose puts survive a power cut. Does not own what
//! the objects mean, nor their checksums (history).

mod disk;
mod durable;

pub use durable::DurableLocal;

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use url::Url;

use crate::error::{Error, Result};

/// Opens the store that `url` names: a plain path or `file://` a directory, `memory://` nothing that lasts,
/// `s3://bucket/prefix` a bucket (credentials and endpoint come from the usual `AWS_*` variables).
///
/// # Errors
/// The URL names no kind of store that exists here, or the store can't be opened.
pub fn open(url: &str) -> Result<Arc<dyn ObjectStore>> {
    match url.split_once("://") {
        None => Ok(Arc::new(DurableLocal::open(url)?)),
        Some(("file", _)) => Ok(Arc::new(DurableLocal::open(local_path(url)?)?)),
        Some(("memory", _)) => Ok(Arc::new(InMemory::new())),
        Some(("s3", _)) => open_s3(url),
        Some((scheme, _)) => {
            Err(Error::Refused(format!("unknown store {scheme}://: use a path, file://, memory:// or s3://")))
        }
    }
}

/// The directory that `url` names, where it names one.
pub(crate) fn local_dir(url: &str) -> Option<std::path::PathBuf> {
    match url.split_once("://") {
        None => Some(url.into()),
        Some(("file", _)) => local_path(url).ok(),
        Some(_) => None,
    }
}

fn local_path(url: &str) -> Result<std::path::PathBuf> {
    let refused = || Error::Refused(format!("{url:?} is not a URL of a directory such as file:///var/lib/weir"));
    Url::parse(url).map_err(|_| refused())?.to_file_path().map_err(|()| refused())
}

fn open_s3(url: &str) -> Result<Arc<dyn ObjectStore>> {
    let parsed = Url::parse(url).map_err(|e| Error::Refused(format!("{url:?} is not a URL: {e}")))?;
    let bucket = parsed.host_str().filter(|b| !b.is_empty());
    let bucket = bucket.ok_or_else(|| Error::Refused(format!("{url:?} names no bucket")))?;
    let store = AmazonS3Builder::from_env().with_bucket_name(bucket).build();
    let store = store.map_err(|e| Error::unavailable(format!("open s3 bucket {bucket}"), e))?;
    let prefix = Path::from_url_path(parsed.path()).map_err(|e| Error::Refused(format!("prefix of {url:?}: {e}")))?;
    Ok(if prefix.as_ref().is_empty() { Arc::new(store) } else { Arc::new(PrefixStore::new(store, prefix)) })
}

#[cfg(test)]
mod tests;
