//! Flush, compaction and what is loaded of them.

use schemas::view::{HistoryVersion, ViewRef};

use super::super::{EpochRow, SeriesCommit};
use super::*;

#[tokio::test]
async fn a_flush_reads_back() {
    let catalog = memory().await;
    assert_eq!(catalog.load_version().await.expect("load"), HistoryVersion::default());
    let mut first = flush(1, &[0, 2], &[2, 0]);
    first.last = LogPosition(5);
    first.files.push((None, file("readings/mixed/1", 0, 1)));
    catalog.commit_flush(first.clone()).await.expect("flush");
    catalog.commit_flush(flush(6, &[2], &[])).await.expect("flush");

    let version = catalog.load_version().await.expect("load");
    assert_eq!((version.flushed, version.generation), (LogPosition(6), 0));
    let spans: Vec<TimeRange> = version.partitions.iter().map(|p| p.span).collect();
    assert_eq!(spans, [hour(0), hour(2)]);
    let touched: Vec<u64> = version.partitions.iter().map(|p| p.touched.0).collect();
    assert_eq!(touched, [5, 6]);
    assert_eq!(*version.partitions[0].files[0], file("readings/0/1", 0, 1));
    assert_eq!(version.partitions[1].files.len(), 2);
    assert_eq!(*version.mixed[0], file("readings/mixed/1", 0, 1));
    assert_eq!(Vec::from_iter(version.uncovered.iter().map(|p| p.0)), [5, 6]);

    let row = EpochRow {
        first: LogPosition(1),
        last: LogPosition(5),
        readings: 20,
        event_bounds: first.event_bounds,
        partials: first.partials,
        dropped: false,
    };
    assert_eq!(catalog.uncovered_epochs().await.expect("epochs")[0], row);
    assert_eq!(catalog.epochs_between(LogPosition(0), LogPosition(5)).await.expect("epochs"), [row]);
    assert_eq!(catalog.epochs_between(LogPosition(5), LogPosition(9)).await.expect("epochs").len(), 1);
    assert_eq!(catalog.all_objects().await.expect("objects").len(), 6);
}

#[tokio::test]
async fn an_epoch_is_uncovered_until_all_that_it_touches_is_counted() {
    let catalog = memory().await;
    catalog.commit_flush(flush(1, &[0, 1], &[0, 1])).await.expect("flush");
    catalog.commit_flush(flush(2, &[1], &[])).await.expect("flush");
    catalog.commit_flush(flush(3, &[], &[])).await.expect("an epoch that counts nothing");
    let uncovered = async || Vec::from_iter(catalog.load_version().await.expect("load").uncovered.iter().map(|p| p.0));
    assert_eq!(uncovered().await, [1, 2]);
    catalog.commit_publish(publish(vec![view(0, 3, 10)], 9)).await.expect("publish");
    assert_eq!(uncovered().await, [1, 2]);
    catalog.commit_publish(publish(vec![view(1, 1, 10)], 9)).await.expect("publish");
    assert_eq!(uncovered().await, [2]);
    assert_eq!(catalog.uncovered_epochs().await.expect("epochs").len(), 1);
    catalog.commit_publish(publish(vec![view(1, 2, 20)], 9)).await.expect("publish");
    assert_eq!(uncovered().await, [0; 0]);
    let version = catalog.load_version().await.expect("load");
    assert!(version.partitions.iter().all(|p| !p.dirty()));
    let expected =
        ViewRef { id: 3, object: view(1, 2, 20).object, cut: LogPosition(2), cells: 2, readings: 20, generation: 3 };
    assert_eq!(version.partitions[1].view.as_deref(), Some(&expected));
}

#[tokio::test]
async fn what_does_not_fit_is_refused_and_leaves_nothing() {
    let catalog = memory().await;
    catalog.commit_flush(flush(1, &[5], &[5])).await.expect("flush");
    let before = catalog.load_version().await.expect("load");
    let check = async |mut flush: FlushCommit, reason: &str| {
        // What is written before and after the error must both be gone.
        flush.lateness = vec![("m".into(), vec![1.0])];
        flush.series = Some(SeriesCommit { object: object("series/1"), replaces: vec![] });
        let refused = refusal(catalog.commit_flush(flush).await);
        assert!(refused.contains(reason), "{refused}");
        assert_eq!(catalog.load_version().await.expect("load"), before);
        assert_eq!(catalog.all_objects().await.expect("objects").len(), 2);
        assert_eq!(catalog.lateness().await.expect("lateness"), []);
    };
    check(flush(1, &[5], &[]), "does not follow 1").await;
    check(flush(3, &[5], &[]), "does not follow 1").await;
    check(FlushCommit { first: LogPosition(2), ..flush(1, &[5], &[]) }, "is empty").await;
    check(flush(2, &[5], &[5]), "overlaps").await;
    check(flush(2, &[6], &[]), "no partition starts").await;
    let half = HOUR / 2;
    for (start, end) in
        [(5 * HOUR - half, 5 * HOUR + 1), (6 * HOUR - 1, 7 * HOUR), (0, 9 * HOUR), (5 * HOUR + 1, 5 * HOUR + half)]
    {
        let new = FlushCommit { new_partitions: vec![hour(8), TimeRange::new(start, end)], ..flush(2, &[], &[]) };
        check(new, "overlaps").await;
    }
    check(FlushCommit { new_partitions: vec![hour(7), hour(7)], ..flush(2, &[], &[]) }, "overlaps").await;
    check(FlushCommit { new_partitions: vec![TimeRange::new(7, 7)], ..flush(2, &[], &[]) }, "is empty").await;
    let misplaced = |span| FlushCommit { files: vec![(Some(span), file("readings/5/2", 4, 2))], ..flush(2, &[5], &[]) };
    check(misplaced(hour(5)), "outside of partition").await;
    check(misplaced(TimeRange::new(5 * HOUR, 7 * HOUR)), "is no partition").await;
    let series = SeriesCommit { object: object("series/1"), replaces: vec!["series/0".into()] };
    let refused = refusal(catalog.commit_flush(FlushCommit { series: Some(series), ..flush(2, &[5], &[]) }).await);
    assert!(refused.contains("no current file of series"), "{refused}");
    catalog.commit_flush(flush(2, &[5, 6, 4], &[6, 4])).await.expect("neighbours do not overlap");
}

#[tokio::test]
async fn a_failing_statement_leaves_nothing() {
    let catalog = memory().await;
    catalog.commit_flush(flush(1, &[0], &[0])).await.expect("flush");
    let before = catalog.load_version().await.expect("load");
    // The second file has the path of the first: the database refuses the row, late in the transaction.
    let mut twice = flush(2, &[0], &[]);
    twice.files.push(twice.files[0].clone());
    assert!(matches!(catalog.commit_flush(twice).await, Err(Error::Unavailable { .. })));
    assert_eq!(catalog.load_version().await.expect("load"), before);
    assert_eq!(catalog.all_objects().await.expect("objects").len(), 2);
    catalog.commit_flush(flush(2, &[0], &[])).await.expect("the right one follows");
}

#[tokio::test]
async fn an_object_of_one_path_has_one_content() {
    let catalog = memory().await;
    catalog.commit_flush(flush(1, &[0], &[0])).await.expect("flush");
    let mut other = flush(2, &[0], &[]);
    other.partials = Some(ObjectRef { bytes: 1, ..object("partials/1") });
    assert!(matches!(catalog.commit_flush(other).await, Err(Error::Corrupt { .. })));
}

#[tokio::test]
async fn compaction_replaces_files_and_keeps_every_reading() {
    let catalog = memory().await;
    let mut first = flush(1, &[0], &[0, 1]);
    first.files.push((None, file("readings/mixed/1", 0, 1)));
    catalog.commit_flush(first).await.expect("flush");
    catalog.commit_flush(flush(2, &[0], &[])).await.expect("flush");
    let removed = || vec!["readings/0/1".to_owned(), "readings/0/2".into(), "readings/mixed/1".into()];
    let large = FileRef { rows: 20, ..file("readings/0/large", 0, 1) };
    let added = || vec![(Some(hour(0)), large.clone()), (Some(hour(1)), file("readings/1/large", 1, 2))];
    let before = catalog.load_version().await.expect("load");
    let at = ArrivalTime(50);

    let refused = refusal(catalog.commit_compaction(removed(), added()[..1].to_vec(), at).await);
    assert!(refused.contains("30 readings into 20"), "{refused}");
    let refused = refusal(catalog.commit_compaction(vec!["readings/0/7".into()], vec![], at).await);
    assert!(refused.contains("no part of history"), "{refused}");
    assert_eq!(catalog.load_version().await.expect("load"), before);

    catalog.commit_compaction(removed(), added(), at).await.expect("compact");
    let version = catalog.load_version().await.expect("load");
    assert_eq!(
        Vec::from_iter(version.partitions[0].files.iter().map(|f| f.object.path.as_str())),
        ["readings/0/large"]
    );
    assert_eq!((version.partitions[1].files.len(), version.mixed.len()), (1, 0));
    assert_eq!(version.partitions[0].touched, LogPosition(2));
    assert_eq!(catalog.all_objects().await.expect("objects").len(), 7, "the old files stay for a grace");

    let same = vec![(Some(hour(0)), large.clone())];
    catalog.commit_compaction(vec!["readings/0/large".into()], same, at).await.expect("a file may replace itself");
    assert_eq!(catalog.load_version().await.expect("load"), version);
    let mut tx = catalog.begin().await.expect("begin");
    let query = sqlx::query_scalar("SELECT path FROM objects WHERE superseded_at IS NOT NULL ORDER BY path");
    let superseded: Vec<String> = query.fetch_all(&mut *tx).await.expect("list");
    assert_eq!(superseded, ["readings/0/1", "readings/0/2", "readings/mixed/1"]);
}

#[tokio::test]
async fn what_can_not_be_is_corrupt() {
    let check = async |sql: &'static str| {
        let catalog = memory().await;
        let mut both = flush(1, &[0, 1], &[0, 1]);
        both.files.push((None, file("readings/mixed/1", 0, 1)));
        catalog.commit_flush(both).await.expect("flush");
        catalog.commit_publish(publish(vec![view(0, 1, 10)], 9)).await.expect("publish");
        let mut connection = catalog.writer.acquire().await.expect("acquire");
        sqlx::query("PRAGMA foreign_keys = OFF").execute(&mut *connection).await.expect("off");
        sqlx::query(sql).execute(&mut *connection).await.expect(sql);
        drop(connection);
        let loaded = catalog.load_version().await;
        assert!(matches!(loaded, Err(Error::Corrupt { .. })), "{sql}: {loaded:?}");
    };
    check("UPDATE epochs SET last_position = -1").await;
    check("UPDATE epoch_partitions SET last_position = 'x' WHERE partition_start = 3600000000000").await;
    check("UPDATE partitions SET touched = -1").await;
    check("UPDATE partitions SET span_end = 0").await;
    check("UPDATE partitions SET span_end = 3600000000001").await;
    check("UPDATE views SET cut_position = -7").await;
    check("UPDATE views SET partition_start = 17").await;
    check("INSERT INTO views SELECT 99, partition_start, cut_position, path, cells, readings, kind, from_generation, NULL FROM views").await;
    check("UPDATE files SET rows_count = -10").await;
    check("UPDATE files SET partition_start = 5").await;
    check("DELETE FROM objects WHERE kind = 'readings'").await;
    check("DELETE FROM objects WHERE kind = 'views'").await;
    check("UPDATE objects SET bytes = -1").await;
    check("UPDATE objects SET block_sums = x'010203'").await;
}
