use std::io::Write;

use crate::decode::body::{BodyError, Encoding, decompress};

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(text).expect("into memory");
    encoder.finish().expect("into memory")
}

fn zstd(text: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(text, 3).expect("into memory")
}

/// Zstd frames that do not tell their size.
fn zstd_stream(text: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(text, 3).expect("into memory")
}

fn unpack(encoding: Encoding, bytes: &[u8]) -> Result<Vec<u8>, BodyError> {
    decompress(encoding, bytes, 10 << 20, 10_000).map(|body| body.into_owned())
}

#[test]
fn content_encodings() {
    for (header, expected) in [
        ("", Some(Encoding::Identity)),
        ("identity", Some(Encoding::Identity)),
        ("gzip", Some(Encoding::Gzip)),
        ("X-GZIP", Some(Encoding::Gzip)),
        (" identity , zstd ", Some(Encoding::Zstd)),
        ("zstd, identity", Some(Encoding::Zstd)),
        ("gzip, gzip", None),
        ("br", None),
        ("gzip;q=1", None),
        ("deflate", None),
    ] {
        assert_eq!(Encoding::parse(header).ok(), expected, "{header:?}");
    }
}

#[test]
fn compressed_bodies_read_back() {
    let text = b"m value=1\n".repeat(1000);
    for (encoding, bytes) in [
        (Encoding::Identity, text.clone()),
        (Encoding::Gzip, gzip(&text)),
        (Encoding::Gzip, [gzip(&text[..5000]), gzip(&text[5000..])].concat()),
        (Encoding::Zstd, zstd(&text)),
        (Encoding::Zstd, zstd_stream(&text)),
        (Encoding::Zstd, [zstd(&text[..5000]), zstd_stream(&text[5000..])].concat()),
    ] {
        assert_eq!(unpack(encoding, &bytes).as_ref(), Ok(&text), "{encoding:?}");
    }
}

#[test]
fn damaged_bodies_are_corrupt() {
    let text: Vec<u8> = (0..20_000_u32).flat_map(|n| (n.wrapping_mul(2_654_435_761)).to_le_bytes()).collect();
    for (encoding, bytes) in
        [(Encoding::Gzip, gzip(&text)), (Encoding::Zstd, zstd(&text)), (Encoding::Zstd, zstd_stream(&text))]
    {
        for keep in [1, 3, 9, 12, bytes.len() / 2, bytes.len() - 5, bytes.len() - 1] {
            match unpack(encoding, &bytes[..keep]) {
                Err(BodyError::Corrupt(reason)) => {
                    assert!(reason.contains("cut off") || keep < 12, "{encoding:?} {keep}: {reason}")
                }
                other => panic!("{encoding:?} cut at {keep} of {}: {:?}", bytes.len(), other.map(|b| b.len())),
            }
        }
        assert!(matches!(unpack(encoding, b""), Err(BodyError::Corrupt(_))));
        assert!(matches!(unpack(encoding, b"m value=1\n"), Err(BodyError::Corrupt(_))));
        let trailing = [bytes.as_slice(), b"trailing"].concat();
        assert!(matches!(unpack(encoding, &trailing), Err(BodyError::Corrupt(_))), "{encoding:?}");
    }
    let mut flipped = gzip(&text);
    let last = flipped.len() - 6;
    flipped[last] ^= 1;
    assert!(matches!(unpack(Encoding::Gzip, &flipped), Err(BodyError::Corrupt(_))), "checksum");
}

#[test]
fn bombs_stop_at_the_limit() {
    let zeros = vec![0; 50 << 20];
    let limit = 10 << 20;
    for (encoding, bytes) in
        [(Encoding::Gzip, gzip(&zeros)), (Encoding::Zstd, zstd(&zeros)), (Encoding::Zstd, zstd_stream(&zeros))]
    {
        assert_eq!(decompress(encoding, &bytes, limit, usize::MAX), Err(BodyError::TooLarge { limit }));
        let by_ratio = decompress(encoding, &bytes, usize::MAX, 10);
        assert_eq!(by_ratio, Err(BodyError::TooLarge { limit: (bytes.len() * 10).max(1 << 20) }));
        assert_eq!(decompress(encoding, &bytes, zeros.len(), usize::MAX).expect("fits").len(), zeros.len());
    }
    assert!(decompress(Encoding::Identity, &zeros, limit, 1).is_err());
    assert_eq!(decompress(Encoding::Gzip, &gzip(&zeros[..1000]), 999, 100), Err(BodyError::TooLarge { limit: 999 }));
    assert!(decompress(Encoding::Gzip, &gzip(&zeros[..1000]), 1000, 1).is_ok(), "the ratio does not bind small bodies");
}

#[test]
fn wide_windows_are_refused() {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("an encoder");
    encoder.window_log(27).expect("a window");
    encoder.write_all(&vec![7; 1 << 20]).expect("into memory");
    let bytes = encoder.finish().expect("into memory");
    assert!(matches!(unpack(Encoding::Zstd, &bytes), Err(BodyError::Corrupt(_))));
}
