//! What is deleted, and what is not.

use super::super::SeriesCommit;
use super::*;

const GRACE: i64 = 100;

async fn prune(catalog: &Catalog, now: i64) -> Vec<String> {
    catalog.prune(ArrivalTime(now), GRACE, GRACE).await.expect("prune")
}

/// Three generations at 10, 20 and 30, the last of which counts all three epochs.
async fn three_generations() -> Catalog {
    let catalog = memory().await;
    for position in 1..=3_u64 {
        catalog.commit_flush(flush(position, &[0], if position == 1 { &[0] } else { &[] })).await.expect("flush");
        let now = 10 * position as i64;
        catalog.commit_publish(publish(vec![view(0, position, 10 * position)], now)).await.expect("publish");
    }
    catalog
}

#[tokio::test]
async fn generations_end_after_their_grace_and_the_current_one_never() {
    let catalog = three_generations().await;
    assert_eq!(prune(&catalog, 109).await, [""; 0], "before the first publish nothing was counted");
    assert_eq!(prune(&catalog, 110).await, ["partials/1"], "all reachable generations count the first epoch");
    assert_eq!(catalog.views_at(1).await.expect("still there").len(), 1);
    assert_eq!(prune(&catalog, 120).await, ["partials/1", "partials/2", "views/0/1-10"]);
    assert!(refusal(catalog.views_at(1).await).contains("was pruned"));
    assert!(refusal(catalog.commit_revert(1, ArrivalTime(120)).await).contains("was pruned"));
    let all = ["partials/1", "partials/2", "partials/3", "views/0/1-10", "views/0/2-20"];
    assert_eq!(prune(&catalog, 1_000_000).await, all);
    assert_eq!(catalog.views_at(3).await.expect("current").len(), 1);

    catalog.forget(&all.map(String::from)).await.expect("forget");
    assert_eq!(prune(&catalog, 1_000_000).await, [""; 0]);
    let left: Vec<String> = catalog.all_objects().await.expect("objects").into_iter().map(|(o, _)| o.path).collect();
    assert_eq!(left, ["readings/0/1", "readings/0/2", "readings/0/3", "views/0/3-30"]);
    let version = catalog.load_version().await.expect("load");
    assert_eq!((version.flushed, version.uncovered.len()), (LogPosition(3), 0));
    let epochs = catalog.epochs_between(LogPosition(0), LogPosition(9)).await.expect("epochs");
    assert!(
        epochs.len() == 3 && epochs.iter().all(|e| e.dropped && e.partials.is_none()),
        "the record of epochs stays"
    );
    catalog.commit_flush(flush(4, &[0], &[])).await.expect("and goes on");
}

#[tokio::test]
async fn a_reverted_view_is_reachable_again() {
    let catalog = three_generations().await;
    catalog.commit_revert(1, ArrivalTime(40)).await.expect("revert");
    assert_eq!(prune(&catalog, 1_000).await, ["partials/1", "views/0/2-20", "views/0/3-30"]);
    let version = catalog.load_version().await.expect("load");
    assert_eq!(version.partitions[0].cut(), LogPosition(1));
    let uncovered = catalog.uncovered_epochs().await.expect("epochs");
    assert!(
        uncovered.len() == 2 && uncovered.iter().all(|e| e.partials.is_some()),
        "what is not counted keeps its partials"
    );
}

#[tokio::test]
async fn a_partition_that_lost_its_view_keeps_the_partials() {
    let catalog = memory().await;
    catalog.commit_flush(flush(1, &[0, 1], &[0, 1])).await.expect("flush");
    catalog.commit_publish(publish(vec![view(0, 1, 10)], 1)).await.expect("publish");
    catalog.commit_publish(publish(vec![view(1, 1, 10)], 2)).await.expect("publish");
    catalog.commit_revert(1, ArrivalTime(3)).await.expect("revert");
    assert_eq!(prune(&catalog, 1_000).await, ["views/1/1-10"]);
    assert_eq!(catalog.uncovered_epochs().await.expect("epochs").len(), 1);
}

#[tokio::test]
async fn replaced_files_wait_for_their_grace() {
    let catalog = memory().await;
    let series = |path: &str, replaces: &[&str]| {
        Some(SeriesCommit { object: object(path), replaces: replaces.iter().map(|p| (*p).into()).collect() })
    };
    catalog.commit_flush(FlushCommit { series: series("series/1", &[]), ..flush(1, &[0], &[0]) }).await.expect("flush");
    catalog
        .commit_flush(FlushCommit { series: series("series/2", &["series/1"]), ..flush(2, &[0], &[]) })
        .await
        .expect("flush");
    let large = FileRef { rows: 20, ..file("readings/0/large", 0, 1) };
    let removed = vec!["readings/0/1".into(), "readings/0/2".into()];
    catalog.commit_compaction(removed, vec![(Some(hour(0)), large)], ArrivalTime(50)).await.expect("compact");
    assert_eq!(prune(&catalog, 101).await, [""; 0]);
    assert_eq!(prune(&catalog, 102).await, ["series/1"]);
    assert_eq!(prune(&catalog, 150).await, ["readings/0/1", "readings/0/2", "series/1"]);
}

#[tokio::test]
async fn an_object_under_deletion_can_not_come_back() {
    let catalog = three_generations().await;
    let condemned = prune(&catalog, 1_000).await;
    assert!(condemned.contains(&"views/0/2-20".into()));
    let again = NewView { object: Some(object("views/0/2-20")), ..view(0, 3, 30) };
    let published = catalog.commit_publish(publish(vec![again.clone()], 1_000)).await;
    assert!(matches!(published, Err(Error::Unavailable { .. })), "{published:?}");
    catalog.forget(&condemned).await.expect("forget");
    catalog.commit_publish(publish(vec![again], 1_001)).await.expect("written again after it was deleted");
    assert_eq!(prune(&catalog, 1_002).await, [""; 0]);
}

#[tokio::test]
async fn what_is_needed_is_not_forgotten() {
    let catalog = three_generations().await;
    let condemned = prune(&catalog, 1_000).await;
    let mut wrong = condemned.clone();
    wrong.push("readings/0/1".into());
    assert!(refusal(catalog.forget(&wrong).await).contains("is needed"));
    assert_eq!(prune(&catalog, 1_000).await, condemned, "none was forgotten");
    catalog.forget(&["views/unknown".into()]).await.expect("unknown ones are ignored");
}
