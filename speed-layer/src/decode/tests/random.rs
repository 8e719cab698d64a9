//! Bytes at random, and good bodies damaged at random: nothing panics, and what decodes is sound.

use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, Float64Array, StringArray, StringViewArray, TimestampMillisecondArray};
use arrow::datatypes::Int8Type;
use schemas::{SeriesId, SeriesKey};

use super::{Format, OPTIONS, arrow_stream, assert_sound};
use crate::decode::body::{Encoding, decompress};
use crate::decode::{Decoded, decode, decode_known};
use crate::spellings::Spellings;

/// Xorshift.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() >> 1).expect("63 bits fit") % n
    }
}

const FORMATS: [Format; 5] = [Format::Json, Format::Ndjson, Format::Csv, Format::ArrowStream, Format::LineProtocol];

fn survives(format: Format, body: &[u8]) {
    if let Ok(decoded) = decode(format, body, &OPTIONS) {
        assert_sound(&decoded);
    }
}

#[test]
fn random_bytes() {
    let mut random = Random(0x5eed);
    for _ in 0..4_000 {
        let length = random.below(200);
        let body: Vec<u8> = (0..length).map(|_| random.next().to_le_bytes()[0]).collect();
        for format in FORMATS {
            survives(format, &body);
        }
        for encoding in [Encoding::Gzip, Encoding::Zstd] {
            let _ = decompress(encoding, &body, 1 << 20, 100);
        }
    }
}

#[test]
fn random_words() {
    const WORDS: [&str; 48] = [
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"",
        "\\",
        "\n",
        "\r\n",
        " ",
        "=",
        "#",
        "m",
        "value",
        "metric",
        "\"metric\":\"t\"",
        "\"value\":1",
        "tags",
        "timestamp",
        "1",
        "-",
        ".5",
        "1e400",
        "NaN",
        "inf",
        "i",
        "u",
        "t",
        "true",
        "null",
        "é",
        "\u{1f600}",
        "\u{feff}",
        "\\\"",
        "\\ ",
        "\\,",
        "\\=",
        "\\u",
        "m,a=b ",
        "value=1",
        "device_id",
        "9999999999999999999",
        "metric,value\n",
        "2024-01-01T00:00:00Z",
        "\t",
        "\0",
        "e",
    ];
    let mut random = Random(0xbeef);
    for _ in 0..30_000 {
        let words = random.below(30);
        let body: String = (0..words).map(|_| WORDS[random.below(WORDS.len())]).collect();
        for format in FORMATS {
            survives(format, body.as_bytes());
        }
    }
}

#[test]
fn damaged_bodies() {
    let bodies: [(Format, Vec<u8>); 6] = [
        (Format::Json, br#"[{"metric":"t","value":1.5,"timestamp":"2024-01-01T00:00:00Z","tags":{"a":"b"}},{"metric":"u","value":2}]"#.to_vec()),
        (Format::Ndjson, b"{\"metric\":\"t\",\"value\":1.5,\"timestamp\":12.5}\n{\"metric\":\"u\",\"value\":2}\n".to_vec()),
        (Format::Csv, b"metric,value,timestamp,line,tags\nt,1,5,\"A\"\"B\",\"{}\"\nu,2,,,\n".to_vec()),
        (Format::LineProtocol, b"m,a=b\\ c value=1,s=\"x\\\"y\" 5\nn value=2i\n".to_vec()),
        (Format::ArrowStream, arrow_body(false)),
        (Format::ArrowStream, arrow_body(true)),
    ];
    let mut random = Random(0xda4a6e);
    for (format, good) in &bodies {
        survives(*format, good);
        for _ in 0..20_000 {
            let mut body = good.clone();
            for _ in 0..=random.below(4) {
                let at = random.below(body.len());
                match random.below(4) {
                    0 => body[at] = random.next().to_le_bytes()[0],
                    1 => body[at] ^= 1 << random.below(8),
                    2 => body[at] = [0, 0x7f, 0x80, 0xff][random.below(4)],
                    _ => body.truncate(at.max(1)),
                }
            }
            survives(*format, &body);
        }
    }
}

fn arrow_body(views: bool) -> Vec<u8> {
    let metric: ArrayRef = if views {
        Arc::new(StringViewArray::from(vec!["temperature of the room", "u", "v"]))
    } else {
        Arc::new(DictionaryArray::<Int8Type>::from_iter(["t", "u", "t"]))
    };
    arrow_stream::stream(vec![
        ("metric", metric),
        ("value", Arc::new(Float64Array::from(vec![Some(1.0), None, Some(3.0)]))),
        ("timestamp", Arc::new(TimestampMillisecondArray::from(vec![Some(1), None, Some(3)]))),
        ("line", Arc::new(StringArray::from(vec![Some("A"), None, Some("B")]))),
        ("tags", Arc::new(StringArray::from(vec![Some("{\"x\":1}"), None, Some("")]))),
    ])
}

#[test]
fn lines_read_the_same_whether_their_spellings_are_known_or_not() {
    const PREFIXES: [&str; 9] = ["m", "m,a=1", "m,a=1 ", "m,a=1\\ 2", "m\\,a", "m,a=1,b=2", "mm", "m,a=\\", "m,a"];
    const FIELDS: [&str; 8] = ["value=", "valu=", "value\\ =", "v\\=w=", "a=1,value=", "s=\"t\",value=", "=", "value"];
    const VALUES: [&str; 9] = ["1", "-2.5", "1.5i", "7i", "1e3", "1.", ".5", "true", "12345678901234567.25"];
    const TIMES: [&str; 8] = [" 5", " 5", " 55", "", " 5 ", " 5\r", " 1700000000000000000", " 5x"];
    let (spellings, mut known) = (Spellings::default(), Vec::new());
    let mut random = Random(0x11e5);
    let mut expected_lines = 0;
    for _ in 0..5_000 {
        let mut line = || {
            let parts: [&[&str]; 5] = [&PREFIXES, &[" "], &FIELDS, &VALUES, &TIMES];
            parts.map(|of| of[random.below(of.len())]).concat()
        };
        let body = (0..6).map(|_| line()).collect::<Vec<_>>().join("\n");
        let plain = decode(Format::LineProtocol, body.as_bytes(), &OPTIONS).expect("lines");
        let decoded = decode_known(Format::LineProtocol, body.as_bytes(), &OPTIONS, &spellings).expect("lines");
        let ids: Vec<SeriesId> = decoded.keys.iter().map(|key| id(&mut known, key)).collect();
        let ids_plain: Vec<SeriesId> = plain.keys.iter().map(|key| id(&mut known, key)).collect();
        expected_lines += decoded.series.iter().filter(|series| series.number().is_none()).count();
        assert_eq!(rows(&decoded, &ids), rows(&plain, &ids_plain), "{body:?}");
        spellings.learn(decoded.spelled, &ids);
    }
    assert!(expected_lines > 5_000, "{expected_lines}");
}

/// The id of a key; a new one if it has none.
fn id(known: &mut Vec<SeriesKey>, key: &SeriesKey) -> SeriesId {
    let ordinal = known.iter().position(|k| k == key).unwrap_or_else(|| {
        known.push(key.clone());
        known.len() - 1
    });
    SeriesId::new(0, u32::try_from(ordinal).expect("few"))
}

/// All that a body says, where `ids` are those of its keys.
fn rows(decoded: &Decoded, ids: &[SeriesId]) -> Vec<String> {
    let row = |i: usize| format!("{:?} {} {:?}", decoded.series[i].id(ids), decoded.times[i], decoded.values[i]);
    let refused = decoded.errors.iter().map(|e| format!("{} {:?} {}", e.index, e.line, e.reason));
    (0..decoded.series.len()).map(row).chain(refused).chain([format!("{} skipped", decoded.skipped)]).collect()
}
