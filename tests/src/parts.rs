//! The engine's parts under a test's control.

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use schemas::gap::{Crash, Gap, GapHook};
use schemas::{ArrivalTime, Clock};
use weir::{Engine, EngineComponents, EngineSettings};

/// A clock that moves only when told to.
#[derive(Debug, Default)]
pub struct TestClock(AtomicI64);

impl TestClock {
    /// A clock that stands at `nanos`.
    pub fn at(nanos: i64) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(nanos)))
    }

    /// Moves it on.
    pub fn advance(&self, nanos: i64) {
        self.0.fetch_add(nanos, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> ArrivalTime {
        ArrivalTime(self.0.load(Ordering::SeqCst))
    }
}

/// Lets the engine "crash" in one gap, when armed. Once it has, it stays dead: nothing passes any gap.
#[derive(Debug, Default)]
pub struct ArmedGap(Mutex<(Option<Gap>, bool)>);

impl ArmedGap {
    /// The next time `gap` is reached, the engine crashes.
    pub fn arm(&self, gap: Gap) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 = Some(gap);
    }

    /// Disarms it; returns whether the engine crashed.
    pub fn disarm(&self) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 = None;
        std::mem::take(&mut state.1)
    }
}

impl GapHook for ArmedGap {
    fn reached(&self, gap: Gap) -> Result<(), Crash> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.1 |= state.0 == Some(gap);
        if state.1 { Err(Crash(gap)) } else { Ok(()) }
    }
}

/// A folder for a test, in memory where the machine has one: the tests of the law crash in the program, not the disk.
///
/// # Panics
/// There is no room.
pub fn scratch() -> tempfile::TempDir {
    let shm = Path::new("/dev/shm");
    let dir = if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() };
    dir.expect("a scratch folder")
}

/// The real engine over `dir`; nothing runs by itself.
///
/// # Errors
/// As [`Engine::open`].
pub async fn open(dir: &Path, clock: Arc<TestClock>, gaps: Arc<ArmedGap>) -> anyhow::Result<Engine> {
    open_with(dir, EngineComponents { clock, gaps, store: None }).await
}

/// Like [`open`], with these parts.
///
/// # Errors
/// As [`Engine::open`].
pub async fn open_with(dir: &Path, components: EngineComponents) -> anyhow::Result<Engine> {
    let mut settings = EngineSettings::new(dir);
    settings.speed.segment_bytes = 1 << 16;
    settings.speed.hot_retention = Duration::from_secs(120);
    settings.speed.shards = 2;
    settings.batch.generation_grace = Duration::from_secs(3600);
    settings.batch.file_grace = Duration::from_secs(60);
    Engine::open(settings, components).await
}
