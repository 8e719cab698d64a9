//! The life of jobs.

use super::super::{CancelOutcome, JobKind, JobState, NewJob, RetryPolicy};
use super::*;

pub(super) fn job(reason: &str, priority: i64) -> NewJob {
    NewJob {
        kind: JobKind::Recompute,
        range: hour(0),
        selector: None,
        reason: reason.into(),
        priority,
        not_before: ArrivalTime(0),
        now: ArrivalTime(1),
    }
}

const RETRY: RetryPolicy = RetryPolicy { attempts_max: 4, delay_ns: 10, delay_max_ns: 25 };

#[tokio::test]
async fn the_highest_priority_goes_first_then_the_oldest() {
    let catalog = memory().await;
    for (reason, priority) in [("a", 0), ("b", 5), ("c", 5), ("d", -1)] {
        catalog.enqueue(job(reason, priority)).await.expect("enqueue");
    }
    catalog.enqueue(NewJob { not_before: ArrivalTime(50), ..job("later", 9) }).await.expect("enqueue");
    let mut order = Vec::new();
    while let Some(job) = catalog.claim(ArrivalTime(20)).await.expect("claim") {
        assert_eq!((job.state, job.attempts, job.started_at), (JobState::Running, 1, Some(ArrivalTime(20))));
        order.push(job.reason);
    }
    assert_eq!(order, ["b", "c", "a", "d"]);
    assert_eq!(catalog.claim(ArrivalTime(50)).await.expect("claim").expect("due").reason, "later");
    assert!(refusal(catalog.enqueue(NewJob { range: TimeRange::new(3, 3), ..job("", 0) }).await).contains("empty"));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_job_is_claimed_twice() {
    let directory = Directory::new();
    let catalog = Catalog::open(&directory.file()).await.expect("open");
    for i in 0..40 {
        catalog.enqueue(job(&i.to_string(), 0)).await.expect("enqueue");
    }
    let workers = (0..4).map(|_| {
        let catalog = catalog.clone();
        tokio::spawn(async move {
            let mut mine = Vec::new();
            while let Some(job) = catalog.claim(ArrivalTime(1)).await.expect("claim") {
                mine.push(job.id);
            }
            mine
        })
    });
    let mut all = Vec::new();
    for worker in workers.collect::<Vec<_>>() {
        all.extend(worker.await.expect("no panic"));
    }
    all.sort_unstable();
    assert_eq!(all, Vec::from_iter(1..=40));
}

#[tokio::test]
async fn a_job_shows_the_fields_of_the_api() {
    let catalog = memory().await;
    let id = catalog.enqueue(NewJob { selector: Some("m{a=\"b\"}".into()), ..job("why", 3) }).await.expect("enqueue");
    catalog.claim(ArrivalTime(2)).await.expect("claim");
    catalog.progress(id, 0.25, 1_000, 40).await.expect("progress");
    let shown = serde_json::to_value(catalog.job(id).await.expect("job")).expect("serializable");
    let expected = serde_json::json!({
        "id": 1, "kind": "recompute", "from": "1970-01-01T00:00:00Z", "to": "1970-01-01T01:00:00Z", "match": "m{a=\"b\"}", "reason": "why",
        "priority": 3, "state": "running", "progress": 0.25, "rows_read": 1000, "cells_written": 40, "error": null, "attempts": 1,
        "not_before": "1970-01-01T00:00:00Z", "created_at": "1970-01-01T00:00:00.000000001Z",
        "started_at": "1970-01-01T00:00:00.000000002Z", "finished_at": null
    });
    assert_eq!(shown, expected);
    catalog.progress(id, f64::NAN, 1, 1).await.expect("progress");
    catalog.progress(id, 7.0, 1, 1).await.expect("progress");
    assert_eq!(catalog.job(id).await.expect("job").progress, 1.0);
    assert!(matches!(catalog.job(99).await, Err(Error::NotFound(_))));
    assert_eq!(catalog.jobs(10).await.expect("jobs").len(), 1);
    assert_eq!("fold".parse::<JobKind>().expect("known"), JobKind::Fold);
    assert!(refusal("fly".parse::<JobKind>()).contains("recompute, fold, audit, compact"));
}

#[tokio::test]
async fn a_failed_job_is_tried_again_ever_later_then_fails() {
    let catalog = memory().await;
    let id = catalog.enqueue(job("a", 0)).await.expect("enqueue");
    let mut now = ArrivalTime(100);
    for delay in [10, 20, 25] {
        assert!(catalog.claim(now).await.expect("claim").is_some());
        let state = catalog.finish(id, now, Err("no disk".into()), Some(RETRY)).await.expect("finish");
        let row = catalog.job(id).await.expect("job");
        assert_eq!(
            (state, row.state, row.not_before),
            (JobState::Queued, JobState::Queued, ArrivalTime(now.0 + delay))
        );
        assert_eq!(row.error.as_deref(), Some("no disk"));
        assert_eq!(catalog.claim(ArrivalTime(now.0 + delay - 1)).await.expect("claim"), None);
        now = row.not_before;
    }
    catalog.claim(now).await.expect("claim");
    assert_eq!(catalog.finish(id, now, Err("no disk".into()), Some(RETRY)).await.expect("finish"), JobState::Failed);
    let row = catalog.job(id).await.expect("job");
    assert_eq!((row.attempts, row.finished_at), (4, Some(now)));
    assert!(refusal(catalog.finish(id, now, Ok(()), None).await).contains("is failed, not running"));
}

#[tokio::test]
async fn success_ends_a_job_and_clears_the_error() {
    let catalog = memory().await;
    let id = catalog.enqueue(job("a", 0)).await.expect("enqueue");
    catalog.claim(ArrivalTime(1)).await.expect("claim");
    catalog.finish(id, ArrivalTime(2), Err("once".into()), Some(RETRY)).await.expect("finish");
    catalog.claim(ArrivalTime(99)).await.expect("claim");
    assert_eq!(catalog.finish(id, ArrivalTime(100), Ok(()), Some(RETRY)).await.expect("finish"), JobState::Succeeded);
    let row = catalog.job(id).await.expect("job");
    assert_eq!((row.error, row.progress, row.attempts, row.finished_at), (None, 1.0, 2, Some(ArrivalTime(100))));
    let other = catalog.enqueue(job("b", 0)).await.expect("enqueue");
    catalog.claim(ArrivalTime(101)).await.expect("claim");
    assert_eq!(catalog.finish(other, ArrivalTime(102), Err("x".into()), None).await.expect("finish"), JobState::Failed);
}

#[tokio::test]
async fn cancelling_depends_on_the_state() {
    let catalog = memory().await;
    let now = ArrivalTime(10);
    let queued = catalog.enqueue(job("a", 0)).await.expect("enqueue");
    assert_eq!(catalog.cancel(queued, now).await.expect("cancel"), CancelOutcome::Cancelled);
    assert_eq!(catalog.job(queued).await.expect("job").finished_at, Some(now));
    assert_eq!(catalog.cancel(queued, now).await.expect("cancel"), CancelOutcome::Finished(JobState::Cancelled));
    assert_eq!(catalog.claim(now).await.expect("claim"), None);

    let running = catalog.enqueue(job("b", 0)).await.expect("enqueue");
    catalog.claim(now).await.expect("claim");
    assert!(!catalog.cancel_requested(running).await.expect("asked"));
    assert_eq!(catalog.cancel(running, now).await.expect("cancel"), CancelOutcome::Requested);
    assert!(catalog.cancel_requested(running).await.expect("asked"));
    let state = catalog.finish(running, now, Err("cancelled".into()), Some(RETRY)).await.expect("finish");
    assert_eq!(state, JobState::Cancelled, "not tried again");

    let quick = catalog.enqueue(job("c", 0)).await.expect("enqueue");
    catalog.claim(now).await.expect("claim");
    catalog.cancel(quick, now).await.expect("cancel");
    assert_eq!(
        catalog.finish(quick, now, Ok(()), None).await.expect("finish"),
        JobState::Succeeded,
        "it was done before"
    );
    assert!(matches!(catalog.cancel(99, now).await, Err(Error::NotFound(_))));
    assert!(matches!(catalog.cancel_requested(99).await, Err(Error::NotFound(_))));
}

#[tokio::test]
async fn a_restart_takes_up_what_was_running() {
    let directory = Directory::new();
    let catalog = Catalog::open(&directory.file()).await.expect("open");
    for reason in ["a", "b", "c"] {
        catalog.enqueue(job(reason, 0)).await.expect("enqueue");
    }
    catalog.claim(ArrivalTime(1)).await.expect("claim");
    catalog.claim(ArrivalTime(1)).await.expect("claim");
    catalog.cancel(2, ArrivalTime(2)).await.expect("cancel");
    drop(catalog);
    let catalog = Catalog::open(&directory.file()).await.expect("open");
    assert_eq!(catalog.requeue_running(ArrivalTime(3)).await.expect("requeue"), 1);
    let states: Vec<JobState> = catalog.jobs(9).await.expect("jobs").into_iter().map(|j| j.state).collect();
    assert_eq!(states, [JobState::Queued, JobState::Cancelled, JobState::Queued]);
    let first = catalog.claim(ArrivalTime(4)).await.expect("claim").expect("a job");
    assert_eq!((first.id, first.attempts), (1, 2));
}

#[tokio::test]
async fn the_same_work_waits_once_and_none_of_it_is_lost() {
    let catalog = memory().await;
    let enqueue = async |job: NewJob| catalog.enqueue_unless_queued(job).await.expect("enqueue");
    let on = |range| NewJob { range, ..job("nightly", 0) };
    assert_eq!(enqueue(on(hour(1))).await, Some(1));
    assert_eq!(enqueue(on(hour(1))).await, None);
    assert_eq!(enqueue(on(hour(2))).await, None, "it adjoins");
    assert_eq!(enqueue(on(TimeRange::new(1, HOUR + 1))).await, None, "it overlaps");
    assert_eq!(catalog.job(1).await.expect("job").range, TimeRange::new(1, 3 * HOUR));
    assert_eq!(enqueue(on(TimeRange::new(0, 1))).await, None, "it adjoins at the other end");
    assert_eq!(catalog.job(1).await.expect("job").range, TimeRange::new(0, 3 * HOUR));
    assert_eq!(enqueue(on(hour(7))).await, Some(2), "another stretch of time");
    assert_eq!(enqueue(NewJob { selector: Some("m".into()), ..on(hour(1)) }).await, Some(3));
    assert_eq!(enqueue(NewJob { selector: Some("m".into()), ..on(hour(1)) }).await, None);
    assert_eq!(enqueue(NewJob { kind: JobKind::Fold, ..on(hour(1)) }).await, Some(4));
    assert_eq!(enqueue(NewJob { range: hour(1), ..job("hourly", 0) }).await, Some(5));
    catalog.claim(ArrivalTime(5)).await.expect("claim");
    assert_eq!(enqueue(on(hour(1))).await, Some(6), "one that runs does not count");
}

#[tokio::test]
async fn finished_jobs_make_room_and_numbers_are_not_given_again() {
    let catalog = memory().await;
    let first = catalog.enqueue(job("old", 0)).await.expect("enqueue");
    let waiting = catalog.enqueue(job("waiting", 0)).await.expect("enqueue");
    catalog.cancel(first, ArrivalTime(1)).await.expect("cancel");
    tamper(&catalog, "UPDATE counters SET value = 20000 WHERE name = 'jobs'").await;
    assert_eq!(catalog.enqueue(job("new", 0)).await.expect("enqueue"), 20_001);
    assert!(matches!(catalog.job(first).await, Err(Error::NotFound(_))));
    assert_eq!(catalog.job(waiting).await.expect("job").state, JobState::Queued);
}

#[tokio::test]
async fn a_postponed_job_waits_and_has_lost_no_attempt() {
    let catalog = memory().await;
    let id = catalog.enqueue(job("a", 0)).await.expect("enqueue");
    for _ in 0..10 {
        catalog.claim(ArrivalTime(100)).await.expect("claim").expect("due");
        catalog.postpone(id, ArrivalTime(90), ArrivalTime(100), "no room".into()).await.expect("postpone");
        assert!(catalog.claim(ArrivalTime(99)).await.expect("claim").is_none(), "not yet");
    }
    let waiting = catalog.job(id).await.expect("known");
    assert_eq!((waiting.state, waiting.attempts, waiting.error.as_deref()), (JobState::Queued, 0, Some("no room")));
    catalog.claim(ArrivalTime(100)).await.expect("claim").expect("due");
    assert_eq!(catalog.cancel(id, ArrivalTime(101)).await.expect("cancel"), CancelOutcome::Requested);
    catalog.postpone(id, ArrivalTime(102), ArrivalTime(200), "no room".into()).await.expect("postpone");
    assert_eq!(catalog.job(id).await.expect("known").state, JobState::Cancelled);
}
