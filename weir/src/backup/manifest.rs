//! The manifest of a backup: every file with its length and SHA-256, and a hash of the manifest itself.
//!
//! Owns its form and which names may stand in it. No name is believed: only those that Weir itself gives pass.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use schemas::{ArrivalTime, LogPosition, Resolution};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::write_new;

/// The manifest's file.
pub(super) const MANIFEST: &str = "manifest.json";
/// The file with its hash.
pub(super) const MANIFEST_HASH: &str = "manifest.sha256";
/// What a manifest says that it is.
const FORMAT: &str = "weir-backup";
/// The version that is written and read.
const VERSION: u32 = 1;
/// A manifest is no longer than this: about a million files.
const MANIFEST_BYTES_MAX: u64 = 256 << 20;

/// What a backup consists of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    format: String,
    version: u32,
    made_at: String,
    /// Width of the base buckets.
    pub(super) base_resolution: String,
    /// The last log position in it.
    pub(super) position: u64,
    /// All files but the manifest's own.
    pub(super) files: Vec<Entry>,
}

/// A file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// Below the backup's folder, with `/`.
    pub(super) path: String,
    pub(super) bytes: u64,
    /// As 64 hexadecimal digits.
    pub(super) sha256: String,
}

impl Manifest {
    pub(super) fn new(made_at: ArrivalTime, base: Resolution, position: LogPosition, files: Vec<Entry>) -> Self {
        let (format, made_at) = (FORMAT.to_owned(), made_at.to_string());
        Self { format, version: VERSION, made_at, base_resolution: base.to_string(), position: position.0, files }
    }

    /// Writes it and its hash, which make a folder a backup.
    pub(super) fn write(&self, dir: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_vec_pretty(self)?;
        write_new(&dir.join(MANIFEST), &text)?;
        write_new(&dir.join(MANIFEST_HASH), hex(&Sha256::digest(&text)).as_bytes())
    }

    /// Reads the manifest of a backup; refuses one that is damaged, of another version, or names what it must not.
    pub(super) fn read(dir: &Path) -> anyhow::Result<Self> {
        let (text, hash) = (read_plain(&dir.join(MANIFEST))?, read_plain(&dir.join(MANIFEST_HASH))?);
        ensure!(hex(&Sha256::digest(&text)).as_bytes() == hash, "{MANIFEST} is not what {MANIFEST_HASH} says");
        let told: serde_json::Value = serde_json::from_slice(&text).context(MANIFEST)?;
        ensure!(told["format"] == FORMAT, "{MANIFEST} is not that of a backup of Weir");
        ensure!(told["version"] == VERSION, "{MANIFEST} has version {}; this Weir reads {VERSION}", told["version"]);
        let manifest: Self = serde_json::from_value(told).context(MANIFEST)?;
        let mut seen = BTreeSet::new();
        for entry in &manifest.files {
            ensure!(is_ours(&entry.path), "{MANIFEST} names {:?}, which is no file of a backup", entry.path);
            ensure!(seen.insert(&entry.path), "{MANIFEST} names {} twice", entry.path);
        }
        ensure!(seen.contains(&"catalog.db".to_owned()), "{MANIFEST} names no catalog");
        Ok(manifest)
    }
}

/// Whether Weir gives a file of a backup this name: letters, digits and a few signs, at most three folders deep.
fn is_ours(path: &str) -> bool {
    let digits = |text: &str, n: usize| text.len() == n && text.bytes().all(|b| b.is_ascii_digit());
    let hexadecimal = |text: &str| text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let label = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    match path.split('/').collect::<Vec<_>>()[..] {
        ["catalog.db"] => true,
        ["log", name] => name.strip_suffix(".log").is_some_and(|number| digits(number, 16)),
        ["history", kind, part, name] => {
            let name = name.strip_suffix(".parquet").and_then(|name| name.split_once('-'));
            ["readings", "quarantine", "partials", "views", "series"].contains(&kind)
                && part.strip_prefix("part=").is_some_and(label)
                && name.is_some_and(|(position, hash)| digits(position, 16) && hexadecimal(hash))
        }
        _ => false,
    }
}

/// The bytes of a file that is no link and not too long.
fn read_plain(path: &Path) -> anyhow::Result<Vec<u8>> {
    let told = std::fs::symlink_metadata(path).with_context(|| format!("can't read {}", path.display()))?;
    if !told.is_file() || told.len() > MANIFEST_BYTES_MAX {
        bail!("{} is a link, a folder or too long", path.display());
    }
    std::fs::read(path).with_context(|| format!("can't read {}", path.display()))
}

/// Length and SHA-256 of a file.
pub(super) fn sha256_of_file(path: &Path) -> anyhow::Result<(u64, String)> {
    let failed = || format!("can't read {}", path.display());
    let mut file = File::open(path).with_context(failed)?;
    let (mut hash, mut length, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 20]);
    loop {
        let read = file.read(&mut buffer).with_context(failed)?;
        if read == 0 {
            return Ok((length, hex(&hash.finalize())));
        }
        hash.update(&buffer[..read]);
        length += read as u64;
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_weir_gives_pass() {
        for good in [
            "catalog.db",
            "log/0000000000000001.log",
            "history/readings/part=2013-03/0000000000000007-00000000000000ff.parquet",
            "history/views/part=2013-03-01T07/0000000000000007-00000000000000ff.parquet",
            "history/series/part=all/0000000000000007-00000000000000ff.parquet",
        ] {
            assert!(is_ours(good), "{good}");
        }
        for bad in [
            "",
            "/",
            "/catalog.db",
            "./catalog.db",
            "../catalog.db",
            "catalog.db/",
            "catalog.db-wal",
            "LOCK",
            "log",
            "log/",
            "log/1.log",
            "log/000000000000000a.log",
            "log/../0000000000000001.log",
            "log/0000000000000001.log/x",
            "history/readings/part=../0000000000000007-00000000000000ff.parquet",
            "history/../part=a/0000000000000007-00000000000000ff.parquet",
            "history/other/part=a/0000000000000007-00000000000000ff.parquet",
            "history/readings/part=/0000000000000007-00000000000000ff.parquet",
            "history/readings/part=a\0b/0000000000000007-00000000000000ff.parquet",
            "history/readings/part=a/0000000000000007-00000000000000fg.parquet",
            "history\\readings\\part=a\\0000000000000007-00000000000000ff.parquet",
        ] {
            assert!(!is_ours(bad), "{bad:?}");
        }
    }
}
