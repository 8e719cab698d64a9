//! The machine: what it is, what its processors did, what a directory holds.
//!
//! Owns reading `/proc` and the file system. Client and server share the machine, perhaps with others: [`Meter`] says
//! who had the processors, because a rate alone means little where others took them.

use std::fs::{self, File};
use std::io::{Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde::Serialize;

use crate::measure::Latency;

/// Ticks per second in `/proc`: fixed by Linux' interface to programs, whatever the kernel was built with.
const TICKS_PER_S: f64 = 100.0;
/// What a server may take at once.
const TOUCHED_BYTES: usize = 1 << 30;
const PAGE_BYTES: usize = 4096;
/// A file's blocks are counted in units of this many bytes, whatever the file system.
const BLOCK_BYTES: u64 = 512;

/// What was measured on.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    cores: usize,
    cpu: String,
    kernel: String,
    filesystem: String,
    /// Writing 4 KiB into a prepared file and syncing it: what every acknowledgement has to wait for. Where others want
    /// the processors, most of it is the wait for one; the fastest is the disk's own.
    pub(crate) sync: Latency,
}

impl Machine {
    /// This machine, with the file system of `dir`.
    ///
    /// # Errors
    /// `/proc` or `dir` can't be read.
    pub(crate) fn of(dir: &Path) -> anyhow::Result<Self> {
        let cpu = read("/proc/cpuinfo")?;
        let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Ok(Self {
            cores: cores(),
            cpu: cpu.map_or("unknown processor", |(_, name)| name).trim().to_owned(),
            kernel: format!("Linux {}", read("/proc/sys/kernel/osrelease")?.trim()),
            filesystem: filesystem(&read("/proc/mounts")?, &dir.canonicalize()?),
            sync: sync_latency(dir).with_context(|| format!("can't write to {}", dir.display()))?,
        })
    }

    /// It in one line.
    pub(crate) fn describe(&self) -> String {
        format!("{} cores {}, {}, {}", self.cores, self.cpu, self.kernel, self.filesystem)
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn read(path: &str) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("can't read {path}"))
}

/// The file system of `dir`: that of the longest mount point it lies under.
fn filesystem(mounts: &str, dir: &Path) -> String {
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        Some((words.next()?, words.next()?, words.next()?))
    });
    let over = mounts.filter(|(_, point, _)| dir.starts_with(point)).max_by_key(|(_, point, _)| point.len());
    over.map_or("unknown file system".to_owned(), |(device, _, kind)| format!("{kind} on {device}"))
}

fn sync_latency(dir: &Path) -> anyhow::Result<Latency> {
    const PAGE: [u8; 4096] = [7; 4096];
    const WRITES: usize = 200;
    let path = dir.join("sync-probe");
    let mut file = File::create(&path)?;
    // Real bytes, as a log prepares its files: a sync then has no block map to write.
    file.write_all(&[0; PAGE.len() * WRITES])?;
    file.sync_all()?;
    file.rewind()?;
    let mut times = Vec::new();
    for _ in 0..WRITES {
        let begun = Instant::now();
        file.write_all(&PAGE)?;
        file.sync_data()?;
        times.push(begun.elapsed());
    }
    drop(file);
    fs::remove_file(path)?;
    Ok(Latency::of(times))
}

/// The commit of this source, and whether files differ from it.
pub(crate) fn commit() -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else { return "unknown commit".to_owned() };
    let clean = git(&["status", "--porcelain"]).is_some_and(|changes| changes.is_empty());
    if clean { commit } else { format!("{commit} with changes") }
}

/// Milliseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "a client stands outside the engine and has a clock of its own")]
pub(crate) fn now_ms() -> anyhow::Result<i64> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(i64::try_from(since.as_millis())?)
}

/// Bytes that the files under `dir` take on disk; 0 if there is no such directory.
///
/// # Errors
/// It can't be read.
pub(crate) fn disk_bytes(dir: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    let Ok(entries) = fs::read_dir(dir) else { return Ok(0) };
    for entry in entries {
        let entry = entry?;
        // What is deleted meanwhile takes nothing.
        let Ok(metadata) = entry.metadata() else { continue };
        bytes += if metadata.is_dir() { disk_bytes(&entry.path())? } else { metadata.blocks() * BLOCK_BYTES };
    }
    Ok(bytes)
}

/// Who had the processors since a moment.
#[derive(Debug)]
pub(crate) struct Meter {
    pid: u32,
    begun: Instant,
    server_s: f64,
    client_s: f64,
    busy_s: f64,
}

/// Who had the processors.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub(crate) struct Spent {
    /// Seconds on the wall.
    pub(crate) wall_s: f64,
    /// CPU seconds of the server and its children.
    pub(crate) server_cpu_s: f64,
    /// CPU seconds of this program.
    pub(crate) client_cpu_s: f64,
    /// CPU seconds of everybody else.
    pub(crate) others_cpu_s: f64,
}

impl Meter {
    /// Starts now, for the server of this process id.
    ///
    /// # Errors
    /// There is no such process.
    pub(crate) fn start(pid: u32) -> anyhow::Result<Self> {
        let (server_s, client_s, busy_s) = (family_cpu_s(pid)?, process_cpu_s(std::process::id())?, busy_s()?);
        Ok(Self { pid, begun: Instant::now(), server_s, client_s, busy_s })
    }

    /// What was spent since the start.
    ///
    /// # Errors
    /// The process has ended.
    pub(crate) fn spent(&self) -> anyhow::Result<Spent> {
        let wall_s = self.begun.elapsed().as_secs_f64();
        let server_cpu_s = family_cpu_s(self.pid)? - self.server_s;
        let client_cpu_s = process_cpu_s(std::process::id())? - self.client_s;
        let others_cpu_s = (busy_s()? - self.busy_s - server_cpu_s - client_cpu_s).max(0.0);
        Ok(Spent { wall_s, server_cpu_s, client_cpu_s, others_cpu_s })
    }
}

impl Spent {
    /// Adds what was spent in another stretch of time.
    pub(crate) fn add(&mut self, other: Self) {
        self.wall_s += other.wall_s;
        self.server_cpu_s += other.server_cpu_s;
        self.client_cpu_s += other.client_cpu_s;
        self.others_cpu_s += other.others_cpu_s;
    }

    /// The part of all processors that others had.
    pub(crate) fn others_share(&self) -> f64 {
        self.others_cpu_s / (self.wall_s * cores() as f64)
    }
}

/// CPU seconds that a process has used, all its threads together.
///
/// # Errors
/// There is no such process.
pub(crate) fn process_cpu_s(pid: u32) -> anyhow::Result<f64> {
    cpu_s(pid, 2)
}

/// CPU seconds that a process and its children have used, those that have ended, too.
///
/// # Errors
/// There is no such process.
pub(crate) fn family_cpu_s(pid: u32) -> anyhow::Result<f64> {
    // A child may end between being listed and being read: its time is then its parent's.
    let living: f64 = children(pid).into_iter().filter_map(|child| cpu_s(child, 2).ok()).sum();
    Ok(cpu_s(pid, 4)? + living)
}

/// CPU seconds of those children of this program that have ended.
///
/// # Errors
/// `/proc` can't be read.
pub(crate) fn children_cpu_s() -> anyhow::Result<f64> {
    let own = std::process::id();
    Ok(cpu_s(own, 4)? - cpu_s(own, 2)?)
}

/// The first so many of: user and system time, and that of children that have ended.
fn cpu_s(pid: u32, times: usize) -> anyhow::Result<f64> {
    let stat = read(&format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold anything. The times are fields 14 to 17 of all, 12 to 15 after it.
    let (_, fields) = stat.rsplit_once(") ").context("no name in stat")?;
    let ticks: Vec<f64> = fields.split(' ').skip(11).take(times).map_while(|field| field.parse().ok()).collect();
    ensure!(ticks.len() == times, "no times in stat");
    Ok(ticks.iter().sum::<f64>() / TICKS_PER_S)
}

/// Living children of a process' first thread.
fn children(pid: u32) -> Vec<u32> {
    let listed = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    listed.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

/// The most memory that a process had since its start or [`forget_peak`], bytes; with that of living children, which
/// counts twice what they share.
///
/// # Errors
/// There is no such process.
pub(crate) fn peak_bytes(pid: u32) -> anyhow::Result<u64> {
    let peak = |pid: u32| memory(pid, "VmHWM:");
    Ok(peak(pid)? + children(pid).into_iter().filter_map(|child| peak(child).ok()).sum::<u64>())
}

/// The memory that a process has now, bytes; without that of children.
///
/// # Errors
/// There is no such process.
pub(crate) fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    memory(pid, "VmRSS:")
}

fn memory(pid: u32, field: &str) -> anyhow::Result<u64> {
    let status = read(&format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).with_context(|| format!("no {field}"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().with_context(|| format!("{field} is no number"))?;
    Ok(kib << 10)
}

/// Touches memory and gives it back, so that a server finds pages that are there. On a virtual machine whose free memory
/// goes back to its host, the first touch of a page takes longer than all that a server does with it; who is measured
/// when the host has to lend pages is chance.
pub(crate) fn touch_memory() {
    let mut memory = vec![0_u8; TOUCHED_BYTES];
    memory.iter_mut().step_by(PAGE_BYTES).for_each(|byte| *byte = 1);
    std::hint::black_box(&memory);
}

/// Bytes as they stand in tables.
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Lets the peak of a process begin anew.
///
/// # Errors
/// It is not ours.
pub(crate) fn forget_peak(pid: u32) -> anyhow::Result<()> {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").context("can't reset the peak of memory")
}

/// CPU seconds that all processors were busy.
fn busy_s() -> anyhow::Result<f64> {
    let stat = read("/proc/stat")?;
    let first = stat.lines().next().context("/proc/stat is empty")?;
    let ticks: Vec<f64> = first.split_whitespace().skip(1).map_while(|field| field.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guests are in user already.
    let busy = ticks.iter().take(8).enumerate().filter(|(i, _)| !matches!(i, 3 | 4)).map(|(_, ticks)| ticks);
    Ok(busy.sum::<f64>() / TICKS_PER_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_lies_on_its_longest_mount() {
        let mounts = "/dev/vda / ext4 rw 0 0\ntmpfs /dev/shm tmpfs rw 0 0\n/dev/vdb /data xfs rw 0 0\n";
        assert_eq!(filesystem(mounts, Path::new("/data/x")), "xfs on /dev/vdb");
        assert_eq!(filesystem(mounts, Path::new("/database")), "ext4 on /dev/vda");
        assert_eq!(filesystem("", Path::new("/x")), "unknown file system");
    }

    #[test]
    fn work_shows_on_the_meter() {
        let meter = Meter::start(std::process::id()).expect("we live");
        let begun = Instant::now();
        while begun.elapsed().as_millis() < 300 && meter.spent().expect("we live").client_cpu_s < 0.05 {}
        let spent = meter.spent().expect("we live");
        assert!(spent.client_cpu_s > 0.0 && spent.wall_s > 0.0, "{spent:?}");
        assert!(process_cpu_s(u32::MAX).is_err());
    }

    #[test]
    fn a_directory_is_as_large_as_its_files() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join("in")).expect("new");
        fs::write(dir.path().join("in/file"), [1; 10_000]).expect("new");
        let bytes = disk_bytes(dir.path()).expect("readable");
        assert!((10_000..50_000).contains(&bytes) && bytes.is_multiple_of(BLOCK_BYTES), "{bytes}");
        assert_eq!(disk_bytes(&dir.path().join("none")).expect("nothing"), 0);
    }
}
