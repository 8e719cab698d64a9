//! The scrubber: planted damage is found in one pass, what can be mended is, and nothing else is ever called damage.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use batch_layer::catalog::{JobKind, NewJob};
use schemas::time::{DAY, HOUR, SECOND, parse_rfc3339};
use schemas::{Clock as _, SeriesKey, TimeRange};
use speed_layer::{Rows, SeriesRef};
use tests::damage::{Data, ask, clock, flip, open_at, open_copy};
use tests::parts::{ArmedGap, TestClock, open, scratch};
use weir::Engine;

/// The paths of what is damaged.
fn damaged(engine: &Engine) -> Vec<String> {
    engine.serving.batch.scrub_status().damaged.into_iter().map(|row| row.path).collect()
}

async fn check_answers(engine: &Engine, data: &Data) {
    for (question, truth) in &data.truth {
        assert_eq!(&ask(engine, question).await.expect("answers"), truth, "{question:?}");
    }
}

/// Damages an object, or removes it, and has it found and mended; returns its path.
async fn damage_and_mend(data: &Data, engine: &Engine, dir: &Path, is_it: impl Fn(&str) -> bool, lost: bool) -> String {
    let batch = &engine.serving.batch;
    assert!(batch.scrub(Duration::ZERO).await.expect("scrubs") > 5);
    assert_eq!(damaged(engine), [""; 0]);
    let objects = batch.catalog().all_objects().await.expect("lists");
    let object = objects.into_iter().map(|(object, _)| object).find(|o| is_it(&o.path)).expect("there is one");
    let path = dir.join("history").join(&object.path);
    match lost {
        true => std::fs::remove_file(&path).expect("removed"),
        false => flip(&path, 999),
    }
    batch.scrub(Duration::ZERO).await.expect("scrubs");
    let told = batch.scrub_status().damaged;
    assert!(told.len() == 1 && told[0].path == object.path && told[0].remedy.starts_with("job "), "{told:?}");
    let findings = batch.check(|_, _| {}).await.expect("checks").findings;
    assert!(findings.iter().any(|f| f.place == object.path && f.reason.contains("scrubber")), "{findings:?}");
    while batch.run_next().await.expect("runs").is_some() {}
    check_answers(engine, data).await;
    object.path
}

#[tokio::test]
async fn a_lost_view_is_made_anew() {
    let data = Data::make().await;
    for lost in [false, true] {
        let (copy, clock) = (data.copy(), clock());
        let engine = open_at(copy.path(), Arc::clone(&clock)).await.expect("opens");
        let batch = &engine.serving.batch;
        // Epochs came after this one: the new view is another file. The old one is needed as long as its generation is.
        let old = damage_and_mend(&data, &engine, copy.path(), |path| path.starts_with("views"), lost).await;
        assert_eq!(damaged(&engine), std::slice::from_ref(&old));
        clock.advance(2 * HOUR);
        batch.collect_garbage().await.expect("collects");
        batch.scrub(Duration::ZERO).await.expect("scrubs");
        assert_eq!(damaged(&engine), [""; 0], "{lost}: it is not needed any more");
        // Nothing came after this one: the new view is the same bytes at the same place.
        let is_new = |path: &str| path.starts_with("views") && path[..20] == old[..20];
        damage_and_mend(&data, &engine, copy.path(), is_new, lost).await;
        batch.scrub(Duration::ZERO).await.expect("scrubs");
        assert_eq!(damaged(&engine), [""; 0], "{lost}: it was mended in place");
        engine.abandon().await;
        check_answers(&open_copy(copy.path()).await.expect("opens"), &data).await;
    }
}

#[tokio::test]
async fn an_epoch_without_its_partials_is_counted_from_readings() {
    let data = Data::make().await;
    for lost in [false, true] {
        let copy = data.copy();
        let engine = open_copy(copy.path()).await.expect("opens");
        let uncovered = engine.serving.batch.catalog().uncovered_epochs().await.expect("lists");
        let needed = |path: &str| uncovered.iter().any(|e| e.partials.as_ref().is_some_and(|o| o.path == path));
        damage_and_mend(&data, &engine, copy.path(), needed, lost).await;
        assert_eq!(engine.serving.batch.version().uncovered.len(), 0, "nothing needs its partials now");
        engine.abandon().await;
        check_answers(&open_copy(copy.path()).await.expect("opens"), &data).await;
    }
}

#[tokio::test]
async fn damaged_readings_are_told_until_somebody_puts_them_back() {
    let data = Data::make().await;
    let copy = data.copy();
    let engine = open_copy(copy.path()).await.expect("opens");
    let objects = engine.serving.batch.catalog().all_objects().await.expect("lists");
    for (object, _) in
        objects.iter().filter(|(o, _)| ["readings", "series", "quarantine"].iter().any(|k| o.path.starts_with(k)))
    {
        let path = copy.path().join("history").join(&object.path);
        let whole = std::fs::read(&path).expect("readable");
        flip(&path, whole.len() * 7);
        engine.serving.batch.scrub(Duration::ZERO).await.expect("scrubs");
        let told = engine.serving.batch.scrub_status().damaged;
        assert!(told.len() == 1 && told[0].path == object.path && told[0].remedy.contains("backup"), "{told:?}");
        std::fs::write(&path, whole).expect("written");
        engine.serving.batch.scrub(Duration::ZERO).await.expect("scrubs");
        assert_eq!(damaged(&engine), [""; 0]);
    }
    engine.abandon().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_compacted_away_or_deleted_meanwhile_is_no_damage() {
    let start = parse_rfc3339("2024-03-10T12:00:00Z").expect("a time");
    let (dir, clock) = (scratch(), TestClock::at(start));
    let engine = open(dir.path(), Arc::clone(&clock), Arc::new(ArmedGap::default())).await.expect("opens");
    let batch = engine.serving.batch.clone();
    let scrubbing = tokio::spawn(async move {
        loop {
            batch.scrub(Duration::ZERO).await.expect("scrubs");
            let told = batch.scrub_status();
            assert!(told.damaged.is_empty() && told.catalog.is_empty(), "{told:?}");
            tokio::task::yield_now().await;
        }
    });
    let key = SeriesKey::new("temperature", &[("device_id", "press-1")]).expect("valid");
    for round in 0..60 {
        let times: Vec<i64> = (0..50).map(|i| start - i * SECOND + round).collect();
        let rows = Rows {
            keys: vec![key.clone()],
            series: vec![SeriesRef::new(0); times.len()],
            values: vec![1.0; times.len()],
            times,
            ..Rows::default()
        };
        engine.serving.speed.append(rows).await.expect("appends");
        engine.serving.flush().await.expect("flushes");
        if round % 5 == 4 {
            for kind in [JobKind::Compact, JobKind::Recompute] {
                let (now, reason) = (clock.now(), "test".to_owned());
                let range = TimeRange::ALL;
                let job = NewJob { kind, range, selector: None, reason, priority: 0, not_before: now, now };
                engine.serving.batch.catalog().enqueue(job).await.expect("queued");
            }
            while engine.serving.batch.run_next().await.expect("runs").is_some() {}
            clock.advance(DAY + HOUR);
            assert!(engine.serving.batch.collect_garbage().await.expect("collects") > 0);
        }
    }
    scrubbing.abort();
    assert!(scrubbing.await.expect_err("it was told to end").is_cancelled(), "no pass found damage");
    assert!(engine.serving.batch.scrub_status().passes > 5);
    engine.abandon().await;
}

/// Lets a file look as if it had been written long ago.
fn age(path: &Path) {
    let file = std::fs::File::options().write(true).open(path).expect("there");
    file.set_modified(SystemTime::UNIX_EPOCH).expect("changed");
}

#[tokio::test]
async fn what_no_commit_ever_named_goes_when_it_is_old() {
    let data = Data::make().await;
    let (copy, clock) = (data.copy(), clock());
    let engine = open_at(copy.path(), Arc::clone(&clock)).await.expect("opens");
    let (batch, history) = (&engine.serving.batch, copy.path().join("history"));
    let objects = batch.catalog().all_objects().await.expect("lists");
    objects.iter().for_each(|(object, _)| age(&history.join(&object.path)));
    let plant = |path: &str| {
        let path = history.join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(&path, "left behind").expect("written");
        age(&path);
        path
    };
    let ahead = batch.version().flushed.0 + 1;
    let orphan = plant("views/part=2013-03/0000000000000001-00000000000000ff.parquet");
    let stays = [
        plant(&format!("readings/part=2013-03/{ahead:016}-00000000000000ff.parquet")),
        plant("readings/part=2013-03/notes.parquet"),
        plant("notes.txt"),
    ];
    let young = plant("readings/part=2013-03/0000000000000001-00000000000000ff.parquet");
    let now = SystemTime::UNIX_EPOCH + Duration::from_nanos(clock.now().0 as u64);
    std::fs::File::options().write(true).open(&young).and_then(|file| file.set_modified(now)).expect("changed");
    batch.catalog().hold("a backup", clock.now(), Duration::from_secs(60)).await.expect("holds");
    assert_eq!(batch.collect_orphans().await.expect("looks"), 0, "somebody copies history");
    batch.catalog().let_go("a backup").await.expect("lets go");
    assert_eq!(batch.collect_orphans().await.expect("collects"), 1);
    assert!(!orphan.exists() && young.exists() && stays.iter().all(|path| path.exists()));
    // Not looked for again at once; a day later the young one is old.
    age(&plant("views/part=2013-03/0000000000000001-00000000000000ff.parquet"));
    assert_eq!(batch.collect_orphans().await.expect("looks"), 0);
    clock.advance(25 * HOUR);
    assert_eq!(batch.collect_orphans().await.expect("collects"), 2);
    let checked = batch.check(|_, _| {}).await.expect("checks");
    assert_eq!((checked.findings, checked.left_behind.len()), (vec![], stays.len()));
    check_answers(&engine, &data).await;
    engine.abandon().await;
}
