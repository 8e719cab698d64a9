use super::super::replay;
use super::super::tests::{Seen, components, frame, read};
use super::*;

/// A writer that syncs after every group, as an interval that is always over does.
fn writer(dir: &Path) -> Writer<Seen> {
    let durability = Durability::Interval(Duration::ZERO);
    let settings = LogSettings { dir: dir.to_owned(), segment_bytes: 1 << 16, durability };
    let replayed = replay(dir, LogPosition::START, |_, _| Ok(())).expect("a sound log");
    Writer::open(settings, replayed, Seen::default(), components()).expect("opens")
}

/// Commits the frames of these times as one group; tells their positions.
fn commit(writer: &mut Writer<Seen>, times: &[i64]) -> Vec<u64> {
    let (group, answers): (Vec<_>, Vec<_>) = times
        .iter()
        .map(|n| {
            let (answer, wait) = oneshot::channel();
            (Append { frame: frame(*n), answer }, wait)
        })
        .unzip();
    assert!(writer.commit(group));
    answers.into_iter().map(|wait| wait.blocking_recv().expect("answered").expect("taken").0).collect()
}

/// From now on each sync of the current segment fails: this device takes what is written, and can't be synced.
fn break_segment(writer: &mut Writer<Seen>) {
    let broken = File::options().write(true).open("/dev/null").expect("a device");
    assert!(broken.sync_data().is_err());
    writer.current.as_mut().expect("a segment").file.file = broken;
}

#[test]
fn a_segment_whose_sync_fails_ends_before_what_it_owes() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut writer = writer(dir.path());
    assert_eq!(commit(&mut writer, &[1, 2]), [1, 2]);
    break_segment(&mut writer);
    assert_eq!(commit(&mut writer, &[3, 4, 5]), [3, 4, 5]);
    assert!(writer.current.is_none(), "the sync failed");
    let last: Vec<u64> = writer.closed.iter().map(|(_, last)| last.0).collect();
    assert_eq!(last, [2]);
    assert_eq!(commit(&mut writer, &[6]), [6]);
    // The first segment goes, and the second begins where it ended.
    writer.truncate(LogPosition(2));
    writer.wait_for_spare();
    assert_eq!((writer.closed.len(), writer.unsynced.frames), (0, 0));
    assert_eq!(read(dir.path(), LogPosition(2)).expect("no position is missing").1, [3, 4, 5, 6]);
}

#[test]
fn what_a_failed_segment_owes_is_synced_where_nothing_follows() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut writer = writer(dir.path());
    commit(&mut writer, &[1]);
    break_segment(&mut writer);
    commit(&mut writer, &[2]);
    assert_eq!(writer.unsynced.frames, 1);
    writer.sync_if_due(Duration::ZERO);
    let current = writer.current.as_ref().expect("a new segment");
    assert_eq!((writer.unsynced.frames, current.durable), (0, current.end));
    writer.wait_for_spare();
    assert_eq!(read(dir.path(), LogPosition::START).expect("a sound log").1, [1, 2]);
}

#[test]
fn what_was_replayed_is_synced_before_a_segment_states_that_it_is_durable() {
    let dir = tempfile::tempdir().expect("a folder");
    let settings = LogSettings { dir: dir.path().to_owned(), segment_bytes: 1 << 16, durability: Durability::Sync };
    let replayed = Replayed { segments: vec![("/dev/null".into(), LogPosition(1))], ..Replayed::default() };
    let opened = Writer::open(settings, replayed, Seen::default(), components());
    assert!(opened.is_err_and(|error| error.to_string().contains("can't sync /dev/null")));
}
