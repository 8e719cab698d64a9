//! Opening, restarting, and failures of the database itself.

use std::time::{Duration, Instant};

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
