//! A segment file: its header, and groups of frames behind it.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use schemas::LogPosition;

use super::frame::Reader;
use crate::error::{Error, Result};

const SEGMENT_MAGIC: &[u8; 8] = b"WEIRLOG1";
pub(super) const GROUP_MAGIC: &[u8; 4] = b"WGRP";
const VERSION: u32 = 1;
/// What memory and disks are read and written in, bytes.
pub(super) const PAGE: u64 = 4096;
/// What every disk writes whole or not at all, bytes.
pub(super) const SECTOR: usize = 512;
/// Zeros written at a time.
const ZEROS: usize = 1 << 20;
/// Length of a segment's header.
pub(super) const SEGMENT_HEADER: u64 = 64;
/// Length of a group's header.
pub(super) const GROUP_HEADER: usize = 48;

/// What a segment says of itself and of the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// Segments are numbered from 1 without gaps, until truncated.
    pub(super) number: u64,
    /// Tells this life of the file from others.
    pub(super) salt: u64,
    /// Position of the first frame.
    pub(super) first: LogPosition,
    /// Up to which offset the segment before was durable; what lies behind counts for nothing.
    pub(super) previous_end: u64,
    /// Length of the file, which is zeroed to its end before it is used; 0 in segments that don't tell.
    pub(super) capacity: u64,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SEGMENT_HEADER as usize);
        bytes.extend_from_slice(SEGMENT_MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        for word in [self.number, self.salt, self.first.0, self.previous_end, self.capacity] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.resize(SEGMENT_HEADER as usize - 4, 0);
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }

    /// `None` of a header that was never written: zeros, or fewer where the file is being prepared.
    pub(super) fn decode(bytes: &[u8]) -> Result<Option<Self>, String> {
        if bytes.iter().take(SEGMENT_HEADER as usize).all(|b| *b == 0) {
            return Ok(None);
        }
        let header = Reader(bytes).take(SEGMENT_HEADER as usize)?;
        let (body, crc) = header.split_at(SEGMENT_HEADER as usize - 4);
        if crc32fast::hash(body).to_le_bytes() != crc {
            return Err("the segment header's checksum does not match".to_owned());
        }
        let mut reader = Reader(body);
        if reader.take(8)? != SEGMENT_MAGIC || reader.u32()? != VERSION {
            return Err("it is not a log segment of a known version".to_owned());
        }
        let (number, salt, first) = (reader.u64()?, reader.u64()?, LogPosition(reader.u64()?));
        Ok(Some(Self { number, salt, first, previous_end: reader.u64()?, capacity: reader.u64()? }))
    }
}

/// What a group says of itself and of the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GroupHeader {
    /// Length of its frames, bytes.
    pub(super) len: u64,
    /// Position of its first frame.
    pub(super) first: LogPosition,
    /// How many frames.
    pub(super) frames: u32,
    /// Up to which offset of this segment everything was durable when this group was written.
    pub(super) durable: u64,
}

impl GroupHeader {
    pub(super) fn encode(&self, salt: u64) -> [u8; GROUP_HEADER] {
        let mut bytes = [0; GROUP_HEADER];
        bytes[0..4].copy_from_slice(GROUP_MAGIC);
        bytes[4..8].copy_from_slice(&self.frames.to_le_bytes());
        bytes[8..16].copy_from_slice(&salt.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.len.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.first.0.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.durable.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..44]);
        bytes[44..48].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8], salt: u64) -> Result<Self, String> {
        let (header, of) = Self::decode_any(bytes)?;
        if of == salt { Ok(header) } else { Err("the group belongs to an older life of this file".to_owned()) }
    }

    /// The same of any life of the file; and its salt.
    pub(super) fn decode_any(bytes: &[u8]) -> Result<(Self, u64), String> {
        let mut reader = Reader(bytes);
        let header = reader.take(GROUP_HEADER)?;
        if crc32fast::hash(&header[..44]).to_le_bytes() != header[44..48] {
            return Err("the group header's checksum does not match".to_owned());
        }
        let mut reader = Reader(header);
        if reader.take(4)? != GROUP_MAGIC {
            return Err("no group begins here".to_owned());
        }
        let (frames, salt) = (reader.u32()?, reader.u64()?);
        let (len, first) = (reader.u64()?, LogPosition(reader.u64()?));
        Ok((Self { len, first, frames, durable: reader.u64()? }, salt))
    }
}

/// A file that is ready to become a segment: zeroed, synced, named in its directory.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) number: u64,
    pub(super) capacity: u64,
}

/// The path of a segment.
pub(super) fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016}.log"))
}

/// Creates a segment's file and makes it and its name durable. Where that fails nothing of it stays: on a full disk, half
/// a segment would take the room that deletions need.
pub(super) fn prepare(dir: &Path, number: u64, capacity: u64) -> Result<Prepared> {
    let (path, capacity) = (segment_path(dir, number), capacity.next_multiple_of(PAGE));
    let made = create_zeroed(&path, capacity)
        .map_err(|source| Error::io(format!("can't prepare {}", path.display()), source))
        .and_then(|file| sync_dir(dir).map(|()| file));
    match made {
        Ok(file) => Ok(Prepared { file, path, number, capacity }),
        Err(error) => {
            // It may not even have come to exist.
            drop(std::fs::remove_file(&path));
            Err(error)
        }
    }
}

fn create_zeroed(path: &Path, capacity: u64) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(true).mode(0o600);
    let file = options.open(path)?;
    // Real zeros, not a hole: a later sync then has no block map to write.
    match write_zeros_past_cache(path, capacity) {
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => {
            write_zeros(&file, capacity)
        }
        done => done,
    }?;
    file.sync_all()?;
    Ok(file)
}

/// Past the page cache.
#[cfg(target_os = "linux")]
const DIRECT: i32 = rustix::fs::OFlags::DIRECT.bits().cast_signed();

/// Zeros that nobody reads need no place in memory. Fails as invalid or unsupported where the file system can't do that.
#[cfg(target_os = "linux")]
fn write_zeros_past_cache(path: &Path, capacity: u64) -> std::io::Result<()> {
    write_zeros(&OpenOptions::new().write(true).custom_flags(DIRECT).open(path)?, capacity)
}

#[cfg(not(target_os = "linux"))]
fn write_zeros_past_cache(_: &Path, _: u64) -> std::io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

fn write_zeros(file: &File, capacity: u64) -> std::io::Result<()> {
    let zeros = vec![0; ZEROS + PAGE as usize];
    // What goes past the cache must start at a page's start in memory, too.
    let start = zeros.as_ptr().align_offset(PAGE as usize);
    let zeros = &zeros[start..start + ZEROS];
    for at in (0..capacity).step_by(ZEROS) {
        write_at(file, &zeros[..ZEROS.min((capacity - at) as usize)], at)?;
    }
    Ok(())
}

/// Makes names in a directory durable.
pub(super) fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(|e| Error::io(format!("can't sync {}", dir.display()), e))
}

/// Writes `bytes` at `offset`.
pub(super) fn write_at(file: &File, bytes: &[u8], offset: u64) -> std::io::Result<()> {
    file.write_all_at(bytes, offset)
}
