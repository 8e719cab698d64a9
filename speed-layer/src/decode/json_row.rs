//! One reading as a JSON object, and tags as a JSON object.
//!
//! Owns which JSON types each field takes. Values stay raw text until their field is known, so that numbers are read
//! from their digits and a field that nobody asked for is skipped without being built (or recursed into).

use std::borrow::Cow;

use schemas::time::clip;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::fields::{FIELDS, Field};
use super::rows::{Rows, Tag};
use super::{Options, number};

/// Adds the reading that this text spells, or says why it is none.
pub(super) fn add(rows: &mut Rows<'_>, text: &str, options: &Options) -> Result<(), String> {
    let parts = parse_object::<Parts<'_>>(text, "a reading")?;
    if let Some(name) = parts.twice {
        return Err(format!("field {name:?} stands twice"));
    }
    let metric = match parts.get(Field::Metric).or(parts.get(Field::SensorType)) {
        Some(raw) => text_of(raw, "metric")?,
        None => return Err("metric is missing".to_owned()),
    };
    let value = value(parts.get(Field::Value).ok_or("value is missing")?)?;
    let time = match parts.get(Field::Timestamp).or(parts.get(Field::OtherTime)) {
        Some(raw) => instant(raw, options)?,
        None => options.now,
    };
    let device = match parts.get(Field::DeviceId) {
        Some(raw) => scalar(raw, "device_id")?,
        None => Cow::Borrowed(""),
    };
    let tags = match parts.get(Field::Tags) {
        Some(raw) => tags(raw)?,
        None => Vec::new(),
    };
    let series = rows.series(&metric, &device, &tags)?;
    rows.push(series, time, value);
    Ok(())
}

/// The tags that a JSON object spells; none for `null`.
pub(super) fn tags(text: &str) -> Result<Vec<Tag<'_>>, String> {
    if text == "null" {
        return Ok(Vec::new());
    }
    let members = parse_object::<Members<'_>>(text, "tags")?.0;
    members
        .into_iter()
        .map(|(name, raw)| match scalar(raw, "tag") {
            Ok(value) => Ok((Cow::Owned(name), value)),
            Err(reason) => Err(format!("{reason} (tag {:?})", clip(&name))),
        })
        .collect()
}

fn value(raw: &str) -> Result<f64, String> {
    match raw.as_bytes() {
        b"true" => Ok(1.0),
        b"false" => Ok(0.0),
        [b'-' | b'0'..=b'9', ..] => number::value(raw),
        [b'"', ..] => Err(format!("value must be a number, not the text {}", clip(raw))),
        _ => Err(format!("value must be a number, not {}", kind(raw))),
    }
}

fn instant(raw: &str, options: &Options) -> Result<i64, String> {
    match raw.as_bytes() {
        b"null" => Ok(options.now),
        [b'-' | b'0'..=b'9', ..] => number::instant(raw, options),
        [b'"', ..] => number::instant(&text_of(raw, "timestamp")?, options),
        _ => Err(format!("timestamp must be RFC 3339 text or a number, not {}", kind(raw))),
    }
}

/// A text, a number as it was written, or a boolean; empty for `null`.
fn scalar<'a>(raw: &'a str, what: &str) -> Result<Cow<'a, str>, String> {
    match raw.as_bytes().first() {
        Some(b'n') => Ok(Cow::Borrowed("")),
        Some(b'"') => text_of(raw, what),
        Some(b'{' | b'[') => Err(format!("{what} must be text, a number or a boolean, not {}", kind(raw))),
        _ => Ok(Cow::Borrowed(raw)),
    }
}

/// What the raw JSON string says.
fn text_of<'a>(raw: &'a str, what: &str) -> Result<Cow<'a, str>, String> {
    let Some(inside) = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"')) else {
        return Err(format!("{what} must be text, not {}", kind(raw)));
    };
    if memchr::memchr(b'\\', inside.as_bytes()).is_none() {
        return Ok(Cow::Borrowed(inside));
    }
    serde_json::from_str(raw).map(Cow::Owned).map_err(|_| format!("{what} holds an escape that is no character"))
}

/// What a raw JSON value is, in words.
fn kind(raw: &str) -> &'static str {
    match raw.as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "text",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

fn parse_object<'a, T: Deserialize<'a>>(text: &'a str, what: &str) -> Result<T, String> {
    let syntax = |e: serde_json::Error| {
        let told = e.to_string();
        let told = told.split(" at line ").next().unwrap_or_default();
        format!("{what} is not valid JSON: {told} at column {}", e.column())
    };
    if text.starts_with('{') {
        return serde_json::from_str(text).map_err(syntax);
    }
    let other: &RawValue = serde_json::from_str(text).map_err(syntax)?;
    Err(format!("{what} must be a JSON object, not {}", kind(other.get())))
}

/// The raw values of the known fields of one object.
#[derive(Default)]
struct Parts<'a> {
    raw: [Option<&'a str>; FIELDS],
    /// The first field that stands twice.
    twice: Option<String>,
}

impl<'a> Parts<'a> {
    fn get(&self, field: Field) -> Option<&'a str> {
        self.raw[field as usize]
    }
}

impl<'de> Deserialize<'de> for Parts<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PartsVisitor)
    }
}

struct PartsVisitor;

impl<'de> Visitor<'de> for PartsVisitor {
    type Value = Parts<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a reading")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Parts<'de>, A::Error> {
        let mut parts = Parts::default();
        while let Some(name) = members.next_key::<Name>()? {
            let raw: &'de RawValue = members.next_value()?;
            if name.field != Field::Unknown && parts.raw[name.field as usize].replace(raw.get()).is_some() {
                parts.twice.get_or_insert(name.text);
            }
        }
        Ok(parts)
    }
}

/// A member's name; its text is kept only where it may be told.
struct Name {
    field: Field,
    text: String,
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(NameVisitor)
    }
}

struct NameVisitor;

impl Visitor<'_> for NameVisitor {
    type Value = Name;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Name, E> {
        let field = Field::of(name);
        let text = if field == Field::Unknown { String::new() } else { name.to_owned() };
        Ok(Name { field, text })
    }
}

/// All members of an object, raw, in the order in which they stand.
struct Members<'a>(Vec<(String, &'a str)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object of tags")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Members<'de>, A::Error> {
        let mut all = Vec::new();
        while let Some((name, raw)) = members.next_entry::<String, &'de RawValue>()? {
            all.push((name, raw.get()));
        }
        Ok(Members(all))
    }
}
