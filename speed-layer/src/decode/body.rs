//! Content codings: what a body is compressed with, and undoing that within bounds.
//!
//! Owns the bounds: output is produced in small steps and stops at the limit, so that a bomb costs no more than the
//! limit. Does not own what the limits are, nor the limit on the compressed size (HTTP).

use std::borrow::Cow;
use std::io::Read;

use schemas::time::clip;

/// A content coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Encoding {
    /// As it is.
    #[default]
    Identity,
    /// gzip, of one member or several.
    Gzip,
    /// Zstandard, of one frame or several.
    Zstd,
}

/// Why a body could not be decompressed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// There is more in it than is allowed.
    #[error("body is larger than {limit} bytes when decompressed")]
    TooLarge {
        /// How many bytes are allowed.
        limit: usize,
    },
    /// The compressed bytes are damaged or cut off.
    #[error("{0}")]
    Corrupt(String),
    /// The coding is not one of ours.
    #[error("{0}")]
    Unsupported(String),
}

/// The window that RFC 9659 allows for zstd as a content coding: 8 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// The ratio limit does not bind below this size: small repetitive bodies compress very well.
const RATIO_FLOOR: usize = 1 << 20;
/// Bytes decompressed in one step.
const STEP: usize = 64 << 10;

impl Encoding {
    /// The coding that a `Content-Encoding` value names: a comma list in which all but one are `identity`.
    ///
    /// # Errors
    /// [`BodyError::Unsupported`]: an unknown coding, or one upon another.
    pub fn parse(header: &str) -> Result<Self, BodyError> {
        let mut found = Self::Identity;
        for name in header.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let encoding = Self::named(name)?;
            if found != Self::Identity && encoding != Self::Identity {
                return Err(BodyError::Unsupported("more than one content encoding is not supported".to_owned()));
            }
            if encoding != Self::Identity {
                found = encoding;
            }
        }
        Ok(found)
    }

    fn named(name: &str) -> Result<Self, BodyError> {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        match () {
            () if is("identity") => Ok(Self::Identity),
            () if is("gzip") || is("x-gzip") => Ok(Self::Gzip),
            () if is("zstd") => Ok(Self::Zstd),
            () => Err(BodyError::Unsupported(format!(
                "content encoding {:?} is not supported: use gzip, zstd or none",
                clip(name)
            ))),
        }
    }
}

impl std::str::FromStr for Encoding {
    type Err = BodyError;

    fn from_str(header: &str) -> Result<Self, BodyError> {
        Self::parse(header)
    }
}

/// The body without its coding: at most `limit` bytes, and at most `ratio_limit` times its compressed size (which
/// does not bind below 1 MiB).
///
/// # Errors
/// [`BodyError::TooLarge`] or [`BodyError::Corrupt`].
pub fn decompress(
    encoding: Encoding,
    bytes: &[u8],
    limit: usize,
    ratio_limit: usize,
) -> Result<Cow<'_, [u8]>, BodyError> {
    let compressed_limit = limit.min(bytes.len().saturating_mul(ratio_limit).max(RATIO_FLOOR));
    match encoding {
        Encoding::Identity if bytes.len() > limit => Err(BodyError::TooLarge { limit }),
        Encoding::Identity => Ok(Cow::Borrowed(bytes)),
        _ if bytes.is_empty() => Err(BodyError::Corrupt("compressed body is empty".to_owned())),
        Encoding::Gzip => gunzip(bytes, compressed_limit).map(Cow::Owned),
        Encoding::Zstd => unzstd(bytes, compressed_limit).map(Cow::Owned),
    }
}

fn gunzip(bytes: &[u8], limit: usize) -> Result<Vec<u8>, BodyError> {
    read_within(flate2::bufread::MultiGzDecoder::new(bytes), limit, "gzip")
}

fn unzstd(bytes: &[u8], limit: usize) -> Result<Vec<u8>, BodyError> {
    // A frame may say how much is in it. Believing a large number costs nothing, as it only refuses.
    if let Ok(Some(declared)) = zstd::zstd_safe::get_frame_content_size(bytes)
        && declared > limit as u64
    {
        return Err(BodyError::TooLarge { limit });
    }
    let corrupt = |e: std::io::Error| BodyError::Corrupt(format!("zstd body cannot be read: {e}"));
    let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes).map_err(corrupt)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(corrupt)?;
    read_within(decoder, limit, "zstd")
}

/// Everything that the reader gives, growing only as bytes arrive and never past the limit.
fn read_within(mut reader: impl Read, limit: usize, what: &str) -> Result<Vec<u8>, BodyError> {
    let mut out = Vec::new();
    let mut step = vec![0; STEP];
    loop {
        let n = match reader.read(&mut step) {
            Ok(0) => return Ok(out),
            Ok(n) => n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(corrupt(what, &e)),
        };
        let needed = out.len() + n;
        if needed > limit {
            return Err(BodyError::TooLarge { limit });
        }
        if needed > out.capacity() {
            let grown = (out.capacity() * 2).clamp(needed, limit);
            out.reserve_exact(grown - out.len());
        }
        out.extend_from_slice(&step[..n]);
    }
}

fn corrupt(what: &str, error: &std::io::Error) -> BodyError {
    BodyError::Corrupt(match error.kind() {
        std::io::ErrorKind::UnexpectedEof => format!("{what} body is cut off before its end"),
        _ => format!("{what} body is damaged: {error}"),
    })
}
