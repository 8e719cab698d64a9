use datafusion::prelude::SessionContext;
use futures::TryStreamExt;
use schemas::history::StoredReading;
use schemas::{LogPosition, SeriesId, TimeRange};

use super::*;
use crate::error::Error;
use crate::history::selection::SeriesSet;
use crate::history::testing::{
    hot, in_memory, last_arrivals, random_arrivals, random_parts, random_stretches, reading, rows, sorted, store_file,
    wants,
};

/// What a merge tells, and rows, told and duplicates counted.
type Outcome = (Vec<StoredReading>, (u64, u64, u64));

async fn merge(
    objects: &Objects,
    files: Vec<Arc<FileRef>>,
    extra: Vec<RecordBatch>,
    selection: Selection,
) -> Result<Outcome> {
    let plan = merged_plan(objects, files, extra, selection)?;
    let stream = plan.execute(0, Arc::new(TaskContext::default())).map_err(from_datafusion)?;
    let batches: Vec<RecordBatch> = stream.try_collect().await.map_err(from_datafusion)?;
    let counts = plan.counts();
    Ok((rows(&batches), (counts.rows(), counts.told(), counts.duplicates())))
}

async fn check(files: &[&[StoredReading]], extra: &[&[StoredReading]], expected: &[StoredReading], duplicates: u64) {
    let (objects, _) = in_memory();
    let mut stored = Vec::new();
    for file in files {
        stored.push(store_file(&objects, file).await);
    }
    let extra = extra.iter().map(|readings| hot(readings)).collect();
    let (told, counts) = merge(&objects, stored, extra, Selection::ALL).await.expect("merges");
    assert!(told == expected, "told {} readings, expected {}, or others", told.len(), expected.len());
    assert_eq!((counts.1, counts.2), (expected.len() as u64, duplicates));
}

#[tokio::test]
async fn the_last_arrival_wins_wherever_it_lies() {
    let (first, corrected) = (reading(1, 10, 1, 1.0), reading(1, 10, 5, 2.0));
    let other = reading(2, 10, 3, 7.0);
    check(&[&[first, other]], &[], &[first, other], 0).await;
    check(&[&[first, corrected]], &[], &[corrected], 1).await;
    check(&[&[first], &[corrected, other]], &[], &[corrected, other], 1).await;
    check(&[&[corrected, other], &[first]], &[], &[corrected, other], 1).await;
    check(&[&[corrected]], &[&[first, other]], &[corrected, other], 1).await;
    check(&[], &[&[first], &[corrected]], &[corrected], 1).await;
    check(&[], &[], &[], 0).await;
}

#[tokio::test]
async fn one_arrival_read_twice_is_no_duplicate() {
    let (a, b) = (reading(1, 10, 1, 1.0), reading(1, 11, 2, 2.0));
    check(&[&[a, b]], &[&[a, b]], &[a, b], 0).await;
    check(&[&[a, b], &[b]], &[&[b]], &[a, b], 0).await;
    // Pairs that lie across the ends of batches, too.
    let many: Vec<_> = (0..20_000).map(|i| reading(1, i, 1, i as f64)).collect();
    check(&[&many], &[&many[1..]], &many, 0).await;
}

#[tokio::test]
async fn one_instant_of_many_series_is_no_duplicate() {
    let many: Vec<_> = (0..20_000).map(|series| reading(series, 5, 1, 1.0)).collect();
    check(&[&many], &[], &many, 0).await;
}

#[tokio::test]
async fn within_one_frame_the_later_row_wins() {
    let (early, late) = (reading(1, 10, 4, 1.0), reading(1, 10, 4, 2.0));
    check(&[&[early, late]], &[], &[late], 1).await;
    check(&[&[early], &[late]], &[], &[late], 1).await;
    let frame = [early, late];
    let (objects, _) = in_memory();
    let file = store_file(&objects, &frame).await;
    for _ in 0..20 {
        let (told, _) = merge(&objects, vec![Arc::clone(&file)], vec![hot(&frame), hot(&frame)], Selection::ALL)
            .await
            .expect("merges");
        assert_eq!(told, [late]);
    }
}

/// One identity that goes on for several batches, and identities that end exactly where a batch does.
#[tokio::test]
async fn runs_reach_across_batches() {
    let long: Vec<_> = (1..=30_000).map(|p| reading(1, 5, p, p as f64)).collect();
    check(&[&long], &[], &long[29_999..], 29_999).await;
    for shift in [0, 1] {
        let pairs: Vec<_> =
            (shift..40_000).map(|i| reading(1, i64::try_from(i / 2).expect("small"), i, i as f64)).collect();
        let expected: Vec<_> = pairs.iter().filter(|r| r.position % 2 == 1).copied().collect();
        check(&[&pairs], &[], &expected, pairs.len() as u64 - expected.len() as u64).await;
    }
}

#[tokio::test]
async fn a_merge_tells_what_an_oracle_counts() {
    let mut random = fastrand::Rng::with_seed(11);
    for n in [1, 10, 300, 5_000, 40_000] {
        for _ in 0..6 {
            let (objects, _) = in_memory();
            let arrivals = random_arrivals(&mut random, n);
            let count = random.usize(1..6);
            let mut parts = random_parts(&mut random, &arrivals, count);
            let extra = if random.bool() { parts.pop().map(|part| hot(&part)) } else { None };
            let mut files = Vec::new();
            for part in &parts {
                files.push(store_file(&objects, part).await);
            }
            let span = i64::try_from(n).expect("small");
            let selection = Selection {
                series: match random.u8(..4) {
                    0 => SeriesSet::All,
                    1 => SeriesSet::These([0, 2, 4].map(SeriesId).into()),
                    2 => random_stretches(&mut random, span),
                    _ => SeriesSet::Between(SeriesId(1), SeriesId(random.u64(1..6))),
                },
                range: TimeRange::new(random.i64(-span..=0), random.i64(0..=span)),
                up_to: random.bool().then(|| LogPosition(random.u64(..n as u64))),
            };
            let wanted: Vec<_> = arrivals.iter().filter(|r| wants(&selection, r)).copied().collect();
            let (told, counts) = merge(&objects, files, extra.into_iter().collect(), selection).await.expect("merges");
            let expected = last_arrivals(&wanted);
            assert_eq!(told, expected);
            assert_eq!((counts.0, counts.1), (wanted.len() as u64, expected.len() as u64));
            assert_eq!(counts.2, replaced(&wanted));
        }
    }
}

/// Arrivals that differ from the next arrival of their identity in position or value.
fn replaced(arrivals: &[StoredReading]) -> u64 {
    let sorted = sorted(arrivals.to_vec());
    let pairs = sorted.windows(2).filter(|w| (w[0].series, w[0].time) == (w[1].series, w[1].time));
    pairs.filter(|w| w[0].position != w[1].position || w[0].value.to_bits() != w[1].value.to_bits()).count() as u64
}

#[tokio::test]
async fn damage_surfaces_as_what_it_is() {
    let (objects, _) = in_memory();
    let (a, b) =
        (store_file(&objects, &[reading(1, 1, 1, 1.0)]).await, store_file(&objects, &[reading(1, 2, 2, 2.0)]).await);
    objects.delete(&a.object.path).await.expect("deletes");
    let lost = merge(&objects, vec![a, Arc::clone(&b)], Vec::new(), Selection::ALL).await;
    assert!(matches!(lost, Err(Error::Corrupt { .. })), "{lost:?}");
    let mut sums = b.object.block_sums.to_vec();
    sums[0] ^= 1;
    let object = schemas::view::ObjectRef { block_sums: sums.into(), ..b.object.clone() };
    let damaged = merge(&objects, vec![Arc::new(FileRef { object, ..(*b).clone() })], Vec::new(), Selection::ALL).await;
    assert!(matches!(damaged, Err(Error::Corrupt { .. })), "{damaged:?}");
}

#[tokio::test]
async fn the_plan_states_its_order_and_stays_a_leaf() {
    let (objects, _) = in_memory();
    let mut files = Vec::new();
    for position in 1..4 {
        files.push(store_file(&objects, &[reading(1, 1, position, 1.0)]).await);
    }
    let plan = merged_plan(&objects, files, Vec::new(), Selection::ALL).expect("plans");
    assert_eq!(plan.properties().output_ordering(), Some(&ordering()));
    assert!(plan.children().is_empty());
    let shown = datafusion::physical_plan::displayable(&*plan).one_line().to_string();
    assert!(shown.contains("DedupExec") && shown.contains("inputs=3"), "{shown}");
    let batches: Vec<RecordBatch> =
        datafusion::physical_plan::collect(plan, SessionContext::new().task_ctx()).await.expect("runs");
    assert_eq!(rows(&batches), [reading(1, 1, 3, 1.0)]);
}
