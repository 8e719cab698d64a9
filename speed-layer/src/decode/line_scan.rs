//! The grammar of InfluxDB line protocol over bytes: where each part of a line ends, and what a value is.
//!
//! Owns scanning and escaping. Does not own series, rows, or what is done with a bad line.
//!
//! ```text
//! measurement,tag=value,tag=value field=value,field="text" timestamp
//! \_______________ ____________/ \___________ ____________/
//!            prefix                        fields
//! ```
//!
//! A backslash escapes only a character that would end the part it stands in (inside quotes: `"` and `\`), anywhere
//! else it is a backslash. No escapable character is itself a backslash outside of quotes, so a character is escaped
//! exactly when the byte before it is a backslash.

use std::borrow::Cow;
use std::num::IntErrorKind;

use schemas::time::{Precision, clip};

use super::lines::start_of;
use super::number;

/// What a backslash may escape in a measurement.
pub(super) const IN_MEASUREMENT: &[char] = &[',', ' '];
/// What a backslash may escape in tag names, tag values and field names.
pub(super) const IN_KEY: &[char] = &[',', '=', ' '];

/// A field's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value {
    /// A reading.
    Number(f64),
    /// A string: no reading.
    Text,
}

/// A place in a body of lines.
pub(super) struct Scanner<'a> {
    body: &'a [u8],
    at: usize,
    /// The last timestamp, which lines that were taken at the same time repeat.
    last_time: Option<(&'a [u8], i64)>,
}

impl<'a> Scanner<'a> {
    /// At the start of the body.
    pub(super) fn new(body: &'a [u8]) -> Self {
        Self { body, at: 0, last_time: None }
    }

    /// Goes to the next line with data, past blank lines and comments, and tells where it starts.
    pub(super) fn next_line(&mut self) -> Option<usize> {
        loop {
            match self.body.get(self.at)? {
                b' ' | b'\t' | b'\r' | b'\n' => self.at += 1,
                b'#' => self.at = self.end_of_line(self.at),
                _ => return Some(self.at),
            }
        }
    }

    /// Reads the measurement and tags, still escaped, and the spaces after them.
    pub(super) fn prefix(&mut self) -> Result<&'a [u8], String> {
        let start = self.at;
        let mut from = start;
        while let Some(found) = memchr::memchr2(b' ', b'\n', &self.body[from..]) {
            let end = from + found;
            if self.body[end] == b'\n' {
                self.at = end;
                return Err("line has no fields".to_owned());
            }
            if end == start || self.body[end - 1] != b'\\' {
                self.at = end;
                self.skip_spaces();
                return Ok(&self.body[start..end]);
            }
            from = end + 1;
        }
        self.at = self.body.len();
        Err("line has no fields".to_owned())
    }

    /// Reads measurement and tags if they are these, which some line had: a prefix that was one ends with no backslash, so
    /// that the space behind it ends this one, too.
    pub(super) fn expected_prefix(&mut self, expected: &[u8]) -> Option<&'a [u8]> {
        let prefix = self.expected(expected, b' ')?;
        self.skip_spaces();
        Some(prefix)
    }

    /// Reads a field's name and the `=` after it if the name is this one, which some line had.
    pub(super) fn expected_field_name(&mut self, expected: &[u8]) -> Option<&'a [u8]> {
        // No field of a line has no name; those of spellings in parts have none, and raw bytes can look like these.
        let name = self.expected(expected, b'=').filter(|name| !name.is_empty())?;
        self.at += 1;
        Some(name)
    }

    fn expected(&mut self, expected: &[u8], end: u8) -> Option<&'a [u8]> {
        let rest = &self.body[self.at..];
        let found = rest.starts_with(expected) && rest.get(expected.len()) == Some(&end);
        found.then(|| {
            self.at += expected.len();
            &rest[..expected.len()]
        })
    }

    /// Reads a field's name, still escaped, and the `=` after it.
    pub(super) fn field_name(&mut self) -> Result<&'a [u8], String> {
        let start = self.at;
        let mut before = b'=';
        for (i, &b) in self.body[start..].iter().enumerate() {
            let ends = b == b'\n' || (before != b'\\' && matches!(b, b'=' | b',' | b' '));
            if ends {
                self.at = start + i;
                return self.end_field_name(start, b);
            }
            before = b;
        }
        self.at = self.body.len();
        self.end_field_name(start, b'\n')
    }

    fn end_field_name(&mut self, start: usize, ended_by: u8) -> Result<&'a [u8], String> {
        let name = &self.body[start..self.at];
        match ended_by {
            b'=' if name.is_empty() => Err("a field has no name".to_owned()),
            b'=' => {
                self.at += 1;
                Ok(name)
            }
            _ if name.trim_ascii().is_empty() => Err("a field is missing".to_owned()),
            _ => Err(format!("field {:?} has no value", start_of(name))),
        }
    }

    /// Reads the value of this field.
    pub(super) fn value(&mut self, name: &[u8]) -> Result<Value, String> {
        let rest = &self.body[self.at..];
        if let Some((value, length)) = number::leading_decimal(rest)
            && matches!(rest.get(length), None | Some(b',' | b' ' | b'\n'))
        {
            self.at += length;
            return Ok(Value::Number(value));
        }
        if rest.first() == Some(&b'"') {
            return self.text(name);
        }
        let token = self.token(|b| matches!(b, b',' | b' ' | b'\n'));
        let token = std::str::from_utf8(token).map_err(|_| format!("field {:?} is not UTF-8", start_of(name)))?;
        scalar(token).map(Value::Number).map_err(|reason| format!("field {:?}: {reason}", start_of(name)))
    }

    fn text(&mut self, name: &[u8]) -> Result<Value, String> {
        let open = self.at;
        let Some(close) = closing_quote(self.body, open) else {
            self.at = open + 1;
            return Err(format!("field {:?}: the string has no closing quote", start_of(name)));
        };
        self.at = close + 1;
        let utf8 = [name, &self.body[open..close]].into_iter().all(|part| std::str::from_utf8(part).is_ok());
        if utf8 { Ok(Value::Text) } else { Err(format!("field {:?} is not UTF-8", start_of(name))) }
    }

    /// Whether another field follows; goes past the comma before it.
    pub(super) fn another_field(&mut self) -> bool {
        let comma = self.body.get(self.at) == Some(&b',');
        self.at += usize::from(comma);
        comma
    }

    /// Reads the timestamp, if there is one, up to the end of the line; all of a body have one precision.
    pub(super) fn timestamp(&mut self, precision: Precision) -> Result<Option<i64>, String> {
        let after_fields = self.at;
        self.skip_spaces();
        if self.at_line_end() {
            return Ok(None);
        }
        if self.at == after_fields {
            return Err(format!("{:?} stands after a field value", start_of(self.rest_of_line())));
        }
        if let Some((last, time)) = self.last_time
            && self.expected(last, b'\n').is_some()
        {
            return Ok(Some(time));
        }
        let token = self.token(|b| matches!(b, b' ' | b'\n'));
        let time = timestamp(token, precision)?;
        self.last_time = Some((token, time));
        self.skip_spaces();
        if !self.at_line_end() {
            return Err(format!("{:?} stands after the timestamp", start_of(self.rest_of_line())));
        }
        Ok(Some(time))
    }

    /// Goes on to the next line after a fault among the fields. Line ends inside strings do not count, unless the
    /// string never ends: then it is taken to end with its line, so that one stray quote does not cost the rest.
    pub(super) fn leave_line(&mut self) {
        while let Some(found) = memchr::memchr2(b'"', b'\n', &self.body[self.at..]) {
            let place = self.at + found;
            if self.body[place] == b'\n' {
                self.at = place;
                return;
            }
            let close = if self.body[..place].ends_with(b"=") { closing_quote(self.body, place) } else { None };
            self.at = close.unwrap_or(place) + 1;
        }
        self.at = self.body.len();
    }

    /// The first physical line of what starts here.
    pub(super) fn line_from(&self, start: usize) -> &'a [u8] {
        &self.body[start..self.end_of_line(start)]
    }

    /// Reads up to a byte that ends the token; a carriage return before the end of the line is no part of it.
    fn token(&mut self, ends: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = &self.body[self.at..];
        let length = rest.iter().position(|b| ends(*b)).unwrap_or(rest.len());
        self.at += length;
        let token = &rest[..length];
        match token {
            [token @ .., b'\r'] if self.at_line_end() => token,
            _ => token,
        }
    }

    fn rest_of_line(&self) -> &'a [u8] {
        self.line_from(self.at)
    }

    fn end_of_line(&self, from: usize) -> usize {
        memchr::memchr(b'\n', &self.body[from..]).map_or(self.body.len(), |n| from + n)
    }

    fn skip_spaces(&mut self) {
        while self.body.get(self.at) == Some(&b' ') {
            self.at += 1;
        }
    }

    fn at_line_end(&self) -> bool {
        matches!(&self.body[self.at..], [] | [b'\n', ..] | [b'\r'] | [b'\r', b'\n', ..])
    }
}

/// The quote that closes the one at `open`.
fn closing_quote(body: &[u8], open: usize) -> Option<usize> {
    let mut at = open + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', body.get(at..)?)?;
        if body[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

/// The value of a float, an integer `1i`, an unsigned integer `1u` or a boolean.
fn scalar(token: &str) -> Result<f64, String> {
    match token.as_bytes() {
        [] => Err("value is missing".to_owned()),
        b"t" | b"T" | b"true" | b"True" | b"TRUE" => Ok(1.0),
        b"f" | b"F" | b"false" | b"False" | b"FALSE" => Ok(0.0),
        [digits @ .., b'i'] if starts_number(digits) => {
            token[..digits.len()].parse().map(|n: i64| n as f64).map_err(|e| bad_integer(token, e.kind()))
        }
        [digits @ .., b'u'] if starts_number(digits) => {
            token[..digits.len()].parse().map(|n: u64| n as f64).map_err(|e| bad_integer(token, e.kind()))
        }
        _ => number::value(token),
    }
}

fn starts_number(digits: &[u8]) -> bool {
    matches!(digits, [b'-' | b'+' | b'0'..=b'9', ..])
}

fn bad_integer(token: &str, kind: &IntErrorKind) -> String {
    match kind {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => {
            format!("integer {} does not fit in 64 bits", clip(token))
        }
        _ => format!("value {:?} is not an integer", clip(token)),
    }
}

fn timestamp(token: &[u8], precision: Precision) -> Result<i64, String> {
    if let Some(n) = number::short_whole(token) {
        return number::instant_of_units(n, precision);
    }
    let bad = || format!("timestamp {:?} is not a whole number", start_of(token));
    let text = std::str::from_utf8(token).map_err(|_| bad())?;
    match text.parse::<i64>() {
        Ok(n) => number::instant_of_units(n, precision),
        Err(e) if matches!(e.kind(), IntErrorKind::PosOverflow | IntErrorKind::NegOverflow) => {
            Err(number::out_of_range(text))
        }
        Err(_) => Err(bad()),
    }
}

/// The text without the backslashes that escape one of these characters.
pub(super) fn unescape<'a>(text: &'a str, escapable: &[char]) -> Cow<'a, str> {
    if memchr::memchr(b'\\', text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match chars.peek() {
            Some(next) if c == '\\' && escapable.contains(next) => {}
            _ => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// Cuts at every `separator` that no backslash escapes.
pub(super) fn split_unescaped(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let cut = text.match_indices(separator).map(|(i, _)| i).find(|&i| !text[..i].ends_with('\\'));
        match cut {
            Some(i) => {
                rest = Some(&text[i + separator.len_utf8()..]);
                Some(&text[..i])
            }
            None => rest.take(),
        }
    })
}
