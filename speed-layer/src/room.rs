//! Room on disk: readings are refused while there is still room for what must go on without them.
//!
//! A disk that is wholly full can't even be tidied: a flush writes files before segments of the log go, and the catalog
//! writes before it deletes. Owns how much is kept free for that, and whether ingest may take more. Does not own when the
//! disks are looked at (engine, and the log before each segment), nor what is done about a full one.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::error::{Error, Result};

/// Files that can still be made while readings are refused: a flush and a publish make some tens.
const FILES_RESERVE: u64 = 128;

/// The disks that data lies on.
#[derive(Debug)]
pub struct Room {
    reserve: u64,
    places: Vec<PathBuf>,
    /// Bytes free on the fullest of them, when they were last looked at.
    free: AtomicU64,
    short: AtomicBool,
    /// Bytes of the file that new readings needed last and there was no room for; 0 where there was.
    wanting: AtomicU64,
}

/// What is free on a disk. A disk that does not count files has room for any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Free {
    bytes: u64,
    files: u64,
}

impl Room {
    /// Keeps `reserve` bytes free on the disks of these places, which need not exist yet.
    pub fn new(reserve: u64, places: Vec<PathBuf>) -> Self {
        let (free, short, wanting) = (AtomicU64::new(u64::MAX), AtomicBool::new(false), AtomicU64::new(0));
        let room = Self { reserve, places, free, short, wanting };
        room.look();
        room
    }

    /// Looks at the disks; says when ingest stops and when it goes on.
    pub fn look(&self) {
        let free = self.places.iter().filter_map(|place| free_at(place));
        let all = free.fold(Free { bytes: u64::MAX, files: u64::MAX }, |a, b| Free {
            bytes: a.bytes.min(b.bytes),
            files: a.files.min(b.files),
        });
        self.free.store(all.bytes, Ordering::Relaxed);
        let short = !self.holds(all, 0);
        if self.short.swap(short, Ordering::Relaxed) != short {
            let (free, files, reserve) = (all.bytes, all.files, self.reserve);
            if short {
                tracing::error!(free, files, reserve, "the disk is almost full: readings are refused");
            } else {
                tracing::info!(free, files, reserve, "the disk has room again: readings are taken");
            }
        }
        // Nobody may come for long who would try again.
        if self.holds(all, self.wanting.load(Ordering::Relaxed)) {
            self.tell_wanting(0);
        }
    }

    /// Whether readings may come, as of the last look.
    ///
    /// # Errors
    /// They may not.
    pub(crate) fn check(&self) -> Result<()> {
        if self.short.load(Ordering::Relaxed) { Err(Error::Full) } else { Ok(()) }
    }

    /// Whether a file of so many bytes may be made in `dir` for the sake of readings that may come.
    ///
    /// # Errors
    /// It would take what is kept free.
    pub(crate) fn check_ahead(&self, dir: &Path, bytes: u64) -> Result<()> {
        if free_at(dir).is_none_or(|free| self.holds(free, bytes)) { Ok(()) } else { Err(Error::Full) }
    }

    /// The same for the sake of readings that have come and are refused otherwise: that is told.
    ///
    /// # Errors
    /// It would take what is kept free.
    pub(crate) fn check_for(&self, dir: &Path, bytes: u64) -> Result<()> {
        let checked = self.check_ahead(dir, bytes);
        self.tell_wanting(if checked.is_ok() { 0 } else { bytes });
        checked
    }

    fn tell_wanting(&self, bytes: u64) {
        let before = self.wanting.swap(bytes, Ordering::Relaxed);
        let reserve = self.reserve;
        if before == 0 && bytes > 0 {
            tracing::error!(bytes, reserve, "the log has no room beside what is kept free: readings are refused");
        } else if before > 0 && bytes == 0 {
            tracing::info!(bytes = before, reserve, "the log has room again: readings are taken");
        }
    }

    fn holds(&self, free: Free, bytes: u64) -> bool {
        // No reserve at all means that nobody wants to be refused before the disk itself refuses.
        self.reserve == 0 || free.bytes.saturating_sub(bytes) >= self.reserve && free.files >= FILES_RESERVE
    }

    /// Whether so many bytes may be written to any of the disks, as they are now, without taking from what is kept free.
    pub fn spares(&self, bytes: u64) -> bool {
        self.places.iter().filter_map(|place| free_at(place)).all(|free| self.holds(free, bytes))
    }

    /// Bytes that are kept free.
    pub fn reserve(&self) -> u64 {
        self.reserve
    }

    /// Bytes free on the fullest disk when it was last looked at; `None` where that can't be told.
    pub fn free(&self) -> Option<u64> {
        Some(self.free.load(Ordering::Relaxed)).filter(|free| *free != u64::MAX)
    }

    /// Whether readings are refused, as of the last look or the last that needed a new file.
    pub fn is_short(&self) -> bool {
        self.short.load(Ordering::Relaxed) || self.wanting.load(Ordering::Relaxed) > 0
    }
}

/// What is free where `place` is, or will be. `None` where the system does not tell: then nothing is refused for it.
fn free_at(place: &Path) -> Option<Free> {
    let existing = place.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    let told = rustix::fs::statvfs(existing).ok()?;
    let files = if told.f_files == 0 { u64::MAX } else { told.f_favail };
    Some(Free { bytes: told.f_bavail.saturating_mul(told.f_frsize), files })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_come_as_long_as_the_reserve_is_free() {
        let room = Room::new(100, Vec::new());
        for (bytes, files, wanted, holds) in [
            (100, 1000, 0, true),
            (99, 1000, 0, false),
            (150, 1000, 50, true),
            (150, 1000, 51, false),
            (0, 1000, u64::MAX, false),
            (100, u64::MAX, 0, true),
            (100, FILES_RESERVE - 1, 0, false),
        ] {
            assert_eq!(room.holds(Free { bytes, files }, wanted), holds, "{bytes} {files} {wanted}");
        }
        assert!(Room::new(0, Vec::new()).holds(Free { bytes: 0, files: 0 }, 1));
    }

    #[test]
    fn a_disk_with_less_than_the_reserve_is_short() {
        let dir = tempfile::tempdir().expect("a folder");
        let missing = dir.path().join("not/made/yet");
        let (little, much) = (Room::new(1, vec![missing.clone()]), Room::new(u64::MAX, vec![missing]));
        assert!(little.check().is_ok() && little.free().is_some_and(|free| free > 1));
        assert!(matches!(much.check(), Err(Error::Full)) && much.is_short());
        assert!(matches!(much.check_for(dir.path(), 1), Err(Error::Full)));
        assert!(little.spares(1) && !little.spares(u64::MAX) && !much.spares(0));
    }

    #[test]
    fn a_file_that_there_is_no_room_for_is_told_until_there_is() {
        let dir = tempfile::tempdir().expect("a folder");
        let room = Room::new(1, vec![dir.path().to_owned()]);
        assert!(room.check_ahead(dir.path(), u64::MAX).is_err() && !room.is_short(), "nobody is refused yet");
        assert!(room.check_for(dir.path(), u64::MAX).is_err() && room.is_short());
        assert!(room.check().is_ok(), "the next one tries again");
        room.look();
        assert!(room.is_short(), "there is no more room than before");
        assert!(room.check_for(dir.path(), 1).is_ok() && !room.is_short());
        // What was needed fits by now, and nobody came to see it.
        room.tell_wanting(1);
        room.look();
        assert!(!room.is_short());
    }
}
