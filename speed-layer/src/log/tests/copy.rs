//! Copies of a log that is being written and truncated.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use super::super::copy_log;
use super::*;

/// Has the writer end, also where the test fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_copy_holds_all_that_was_acknowledged_before_it_and_replays() {
    let dir = tempfile::tempdir().expect("a folder");
    let (log, thread, _) = start(dir.path(), 1 << 12);
    let (acked, flushed, stop) = (AtomicI64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let _ends = Ends(&stop);
        scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            for i in 1.. {
                append(&log, i);
                acked.store(i, Ordering::SeqCst);
                if i % 40 == 0 {
                    // As a flush does: history first, then the log.
                    let position = i.unsigned_abs().saturating_sub(90);
                    flushed.store(position, Ordering::SeqCst);
                    runtime.block_on(log.truncate(LogPosition(position)));
                }
                if stop.load(Ordering::SeqCst) {
                    return;
                }
            }
        });
        for round in 0..150 {
            let before = acked.load(Ordering::SeqCst);
            let copy = tempfile::tempdir().expect("a folder");
            let copied = copy_log(dir.path(), copy.path()).unwrap_or_else(|e| panic!("round {round}: {e}"));
            let flushed = flushed.load(Ordering::SeqCst);
            let read = read(copy.path(), LogPosition(flushed));
            let (replayed, times) = read.unwrap_or_else(|e| panic!("round {round}, {copied:?}, {flushed}: {e}"));
            let first = i64::try_from(flushed).expect("small") + 1;
            let expected: Vec<i64> = (first..).take(times.len()).collect();
            assert_eq!(times, expected, "round {round}: each frame after {flushed} once");
            let last = times.last().copied().unwrap_or(first - 1);
            assert!(before <= last, "round {round}: {before} was acknowledged, the copy ends at {last}: {copied:?}");
            assert_eq!(replayed.torn_bytes, 0, "round {round}: nothing torn is copied");
        }
    });
    drop(log);
    thread.join().expect("no panic");
}
