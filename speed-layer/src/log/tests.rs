mod copy;
mod damage;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use schemas::gap::NoGaps;
use schemas::{ArrivalTime, Batch, Clock, LogPosition, SeriesId};
use tokio::sync::oneshot;

use super::segment::SEGMENT_HEADER;
use super::{Append, Frame, LogHandle, LogSettings, Replayed, Sink, replay, spawn};
use crate::error::Error;
use crate::handle::Components;
use crate::metrics::Metrics;
use crate::room::Room;
use crate::settings::Durability;

#[derive(Debug)]
struct Tick;

impl Clock for Tick {
    fn now(&self) -> ArrivalTime {
        ArrivalTime(7)
    }
}

#[derive(Default, Clone)]
pub(super) struct Seen(Arc<Mutex<Vec<LogPosition>>>);

impl Sink for Seen {
    fn apply(&mut self, first: LogPosition, frames: Vec<Frame>) {
        let mut seen = self.0.lock().expect("no panic");
        (0..frames.len() as u64).for_each(|i| seen.push(LogPosition(first.0 + i)));
    }
}

pub(super) fn frame(n: i64) -> Frame {
    let batch = Batch { definitions: vec![], series: vec![SeriesId(1)], times: vec![n], values: vec![n as f64] };
    Frame { arrival: ArrivalTime(n), batch }
}

pub(super) fn components() -> Components {
    Components {
        clock: Arc::new(Tick),
        metrics: Metrics::new(&mut prometheus_client::registry::Registry::default()),
        gaps: Arc::new(NoGaps),
        room: Arc::new(Room::new(0, Vec::new())),
    }
}

fn start(dir: &Path, segment_bytes: u64) -> (LogHandle, std::thread::JoinHandle<()>, Vec<i64>) {
    start_behind(dir, LogPosition::START, segment_bytes)
}

fn start_behind(
    dir: &Path,
    position: LogPosition,
    segment_bytes: u64,
) -> (LogHandle, std::thread::JoinHandle<()>, Vec<i64>) {
    let (replayed, times) = read(dir, position).expect("a sound log");
    let settings = LogSettings { dir: dir.to_owned(), segment_bytes, durability: Durability::Sync };
    let (log, thread) = spawn(settings, replayed, Seen::default(), components()).expect("starts");
    (log, thread, times)
}

pub(super) fn read(dir: &Path, start: LogPosition) -> Result<(Replayed, Vec<i64>), Error> {
    let mut times = Vec::new();
    let replayed = replay(dir, start, |_, frame| {
        times.push(frame.batch.times[0]);
        Ok(())
    })?;
    Ok((replayed, times))
}

fn append(log: &LogHandle, n: i64) -> LogPosition {
    let (answer, wait) = oneshot::channel();
    log.append(Append { frame: frame(n), answer }).expect("queued");
    wait.blocking_recv().expect("answered").expect("durable")
}

/// A log of `n` frames, one group each, closed; and its segment files.
fn written(n: i64, segment_bytes: u64) -> (tempfile::TempDir, Vec<PathBuf>) {
    let dir = tempfile::tempdir().expect("a folder");
    let (log, thread, _) = start(dir.path(), segment_bytes);
    for i in 1..=n {
        assert_eq!(append(&log, i), LogPosition(i as u64));
    }
    drop(log);
    thread.join().expect("no panic");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(dir.path()).expect("a folder").map(|e| e.expect("an entry").path()).collect();
    files.sort();
    (dir, files)
}

/// Where each group of a segment begins, and where the last ends.
fn group_offsets(bytes: &[u8]) -> Vec<usize> {
    let mut offsets: Vec<usize> = memchr::memmem::find_iter(bytes, b"WGRP").collect();
    offsets.push(bytes.iter().rposition(|b| *b != 0).expect("not blank") + 1);
    offsets
}

#[test]
fn frames_survive_restarts_in_order() {
    let (dir, _) = written(3, 1 << 16);
    let (log, thread, times) = start(dir.path(), 1 << 16);
    assert_eq!(times, [1, 2, 3]);
    assert_eq!(append(&log, 4), LogPosition(4));
    drop(log);
    thread.join().expect("no panic");
    assert_eq!(read(dir.path(), LogPosition::START).expect("sound").1, [1, 2, 3, 4]);
    assert_eq!(read(dir.path(), LogPosition(2)).expect("sound").1, [3, 4]);
}

#[test]
fn segments_rotate_and_are_truncated() {
    let (dir, files) = written(300, 1 << 12);
    assert!(files.len() > 5, "{files:?}");
    let (log, thread, times) = start(dir.path(), 1 << 12);
    assert_eq!(times, (1..=300).collect::<Vec<i64>>());
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(log.truncate(LogPosition(180)));
    drop(log);
    thread.join().expect("no panic");
    let (_, kept) = read(dir.path(), LogPosition(180)).expect("sound");
    assert_eq!(kept, (181..=300).collect::<Vec<i64>>());
    assert!(read(dir.path(), LogPosition(10)).is_err(), "frames between 10 and the first kept are missing");
}

#[test]
fn a_torn_tail_is_cut_at_every_length() {
    let (dir, files) = written(3, 1 << 12);
    let whole = std::fs::read(&files[0]).expect("readable");
    let offsets = group_offsets(&whole);
    for cut in offsets[2]..offsets[3] {
        let mut torn = whole.clone();
        torn[cut..].fill(0);
        std::fs::write(&files[0], &torn).expect("writable");
        assert_eq!(read(dir.path(), LogPosition::START).expect("a torn tail is no error").1, [1, 2], "cut at {cut}");
    }
}

#[test]
fn a_flipped_bit_before_the_durable_mark_stops_the_start() {
    let (dir, files) = written(3, 1 << 12);
    let whole = std::fs::read(&files[0]).expect("readable");
    let offsets = group_offsets(&whole);
    for bit in 0..offsets[2] * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&files[0], &flipped).expect("writable");
        let error = read(dir.path(), LogPosition::START).map(|(_, times)| times).expect_err("durable bytes are bad");
        let Error::Corrupt { file, offset, .. } = &error else { panic!("{error}") };
        assert_eq!(file, &files[0]);
        assert!(*offset <= (bit / 8) as u64, "bit {bit} reported at {offset}");
        assert!(error.to_string().contains("weir check"));
    }
}

#[test]
fn what_lies_behind_the_stated_end_of_a_closed_segment_counts_for_nothing() {
    let (dir, files) = written(2, 1 << 12);
    let (log, thread, _) = start(dir.path(), 1 << 12);
    append(&log, 3);
    drop(log);
    thread.join().expect("no panic");
    let mut bytes = std::fs::read(&files[0]).expect("readable");
    let end = *group_offsets(&bytes).last().expect("an end");
    bytes[end + 8] = 99;
    std::fs::write(&files[0], &bytes).expect("writable");
    assert_eq!(read(dir.path(), LogPosition::START).expect("sound").1, [1, 2, 3]);
    bytes[SEGMENT_HEADER as usize + 60] ^= 1;
    std::fs::write(&files[0], &bytes).expect("writable");
    assert!(read(dir.path(), LogPosition::START).is_err());
}

#[test]
fn a_missing_segment_is_noticed() {
    let (dir, files) = written(100, 1 << 10);
    std::fs::remove_file(&files[2]).expect("deletable");
    assert!(matches!(read(dir.path(), LogPosition::START), Err(Error::Corrupt { .. })));
}

#[test]
fn a_start_of_the_first_group_that_a_power_cut_kept_from_the_disk_is_a_torn_tail() {
    let (dir, files) = written(200, 1 << 16);
    let whole = std::fs::read(&files[0]).expect("readable");
    // The rest of a first group that has several pages, and of one on a file system of smaller blocks.
    for kept in [4096..6000, 1024..6000, 512..1024] {
        let mut torn = vec![0; whole.len()];
        torn[kept].fill(7);
        std::fs::write(&files[0], &torn).expect("writable");
        assert_eq!(read(dir.path(), LogPosition::START).expect("nothing was durable").1, [0; 0]);
        torn[100] = 7;
        std::fs::write(&files[0], &torn).expect("writable");
        assert!(read(dir.path(), LogPosition::START).is_err(), "sectors are written whole");
    }
    for blank in [512, 4096] {
        let mut bytes = whole.clone();
        bytes[..blank].fill(0);
        std::fs::write(&files[0], &bytes).expect("writable");
        assert!(read(dir.path(), LogPosition::START).is_err(), "groups that follow state that it was durable");
    }
}

#[test]
fn a_log_that_ends_before_history_goes_on_behind_it() {
    let (dir, files) = written(3, 1 << 12);
    // With an interval, a power cut may take frames from the log that history has.
    let (log, thread, times) = start_behind(dir.path(), LogPosition(5), 1 << 12);
    assert_eq!((times, files[0].exists()), (vec![], false));
    assert_eq!(append(&log, 6), LogPosition(6));
    drop(log);
    thread.join().expect("no panic");
    assert_eq!(read(dir.path(), LogPosition(5)).expect("sound").1, [6]);
}

#[test]
fn segments_that_do_not_tell_their_length_are_read_and_followed() {
    let (dir, files) = written(200, 1 << 12);
    for path in &files {
        let mut bytes = std::fs::read(path).expect("readable");
        if bytes.iter().all(|b| *b == 0) {
            continue;
        }
        // As they were written before headers told it.
        bytes[44..52].fill(0);
        let crc = crc32fast::hash(&bytes[..60]).to_le_bytes();
        bytes[60..64].copy_from_slice(&crc);
        std::fs::write(path, &bytes).expect("writable");
    }
    let (log, thread, times) = start(dir.path(), 1 << 12);
    assert_eq!(times, (1..=200).collect::<Vec<i64>>());
    assert_eq!(append(&log, 201), LogPosition(201));
    drop(log);
    thread.join().expect("no panic");
    assert_eq!(read(dir.path(), LogPosition(199)).expect("sound").1, [200, 201]);
}
