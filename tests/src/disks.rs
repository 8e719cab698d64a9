//! Disks of their own for tests: a file system in a file, or one in memory, small enough to be filled. They need root.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Runs a program; what it wrote to stderr where it failed.
///
/// # Errors
/// It is not there, or says that it failed.
pub fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    let told = || format!("{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    if output.status.success() { Ok(()) } else { Err(told()) }
}

/// A path as an argument.
///
/// # Panics
/// It is no text.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are text")
}

/// A file system that is mounted; unmounted when dropped.
#[derive(Debug)]
pub struct FileSystem {
    /// Where it is mounted.
    pub point: PathBuf,
    /// What is mounted, as arguments of `mount`.
    source: Vec<String>,
    mounted: bool,
}

impl FileSystem {
    /// A new one of this kind and size (MiB) in a file of `dir`. The file is sparse: it takes what is written.
    ///
    /// # Errors
    /// What this machine lacks.
    pub fn in_file(kind: &str, size: u64, dir: &Path) -> Result<Self, String> {
        let image = dir.join("image");
        let file = File::create(&image).map_err(|error| error.to_string())?;
        file.set_len(size << 20).map_err(|error| error.to_string())?;
        // What ext4 keeps back for root would be free for a server that a test starts as root.
        let more: &[&str] = if kind == "ext4" { &["-m", "0"] } else { &[] };
        run(&format!("mkfs.{kind}"), &[more, &["-q", text(&image)]].concat())?;
        Self::of_image(&image, dir)
    }

    /// The one in this file, mounted below `dir`.
    ///
    /// # Errors
    /// It can't be mounted.
    pub fn of_image(image: &Path, dir: &Path) -> Result<Self, String> {
        Self::mounted(dir, vec!["-o".to_owned(), "loop".to_owned(), text(image).to_owned()])
    }

    /// A new one in memory, of this size (MiB), for so many files.
    ///
    /// # Errors
    /// What this machine lacks.
    pub fn in_memory(size: u64, files: u64, dir: &Path) -> Result<Self, String> {
        let options = format!("size={size}m,nr_inodes={files}");
        Self::mounted(dir, ["-t", "tmpfs", "-o", &options, "weir-test"].map(str::to_owned).to_vec())
    }

    fn mounted(dir: &Path, source: Vec<String>) -> Result<Self, String> {
        let point = dir.join("mounted");
        std::fs::create_dir_all(&point).map_err(|error| error.to_string())?;
        let mut made = Self { point, source, mounted: false };
        made.mount()?;
        Ok(made)
    }

    /// Mounts it again.
    ///
    /// # Errors
    /// It can't be mounted.
    pub fn mount(&mut self) -> Result<(), String> {
        let arguments: Vec<&str> = self.source.iter().map(String::as_str).chain([text(&self.point)]).collect();
        run("mount", &arguments)?;
        self.mounted = true;
        Ok(())
    }

    /// Unmounts it.
    ///
    /// # Panics
    /// Somebody uses it.
    pub fn unmount(&mut self) {
        run("umount", &[text(&self.point)]).expect("nobody uses it any more");
        self.mounted = false;
    }

    /// From now on nothing reaches the disk, the journal's newest entries included, as if the power failed.
    ///
    /// # Panics
    /// It can't be shut down.
    pub fn cut(&self) {
        run("xfs_io", &["-x", "-c", "shutdown", text(&self.point)]).expect("the file system is shut down");
    }

    /// Bytes free on it.
    ///
    /// # Panics
    /// It is not mounted.
    pub fn free(&self) -> u64 {
        let told = rustix::fs::statvfs(&self.point).expect("mounted");
        told.f_bavail * told.f_frsize
    }

    /// Fills it with a file until so many bytes are free; returns the file.
    ///
    /// # Panics
    /// Less is free already, or it can't be written.
    pub fn fill(&self, free: u64) -> PathBuf {
        let filler = self.point.join("filler");
        let mut file = File::create(&filler).expect("created");
        // Big pieces, then small ones, up to the last.
        for piece in [1 << 20, 4096, 1] {
            let piece = vec![0xa5; piece];
            while self.free() >= free + piece.len() as u64 {
                if file.write_all(&piece).and_then(|()| file.sync_data()).is_err() {
                    break;
                }
            }
            if free > 0 {
                break;
            }
        }
        filler
    }

    /// Makes empty files until there can be no more; returns their folder.
    ///
    /// # Panics
    /// Their folder can't be made.
    pub fn fill_with_files(&self) -> PathBuf {
        let folder = self.point.join("files");
        std::fs::create_dir(&folder).expect("created");
        let _ = (0..).find(|n| File::create(folder.join(n.to_string())).is_err());
        folder
    }
}

impl Drop for FileSystem {
    fn drop(&mut self) {
        if self.mounted {
            // A failed test may have left a process that still uses it.
            let _ = run("umount", &["-l", text(&self.point)]);
        }
    }
}
