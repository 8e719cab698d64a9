//! A file as bytes: decompressed on the way, its progress told.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use anyhow::Context as _;
use indicatif::ProgressBar;

/// Bytes read at once.
const BUFFER: usize = 1 << 18;
/// The largest window that a zstd file may ask for: 128 MiB, what the command line tool takes by default.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// A file, ready to be read.
pub(super) struct Input {
    /// Its content, decompressed.
    pub(super) reader: Box<dyn BufRead>,
    /// Whether it is a file on disk that is not compressed.
    pub(super) plain_file: bool,
    /// Where the progress stood before.
    pub(super) before: u64,
}

/// Opens a file; `-` is standard input.
pub(super) fn open(path: &Path, bar: &ProgressBar) -> anyhow::Result<Input> {
    let stdin = path == Path::new("-");
    let source: Box<dyn Read> =
        if stdin { Box::new(io::stdin()) } else { Box::new(File::open(path).context("can't open")?) };
    let before = bar.position();
    let mut source = BufReader::with_capacity(BUFFER, Counted { source, bar: bar.clone() });
    let start = source.fill_buf().context("can't read")?;
    let (gzip, zstd) = (start.starts_with(&[0x1f, 0x8b]), start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]));
    let reader: Box<dyn BufRead> = if gzip {
        Box::new(BufReader::with_capacity(BUFFER, flate2::bufread::MultiGzDecoder::new(source)))
    } else if zstd {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(source).context("can't read zstd")?;
        decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).context("can't read zstd")?;
        Box::new(BufReader::with_capacity(BUFFER, decoder))
    } else {
        Box::new(source)
    };
    Ok(Input { reader, plain_file: !stdin && !gzip && !zstd, before })
}

/// Tells the bar what was read.
struct Counted<R> {
    source: R,
    bar: ProgressBar,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.source.read(buffer)?;
        self.bar.inc(n as u64);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn compression_is_seen_by_content() {
        let dir = tempfile::tempdir().expect("a directory");
        let text = b"m v=1\n".repeat(1000);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&text).expect("in memory");
        let files = [text.clone(), gzip.finish().expect("in memory"), zstd::encode_all(&*text, 1).expect("in memory")];
        for (i, bytes) in files.iter().enumerate() {
            let path = dir.path().join(i.to_string());
            std::fs::write(&path, bytes).expect("written");
            let bar = ProgressBar::hidden();
            let mut input = open(&path, &bar).expect("opened");
            let mut read = Vec::new();
            input.reader.read_to_end(&mut read).expect("read");
            assert!(read == text, "{i}");
            assert_eq!((input.plain_file, bar.position()), (i == 0, bytes.len() as u64));
        }
    }
}
