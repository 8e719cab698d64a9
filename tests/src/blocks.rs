//! A disk that remembers every write and every flush, so that a test can tell what a power cut might have left of it: all
//! that was flushed, and of what was written since any part, the last write torn.
//!
//! It lives in user space (nbdkit with `tests/faults/blocks.py`, nbdfuse, a loop device), and needs root.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::disks::{run, text};

/// Larger writes may be torn at such places: the file systems themselves count on pages being written whole.
const PAGE: usize = 4096;

/// A mounted ext4 on such a disk.
#[derive(Debug)]
pub struct BlockDisk {
    /// Where it is mounted.
    pub point: PathBuf,
    log: PathBuf,
    size: u64,
    device: Option<String>,
    fuse: PathBuf,
    helpers: Vec<Child>,
}

impl BlockDisk {
    /// A new one of so many MiB; its parts lie in `dir`.
    ///
    /// # Errors
    /// What this machine lacks.
    pub fn make(size: u64, dir: &Path) -> Result<Self, String> {
        let (point, fuse, log, socket) = (dir.join("disk"), dir.join("fuse"), dir.join("blocks"), dir.join("socket"));
        for folder in [&point, &fuse] {
            std::fs::create_dir(folder).map_err(|error| error.to_string())?;
        }
        let mut made = Self { point, log, size: size << 20, device: None, fuse, helpers: Vec::new() };
        let plugin = Path::new(env!("CARGO_MANIFEST_DIR")).join("faults/blocks.py");
        let (log, bytes) = (format!("log={}", text(&made.log)), format!("size={}", made.size));
        made.help("nbdkit", &["-f", "-U", text(&socket), "python", text(&plugin), &log, &bytes], &socket)?;
        let file = made.fuse.join("nbd");
        made.help("nbdfuse", &[text(&file), "--unix", text(&socket)], &file)?;
        let device = Command::new("losetup").args(["-f", "--show", text(&file)]).output();
        let device = device.map_err(|error| format!("losetup: {error}"))?;
        if !device.status.success() {
            return Err(String::from_utf8_lossy(&device.stderr).into_owned());
        }
        let device = String::from_utf8_lossy(&device.stdout).trim().to_owned();
        made.device = Some(device.clone());
        run("mkfs.ext4", &["-q", "-m", "0", &device])?;
        run("mount", &[&device, text(&made.point)])?;
        Ok(made)
    }

    /// Starts a program that lives as long as the disk, and waits for the file that tells that it works.
    fn help(&mut self, program: &str, arguments: &[&str], sign: &Path) -> Result<(), String> {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.helpers.push(command.spawn().map_err(|error| format!("{program}: {error}"))?);
        let begun = Instant::now();
        while !sign.exists() {
            if begun.elapsed() > Duration::from_secs(10) {
                return Err(format!("{program} does not come up"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// The moment, as a length of the log.
    ///
    /// # Panics
    /// There is no log.
    pub fn moment(&self) -> u64 {
        self.log.metadata().expect("the log exists").len()
    }

    /// What was written and flushed so far.
    ///
    /// # Panics
    /// The log can't be read.
    pub fn written(&self) -> Written {
        Written::read(&std::fs::read(&self.log).expect("the log is readable"), self.size)
    }
}

impl Drop for BlockDisk {
    fn drop(&mut self) {
        // In the order of layers, each as far as it came to be.
        let _ = run("umount", &["-l", text(&self.point)]);
        if let Some(device) = &self.device {
            let _ = run("losetup", &["-d", device]);
        }
        let _ = run("umount", &["-l", text(&self.fuse)]);
        for helper in self.helpers.iter_mut().rev() {
            let _ = helper.kill();
            let _ = helper.wait();
        }
    }
}

/// A write, or a flush.
#[derive(Debug)]
struct Entry {
    /// Where it ends in the log: the moment when it was done.
    done: u64,
    kind: Kind,
    offset: u64,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Write,
    Flush,
    DurableWrite,
}

/// All writes and flushes of a disk, in order.
#[derive(Debug)]
pub struct Written {
    entries: Vec<Entry>,
    size: u64,
}

impl Written {
    fn read(log: &[u8], size: u64) -> Self {
        const HEADER: usize = 13;
        let (mut entries, mut at) = (Vec::new(), 0);
        while let Some(header) = log.get(at..at + HEADER) {
            let kind = [Kind::Write, Kind::Flush, Kind::DurableWrite][usize::from(header[0]) - 1];
            let offset = u64::from_le_bytes(header[1..9].try_into().expect("eight bytes"));
            let length = u32::from_le_bytes(header[9..13].try_into().expect("four bytes")) as usize;
            let Some(bytes) = log.get(at + HEADER..at + HEADER + length) else { break };
            at += HEADER + length;
            entries.push(Entry { done: at as u64, kind, offset, bytes: bytes.to_vec() });
        }
        Self { entries, size }
    }

    /// States that power cuts between two moments might have left, oldest first. `look` is given the image of each, and the
    /// moment of the cut.
    ///
    /// # Panics
    /// The images can't be written.
    pub fn cuts(
        &self,
        (from, to): (u64, u64),
        states: usize,
        dir: &Path,
        random: &mut fastrand::Rng,
        mut look: impl FnMut(&Path, u64),
    ) {
        let (flushed, image) = (dir.join("flushed"), dir.join("image"));
        let disk = File::create(&flushed).expect("created");
        disk.set_len(self.size).expect("sparse");
        let between: Vec<usize> =
            (0..self.entries.len()).filter(|i| (from..=to).contains(&self.entries[*i].done)).collect();
        let mut cuts: Vec<usize> = (0..states).map(|_| between[random.usize(..between.len())]).collect();
        cuts.sort_unstable();
        let mut applied = 0;
        for cut in cuts {
            let flush = (applied..=cut).rev().find(|i| self.entries[*i].kind == Kind::Flush);
            let durable = flush.map_or(applied, |flush| flush + 1);
            self.entries[applied..durable].iter().for_each(|entry| entry.write(&disk, entry.bytes.len()));
            applied = durable;
            run("cp", &["--sparse=always", text(&flushed), text(&image)]).expect("copied");
            self.write_some(applied..cut + 1, &image, random);
            look(&image, self.entries[cut].done);
        }
    }

    /// Any part of these entries, the last of which may be torn; those that were durable at once are always there.
    fn write_some(&self, entries: std::ops::Range<usize>, image: &Path, random: &mut fastrand::Rng) {
        let image = File::options().write(true).open(image).expect("just copied");
        // Disks differ in how much they hold back.
        let kept = random.f64();
        let kept: Vec<&Entry> = self.entries[entries]
            .iter()
            .filter(|entry| entry.kind == Kind::DurableWrite || random.f64() < kept)
            .collect();
        for (i, entry) in kept.iter().enumerate() {
            let pages = entry.bytes.len() / PAGE;
            let torn = i + 1 == kept.len() && pages > 1 && entry.kind == Kind::Write;
            entry.write(&image, if torn { random.usize(1..pages) * PAGE } else { entry.bytes.len() });
        }
    }
}

impl Entry {
    fn write(&self, disk: &File, length: usize) {
        disk.write_all_at(&self.bytes[..length], self.offset).expect("written");
    }
}
