//! Damage of every kind at every place of a log of several segments: a replay gives what was written, or names the file.
//!
//! One thing can't be told from a write that a crash tore: damage that reaches the newest group, behind which no mark says
//! that it was durable. There, and only there, a replay may give less; never anything else. `WEIR_FLIPS=n` flips so many
//! bits.

use super::*;

/// A log of some segments: its files with their bytes, and where the newest group begins in the last of them.
struct Log {
    dir: tempfile::TempDir,
    files: Vec<(PathBuf, Vec<u8>)>,
    newest_group: usize,
}

/// How many frames it holds.
const FRAMES: i64 = 60;

impl Log {
    fn new() -> Self {
        let (dir, paths) = written(FRAMES, 1 << 12);
        let mut files: Vec<(PathBuf, Vec<u8>)> =
            paths.into_iter().map(|path| (path.clone(), std::fs::read(path).expect("readable"))).collect();
        // What was prepared and never used says nothing.
        files.retain(|(_, bytes)| bytes.iter().any(|b| *b != 0));
        assert!(files.len() >= 2, "several segments");
        let offsets = group_offsets(&files[files.len() - 1].1);
        let newest_group = offsets[offsets.len() - 2];
        Self { dir, files, newest_group }
    }

    /// Puts bytes in place of a file, replays, and puts the file back. Says whether the damage was told.
    fn check(&self, file: usize, damaged: &[u8], what: &str) -> bool {
        let (path, whole) = &self.files[file];
        std::fs::write(path, damaged).expect("writable");
        let read = read(self.dir.path(), LogPosition::START);
        std::fs::write(path, whole).expect("writable");
        let all: Vec<i64> = (1..=FRAMES).collect();
        match read {
            Ok((_, times)) if times == all => false,
            Ok((_, times)) => {
                let newest = self.newest_group;
                let torn_tail = file == self.files.len() - 1 && damaged.get(newest..) != whole.get(newest..);
                assert!(torn_tail, "{what}: {} frames, nothing told", times.len());
                assert!(all.starts_with(&times), "{what}: {times:?}");
                true
            }
            Err(Error::Corrupt { file, offset, reason }) => {
                assert!(self.files.iter().any(|(path, _)| *path == file), "{what}: {file:?} at {offset}: {reason}");
                true
            }
            Err(other) => panic!("{what}: {other}"),
        }
    }
}

#[test]
fn no_flipped_bit_is_answered_from() {
    let log = Log::new();
    let flips: usize = std::env::var("WEIR_FLIPS").ok().and_then(|v| v.parse().ok()).unwrap_or(4_000);
    let mut random = fastrand::Rng::with_seed(11);
    for _ in 0..flips {
        let file = random.usize(..log.files.len());
        let mut bytes = log.files[file].1.clone();
        let bit = random.usize(..bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        log.check(file, &bytes, &format!("file {file}, bit {bit}"));
    }
}

#[test]
fn no_cut_is_answered_from() {
    let log = Log::new();
    for file in 0..log.files.len() {
        let whole = &log.files[file].1;
        for length in 1..whole.len() {
            let told = log.check(file, &whole[..length], &format!("file {file} cut at {length}"));
            // Of a closed segment what lies behind its end is not needed, but the file is shorter than it says.
            assert!(told, "file {file} cut at {length}");
        }
    }
}

#[test]
fn no_block_that_is_blank_doubled_swapped_or_foreign_is_answered_from() {
    let log = Log::new();
    for block in [64, 512, 4096] {
        for file in 0..log.files.len() {
            let whole = &log.files[file].1;
            let other = &log.files[(file + 1) % log.files.len()].1;
            for at in (0..whole.len()).step_by(block) {
                let end = (at + block).min(whole.len());
                let what = |kind| format!("file {file}, {block} bytes at {at}, {kind}");
                let mut blank = whole.clone();
                blank[at..end].fill(0);
                log.check(file, &blank, &what("blank"));
                if end + block <= whole.len() {
                    let (mut doubled, mut swapped) = (whole.clone(), whole.clone());
                    doubled.copy_within(at..end, end);
                    log.check(file, &doubled, &what("doubled"));
                    let (left, right) = swapped[at..end + block].split_at_mut(block);
                    left.swap_with_slice(right);
                    log.check(file, &swapped, &what("swapped"));
                }
                if end <= other.len() {
                    let mut foreign = whole.clone();
                    foreign[at..end].copy_from_slice(&other[at..end]);
                    log.check(file, &foreign, &what("foreign"));
                }
            }
            for another in (0..log.files.len()).filter(|another| *another != file) {
                let bytes = log.files[another].1.clone();
                assert!(log.check(file, &bytes, &format!("file {file} is file {another}")));
            }
        }
    }
}
