//! A copy of the log while it is being written: all that was durable when the copy began, and nothing that is torn.
//!
//! Segments are opened before the first is read, so that one that is deleted meanwhile is copied all the same; one that was
//! deleted before is in history, and so is all before it. What is written meanwhile may be read in part: each segment is
//! copied as far as its groups are whole, and where that is less than the next segment says, the next is left out.
//!
//! Whoever wants history to go with it looks at the catalog *after* this copy: it then knows all that was deleted here.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemas::LogPosition;

use super::replay::{Segment, corrupt, durable_beyond, read_group, segment_files};
use super::segment::{GROUP_HEADER, SEGMENT_HEADER, SegmentHeader, sync_dir};
use crate::error::{Error, Result};

/// A segment that looks damaged while it is being written is read again so often.
const TRIES: usize = 5;
/// So long after half a header was read it is read again.
const PAUSE: Duration = Duration::from_millis(1);

/// What was copied.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CopiedLog {
    /// Names of the files.
    pub names: Vec<String>,
    /// Position of the first frame, and the one after the last; `None` where there is no frame.
    pub positions: Option<(LogPosition, LogPosition)>,
}

/// Copies the log in the folder `from` to the empty folder `to`; the copy is durable then.
///
/// # Errors
/// A file can't be read or written, or bytes that were durable are bad.
pub fn copy_log(from: &Path, to: &Path) -> Result<CopiedLog> {
    let mut copied = CopiedLog::default();
    let mut opened = open_all(from)?.into_iter().peekable();
    while let Some((path, file)) = opened.next() {
        let Some((segment, end, next)) = read_whole(&path, &file)? else { break };
        let stated = match opened.peek() {
            Some((path, file)) => header_of(path, file)?.map(|header| header.previous_end),
            None => None,
        };
        let torn = stated.is_none_or(|stated| stated > end);
        let end = stated.map_or(end, |stated| stated.min(end));
        copied.names.push(write_copy(&segment, end, to)?);
        let first = copied.positions.map_or(segment.header.first, |(first, _)| first);
        copied.positions = Some((first, next));
        if torn {
            break;
        }
    }
    sync_dir(to)?;
    Ok(copied)
}

/// All segments, in order. They are deleted from the oldest on: before one that is gone nothing counts.
fn open_all(from: &Path) -> Result<Vec<(PathBuf, File)>> {
    let mut opened = Vec::new();
    for path in segment_files(from)? {
        match File::open(&path) {
            Ok(file) => opened.push((path, file)),
            Err(e) if e.kind() == ErrorKind::NotFound => opened.clear(),
            Err(e) => return Err(Error::io(format!("can't open {}", path.display()), e)),
        }
    }
    Ok(opened)
}

/// The header of a segment, and its first bytes, of which there are `most` at most. Half a header is read where it is just
/// being written: then it is read again.
fn read_header(path: &Path, mut file: &File, most: u64) -> Result<(Option<SegmentHeader>, Vec<u8>)> {
    let mut tries = 0;
    loop {
        let mut bytes = Vec::new();
        let read = std::io::Seek::rewind(&mut file).and_then(|()| file.take(most).read_to_end(&mut bytes));
        read.map_err(|e| Error::io(format!("can't read {}", path.display()), e))?;
        tries += 1;
        match SegmentHeader::decode(&bytes) {
            Ok(header) => return Ok((header, bytes)),
            // Whoever writes it may be waiting for a processor.
            Err(_) if tries < TRIES => std::thread::sleep(PAUSE),
            Err(reason) => return Err(corrupt(path, 0, reason)),
        }
    }
}

fn header_of(path: &Path, file: &File) -> Result<Option<SegmentHeader>> {
    read_header(path, file, SEGMENT_HEADER).map(|(header, _)| header)
}

/// A segment, up to which offset its groups are whole, and the position after the last; `None` of one that was never used.
fn read_whole(path: &Path, file: &File) -> Result<Option<(Segment, u64, LogPosition)>> {
    for tries in 1.. {
        let (header, bytes) = read_header(path, file, u64::MAX)?;
        let Some(header) = header else { return Ok(None) };
        let segment = Segment { path: path.to_owned(), header, bytes };
        let (mut end, mut next) = (SEGMENT_HEADER, header.first);
        let bad = loop {
            match read_group(&segment, end) {
                Ok((group, _)) => {
                    end += GROUP_HEADER as u64 + group.len;
                    next = LogPosition(group.first.0 + u64::from(group.frames));
                }
                Err(reason) => break reason,
            }
        };
        if !durable_beyond(&segment, end) {
            return Ok(Some((segment, end, next)));
        }
        // It was written between two reads of this file, or it is damaged.
        if tries == TRIES {
            return Err(corrupt(path, end, bad));
        }
    }
    Ok(None)
}

/// Writes a segment as far as it is whole, at its full length.
fn write_copy(segment: &Segment, end: u64, to: &Path) -> Result<String> {
    let name = segment.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let target = to.join(&name);
    let written = || {
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&target)?;
        file.write_all(&segment.bytes[..end as usize])?;
        file.set_len(segment.bytes.len() as u64)?;
        file.sync_all()
    };
    written().map_err(|e| Error::io(format!("can't write {}", target.display()), e))?;
    Ok(name)
}
