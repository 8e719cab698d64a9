use schemas::time::SECOND;

use super::*;

const READINGS: u64 = 1_000;

fn empty() -> SpeedState {
    let settings = StateSettings {
        base: Resolution::DEFAULT_BASE,
        max_future_skew: Duration::from_secs(600),
        max_past_skew: Duration::ZERO,
        seal_age: Duration::from_secs(300),
        seal_bytes: READINGS * (READING_BYTES + CELL_BYTES / 2),
        hot_retention: Duration::ZERO,
        hot_bytes: u64::MAX,
        shards: 2,
    };
    SpeedState::new(settings, Arc::default(), &[], Vec::new())
}

/// Takes readings of one series and counts them.
fn count(state: &mut SpeedState, readings: impl IntoIterator<Item = (i64, f64)>) -> Folded {
    let (id, key) = (SeriesId::new(0, 0), SeriesKey::new("t", &[("device_id", "d")]).expect("valid"));
    let (times, values): (Vec<i64>, Vec<f64>) = readings.into_iter().unzip();
    let arrival = ArrivalTime(times.iter().copied().max().unwrap_or(0));
    let batch = Batch { definitions: vec![(id, key)], series: vec![id; times.len()], values, times };
    let tally = Tally::of_batch(&batch, arrival);
    state.take(state.position.next(), vec![Frame { arrival, batch }], tally);
    state.fold()
}

fn state(step: i64) -> SpeedState {
    let mut state = empty();
    count(&mut state, (0..READINGS as i64).map(|i| (i * step, 1.0)));
    state
}

/// Only what is neither too new nor too old counts, and each side has its number.
#[test]
fn readings_count_within_their_window() {
    let hour = 3_600 * SECOND;
    let arrival = ArrivalTime(10 * hour);
    let ten_minutes = 600 * SECOND;
    let times = [i64::MIN, 8 * hour - 1, 8 * hour, 10 * hour, 10 * hour + ten_minutes, 10 * hour + ten_minutes + 1];
    for (past, expected) in [(Duration::ZERO, (5, 1, 0)), (Duration::from_secs(7_200), (3, 1, 2))] {
        let mut state = empty();
        state.settings.max_past_skew = past;
        let (id, key) = (SeriesId::new(0, 0), SeriesKey::new("t", &[]).expect("valid"));
        let (series, values) = (vec![id; times.len()], vec![1.0; times.len()]);
        let batch = Batch { definitions: vec![(id, key)], series, values, times: times.to_vec() };
        let tally = Tally::of_batch(&batch, arrival);
        let (aside, _) = state.take(state.position.next(), vec![Frame { arrival, batch }], tally);
        assert_eq!((state.fold().readings, aside.future, aside.past), expected, "{past:?}");
    }
}

/// What was counted before is what arrived last, in whichever sealed epoch.
#[test]
fn a_reading_is_repeated_if_it_says_what_was_said_last() {
    let mut state = empty();
    for value in [1.0, 2.0] {
        count(&mut state, [(SECOND, value), (9 * SECOND, value)]);
        state.seal(ArrivalTime(0), &|_| None);
    }
    let told = |state: &mut SpeedState, value: f64| {
        let folded = count(state, [(SECOND, value), (5 * SECOND, value)]);
        (folded.readings, folded.out_of_order, folded.repeated, folded.corrected, folded.doubts.len())
    };
    assert_eq!(told(&mut state, 1.0), (2, 2, 0, 1, 0));
    state.seal(ArrivalTime(0), &|_| None);
    assert_eq!(told(&mut state, 1.0), (2, 2, 2, 0, 0));
    assert_eq!(told(&mut state, 2.0), (2, 2, 0, 2, 0));
    // Once the newest epoch with it has left memory, nobody knows.
    state.seal(ArrivalTime(0), &|_| None);
    state.adopt(Arc::new(HistoryVersion { flushed: state.position, ..HistoryVersion::default() }), Vec::new());
    state.release(ArrivalTime(i64::MAX));
    assert_eq!(told(&mut state, 2.0), (2, 2, 0, 0, 2));
    let (first, doubts) = state.take_doubts();
    assert_eq!((first, doubts.len(), state.has_doubts()), (state.position, 2, false));
}

/// What history says counts in the epoch that it was asked for, and in no other.
#[test]
fn an_epoch_that_was_sealed_meanwhile_is_left_alone() {
    let mut state = state(SECOND);
    state.seal(ArrivalTime(0), &|_| None);
    state.adopt(Arc::new(HistoryVersion { flushed: state.position, ..HistoryVersion::default() }), Vec::new());
    state.release(ArrivalTime(i64::MAX));
    let (id, late) = (SeriesId::new(0, 0), [(5, 1.0), (50 * SECOND + 5, 1.0)]);
    count(&mut state, late);
    let (asked_for, doubts) = state.take_doubts();
    let found: Vec<_> = doubts.iter().map(|(id, time)| (*id, *time, None)).collect();
    state.settle(asked_for, &found[..1]);
    let disordered = |part: &Arc<schemas::epoch::SeriesEpoch>| part.disordered().to_vec();
    let route = state.routes.find(id).expect("it has readings");
    let open = |state: &SpeedState| state.shards[usize::from(route.shard)].open(route.slot).map(disordered);
    assert_eq!(open(&state), Some(vec![50 * SECOND]));
    state.seal(ArrivalTime(0), &|_| None);
    count(&mut state, [(50 * SECOND + 6, 1.0)]);
    state.settle(asked_for, &[(id, 50 * SECOND + 6, None)]);
    assert_eq!(open(&state), Some(vec![50 * SECOND]));
}

/// Readings far apart have a cell each, which takes more than they do.
#[test]
fn cells_take_memory_until_their_readings_are_released() {
    let names = |_: SeriesId| None;
    let (dense, thin) = (state(SECOND), state(60 * SECOND));
    assert_eq!(dense.hot_bytes(), READINGS * READING_BYTES + READINGS / 10 * CELL_BYTES);
    assert_eq!(thin.hot_bytes(), READINGS * (READING_BYTES + CELL_BYTES));
    assert!(!dense.seal_due(ArrivalTime(READINGS as i64 * SECOND)));
    assert!(thin.seal_due(ArrivalTime(60 * READINGS as i64 * SECOND)));

    for mut state in [dense, thin] {
        let (before, now) = (state.hot_bytes(), ArrivalTime(i64::MAX));
        state.seal(now, &names);
        assert_eq!(state.hot_bytes(), before);
        state.adopt(Arc::new(HistoryVersion { flushed: LogPosition(1), ..HistoryVersion::default() }), Vec::new());
        state.release(now);
        assert_eq!(state.hot_bytes(), 0);
    }
}

/// Else the older of two epochs is looked for in memory and in history, or in neither.
#[test]
fn epochs_leave_memory_in_order_when_the_clock_is_set_back() {
    let mut state = empty();
    for (time, sealed_at) in [(SECOND, 100), (2 * SECOND, 50)] {
        count(&mut state, [(time, 1.0)]);
        state.seal(ArrivalTime(sealed_at), &|_| None);
    }
    state.adopt(Arc::new(HistoryVersion { flushed: state.position, ..HistoryVersion::default() }), Vec::new());
    state.release(ArrivalTime(60));
    assert_eq!(state.hot_readings(), 2);
    state.release(ArrivalTime(100));
    assert_eq!(state.hot_readings(), 0);
}

/// Readings from before the ledger come to it when a compaction reads them, not when a flush does.
#[test]
fn what_comes_to_the_ledger_later_does_not_break_it() {
    let mut state = state(SECOND);
    let holds = |state: &SpeedState| state.ledger().equations().iter().all(|(_, holds)| *holds);
    let totals = |tally: Tally| schemas::ledger::Totals { flushed: tally, history: tally };
    let older = Tally { readings: 7, sum: 77 };
    state.adopt(Arc::new(HistoryVersion { totals: totals(older), ..HistoryVersion::default() }), Vec::new());
    assert!(holds(&state), "{:?}", state.ledger());
    state.seal(ArrivalTime(0), &|_| None);
    let (flushed, tally) = (state.position, state.ledger().unflushed.plus(older));
    state.adopt(Arc::new(HistoryVersion { flushed, totals: totals(tally), ..HistoryVersion::default() }), Vec::new());
    assert!(holds(&state), "{:?}", state.ledger());
    let twice = totals(tally.plus(tally));
    let flushed = flushed.next();
    state.adopt(Arc::new(HistoryVersion { flushed, totals: twice, ..HistoryVersion::default() }), Vec::new());
    assert!(!holds(&state), "a flush that enters something twice");
}
