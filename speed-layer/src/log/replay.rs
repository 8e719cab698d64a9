//! Replay: reads the segments back in order, cuts a torn tail, refuses corruption.

use std::path::{Path, PathBuf};

use schemas::LogPosition;

use super::frame::Frame;
use super::segment::{GROUP_HEADER, GROUP_MAGIC, GroupHeader, SECTOR, SEGMENT_HEADER, SegmentHeader};
use crate::error::{Error, Result};

/// What a replay found.
#[derive(Debug, Default)]
pub(crate) struct Replayed {
    /// Position of the last frame; the given start where there was none.
    pub(crate) last: LogPosition,
    /// Number of the last segment with a header; 0 where there was none.
    pub(super) last_segment: u64,
    /// Up to which offset the last segment counts.
    pub(super) last_end: u64,
    /// Segments with their last positions, in order.
    pub(super) segments: Vec<(PathBuf, LogPosition)>,
    /// Bytes of a torn tail that were cut.
    pub(crate) torn_bytes: u64,
}

/// A segment file as it was read.
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) header: SegmentHeader,
    pub(super) bytes: Vec<u8>,
}

/// Calls `apply` for every frame in `dir` after `start`, in order.
///
/// # Errors
/// A file can't be read; bytes that were durable are bad; frames are missing between `start` and the first one.
pub(crate) fn replay(
    dir: &Path,
    start: LogPosition,
    mut apply: impl FnMut(LogPosition, Frame) -> Result<()>,
) -> Result<Replayed> {
    let numbers = segment_files(dir)?;
    let mut replayed = Replayed { last: start, ..Replayed::default() };
    let mut next_position: Option<LogPosition> = None;
    let mut current = None;
    for path in numbers {
        let Some(segment) = read_segment(&path)? else { continue };
        if let Some(before) = current.replace(segment) {
            let end = current.as_ref().map(|s: &Segment| s.header.previous_end);
            check_follows(&before, current.as_ref().map(|s| &s.header))?;
            replay_segment(&before, end, start, &mut next_position, &mut replayed, &mut apply)?;
        }
    }
    if let Some(last) = current {
        replay_segment(&last, None, start, &mut next_position, &mut replayed, &mut apply)?;
    }
    Ok(replayed)
}

/// The segments' files in order, prepared ones too.
pub(super) fn segment_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let failed = |e| Error::io(format!("can't list {}", dir.display()), e);
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|e| e == "log") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// `None` of a file that was prepared but never used.
fn read_segment(path: &Path) -> Result<Option<Segment>> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(format!("can't read {}", path.display()), e))?;
    // A crash while preparing leaves a short or zero file; a used one was full length before its header was written.
    if bytes.iter().take(SEGMENT_HEADER as usize).all(|b| *b == 0) {
        let unused = bytes.iter().all(|b| *b == 0) || never_synced(&bytes);
        let blank = || corrupt(path, 0, "the segment header is blank but data follows".to_owned());
        return if unused { Ok(None) } else { Err(blank()) };
    }
    let header = SegmentHeader::decode(&bytes).map_err(|reason| corrupt(path, 0, reason))?;
    let (len, capacity) = (bytes.len() as u64, header.map_or(0, |header| header.capacity));
    if len < capacity {
        return Err(corrupt(path, len, format!("it has {len} bytes instead of {capacity}: its end is gone")));
    }
    Ok(header.map(|header| Segment { path: path.to_owned(), header, bytes }))
}

/// Whether the rest of the first group may have reached the disk before a power cut that kept its start, header and all,
/// from it. Then a sector at least is blank as a whole (blocks of a small file system are smaller than pages, and need not
/// lie together), and no group states that it was durable.
fn never_synced(bytes: &[u8]) -> bool {
    let groups =
        memchr::memmem::find_iter(bytes, GROUP_MAGIC).filter_map(|at| GroupHeader::decode_any(&bytes[at..]).ok());
    bytes.iter().take(SECTOR).all(|b| *b == 0) && groups.into_iter().all(|(group, _)| group.durable <= SEGMENT_HEADER)
}

fn check_follows(before: &Segment, after: Option<&SegmentHeader>) -> Result<()> {
    match after {
        Some(after) if after.number != before.header.number + 1 => {
            Err(corrupt(&before.path, 0, format!("segment {} follows segment {}", after.number, before.header.number)))
        }
        _ => Ok(()),
    }
}

/// Reads groups up to `end` where the next segment states it, otherwise to the first bad bytes that may be a torn tail.
fn replay_segment(
    segment: &Segment,
    end: Option<u64>,
    start: LogPosition,
    next: &mut Option<LogPosition>,
    replayed: &mut Replayed,
    apply: &mut impl FnMut(LogPosition, Frame) -> Result<()>,
) -> Result<()> {
    let limit = end.unwrap_or(segment.bytes.len() as u64);
    let mut offset = SEGMENT_HEADER;
    while offset < limit {
        let (group, frames) = match read_group(segment, offset) {
            Ok(group) => group,
            Err(reason) => {
                if end.is_some() || durable_beyond(segment, offset) {
                    return Err(corrupt(&segment.path, offset, reason));
                }
                replayed.torn_bytes += torn_len(&segment.bytes[offset as usize..]);
                break;
            }
        };
        let expected = next.unwrap_or(segment.header.first);
        if group.first != expected || expected > start.next() && next.is_none() {
            let reason = format!("frames between {} and {} are missing", expected.max(start.next()), group.first);
            return Err(corrupt(&segment.path, offset, reason));
        }
        for (i, frame) in (0..).zip(frames) {
            let position = LogPosition(group.first.0 + i);
            if position > start {
                apply(position, frame)?;
                replayed.last = position;
            }
        }
        *next = Some(LogPosition(group.first.0 + u64::from(group.frames)));
        offset += GROUP_HEADER as u64 + group.len;
    }
    let last = LogPosition(next.unwrap_or(segment.header.first).0 - 1);
    replayed.segments.push((segment.path.clone(), last));
    (replayed.last_segment, replayed.last_end) = (segment.header.number, offset.min(limit));
    Ok(())
}

/// The group at this offset, and its frames.
pub(super) fn read_group(segment: &Segment, offset: u64) -> Result<(GroupHeader, Vec<Frame>), String> {
    let bytes = &segment.bytes[offset as usize..];
    let header = GroupHeader::decode(bytes, segment.header.salt)?;
    let len = usize::try_from(header.len).map_err(|_| "the group is too long")?;
    let mut rest = bytes[GROUP_HEADER..].get(..len).ok_or("the group ends too early")?;
    let mut frames = Vec::new();
    for _ in 0..header.frames {
        let (frame, after) = Frame::decode(rest)?;
        frames.push(frame);
        rest = after;
    }
    if rest.is_empty() { Ok((header, frames)) } else { Err("bytes follow the group's last frame".to_owned()) }
}

/// Whether some later group header says that bytes at `offset` were durable (LOG-2).
pub(super) fn durable_beyond(segment: &Segment, offset: u64) -> bool {
    let bytes = &segment.bytes[offset as usize..];
    memchr::memmem::find_iter(bytes, GROUP_MAGIC)
        .filter_map(|at| GroupHeader::decode(&bytes[at..], segment.header.salt).ok())
        .any(|header| header.durable > offset)
}

fn torn_len(bytes: &[u8]) -> u64 {
    bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last as u64 + 1)
}

pub(super) fn corrupt(path: &Path, offset: u64, reason: String) -> Error {
    Error::Corrupt { file: path.to_owned(), offset, reason }
}
