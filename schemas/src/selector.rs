//! Prometheus selectors: which series a query, a rule or a job means.
//!
//! Owns the grammar `metric{tag="value",tag!="v",tag=~"re",tag!~"re"}` (also `{"any metric",...}` and
//! `{__name__=~"..."}`) and matching. Regular expressions are anchored at both ends and limited in size.

use std::sync::Arc;

use regex::{Regex, RegexBuilder};

use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::series::SeriesKey;
use crate::time::clip;

/// Longest selector text, bytes.
const TEXT_MAX: usize = 4096;
/// Most memory that one compiled expression may take, bytes.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// A test on one tag; an absent tag has the empty value.
#[derive(Debug, Clone)]
struct Matcher {
    tag: String,
    test: Test,
    negated: bool,
}

#[derive(Debug, Clone)]
enum Test {
    Equal(String),
    Regex(Regex),
}

impl Matcher {
    fn matches(&self, value: &str) -> bool {
        let hit = match &self.test {
            Test::Equal(text) => text == value,
            Test::Regex(regex) => regex.is_match(value),
        };
        hit != self.negated
    }
}

/// Selects series by metric name and tags.
#[derive(Debug, Clone)]
pub struct Selector {
    text: String,
    matchers: Vec<Matcher>,
    /// What it selects from; `None`: all there are.
    within: Option<Arc<Limits>>,
}

/// The label that stands for the metric name.
const NAME_LABEL: &str = "__name__";

impl Selector {
    /// Every series.
    pub fn all() -> Self {
        Self { text: "{}".to_owned(), matchers: Vec::new(), within: None }
    }

    /// The same among the series within these limits only.
    pub fn within(self, limits: Arc<Limits>) -> Self {
        Self { within: Some(limits), ..self }
    }

    /// Whether it selects this series.
    pub fn matches(&self, key: &SeriesKey) -> bool {
        let within = self.within.as_ref().is_none_or(|limits| limits.hold(key));
        let matches = |m: &Matcher| {
            if m.tag == NAME_LABEL {
                m.matches(key.metric())
            } else {
                m.matches(key.tag(&m.tag).as_deref().unwrap_or(""))
            }
        };
        within && self.matchers.iter().all(matches)
    }

    /// The one metric that it can select, if its text says so.
    pub fn metric(&self) -> Option<&str> {
        self.matchers.iter().find_map(|m| match &m.test {
            Test::Equal(name) if m.tag == NAME_LABEL && !m.negated => Some(name.as_str()),
            _ => None,
        })
    }

    /// Whether it can't select a series of this metric.
    pub fn excludes_metric(&self, metric: &str) -> bool {
        self.within.as_ref().is_some_and(|limits| !limits.hold_metric(metric))
            || self.matchers.iter().any(|m| m.tag == NAME_LABEL && !m.matches(metric))
    }

    /// The text it was read from.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl std::str::FromStr for Selector {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.len() > TEXT_MAX {
            return Err(Error::invalid(format!("a selector has at most {TEXT_MAX} bytes")));
        }
        let text = text.trim();
        let (metric, inside) = match text.split_once('{') {
            None => (text, ""),
            Some((metric, rest)) => {
                let inside = rest.strip_suffix('}').ok_or_else(|| bad(text, "no closing brace"))?;
                (metric.trim(), inside)
            }
        };
        if metric.is_empty() && !text.starts_with('{') {
            return Err(bad(text, "it is empty"));
        }
        if let Some(c) = metric.chars().find(|c| matches!(c, '}' | '"')) {
            return Err(bad(text, &format!("unexpected {c:?}")));
        }
        let mut matchers = Vec::new();
        if !metric.is_empty() {
            matchers.push(Matcher { tag: NAME_LABEL.to_owned(), test: Test::Equal(metric.to_owned()), negated: false });
        }
        let mut scanner = Scanner { text, rest: inside };
        while !scanner.at_end() {
            matchers.push(scanner.matcher()?);
            scanner.separator()?;
        }
        Ok(Self { text: text.to_owned(), matchers, within: None })
    }
}

fn bad(text: &str, why: &str) -> Error {
    Error::invalid(format!("{:?} is not a selector such as temperature{{device_id=\"press-7\"}}: {why}", clip(text)))
}

struct Scanner<'a> {
    text: &'a str,
    rest: &'a str,
}

impl Scanner<'_> {
    fn at_end(&mut self) -> bool {
        self.rest = self.rest.trim_start();
        self.rest.is_empty()
    }

    fn matcher(&mut self) -> Result<Matcher> {
        if self.rest.starts_with(['"', '\'']) {
            let name = self.quoted()?;
            return Ok(Matcher { tag: NAME_LABEL.to_owned(), test: Test::Equal(name), negated: false });
        }
        let end = self.rest.find(['=', '!']).ok_or_else(|| bad(self.text, "a tag has no operator"))?;
        let tag = self.rest[..end].trim().to_owned();
        if tag.is_empty() || tag.contains(['"', ',', '~']) {
            return Err(bad(self.text, &format!("{:?} is not a tag name", clip(&tag))));
        }
        self.rest = &self.rest[end..];
        let operators = [("=~", true, false), ("!~", true, true), ("!=", false, true), ("=", false, false)];
        let (operator, is_regex, negated) = operators
            .into_iter()
            .find(|(operator, ..)| self.rest.starts_with(operator))
            .ok_or_else(|| bad(self.text, "an operator is one of = != =~ !~"))?;
        self.rest = self.rest[operator.len()..].trim_start();
        let value = self.quoted()?;
        let test = if is_regex { Test::Regex(self.regex(&value)?) } else { Test::Equal(value) };
        Ok(Matcher { tag, test, negated })
    }

    fn regex(&self, value: &str) -> Result<Regex> {
        let build = |pattern: &str| RegexBuilder::new(pattern).size_limit(REGEX_BYTES_MAX).build();
        // Alone first: a stray parenthesis must not reach over the anchors.
        build(value)
            .and_then(|_| build(&format!("^(?s:{value})$")))
            .map_err(|_| bad(self.text, &format!("{:?} is not a regular expression of bounded size", clip(value))))
    }

    fn quoted(&mut self) -> Result<String> {
        let quote = self.rest.chars().next().filter(|c| matches!(c, '"' | '\''));
        let quote = quote.ok_or_else(|| bad(self.text, "a value is not in quotes"))?;
        let mut value = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((i, c)) = chars.next() {
            match c {
                '\\' => match chars.next() {
                    Some((_, c @ ('"' | '\'' | '\\'))) => value.push(c),
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, 't')) => value.push('\t'),
                    // An unknown escape stays as it is, so that a regex may say "\d" as well as "\\d".
                    Some((_, c)) => value.extend(['\\', c]),
                    None => break,
                },
                c if c == quote => {
                    self.rest = &self.rest[i + c.len_utf8()..];
                    return Ok(value);
                }
                c => value.push(c),
            }
        }
        Err(bad(self.text, "a value does not end"))
    }

    fn separator(&mut self) -> Result<()> {
        if self.at_end() {
            return Ok(());
        }
        self.rest = self.rest.strip_prefix(',').ok_or_else(|| bad(self.text, "matchers are separated by commas"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_narrows_whatever_is_selected() {
        let limits = Arc::new(Limits::new(["temperature"], ["press-*"]).expect("good"));
        let key = |text: &str| SeriesKey::parse(text).expect(text);
        let (inside, outside) = (r#"temperature{device_id="press-7"}"#, r#"temperature{device_id="saw-1"}"#);
        for text in ["{}", "temperature", "{device_id=~\".*\"}", "{device_id!=\"x\"}"] {
            let selector = text.parse::<Selector>().expect(text).within(Arc::clone(&limits));
            assert!(selector.matches(&key(inside)) && !selector.matches(&key(outside)), "{text}");
            assert!(!selector.matches(&key(r#"vibration{device_id="press-7"}"#)), "{text}");
            assert!(selector.excludes_metric("vibration") && !selector.excludes_metric("temperature"), "{text}");
        }
        let other = "{device_id=\"saw-1\"}".parse::<Selector>().expect("valid").within(limits);
        assert!(!other.matches(&key(inside)) && !other.matches(&key(outside)));
    }

    #[test]
    fn selectors_match_as_in_prometheus() {
        let key = SeriesKey::new("PM2.5", &[("device_id", "press-7"), ("line", "A")]).expect("valid");
        for (text, expected) in [
            ("PM2.5", true),
            ("PM10", false),
            ("{}", true),
            (r#"PM2.5{device_id="press-7"}"#, true),
            (r#"PM2.5{device_id=~"press-.*",line!="B"}"#, true),
            (r#"PM2.5{device_id=~"press"}"#, false),
            (r#"{__name__=~"PM.*", line!~"B|C",}"#, true),
            (r#"{"PM2.5", absent=""}"#, true),
            (r#"PM2.5{absent!=""}"#, false),
            (r#"PM2.5{device_id=~"press-\d"}"#, true),
        ] {
            let selector: Selector = text.parse().expect(text);
            assert_eq!(selector.matches(&key), expected, "{text}");
        }
    }

    #[test]
    fn bad_selectors_are_refused() {
        for text in [
            "",
            "a{",
            "a{b}",
            "a{b=c}",
            "a{b=\"c}",
            "a{=\"c\"}",
            "a{b=\"c\" d=\"e\"}",
            "a{b=~\"(\"}",
            "a}b",
            "a{b=~\"x{99999}{99999}\"}",
        ] {
            assert!(text.parse::<Selector>().is_err(), "{text}");
        }
    }
}
