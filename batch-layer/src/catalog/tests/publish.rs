//! Publish, revert and looking back.

use super::*;

#[tokio::test]
async fn a_publish_changes_many_partitions_at_once() {
    let catalog = memory().await;
    catalog.commit_flush(flush(1, &[0, 1, 2], &[0, 1, 2])).await.expect("flush");
    let first = publish(vec![view(0, 1, 10), view(1, 1, 10)], 5);
    assert_eq!(catalog.commit_publish(PublishCommit { job: Some(7), ..first }).await.expect("publish"), 1);
    let empty = NewView { object: None, cells: 0, readings: 0, ..view(2, 1, 0) };
    assert_eq!(catalog.commit_publish(publish(vec![empty, view(0, 1, 10)], 6)).await.expect("publish"), 2);

    let version = catalog.load_version().await.expect("load");
    let generations: Vec<u64> =
        version.partitions.iter().map(|p| p.view.as_ref().expect("a view").generation).collect();
    assert_eq!((version.generation, generations), (2, vec![2, 1, 2]));
    assert_eq!(version.partitions[2].view.as_ref().expect("a view").object, None);
    assert!(version.uncovered.is_empty());

    let then = catalog.views_at(1).await.expect("views");
    assert_eq!(Vec::from_iter(then.iter().map(|(span, v)| (*span, v.generation))), [(hour(0), 1), (hour(1), 1)]);
    assert_eq!(catalog.views_at(2).await.expect("views").len(), 3);
    assert!(matches!(catalog.views_at(3).await, Err(Error::NotFound(_))));

    let rows = catalog.generations().await.expect("generations");
    let text = serde_json::to_value(&rows).expect("serializable");
    assert_eq!(
        text[1],
        serde_json::json!({"number": 1, "published_at": "1970-01-01T00:00:00.000000005Z", "reason": "test", "job": 7,
            "reverted_to": null, "partitions": 2, "current": false, "pruned_at": null})
    );
    assert!(rows[0].current && rows[0].number == 2);
}

#[tokio::test]
async fn never_less_over_more() {
    let catalog = memory().await;
    catalog.commit_flush(flush(1, &[0, 1], &[0, 1])).await.expect("flush");
    catalog.commit_flush(flush(2, &[0, 1], &[])).await.expect("flush");
    catalog.commit_publish(publish(vec![view(0, 2, 20)], 5)).await.expect("publish");
    let before = catalog.load_version().await.expect("load");
    let check = async |bad: NewView, reason: &str| {
        let refused = refusal(catalog.commit_publish(publish(vec![view(1, 2, 20), bad], 6)).await);
        assert!(refused.contains(reason), "{refused}");
        assert_eq!(catalog.load_version().await.expect("load"), before);
        assert_eq!(catalog.generations().await.expect("generations").len(), 1);
    };
    check(view(0, 1, 20), "would move back from 2 to 1").await;
    check(view(0, 3, 30), "beyond 2").await;
    check(view(0, 2, 19), "1 fewer").await;
    check(NewView { duplicates_found: 2, ..view(0, 2, 17) }, "2 duplicates don't explain").await;
    check(NewView { object: None, ..view(0, 2, 20) }, "has no file").await;
    check(NewView { partition: TimeRange::new(0, 5), ..view(0, 2, 20) }, "is no partition").await;
    check(view(3, 2, 20), "is no partition").await;
    check(view(1, 2, 20), "two views of partition").await;
    assert!(refusal(catalog.commit_publish(publish(vec![], 6)).await).contains("no view"));
    catalog
        .commit_publish(publish(vec![NewView { duplicates_found: 3, ..view(0, 2, 17) }], 7))
        .await
        .expect("explained");
    catalog.commit_publish(publish(vec![view(0, 2, 18)], 8)).await.expect("more is always welcome");
}

#[tokio::test]
async fn a_revert_makes_old_views_current_under_a_new_number() {
    let catalog = memory().await;
    catalog.commit_flush(flush(1, &[0, 1, 2], &[0, 1, 2])).await.expect("flush");
    catalog.commit_publish(publish(vec![view(0, 1, 10), view(1, 1, 10)], 1)).await.expect("publish");
    catalog.commit_flush(flush(2, &[0, 2], &[])).await.expect("flush");
    catalog.commit_publish(publish(vec![view(0, 2, 20), view(2, 2, 20)], 2)).await.expect("publish");
    let second = catalog.views_at(2).await.expect("views");

    assert_eq!(catalog.commit_revert(1, ArrivalTime(3)).await.expect("revert"), 3);
    let version = catalog.load_version().await.expect("load");
    assert_eq!(version.generation, 3);
    let cuts: Vec<u64> = version.partitions.iter().map(|p| p.cut().0).collect();
    assert_eq!(cuts, [1, 1, 0], "the third had no view then");
    assert_eq!(Vec::from_iter(version.uncovered.iter().map(|p| p.0)), [1, 2]);
    let generations: Vec<u64> = version.partitions.iter().flat_map(|p| &p.view).map(|v| v.generation).collect();
    assert_eq!(generations, [3, 1], "an unchanged view stays as it is");
    assert_eq!(catalog.views_at(2).await.expect("views"), second, "the record is not rewritten");
    let row = &catalog.generations().await.expect("generations")[0];
    assert_eq!(
        (row.number, row.reverted_to, row.partitions, row.reason.as_str()),
        (3, Some(1), 2, "revert to generation 1")
    );

    assert_eq!(
        catalog.commit_publish(publish(vec![view(0, 1, 10)], 4)).await.expect("publish"),
        4,
        "from there the cut counts anew"
    );
    assert_eq!(catalog.commit_revert(2, ArrivalTime(5)).await.expect("revert"), 5);
    assert!(catalog.load_version().await.expect("load").uncovered.is_empty());
    let path = |views: Vec<(TimeRange, schemas::view::ViewRef)>| {
        Vec::from_iter(views.into_iter().map(|(span, v)| (span, v.object, v.cut, v.readings)))
    };
    assert_eq!(path(catalog.views_at(5).await.expect("views")), path(second));

    assert!(refusal(catalog.commit_revert(5, ArrivalTime(6)).await).contains("is current"));
    assert!(matches!(catalog.commit_revert(6, ArrivalTime(6)).await, Err(Error::NotFound(_))));
    assert!(matches!(catalog.commit_revert(0, ArrivalTime(6)).await, Err(Error::NotFound(_))));
}
