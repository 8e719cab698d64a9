//! Opening, restarting, and failures of the database itself.

use std::time::{Duration, Instant};

use schemas::ledger::{Tally, Totals};

use super::*;

#[tokio::test]
async fn a_catalog_survives_restarts() {
    let directory = Directory::new();
    for position in 1..=30 {
        let catalog = Catalog::open(&directory.file()).await.expect("open");
        assert_eq!(catalog.load_version().await.expect("load").flushed, LogPosition(position - 1));
        catalog.commit_flush(flush(position, &[0], if position == 1 { &[0] } else { &[] })).await.expect("flush");
        if position % 2 == 0 {
            catalog.close().await;
        }
    }
}

/// The table of seals is made by a script, and the first seals are set behind it.
#[tokio::test]
async fn who_was_killed_before_the_first_seal_opens_again() {
    let directory = Directory::new();
    let catalog = Catalog::open(&directory.file()).await.expect("open");
    catalog.commit_flush(flush(1, &[0], &[0])).await.expect("flush");
    sqlx::query("DELETE FROM seals").execute(&catalog.writer).await.expect("as if killed");
    catalog.close().await;
    let catalog = Catalog::open(&directory.file()).await.expect("opens");
    assert_eq!(catalog.broken_seals().await.expect("reads"), Vec::<String>::new());
}

#[tokio::test]
async fn rows_that_were_not_committed_are_not_opened() {
    let directory = Directory::new();
    let catalog = Catalog::open(&directory.file()).await.expect("open");
    catalog.commit_flush(flush(1, &[0], &[0])).await.expect("flush");
    tamper(&catalog, "UPDATE epochs SET readings = readings + 1").await;
    assert_eq!(catalog.broken_seals().await.expect("reads"), ["epochs", "epochs, all"]);
    catalog.close().await;
    let opened = Catalog::open(&directory.file()).await;
    assert!(matches!(&opened, Err(Error::Corrupt { reason, .. }) if reason.contains("epochs")), "{opened:?}");
}

/// A catalog as the scripts before the ledger made it.
async fn from_before_the_ledger(directory: &Directory) {
    let catalog = Catalog::open(&directory.file()).await.expect("open");
    for position in 1..=4 {
        catalog.commit_flush(flush(position, &[0], if position == 1 { &[0] } else { &[] })).await.expect("flush");
    }
    catalog.commit_publish(publish(vec![view(0, 2, 20)], 9)).await.expect("publish");
    for sql in [
        "DROP TABLE seals",
        "DROP TABLE ledger",
        "DROP TABLE damage",
        "ALTER TABLE epochs DROP COLUMN arrivals",
        "ALTER TABLE epochs DROP COLUMN readings_sum",
        "ALTER TABLE files DROP COLUMN readings_sum",
        "ALTER TABLE quarantine_files DROP COLUMN readings_sum",
        "ALTER TABLE tokens DROP COLUMN metrics",
        "ALTER TABLE tokens DROP COLUMN devices",
        "DELETE FROM _sqlx_migrations WHERE version > 2",
    ] {
        tamper(&catalog, sql).await;
    }
    catalog.close().await;
}

#[tokio::test]
async fn a_catalog_from_before_the_ledger_is_gone_on_with() {
    let directory = Directory::new();
    from_before_the_ledger(&directory).await;
    let catalog = Catalog::open(&directory.file()).await.expect("opens");
    let version = catalog.load_version().await.expect("loads");
    assert_eq!(
        (version.flushed, version.partitions[0].files.len(), version.totals),
        (LogPosition(4), 4, Totals::default())
    );
    let new = Tally { readings: 10, sum: 5 };
    let mut next = flush(5, &[0], &[]);
    next.files[0].1.sum = Some(new.sum);
    catalog.commit_flush(FlushCommit { tally: new, ..next }).await.expect("flush");
    // Three of the older files and the new one: the readings of those come to the ledger.
    let removed = [1, 2, 3, 5].map(|position| format!("readings/0/{position}"));
    let large = FileRef { rows: 40, sum: Some(99), ..file("readings/0/large", 0, 1) };
    catalog.commit_compaction(removed.to_vec(), vec![(Some(hour(0)), large)], ArrivalTime(50)).await.expect("compact");
    let audited = catalog.audit_ledger().await.expect("audits");
    let all = Tally { readings: 40, sum: 99 };
    assert_eq!((audited.kept, audited.older), (Totals { flushed: all, history: all }, true));
    catalog.commit_publish(publish(vec![view(0, 5, 50)], 60)).await.expect("publish");
    catalog.prune(ArrivalTime(1_000), 0, 0).await.expect("prunes");
    assert_eq!(catalog.broken_seals().await.expect("reads"), [""; 0]);
    assert_eq!(catalog.malformed().await.expect("reads"), [""; 0]);
    catalog.close().await;
    let again = Catalog::open(&directory.file()).await.expect("opens again");
    assert_eq!(again.load_version().await.expect("loads").partitions[0].files.len(), 2);
}

#[tokio::test]
async fn opening_again_is_quick() {
    let directory = Directory::new();
    Catalog::open(&directory.file()).await.expect("open").close().await;
    let mut best = Duration::MAX;
    for _ in 0..10 {
        let start = Instant::now();
        let catalog = Catalog::open(&directory.file()).await.expect("open");
        best = best.min(start.elapsed());
        catalog.close().await;
    }
    assert!(best < Duration::from_millis(50), "{best:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_may_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let directory = Directory::new();
    let catalog = Catalog::open(&directory.file()).await.expect("open");
    catalog.set_meta("a", "b").await.expect("set");
    catalog.meta("a").await.expect("get");
    let files: Vec<_> = std::fs::read_dir(&directory.0).expect("list").map(|f| f.expect("entry")).collect();
    assert_eq!(files.len(), 3, "the file, its log and its index");
    for file in files {
        assert_eq!(file.metadata().expect("metadata").permissions().mode() & 0o777, 0o600, "{:?}", file.path());
    }
}

#[tokio::test]
async fn commits_are_synced_and_the_library_is_sound() {
    let directory = Directory::new();
    let catalog = Catalog::open(&directory.file()).await.expect("open");
    let mut connection = catalog.writer.acquire().await.expect("acquire");
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut *connection).await.expect("mode");
    let synchronous: i64 =
        sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut *connection).await.expect("synchronous");
    let foreign_keys: i64 =
        sqlx::query_scalar("PRAGMA foreign_keys").fetch_one(&mut *connection).await.expect("foreign keys");
    assert_eq!((mode.as_str(), synchronous, foreign_keys), ("wal", 2, 1));
    // Older ones can corrupt a database when the write-ahead log starts over.
    let version: String =
        sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&mut *connection).await.expect("version");
    let version: Vec<u32> = version.split('.').map(|part| part.parse().expect("a number")).collect();
    assert!(version >= vec![3, 51, 3], "{version:?}");
}

#[tokio::test]
async fn what_is_no_catalog_is_not_opened() {
    let directory = Directory::new();
    assert!(matches!(Catalog::open(&directory.0.join("missing/catalog.db")).await, Err(Error::Unavailable { .. })));
    std::fs::write(directory.file(), [7; 8192]).expect("write");
    assert!(matches!(Catalog::open(&directory.file()).await, Err(Error::Corrupt { .. })));
}

#[tokio::test]
async fn a_newer_catalog_is_refused_and_a_changed_script_is_corrupt() {
    let directory = Directory::new();
    let catalog = Catalog::open(&directory.file()).await.expect("open");
    tamper(&catalog, "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (999, 'later', 1, x'00', 0)").await;
    catalog.close().await;
    assert!(refusal(Catalog::open(&directory.file()).await).contains("newer version"));

    let directory = Directory::new();
    let catalog = Catalog::open(&directory.file()).await.expect("open");
    tamper(&catalog, "UPDATE _sqlx_migrations SET checksum = x'00'").await;
    catalog.close().await;
    assert!(matches!(Catalog::open(&directory.file()).await, Err(Error::Corrupt { .. })));
}

#[tokio::test]
async fn writing_goes_on_after_the_disk_was_full() {
    let directory = Directory::new();
    let catalog = Catalog::open(&directory.file()).await.expect("open");
    // The connection may use no page more than it has: SQLite then ends the transaction by itself.
    let mut connection = catalog.writer.acquire().await.expect("acquire");
    sqlx::query("PRAGMA max_page_count = 1").execute(&mut *connection).await.expect("limit");
    drop(connection);
    let large = "x".repeat(1 << 20);
    assert!(matches!(catalog.set_meta("large", &large).await, Err(Error::Unavailable { .. })));
    catalog.set_meta("small", "x").await.expect("the next transaction gets a sound connection");
    assert_eq!(catalog.meta("large").await.expect("get"), None);
}

#[tokio::test]
async fn an_abandoned_transaction_leaves_nothing_and_blocks_nobody() {
    let catalog = memory().await;
    let mut tx = catalog.begin().await.expect("begin");
    sqlx::query("INSERT INTO meta (name, value) VALUES ('a', 'b')").execute(&mut *tx).await.expect("insert");
    drop(tx);
    assert_eq!(catalog.meta("a").await.expect("get"), None);
    for micros in 0..200 {
        // Dropped wherever it happens to be.
        let _ = tokio::time::timeout(Duration::from_micros(micros), catalog.set_meta("a", "c")).await;
    }
    catalog.set_meta("a", "d").await.expect("set");
    assert_eq!(catalog.meta("a").await.expect("get").as_deref(), Some("d"));
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_see_whole_commits_while_writers_write() {
    let directory = Directory::new();
    let catalog = Catalog::open(&directory.file()).await.expect("open");
    catalog.commit_flush(flush(1, &[0, 1], &[0, 1])).await.expect("flush");
    let writer = tokio::spawn({
        let catalog = catalog.clone();
        async move {
            for position in 2..60 {
                catalog.commit_flush(flush(position, &[0, 1], &[])).await.expect("flush");
                catalog
                    .commit_publish(publish(
                        vec![view(0, position, 10 * position), view(1, position, 10 * position)],
                        0,
                    ))
                    .await
                    .expect("publish");
            }
        }
    });
    while !writer.is_finished() {
        let version = catalog.load_version().await.expect("load");
        let [a, b] = &version.partitions[..] else { panic!("two partitions") };
        assert_eq!((a.cut(), a.touched, a.files.len()), (b.cut(), b.touched, b.files.len()));
        assert_eq!((a.touched, a.files.len() as u64), (version.flushed, version.flushed.0));
        assert_eq!(version.uncovered.len() as u64, version.flushed.0 - a.cut().0);
    }
    writer.await.expect("no panic");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_handles_of_one_file_wait_for_each_other() {
    let directory = Directory::new();
    Catalog::open(&directory.file()).await.expect("open").close().await;
    let mut writers = Vec::new();
    for name in ["a", "b"] {
        let catalog = Catalog::open(&directory.file()).await.expect("open");
        writers.push(tokio::spawn(async move {
            for n in 0..60 {
                // Reads before it writes: unless it locks at once, the other may write in between.
                catalog.enqueue_unless_queued(jobs::job(&format!("{name}{n}"), 0)).await.expect("enqueue");
            }
        }));
    }
    for writer in writers {
        writer.await.expect("no panic");
    }
    let catalog = Catalog::open(&directory.file()).await.expect("open");
    assert_eq!(catalog.jobs(1_000).await.expect("jobs").len(), 120);
}
