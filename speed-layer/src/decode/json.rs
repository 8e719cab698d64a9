//! JSON bodies: one object, an array of objects, or an object a line.
//!
//! Owns telling the rows apart. Does not own what a row means (`json_row`). An array is walked element by element as
//! raw text, so that an element of the wrong shape is one bad row; only broken syntax refuses the whole body.

use serde::de::{Deserializer as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::lines::start_of;
use super::rows::Rows;
use super::{Decoded, Options, RowError, json_row};

/// Decodes one JSON document.
pub(super) fn decode_document(body: &[u8], options: &Options, mut rows: Rows<'_>) -> Result<Decoded, schemas::Error> {
    let text = std::str::from_utf8(body)
        .map_err(|e| schemas::Error::invalid(format!("body is not UTF-8 at byte {}", e.valid_up_to())))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let syntax = |e: serde_json::Error| schemas::Error::invalid(format!("body is not JSON: {e}"));
    match text.trim_start().bytes().next() {
        None => return Err(schemas::Error::invalid("body is empty")),
        Some(b'[') => {
            let mut deserializer = serde_json::Deserializer::from_str(text);
            deserializer.deserialize_seq(Elements { rows: &mut rows, options }).map_err(syntax)?;
            deserializer.end().map_err(syntax)?;
        }
        Some(first) => {
            let document: &RawValue = serde_json::from_str(text).map_err(syntax)?;
            if first != b'{' {
                return Err(schemas::Error::invalid("body must be a JSON object or an array of objects"));
            }
            add(&mut rows, document.get(), 0, None, options);
        }
    }
    Ok(rows.finish())
}

/// Decodes one JSON object a line; blank lines are skipped.
pub(super) fn decode_lines(body: &[u8], options: &Options, mut rows: Rows<'_>) -> Decoded {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let mut index = 0;
    for (line, bytes) in (1..).zip(body.split(|b| *b == b'\n')) {
        if bytes.trim_ascii().is_empty() {
            continue;
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => add(&mut rows, text.trim_ascii(), index, Some(line), options),
            Err(e) => rows.reject(|| RowError {
                index,
                line: Some(line),
                reason: format!("line is not UTF-8 at byte {}", e.valid_up_to()),
                text: Some(start_of(bytes)),
            }),
        }
        index += 1;
    }
    rows.finish()
}

fn add(rows: &mut Rows<'_>, text: &str, index: u64, line: Option<u64>, options: &Options) {
    if let Err(reason) = json_row::add(rows, text, options) {
        rows.reject(|| RowError { index, line, reason, text: Some(start_of(text.as_bytes())) });
    }
}

struct Elements<'r, 'k> {
    rows: &'r mut Rows<'k>,
    options: &'r Options,
}

impl<'de> Visitor<'de> for Elements<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of readings")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let mut index = 0;
        while let Some(element) = elements.next_element::<&'de RawValue>()? {
            add(self.rows, element.get(), index, None, self.options);
            index += 1;
        }
        Ok(())
    }
}
