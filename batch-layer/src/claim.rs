//! Whose history it is: one data directory writes to a history, and an object there says which.
//!
//! The files of two directories would carry the same names where they hold the same readings, and either would delete
//! what the other needs. On a machine a lock keeps two processes apart; in a bucket only this does.
//!
//! - CLAIM-1: a history is opened only by the data directory that made its object `claim`, which exists once.

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, PutOptions};
use twox_hash::XxHash3_64;

use crate::access::hex;
use crate::catalog::Catalog;
use crate::error::{Error, Result};

/// The object that names the owner.
pub(crate) const CLAIM: &str = "claim";
/// So often it is read before it is called damaged.
const READS: usize = 3;
/// Where a data directory keeps its own name.
const ID_KEY: &str = "data_directory";

/// Makes the history in `store` (called `history`) that of this catalog's directory, or finds that it is.
///
/// # Errors
/// It belongs to another data directory; or the store or the catalog fails.
pub(crate) async fn claim(store: &dyn ObjectStore, history: &str, catalog: &Catalog) -> Result<()> {
    let id = id(catalog).await?;
    let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    // Whatever it is answered, it may have landed or have been there before: what is there now counts.
    let put = store.put_opts(&Path::from(CLAIM), sealed(&id).into(), options).await;
    match owner(store, history).await {
        Ok(owner) if owner == id => Ok(()),
        Ok(owner) => Err(Error::Refused(format!(
            "{history} belongs to the data directory {owner}, and this one is {id}: each needs a history of its own. \
             If the other is gone for good, delete the object {CLAIM:?} there"
        ))),
        Err(unread) => {
            if let Err(error) = put {
                tracing::debug!(%error, "the claim of history was not put");
            }
            Err(unread)
        }
    }
}

/// Who made the claim. Nobody is called an owner because a bit flipped on the way.
async fn owner(store: &dyn ObjectStore, history: &str) -> Result<String> {
    for _ in 0..READS {
        let read = async { store.get(&Path::from(CLAIM)).await?.bytes().await };
        let bytes = read.await.map_err(|e| Error::unavailable(format!("claim {history}"), e))?;
        if let Some(owner) = opened(&bytes) {
            return Ok(owner.to_owned());
        }
    }
    Err(Error::corrupt(format!("the object {CLAIM:?} of {history}"), "it does not match its checksum"))
}

/// A name with its checksum.
fn sealed(id: &str) -> String {
    format!("{id} {:016x}\n", XxHash3_64::oneshot(id.as_bytes()))
}

/// The name in a claim; `None` where it is not whole.
fn opened(bytes: &[u8]) -> Option<&str> {
    let (id, _) = str::from_utf8(bytes).ok()?.split_once(' ')?;
    (sealed(id).as_bytes() == bytes).then_some(id)
}

/// The name of the catalog's data directory, which it gets once.
async fn id(catalog: &Catalog) -> Result<String> {
    if let Some(id) = catalog.meta(ID_KEY).await? {
        return Ok(id);
    }
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|e| Error::unavailable("name the data directory", e))?;
    let id = hex(&bytes);
    catalog.set_meta(ID_KEY, &id).await?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::open;

    #[tokio::test]
    async fn one_data_directory_owns_a_history() {
        let store = open("memory://").expect("opens");
        let [first, second] = [Catalog::memory().await.expect("opens"), Catalog::memory().await.expect("opens")];
        for _ in 0..2 {
            claim(&store, "memory://", &first).await.expect("its own");
            let refused = claim(&store, "memory://", &second).await;
            assert!(matches!(&refused, Err(Error::Refused(why)) if why.contains("memory://")), "{refused:?}");
        }
        store.delete(&Path::from(CLAIM)).await.expect("there");
        claim(&store, "memory://", &second).await.expect("free");
        assert!(claim(&store, "memory://", &first).await.is_err());
    }

    #[tokio::test]
    async fn a_damaged_claim_is_nobodys() {
        let (store, catalog) = (open("memory://").expect("opens"), Catalog::memory().await.expect("opens"));
        claim(&store, "memory://", &catalog).await.expect("its own");
        let whole = store.get(&Path::from(CLAIM)).await.expect("there").bytes().await.expect("readable");
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            store.put(&Path::from(CLAIM), damaged.into()).await.expect("damages");
            let refused = claim(&store, "memory://", &catalog).await;
            assert!(matches!(refused, Err(Error::Corrupt { .. })), "{bit}: {refused:?}");
        }
        for length in 0..whole.len() {
            store.put(&Path::from(CLAIM), whole.slice(..length).into()).await.expect("cuts");
            assert!(matches!(claim(&store, "memory://", &catalog).await, Err(Error::Corrupt { .. })), "{length}");
        }
    }

    #[tokio::test]
    async fn of_many_who_claim_at_once_one_owns_it() {
        for _ in 0..20 {
            let store = open("memory://").expect("opens");
            let claims = (0..8).map(async |_| {
                let catalog = Catalog::memory().await.expect("opens");
                claim(&store, "memory://", &catalog).await.is_ok()
            });
            let claimed = futures::future::join_all(claims).await;
            assert_eq!(claimed.into_iter().filter(|claimed| *claimed).count(), 1);
        }
    }
}
