//! Doors for fuzzing to what nobody else needs: compiled only by cargo-fuzz (`fuzz/`).
//!
//! Owns what must hold for any bytes. Does not own the bytes.

use schemas::SeriesId;
use schemas::SeriesKey;

use crate::decode::{Decoded, Format, Options, decode, decode_known};
use crate::log::Frame;
use crate::spellings::Spellings;

/// The payload of a log frame: what decodes says the same when written and read again.
///
/// # Panics
/// It does not.
pub fn log_frame(payload: &[u8]) {
    let Ok(frame) = Frame::decode_payload(payload) else { return };
    let mut written = Vec::new();
    frame.encode(&mut written);
    let (again, rest) = Frame::decode(&written).expect("what was written is read");
    assert!(rest.is_empty());
    let bits = |frame: &Frame| frame.batch.values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&frame), bits(&again));
    assert_eq!((frame.arrival, frame.batch.times), (again.arrival, again.batch.times));
    assert_eq!((frame.batch.series, frame.batch.definitions), (again.batch.series, again.batch.definitions));
}

/// Bodies of line protocol, zeros between them: known spellings change nothing.
///
/// # Panics
/// They do.
pub fn known_lines(bodies: &[u8], options: &Options) {
    let (spellings, mut keys) = (Spellings::default(), Vec::new());
    for body in bodies.split(|byte| *byte == 0).chain(bodies.split(|byte| *byte == 0)) {
        let plain = decode(Format::LineProtocol, body, options);
        let known = decode_known(Format::LineProtocol, body, options, &spellings);
        let (Ok(plain), Ok(known)) = (plain, known) else { continue };
        let (plain_ids, known_ids) = (ids(&mut keys, &plain), ids(&mut keys, &known));
        assert_eq!(rows(&plain, &plain_ids), rows(&known, &known_ids));
        assert_eq!((plain.rejected, plain.skipped, plain.errors), (known.rejected, known.skipped, known.errors));
        spellings.learn(known.spelled, &known_ids);
    }
}

/// The ids of a body's keys; those that have none get one.
fn ids(known: &mut Vec<SeriesKey>, decoded: &Decoded) -> Vec<SeriesId> {
    let mut id = |key: &SeriesKey| {
        let ordinal = known.iter().position(|k| k == key).unwrap_or_else(|| {
            known.push(key.clone());
            known.len() - 1
        });
        SeriesId::new(0, u32::try_from(ordinal).expect("few"))
    };
    decoded.keys.iter().map(|key| id(key)).collect()
}

fn rows(decoded: &Decoded, ids: &[SeriesId]) -> Vec<(SeriesId, i64, u64)> {
    let row = |i: usize| (decoded.series[i].id(ids), decoded.times[i], decoded.values[i].to_bits());
    (0..decoded.series.len()).map(row).collect()
}
