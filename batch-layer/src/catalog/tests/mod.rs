//! Tests of the catalog, by group of tables, and what they share.

mod access;
mod garbage;
mod history;
mod jobs;
mod opening;
mod publish;
mod records;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use schemas::reading::LogPosition;
use schemas::series::SeriesId;
use schemas::time::{ArrivalTime, EventTime, HOUR, TimeRange};
use schemas::view::{FileRef, ObjectRef};

use super::{Catalog, FlushCommit, NewView, PublishCommit, ViewOrigin};
use crate::error::{Error, Result};

/// A directory of its own, removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("weir-catalog-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).expect("a new directory");
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("catalog.db")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn memory() -> Catalog {
    Catalog::memory().await.expect("a catalog in memory")
}

/// The `n`-th hour.
fn hour(n: i64) -> TimeRange {
    TimeRange::new(n * HOUR, (n + 1) * HOUR)
}

fn object(path: &str) -> ObjectRef {
    ObjectRef { path: path.into(), bytes: 300_000, block_sums: [path.len() as u64, u64::MAX].into() }
}

/// A file with ten readings of the `n`-th hour.
fn file(path: &str, n: i64, position: u64) -> FileRef {
    FileRef {
        object: object(path),
        positions: (LogPosition(position), LogPosition(position)),
        event_bounds: (n * HOUR, (n + 1) * HOUR - 1),
        series_bounds: (SeriesId::new(1, 0), SeriesId::new(2, 7)),
        rows: 10,
        sum: None,
    }
}

/// An epoch of one frame with ten readings in each of these hours, of which some are new partitions.
fn flush(position: u64, hours: &[i64], new: &[i64]) -> FlushCommit {
    FlushCommit {
        first: LogPosition(position),
        last: LogPosition(position),
        readings: 10 * hours.len() as u64,
        event_bounds: hours.first().zip(hours.last()).map(|(a, b)| (a * HOUR, (b + 1) * HOUR - 1)),
        partials: Some(object(&format!("partials/{position}"))),
        files: hours
            .iter()
            .map(|n| (Some(hour(*n)), file(&format!("readings/{n}/{position}"), *n, position)))
            .collect(),
        new_partitions: new.iter().map(|n| hour(*n)).collect(),
        touched: hours.iter().map(|n| (EventTime(n * HOUR), 10)).collect(),
        now: ArrivalTime(position as i64),
        ..FlushCommit::default()
    }
}

fn view(n: i64, cut: u64, readings: u64) -> NewView {
    NewView {
        partition: hour(n),
        object: Some(object(&format!("views/{n}/{cut}-{readings}"))),
        cut: LogPosition(cut),
        cells: 2,
        readings,
        duplicates_found: 0,
        kind: ViewOrigin::Fold,
    }
}

fn publish(views: Vec<NewView>, now: i64) -> PublishCommit {
    PublishCommit { views, reason: "test".into(), job: None, now: ArrivalTime(now) }
}

/// The reason of a refusal.
#[track_caller]
fn refusal<T: std::fmt::Debug>(result: Result<T>) -> String {
    match result {
        Err(Error::Refused(reason)) => reason,
        other => panic!("not refused: {other:?}"),
    }
}

/// Changes the catalog behind its back.
async fn tamper(catalog: &Catalog, sql: &'static str) {
    let mut tx = catalog.begin().await.expect("begin");
    sqlx::query(sql).execute(&mut *tx).await.expect(sql);
    tx.commit().await.expect("commit");
}
