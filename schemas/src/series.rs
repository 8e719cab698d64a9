//! Series: a metric name and its sorted tags, with one canonical text, the `metric_key`.
//!
//! Owns naming rules, the canonical text and its parser. Does not own the registry that hands out ids (speed layer).

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::time::clip;

/// The tag that names the device.
pub const DEVICE_TAG: &str = "device_id";
/// Longest metric name, tag name or tag value, in bytes. Longer ones are refused, not cut.
pub const NAME_MAX: usize = 1024;
/// Most tags of one series.
pub const TAGS_MAX: usize = 64;

/// The number of a series: the metric's number in the high 32 bits, the series' number within the metric in the low.
///
/// Ids sort series of one metric together, so that history sorted by id is clustered by metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct SeriesId(pub u64);

impl SeriesId {
    /// The `ordinal`-th series of the `metric`-th metric.
    pub fn new(metric: u32, ordinal: u32) -> Self {
        Self((u64::from(metric) << 32) | u64::from(ordinal))
    }

    /// The metric's number.
    pub fn metric(self) -> u32 {
        u32::try_from(self.0 >> 32).expect("a u64 shifted by 32 fits")
    }

    /// The number within the metric.
    pub fn ordinal(self) -> u32 {
        u32::try_from(self.0 & 0xffff_ffff).expect("masked to 32 bits")
    }
}

/// A metric name and its tags, sorted by tag name; equal exactly when the canonical text is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesKey {
    text: Arc<str>,
    metric_len: u32,
}

impl SeriesKey {
    /// The series of this metric with these tags, in any order. Tags with an empty value count as absent.
    ///
    /// # Errors
    /// A name is empty, too long or holds a control character; a tag stands twice; there are too many tags.
    pub fn new(metric: &str, tags: &[(&str, &str)]) -> Result<Self> {
        check_name("metric name", metric)?;
        if let Some(c) = metric.chars().find(|c| matches!(c, '{' | '}' | '"')) {
            return Err(Error::invalid(format!("metric name {:?} must not contain {c:?}", clip(metric))));
        }
        let mut tags: Vec<(&str, &str)> = tags.iter().copied().filter(|(_, v)| !v.is_empty()).collect();
        if tags.len() > TAGS_MAX {
            return Err(Error::invalid(format!("{} tags are more than {TAGS_MAX}", tags.len())));
        }
        tags.sort_unstable_by_key(|(name, _)| *name);
        for (name, value) in &tags {
            check_tag_name(name)?;
            check_name("tag value", value)?;
        }
        if let Some(pair) = tags.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(Error::invalid(format!("tag {:?} stands twice", clip(pair[0].0))));
        }
        Ok(Self::from_sorted(metric, &tags))
    }

    fn from_sorted(metric: &str, tags: &[(&str, &str)]) -> Self {
        let mut text =
            String::with_capacity(metric.len() + tags.iter().map(|(n, v)| n.len() + v.len() + 4).sum::<usize>() + 2);
        text.push_str(metric);
        for (i, (name, value)) in tags.iter().enumerate() {
            text.push(if i == 0 { '{' } else { ',' });
            text.push_str(name);
            text.push_str("=\"");
            push_escaped(&mut text, value);
            text.push('"');
        }
        if !tags.is_empty() {
            text.push('}');
        }
        Self { text: text.into(), metric_len: u32::try_from(metric.len()).expect("bounded by NAME_MAX") }
    }

    /// The series that this canonical text names.
    ///
    /// # Errors
    /// The text is not a `metric_key`.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |why: &str| Error::invalid(format!("{:?} is not a metric key: {why}", clip(text)));
        let Some(open) = text.find('{') else { return Self::new(text, &[]) };
        let inside = text[open + 1..].strip_suffix('}').ok_or_else(|| bad("no closing brace"))?;
        let mut tags: Vec<(&str, Cow<'_, str>)> = Vec::new();
        let mut rest = inside;
        while !rest.is_empty() {
            let (name, after) = rest.split_once("=\"").ok_or_else(|| bad("a tag has no value"))?;
            let (value, after) = unescape_until_quote(after).ok_or_else(|| bad("a tag value does not end"))?;
            tags.push((name, value));
            rest = after.strip_prefix(',').unwrap_or(after);
            if rest.len() == after.len() && !rest.is_empty() {
                return Err(bad("tags are not separated by commas"));
            }
        }
        let tags: Vec<(&str, &str)> = tags.iter().map(|(n, v)| (*n, v.as_ref())).collect();
        Self::new(&text[..open], &tags)
    }

    /// The canonical text: `metric{tag="value",...}`, tags sorted.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The canonical text, shared.
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.text)
    }

    /// The metric name.
    pub fn metric(&self) -> &str {
        &self.text[..self.metric_len as usize]
    }

    /// The tags in order of their names.
    pub fn tags(&self) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        let mut rest = self.text.get(self.metric_len as usize + 1..).unwrap_or("");
        std::iter::from_fn(move || {
            let (name, after) = rest.split_once("=\"")?;
            let (value, after) = unescape_until_quote(after).expect("canonical text ends its values");
            rest = &after[1..];
            Some((name, value))
        })
    }

    /// The value of a tag.
    pub fn tag(&self, name: &str) -> Option<Cow<'_, str>> {
        self.tags().find(|(n, _)| *n == name).map(|(_, v)| v)
    }

    /// The value of tag `device_id`.
    pub fn device_id(&self) -> Option<Cow<'_, str>> {
        self.tag(DEVICE_TAG)
    }

    /// The tags as a JSON object with sorted keys.
    pub fn tags_json(&self) -> String {
        let map: serde_json::Map<String, serde_json::Value> =
            self.tags().map(|(n, v)| (n.to_owned(), v.into())).collect();
        serde_json::Value::Object(map).to_string()
    }
}

impl std::fmt::Display for SeriesKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

fn push_escaped(text: &mut String, value: &str) {
    for c in value.chars() {
        if matches!(c, '"' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
}

/// The value before the next bare quote, and what follows the quote.
fn unescape_until_quote(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let end = text.bytes().position(|b| matches!(b, b'"' | b'\\'))?;
    if text.as_bytes()[end] == b'"' {
        return Some((Cow::Borrowed(&text[..end]), &text[end + 1..]));
    }
    let mut value = text[..end].to_owned();
    let mut chars = text[end..].char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            '"' => return Some((Cow::Owned(value), &text[end + i + 1..])),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

fn check_name(what: &str, name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::invalid(format!("{what} is empty")));
    }
    if name.len() > NAME_MAX {
        return Err(Error::invalid(format!("{what} has {} bytes, more than {NAME_MAX}", name.len())));
    }
    if name.chars().any(char::is_control) {
        return Err(Error::invalid(format!("{what} {:?} holds a control character", clip(name))));
    }
    Ok(())
}

fn check_tag_name(name: &str) -> Result<()> {
    check_name("tag name", name)?;
    match name.chars().find(|c| matches!(c, '=' | '"' | ',' | '{' | '}' | '~' | '!')) {
        Some(c) => Err(Error::invalid(format!("tag name {:?} must not contain {c:?}", clip(name)))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_text_reads_back() {
        for (metric, tags) in [
            ("temperature", vec![("line", "A"), ("device_id", "press-7")]),
            ("a b", vec![("x", "q\"uo\\te,}={")]),
            ("bare", vec![]),
            ("PM2.5", vec![("empty", ""), ("device_id", "Dongsi")]),
        ] {
            let key = SeriesKey::new(metric, &tags).expect("valid");
            assert_eq!(SeriesKey::parse(key.text()).expect("reads back"), key);
            assert_eq!(key.metric(), metric);
            for (name, value) in tags.iter().filter(|(_, v)| !v.is_empty()) {
                assert_eq!(key.tag(name).as_deref(), Some(*value));
            }
        }
        let key = SeriesKey::new("t", &[("line", "A"), ("device_id", "p")]).expect("valid");
        assert_eq!(key.text(), r#"t{device_id="p",line="A"}"#);
        assert_eq!(key.tags_json(), r#"{"device_id":"p","line":"A"}"#);
    }

    #[test]
    fn bad_names_are_refused_with_a_reason() {
        let long = "x".repeat(NAME_MAX + 1);
        for (metric, tags) in [
            ("", vec![]),
            (long.as_str(), vec![]),
            ("a\n", vec![]),
            ("a{", vec![]),
            ("a", vec![("b", "1"), ("b", "2")]),
            ("a", vec![("b=c", "1")]),
            ("a", vec![("", "1")]),
        ] {
            assert!(SeriesKey::new(metric, &tags).is_err(), "{metric:.20} {tags:?}");
        }
        for text in ["a{", "a{b}", "a{b=\"c}", "a{b=\"c\"d=\"e\"}"] {
            assert!(SeriesKey::parse(text).is_err(), "{text}");
        }
    }
}
