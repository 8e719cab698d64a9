//! Faults of the store and of the catalog, for lives of the engine.
//!
//! Which fault hits follows from the seed, from what is done and from how often it was done before, so that it does not
//! matter in which order tasks run: a life replays.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{Display, Formatter};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use batch_layer::store::Store;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use schemas::gap::{Crash, Gap, GapHook};

/// What all errors of these faults say.
const SAID: &str = "a fault of the test";

/// One change asks the catalog many times: each goes wrong so many times less often.
const CATALOG_SHARE: u64 = 4;

/// What may go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Nothing was stored, and the put fails.
    PutFails,
    /// All was stored, and the put fails.
    PutAnswerLost,
    /// A part was stored, and the put fails.
    PutBreaksOff,
    /// Nothing can be read.
    GetFails,
    /// One bit is another.
    GetFlips,
    /// The end is missing, and nobody says so.
    GetShortens,
    /// Nothing was deleted, and the delete fails.
    DeleteFails,
    /// It was deleted, and the delete fails.
    DeleteAnswerLost,
    /// An object is missing in the list.
    ListStale,
    /// The catalog does not answer.
    CatalogGone,
    /// The connection breaks before the commit: it does not take place.
    CommitFails,
    /// The connection breaks after the commit: it took place.
    CommitAnswerLost,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 12] = [
        Self::PutFails,
        Self::PutAnswerLost,
        Self::PutBreaksOff,
        Self::GetFails,
        Self::GetFlips,
        Self::GetShortens,
        Self::DeleteFails,
        Self::DeleteAnswerLost,
        Self::ListStale,
        Self::CatalogGone,
        Self::CommitFails,
        Self::CommitAnswerLost,
    ];
}

/// How often each fault happened.
pub type Fired = BTreeMap<Fault, u64>;

/// Decides what goes wrong; at first nothing.
#[derive(Debug)]
pub struct Faults {
    seed: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// So many of a hundred operations go wrong.
    percent: u64,
    /// How often each operation took place.
    seen: HashMap<String, u64>,
    fired: Fired,
}

impl Faults {
    /// Faults of this seed.
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self { seed, state: Mutex::default() })
    }

    /// From now on so many of a hundred operations go wrong.
    pub fn set(&self, percent: u64) {
        self.state().percent = percent;
    }

    /// How often each fault happened.
    pub fn fired(&self) -> Fired {
        self.state().fired.clone()
    }

    /// Whether an error, with all its causes, tells of such a fault.
    pub fn told_in(text: &str) -> bool {
        let spoilt = ["does not match its checksum", "instead of"];
        text.contains(SAID) || text.contains("stopped in gap Catalog") || spoilt.iter().any(|s| text.contains(s))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this operation goes wrong, and how. `share`: how many times less often than others.
    fn draw(&self, operation: String, share: u64, faults: &[Fault]) -> Option<Fault> {
        let mut state = self.state();
        if state.percent == 0 {
            return None;
        }
        let nth = state.seen.entry(operation.clone()).and_modify(|n| *n += 1).or_insert(0);
        let mut hasher = DefaultHasher::new();
        (self.seed, operation, *nth).hash(&mut hasher);
        let mut random = fastrand::Rng::with_seed(hasher.finish());
        if random.u64(..100 * share) >= state.percent {
            return None;
        }
        let fault = faults[random.usize(..faults.len())];
        *state.fired.entry(fault).or_default() += 1;
        Some(fault)
    }
}

/// Gaps with faults of the catalog, before another hook.
#[derive(Debug)]
pub struct FaultyGaps<H> {
    /// The hook behind them.
    pub inner: Arc<H>,
    /// What goes wrong.
    pub faults: Arc<Faults>,
}

impl<H: GapHook> GapHook for FaultyGaps<H> {
    fn reached(&self, gap: Gap) -> Result<(), Crash> {
        self.inner.reached(gap)?;
        let fault = match gap {
            Gap::CatalogAsked => Fault::CatalogGone,
            Gap::CatalogChanged => Fault::CommitFails,
            Gap::CatalogCommitted => Fault::CommitAnswerLost,
            _ => return Ok(()),
        };
        match self.faults.draw(format!("{gap:?}"), CATALOG_SHARE, &[fault]) {
            Some(_) => Err(Crash(gap)),
            None => Ok(()),
        }
    }
}

/// A store with faults.
#[derive(Debug, Clone)]
pub struct FaultyStore {
    /// The store behind them.
    pub inner: Store,
    /// What goes wrong.
    pub faults: Arc<Faults>,
}

impl Display for FaultyStore {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} with faults", self.inner)
    }
}

fn failed() -> Error {
    Error::Generic { store: "test", source: SAID.into() }
}

impl FaultyStore {
    async fn delete_one(&self, path: Path) -> Result<Path> {
        match self.faults.draw(format!("delete {path}"), 1, &[Fault::DeleteFails, Fault::DeleteAnswerLost]) {
            None => self.inner.delete(&path).await.map(|()| path),
            Some(Fault::DeleteFails) => Err(failed()),
            Some(_) => {
                self.inner.delete(&path).await?;
                Err(failed())
            }
        }
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let faults = [Fault::PutFails, Fault::PutAnswerLost, Fault::PutBreaksOff];
        match self.faults.draw(format!("put {path}"), 1, &faults) {
            None => self.inner.put_opts(path, payload, options).await,
            Some(Fault::PutFails) => Err(failed()),
            Some(Fault::PutAnswerLost) => {
                self.inner.put_opts(path, payload, options).await?;
                Err(failed())
            }
            Some(_) => {
                let bytes = Bytes::from(payload);
                let part = bytes.slice(..bytes.len() / 2);
                self.inner.put_opts(path, part.into(), options).await?;
                Err(failed())
            }
        }
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let faults = [Fault::GetFails, Fault::GetFlips, Fault::GetShortens];
        let operation = format!("get {path} {:?} {}", options.range, options.head);
        let fault = self.faults.draw(operation, 1, if options.head { &faults[..1] } else { &faults });
        if fault == Some(Fault::GetFails) {
            return Err(failed());
        }
        let got = self.inner.get_opts(path, options).await?;
        let Some(fault) = fault else { return Ok(got) };
        let (meta, range, attributes) = (got.meta.clone(), got.range.clone(), got.attributes.clone());
        let mut bytes = got.bytes().await?.to_vec();
        if fault == Fault::GetFlips
            && let Some(byte) = bytes.first_mut()
        {
            *byte ^= 1;
        } else {
            bytes.pop();
        }
        let payload = GetResultPayload::Stream(futures::stream::iter([Ok(Bytes::from(bytes))]).boxed());
        Ok(GetResult { payload, meta, range, attributes })
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        paths
            .then(move |path| {
                let store = store.clone();
                async move { store.delete_one(path?).await }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let faults = Arc::clone(&self.faults);
        let stale = move |listed: &Result<ObjectMeta>| match listed {
            Ok(meta) => faults.draw(format!("list {}", meta.location), 1, &[Fault::ListStale]).is_none(),
            Err(_) => true,
        };
        self.inner.list(prefix).filter(move |listed| std::future::ready(stale(listed))).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
