//! Parameters in the query part of an address.
//!
//! Owns taking them apart, and refusing unknown or repeated ones with the name that was probably meant. Does not own
//! what values mean.

use schemas::selector::Selector;
use schemas::time::clip;
use url::form_urlencoded;

use super::access::Within;
use super::error::{Problem, Result};

/// Parameters by name, each once.
#[derive(Debug, Default)]
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    /// Takes known parameters only, each at most once.
    pub(super) fn strict(query: Option<&str>, known: &[&str]) -> Result<Self> {
        let mut params = Self::default();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            if !known.contains(&&*name) {
                return Err(Problem::bad(unknown("parameter", &name, known)));
            }
            if params.get(&name).is_some() {
                return Err(Problem::bad(format!("parameter {name} stands twice")));
            }
            // The parser puts this character where bytes are no UTF-8.
            if value.contains(char::REPLACEMENT_CHARACTER) {
                return Err(Problem::bad(format!("parameter {name} is not UTF-8")));
            }
            params.0.push((name.into_owned(), value.into_owned()));
        }
        Ok(params)
    }

    /// Takes any parameters; the first of a name holds. For clients of other servers, which send more than matters here.
    pub(super) fn lenient(query: Option<&str>) -> Self {
        let mut params = Self::default();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            if params.get(&name).is_none() {
                params.0.push((name.into_owned(), value.into_owned()));
            }
        }
        params
    }

    /// The value of a parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter, owned.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(str::to_owned)
    }

    /// A parameter that is `true` or `false`.
    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool> {
        match self.get(name) {
            None | Some("") => Ok(default),
            Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => Err(Problem::bad(format!("{name}: {:?} is neither true nor false", clip(other)))),
        }
    }

    /// A parameter that limits how many rows are answered.
    pub(super) fn limit(&self, default: u32, max: u32) -> Result<u32> {
        let Some(text) = self.get("limit").filter(|text| !text.is_empty()) else { return Ok(default) };
        match text.parse() {
            Ok(limit) if (1..=max).contains(&limit) => Ok(limit),
            _ => Err(Problem::bad(format!("limit: {:?} is not a number from 1 to {max}", clip(text)))),
        }
    }

    /// The series meant by parameter `match`, all where it is absent, among those that whoever asks may read.
    pub(super) fn selector(&self, within: &Within) -> Result<Selector> {
        let selector = match self.get("match").map(str::trim) {
            None | Some("") => Selector::all(),
            Some(text) => text.parse().map_err(|e| Problem::bad(format!("match: {e}")))?,
        };
        Ok(within.narrow(selector))
    }
}

/// Says that a name is unknown, and which one was probably meant.
pub(super) fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    let name = clip(name);
    match known.iter().min_by_key(|candidate| distance(name, candidate)) {
        None => format!("unknown {what} {name:?}: none is taken here"),
        Some(closest) => format!("unknown {what} {name:?}: did you mean {closest:?}? known: {}", known.join(", ")),
    }
}

/// How many letters must be added, dropped or changed to make one word of the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.to_lowercase().chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[&str] = &["match", "from", "to", "step"];

    fn refused(query: &str) -> String {
        Params::strict(Some(query), KNOWN).expect_err(query).detail().to_owned()
    }

    #[test]
    fn values_are_decoded() {
        let params = Params::strict(Some("match=a%7Bx%3D%22%C3%A4%22%7D&from=now-1h&to="), KNOWN).expect("known");
        assert_eq!(params.get("match"), Some("a{x=\"ä\"}"));
        assert_eq!(params.get("from"), Some("now-1h"));
        assert_eq!((params.get("to"), params.get("step")), (Some(""), None));
        assert_eq!(Params::strict(None, &[]).expect("none").get("match"), None);
    }

    #[test]
    fn the_unknown_and_the_repeated_are_named() {
        assert!(refused("form=1").contains("\"form\": did you mean \"from\"?"), "{}", refused("form=1"));
        assert!(refused("STEPS=1").contains("did you mean \"step\"?"));
        assert!(refused("to=1&to=1").contains("parameter to stands twice"));
        assert!(refused("match=%FF").contains("match is not UTF-8"));
        assert!(Params::strict(Some("a=1"), &[]).expect_err("unknown").detail().contains("none is taken here"));
    }

    #[test]
    fn the_first_of_a_name_holds_for_other_clients() {
        let params = Params::lenient(Some("db=x&db=y&u=z"));
        assert_eq!((params.get("db"), params.get("u")), (Some("x"), Some("z")));
    }

    #[test]
    fn limits_and_flags_are_checked() {
        let params = Params::lenient(Some("limit=5&partial=no"));
        assert_eq!(params.limit(1, 10).expect("in range"), 5);
        assert!(params.limit(1, 4).is_err());
        assert!(params.flag("partial", true).expect_err("no").detail().contains("partial"));
        assert!(params.flag("absent", true).expect("default"));
    }

    #[test]
    fn distances_are_those_of_levenshtein() {
        for (a, b, expected) in
            [("", "", 0), ("kitten", "sitting", 3), ("form", "from", 2), ("To", "to", 0), ("", "ab", 2)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }
}
