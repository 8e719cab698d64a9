//! What several targets share: a store in memory, and how an input changes a whole file.
//!
//! Bytes made up from nothing hardly ever get past the first check of a Parquet file. So an input is a list of changes, five
//! bytes each, of a file that Weir wrote; the checksums of what comes out of them fit.

use std::sync::Arc;

use batch_layer::history::Objects;
use bytes::Bytes;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use schemas::LogPosition;
use schemas::paths::ObjectKind;
use schemas::view::ObjectRef;
use tokio::runtime::Runtime;

/// Where asynchronous readers run: this thread.
///
/// # Panics
/// It can't be started.
pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().build().expect("starts")
}

/// Panics of a decoder are told of by its guard, as in the server; libFuzzer's hook would end the process at each. A panic
/// that nobody catches still ends it.
pub fn let_guards_catch() {
    std::panic::set_hook(Box::new(|_| {}));
}

/// The file after these changes: of each its place in the last or first 64 KiB, what to do, and with what.
pub fn changed(whole: &[u8], changes: &[u8]) -> Bytes {
    let mut bytes = whole.to_vec();
    for &[low, high, what, with, long] in changes.as_chunks::<5>().0.iter().take(64) {
        let offset = usize::from(u16::from_le_bytes([low, high])) % bytes.len().max(1);
        let at = if what & 0x80 == 0 { bytes.len().saturating_sub(1 + offset) } else { offset };
        let end = (at + usize::from(long & 0x0f) + 1).min(bytes.len());
        match what & 0x07 {
            _ if bytes.is_empty() => break,
            0 => bytes[at] ^= 1 << (with & 7),
            1 => bytes[at] = with,
            2 => bytes[at..end].fill(with),
            3 => bytes[at] = bytes[at].wrapping_add(with),
            4 => drop(bytes.drain(at..end)),
            5 => drop(bytes.splice(at..at, std::iter::repeat_n(with, usize::from(long & 0x0f)))),
            6 => {
                let some = bytes[at..end].to_vec();
                bytes.splice(at..at, some);
            }
            _ => bytes.truncate(at),
        }
    }
    bytes.into()
}

/// These bytes as an object in a store of its own, with checksums that fit.
pub async fn stored(kind: ObjectKind, bytes: Bytes) -> (Objects, ObjectRef) {
    let objects = Objects::new(Arc::new(InMemory::new()) as Arc<dyn ObjectStore>);
    let object = objects.put(kind, "x", LogPosition(1), bytes).await.expect("memory takes it");
    (objects, object)
}
