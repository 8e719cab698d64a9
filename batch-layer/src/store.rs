//! Where objects are kept: a directory, memory, or an S3 bucket, all behind `object_store::ObjectStore`.
//!
//! Owns the choice of store by URL and [`DurableLocal`], a local store whose puts survive a power cut. Does not own what
//! the objects mean, nor their checksums (history).

mod disk;
mod durable;
mod s3;

pub use durable::DurableLocal;

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use url::Url;

use crate::error::{Error, Result};
use crate::metrics::StoreFaults;

/// Some store, shared by all who read and write there.
pub type Store = Arc<dyn ObjectStore>;

/// Opens the store that `url` names: a plain path or `file://` a directory, `memory://` nothing that lasts,
/// `s3://bucket/prefix` a bucket (credentials and endpoint come from the usual `AWS_*` variables).
///
/// # Errors
/// The URL names no kind of store that exists here, or the store can't be opened.
pub fn open(url: &str) -> Result<Store> {
    open_counted(url, &StoreFaults::default())
}

/// Like [`open`]; what goes wrong on the way to a store that is elsewhere is counted in `faults`.
///
/// # Errors
/// As [`open`].
pub fn open_counted(url: &str, faults: &StoreFaults) -> Result<Store> {
    match url.split_once("://") {
        None => Ok(Arc::new(DurableLocal::open(url)?)),
        Some(("file", _)) => Ok(Arc::new(DurableLocal::open(local_path(url)?)?)),
        Some(("memory", _)) => Ok(Arc::new(InMemory::new())),
        Some(("s3", _)) => s3::open(url, faults),
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

#[cfg(test)]
mod tests;
