//! Schedules, differences and small state.

use schemas::paths::ObjectKind;

use super::super::{Cause, JobKind, ReconciliationRow, ScheduleRow, SeriesCommit};
use super::*;

fn schedule(name: &str, next_at: Option<i64>) -> ScheduleRow {
    ScheduleRow {
        name: name.into(),
        cron: "0 3 * * *".into(),
        kind: JobKind::Recompute,
        lookback: Some(24 * HOUR),
        enabled: true,
        next_at: next_at.map(ArrivalTime),
        last_at: None,
    }
}

#[tokio::test]
async fn schedules_come_due_and_advance() {
    let catalog = memory().await;
    catalog.put_schedule(schedule("b", Some(10))).await.expect("put");
    catalog.put_schedule(schedule("a", Some(20))).await.expect("put");
    catalog.put_schedule(ScheduleRow { enabled: false, ..schedule("off", Some(0)) }).await.expect("put");
    catalog.put_schedule(schedule("never", None)).await.expect("put");
    let due = async |now| Vec::from_iter(catalog.due(ArrivalTime(now)).await.expect("due").into_iter().map(|s| s.name));
    assert_eq!(due(9).await, [""; 0]);
    assert_eq!(due(10).await, ["b"]);
    assert_eq!(due(30).await, ["b", "a"]);
    catalog.advance("b", Some(ArrivalTime(40)), ArrivalTime(30)).await.expect("advance");
    assert_eq!(due(30).await, ["a"]);
    catalog.advance("a", None, ArrivalTime(30)).await.expect("advance");
    assert_eq!(due(i64::MAX).await, ["b"]);

    let all = catalog.schedules().await.expect("schedules");
    assert_eq!(
        all[1],
        ScheduleRow { next_at: Some(ArrivalTime(40)), last_at: Some(ArrivalTime(30)), ..schedule("b", None) }
    );
    let shown = serde_json::to_value(&all[0]).expect("serializable");
    let expected = serde_json::json!({"name": "a", "cron": "0 3 * * *", "kind": "recompute", "lookback": "1d", "enabled": true,
        "next_at": null, "last_at": "1970-01-01T00:00:00.000000030Z"});
    assert_eq!(shown, expected);

    catalog.put_schedule(ScheduleRow { lookback: None, ..schedule("b", None) }).await.expect("put");
    assert_eq!(catalog.schedules().await.expect("schedules")[1].lookback, None);
    catalog.delete_schedule("b").await.expect("delete");
    assert!(matches!(catalog.delete_schedule("b").await, Err(Error::NotFound(_))));
    assert!(matches!(catalog.advance("b", None, ArrivalTime(0)).await, Err(Error::NotFound(_))));
}

#[tokio::test]
async fn a_schedule_must_make_sense() {
    let catalog = memory().await;
    let check = async |row: ScheduleRow| drop(refusal(catalog.put_schedule(row).await));
    check(schedule("", None)).await;
    check(schedule("a\nb", None)).await;
    check(schedule(&"x".repeat(129), None)).await;
    check(ScheduleRow { cron: "often".into(), ..schedule("a", None) }).await;
    check(ScheduleRow { cron: format!("{}* * * * *", " ".repeat(300)), ..schedule("a", None) }).await;
    check(ScheduleRow { lookback: Some(0), ..schedule("a", None) }).await;
    assert_eq!(catalog.schedules().await.expect("schedules"), []);
}

#[tokio::test]
async fn differences_are_kept_newest_first() {
    let catalog = memory().await;
    let row = |i: i64| ReconciliationRow {
        at: ArrivalTime(i),
        job: Some(3),
        partition_start: EventTime(0),
        series_id: SeriesId::new(1, 2),
        metric_key: (i % 2 == 0).then(|| "m{a=\"b\"}".into()),
        bucket: EventTime(HOUR),
        field: "count".into(),
        speed_value: Some(1.5),
        batch_value: None,
        difference: Some(f64::from(i as i32)),
        cause: Cause::Late,
    };
    catalog.add_reconciliation((0..1_200).map(row).collect()).await.expect("add");
    catalog.add_reconciliation(vec![]).await.expect("nothing to add");
    assert_eq!(catalog.reconciliation(2).await.expect("list"), [row(1_199), row(1_198)]);
    assert_eq!(catalog.reconciliation(5_000).await.expect("list").len(), 1_200);
    let shown = serde_json::to_value(row(0)).expect("serializable");
    assert_eq!((&shown["cause"], &shown["bucket"]), (&"late".into(), &"1970-01-01T01:00:00Z".into()));

    tamper(&catalog, "UPDATE counters SET value = 101000 WHERE name = 'reconciliation'").await;
    catalog.add_reconciliation(vec![row(7)]).await.expect("add");
    assert_eq!(catalog.reconciliation(5_000).await.expect("list").len(), 200, "the oldest made room");
}

#[tokio::test]
async fn small_state_reads_back() {
    let catalog = memory().await;
    assert_eq!(catalog.meta("format").await.expect("get"), None);
    catalog.set_meta("format", "1").await.expect("set");
    catalog.set_meta("format", "2").await.expect("set");
    assert_eq!(catalog.meta("format").await.expect("get").as_deref(), Some("2"));

    let series = |path: &str, replaces: &[&str]| {
        Some(SeriesCommit { object: object(path), replaces: replaces.iter().map(|p| (*p).into()).collect() })
    };
    let lateness = |weight: f64| vec![("temperature".to_owned(), vec![weight, 0.0]), ("µ".into(), vec![])];
    let quarantine = |path: &str| Some((object(path), schemas::Tally { readings: 3, sum: 7 }));
    let first = FlushCommit {
        series: series("series/c", &[]),
        lateness: lateness(1.0),
        quarantine: quarantine("quarantine/1"),
        ..flush(1, &[0], &[0])
    };
    catalog.commit_flush(first).await.expect("flush");
    catalog
        .commit_flush(FlushCommit { series: series("series/b", &[]), lateness: lateness(0.5), ..flush(2, &[0], &[]) })
        .await
        .expect("flush");
    let third = FlushCommit {
        series: series("series/a", &["series/c"]),
        quarantine: quarantine("quarantine/2"),
        ..flush(3, &[0], &[])
    };
    catalog.commit_flush(third).await.expect("flush");

    assert_eq!(catalog.lateness().await.expect("lateness"), lateness(0.5));
    assert_eq!(catalog.series_files().await.expect("series"), [object("series/b"), object("series/a")]);
    assert_eq!(
        catalog.quarantine_files().await.expect("quarantine"),
        [(object("quarantine/1"), 3), (object("quarantine/2"), 3)]
    );
    let kinds = catalog
        .all_objects()
        .await
        .expect("objects")
        .into_iter()
        .filter(|(_, kind)| *kind == ObjectKind::Series)
        .count();
    assert_eq!(kinds, 3, "the replaced one stays for a grace");
    tamper(&catalog, "UPDATE lateness SET weights = x'0102'").await;
    assert!(matches!(catalog.lateness().await, Err(Error::Corrupt { .. })));
}
