use std::collections::BTreeMap;

use super::*;
use crate::history::testing::{
    hot, in_memory, last_arrivals, last_position, random_arrivals, random_parts, reading, store_file, wants,
};
use crate::recompute::{compare, fold};

fn context() -> Arc<TaskContext> {
    Arc::new(TaskContext::default())
}

fn base() -> Resolution {
    Resolution::from_nanos(10).expect("positive")
}

/// Cells of these readings, each identity once, counted by hand.
fn cells_of(readings: &[StoredReading]) -> Vec<StoredCell> {
    let mut buckets: BTreeMap<(SeriesId, i64), Vec<StoredReading>> = BTreeMap::new();
    for r in readings {
        buckets.entry((r.series, r.time.div_euclid(10) * 10)).or_default().push(*r);
    }
    let cell = |((series, bucket), readings): ((SeriesId, i64), Vec<StoredReading>)| {
        let mut partial = Partial::of_all(readings.iter().map(|r| (r.time, r.value))).expect("not empty");
        let sketched = partial.count >= SKETCH_READINGS_MIN;
        partial.sketch = sketched.then(|| Box::new(Sketch::of(readings.iter().map(|r| r.value))));
        StoredCell { series, cell: Cell { bucket, partial }, disordered: false }
    };
    buckets.into_iter().map(cell).collect()
}

#[tokio::test]
async fn a_recompute_counts_what_an_oracle_counts() {
    let mut random = fastrand::Rng::with_seed(5);
    for n in [1, 30, 1_000, 20_000] {
        for round in 0..8 {
            let (objects, _) = in_memory();
            let arrivals = random_arrivals(&mut random, n);
            let parts = random.usize(1..7);
            let mut files = Vec::new();
            for part in random_parts(&mut random, &arrivals, parts) {
                files.push(store_file(&objects, &part).await);
            }
            let edge = i64::try_from(n).expect("small") / 10 * 10;
            let span = if round == 0 { TimeRange::ALL } else { TimeRange::new(-edge, edge) };
            let cut = LogPosition(random.u64(..=last_position(&arrivals).0));
            let selection = Selection { series: SeriesSet::All, range: span, up_to: Some(cut) };
            let wanted: Vec<_> = arrivals.iter().filter(|r| wants(&selection, r)).copied().collect();
            let once = last_arrivals(&wanted);
            let mut told = 0;
            let progress = |rows| {
                assert!(rows >= told);
                told = rows;
                Ok(())
            };
            let counted = Counted { files, span, cut, base: base() };
            let found = recompute(&objects, counted, context(), progress).await.expect("recomputes");
            assert!(found.cells.iter().eq(&cells_of(&once)), "seed 5, {n} arrivals, round {round}");
            assert_eq!((found.rows_read, found.readings), (wanted.len() as u64, once.len() as u64));
            assert_eq!(told, if once.is_empty() { 0 } else { found.rows_read });
            assert!(found.duplicates <= found.rows_read - found.readings);
        }
    }
}

/// Enough readings for several slices, in files whose series overlap.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slices_count_what_an_oracle_counts() {
    let (objects, _) = in_memory();
    let mut random = fastrand::Rng::with_seed(8);
    let arrivals: Vec<_> =
        (0..5 * SLICE_ROWS).map(|i| reading(random.u64(..50), random.i64(..100_000), i + 1, random.f64())).collect();
    let mut files = Vec::new();
    for part in random_parts(&mut random, &arrivals, 3) {
        files.push(store_file(&objects, &part).await);
    }
    let once = last_arrivals(&arrivals);
    let counted = Counted { files, span: TimeRange::ALL, cut: LogPosition(u64::MAX), base: base() };
    let found = recompute(&objects, counted, context(), |_| Ok(())).await.expect("recomputes");
    assert!(found.cells.iter().eq(&cells_of(&once)));
    assert_eq!((found.rows_read, found.readings), (arrivals.len() as u64, once.len() as u64));
    assert_eq!(found.duplicates, found.rows_read - found.readings);
}

#[test]
fn slices_hold_every_series_once() {
    let stretch = |first, last, rows| ((SeriesId(first), SeriesId(last)), rows);
    for (stretches, wanted, expected) in [
        (vec![stretch(5, 5, 10)], 4, 1),
        (vec![stretch(0, 9, 10), stretch(9, 20, 10)], 2, 2),
        (vec![stretch(0, 9, 10), stretch(0, 9, 10), stretch(0, 9, 10)], 3, 1),
        ((0..100).map(|i| stretch(i, i + 1, 7)).collect(), 4, 4),
        (vec![stretch(0, 1, 1000), stretch(2, 3, 1), stretch(4, 5, 1)], 2, 2),
    ] {
        let slices = cut(stretches, wanted);
        assert_eq!(slices.len(), expected);
        let mut next = Some(0);
        for slice in slices {
            let SeriesSet::Between(first, last) = slice else { panic!("slices are stretches") };
            assert_eq!(Some(first.0), next);
            assert!(first <= last);
            next = last.0.checked_add(1);
        }
        assert_eq!(next, None);
    }
}

/// Without duplicates a fold of epochs gives what a recompute gives.
#[tokio::test]
async fn folding_and_recomputing_agree() {
    let mut random = fastrand::Rng::with_seed(6);
    let readings = last_arrivals(&random_arrivals(&mut random, 5_000));
    let mut parts = random_parts(&mut random, &readings, 4).into_iter();
    let view = cells_of(&parts.next().expect("four parts"));
    let epochs: Vec<_> = parts.map(|part| cells_of(&part)).collect();
    let folded = fold(view, &epochs).expect("folds");
    assert!(folded == cells_of(&readings));
    assert!(compare(&folded, &cells_of(&readings)).is_empty());
}

#[tokio::test]
async fn progress_can_cancel() {
    let (objects, _) = in_memory();
    let readings: Vec<_> = (0..50_000).map(|i| reading(1, i, 1, 1.0)).collect();
    let file = store_file(&objects, &readings).await;
    let progress = |rows| if rows > 20_000 { Err(Error::Cancelled) } else { Ok(()) };
    let counted = Counted { files: vec![file], span: TimeRange::ALL, cut: LogPosition(9), base: base() };
    let outcome = recompute(&objects, counted, context(), progress).await;
    assert!(matches!(outcome, Err(Error::Cancelled)), "{outcome:?}");
}

#[tokio::test]
async fn resolved_readings_are_bounded() {
    let (objects, _) = in_memory();
    let file = store_file(&objects, &[reading(1, 1, 1, 1.0), reading(1, 2, 1, 2.0)]).await;
    let extra = || vec![hot(&[reading(1, 2, 5, 9.0), reading(1, 3, 6, 3.0)])];
    let expected = [reading(1, 1, 1, 1.0), reading(1, 2, 5, 9.0), reading(1, 3, 6, 3.0)];
    let ask = |limit| resolved(&objects, vec![Arc::clone(&file)], extra(), Selection::ALL, context(), limit);
    assert_eq!(ask(3).await.expect("fits"), expected);
    assert!(matches!(ask(2).await, Err(Error::Refused(_))));
}

/// Run with `cargo test --release -p batch-layer --lib recompute_speed -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn recompute_speed() {
    for files in [1_u64, 2, 8] {
        let (objects, _) = in_memory();
        let mut stored = Vec::new();
        let (series, each) = (1_000_u64, 4_000_u64);
        for file in 0..files {
            let rows = (0..series).flat_map(|s| (0..each).filter(move |i| i % files == file).map(move |i| (s, i)));
            let value = |s: u64, i: u64| ((s * 31 + i * 17) % 1000) as f64 / 10.0;
            let rows: Vec<_> = rows
                .map(|(s, i)| reading(s, i64::try_from(i).expect("small") * 1_000_000_000, i + 1, value(s, i)))
                .collect();
            stored.push(store_file(&objects, &rows).await);
        }
        let bytes: u64 = stored.iter().map(|f| f.object.bytes).sum();
        for base in ["10s", "1m"] {
            let start = std::time::Instant::now();
            let base: Resolution = base.parse().expect("a duration");
            let counted = Counted { files: stored.clone(), span: TimeRange::ALL, cut: LogPosition(u64::MAX), base };
            let ended = recompute(&objects, counted, context(), |_| Ok(())).await;
            let took = start.elapsed();
            let found = ended.expect("recomputes");
            let rate = found.rows_read as f64 / took.as_secs_f64() / 1e6;
            println!(
                "{files} files, {bytes} bytes, base {base}: {} rows, {} cells in {took:?}, {rate:.1} M rows/s",
                found.rows_read,
                found.cells.len()
            );
        }
    }
}
