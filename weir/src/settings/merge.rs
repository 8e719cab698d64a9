//! Which source of a setting wins, and that unknown names are told.

use std::path::{Path, PathBuf};

use super::keys::{KEYS, Key};
use super::suggest::closest;
use super::{Error, Settings};

/// Variables that are no settings of a server but known all the same.
const OTHER_VARIABLES: [&str; 7] =
    ["WEIR_CA", "WEIR_CLIENT_CERT", "WEIR_CLIENT_KEY", "WEIR_CONFIG", "WEIR_LOG", "WEIR_TOKEN", "WEIR_URL"];
/// Variables of the project's own tests start like this; they reach the programs that the tests start.
const TEST_VARIABLES: [&str; 8] =
    ["WEIR_LAW_", "WEIR_KILL_", "WEIR_POWER_", "WEIR_SWEEP", "WEIR_FLIPS", "WEIR_STORM_", "WEIR_DUELS", "WEIR_TEXTS"];
/// The file that is read where no other is named, if it exists.
const DEFAULT_FILE: &str = "weir.toml";

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The command line.
    Flag,
    /// This environment variable.
    Environment(String),
    /// This file.
    File(PathBuf),
    /// Nobody said anything.
    Default,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// What was written down, by who wrote it.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Names and values from the command line.
    pub flags: Vec<(&'static str, String)>,
    /// Names and values of all `WEIR_*` variables.
    pub environment: Vec<(String, String)>,
    /// The file and what stands in it.
    pub file: Option<(PathBuf, String)>,
}

/// Settings, and where each came from.
#[derive(Debug, Clone, Default)]
pub struct Merged {
    /// The settings.
    pub settings: Settings,
    origins: Vec<(&'static str, Origin)>,
}

impl Sources {
    /// These flags, with the environment and the file that belongs to it.
    ///
    /// # Errors
    /// The file can't be read; that there is none is an error only where it was asked for.
    pub fn collect(flags: Vec<(&'static str, String)>, config: Option<&Path>) -> Result<Self, Error> {
        let variables =
            std::env::vars_os().map(|(n, v)| (n.to_string_lossy().into_owned(), v.to_string_lossy().into_owned()));
        // An empty variable is how many tools say that there is none.
        let environment: Vec<_> =
            variables.filter(|(name, value)| name.starts_with("WEIR_") && !value.is_empty()).collect();
        let named = environment.iter().find(|(name, _)| name == "WEIR_CONFIG").map(|(_, value)| PathBuf::from(value));
        let asked = config.map(Path::to_path_buf).or(named);
        let path = asked.clone().unwrap_or_else(|| DEFAULT_FILE.into());
        let file = match std::fs::read_to_string(&path) {
            Ok(text) => Some((path, text)),
            Err(error) if asked.is_none() && error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error(format!("can't read settings from {}: {error}", path.display()))),
        };
        Ok(Self { flags, environment, file })
    }

    /// The settings that these sources make together.
    ///
    /// # Errors
    /// A name is unknown or a value is malformed; the text says where.
    pub fn merge(&self) -> Result<Merged, Error> {
        self.check_variables()?;
        let file = self.file_values()?;
        let mut merged = Merged::default();
        for key in KEYS {
            let (value, origin) = match self.flag(key).or_else(|| self.variable(key)) {
                Some(found) => found,
                None => match file.iter().find(|(name, _)| name == key.name) {
                    Some((_, value)) => (value.as_str(), Origin::File(self.file_path())),
                    None => continue,
                },
            };
            (key.set)(&mut merged.settings, value).map_err(|reason| Error(describe(key, &origin, &reason)))?;
            merged.origins.push((key.name, origin));
        }
        Ok(merged)
    }

    fn flag(&self, key: &Key) -> Option<(&str, Origin)> {
        self.flags.iter().find(|(name, _)| *name == key.name).map(|(_, value)| (value.as_str(), Origin::Flag))
    }

    fn variable(&self, key: &Key) -> Option<(&str, Origin)> {
        let short = (key.name == "log_level").then(|| "WEIR_LOG".to_owned());
        let names = [Some(key.variable()), short];
        names.into_iter().flatten().find_map(|wanted| {
            let (_, value) = self.environment.iter().find(|(name, _)| *name == wanted)?;
            Some((value.as_str(), Origin::Environment(wanted)))
        })
    }

    fn check_variables(&self) -> Result<(), Error> {
        let known: Vec<String> = KEYS.iter().map(Key::variable).chain(OTHER_VARIABLES.map(str::to_owned)).collect();
        let of_tests = |name: &str| TEST_VARIABLES.iter().any(|start| name.starts_with(start));
        match self.environment.iter().find(|(name, _)| !known.contains(name) && !of_tests(name)) {
            Some((name, _)) => {
                let suggestion = suggestion(name, known.iter().map(String::as_str));
                Err(Error(format!("unknown environment variable {name}{suggestion}")))
            }
            None => Ok(()),
        }
    }

    fn file_path(&self) -> PathBuf {
        self.file.as_ref().map(|(path, _)| path.clone()).unwrap_or_default()
    }

    fn file_values(&self) -> Result<Vec<(String, String)>, Error> {
        let Some((path, text)) = &self.file else { return Ok(Vec::new()) };
        let path = path.display();
        let table: toml::Table = toml::from_str(text).map_err(|e| {
            let line = e.span().map_or(1, |span| text[..span.start.min(text.len())].lines().count().max(1));
            Error(format!("{path}, line {line}: {}", e.message()))
        })?;
        let mut values = Vec::with_capacity(table.len());
        for (name, value) in table {
            if Key::named(&name).is_none() {
                let suggestion = suggestion(&name, KEYS.iter().map(|key| key.name));
                return Err(Error(format!("{path}: unknown key {name:?}{suggestion}")));
            }
            let value =
                plain(value).ok_or_else(|| Error(format!("{path}: {name} must be text, a number, true or false")))?;
            values.push((name, value));
        }
        Ok(values)
    }
}

impl Merged {
    /// Where a setting came from.
    pub fn origin(&self, key: &Key) -> Origin {
        let found = self.origins.iter().find(|(name, _)| *name == key.name);
        found.map_or(Origin::Default, |(_, origin)| origin.clone())
    }
}

fn describe(key: &Key, origin: &Origin, reason: &str) -> String {
    match origin {
        Origin::Flag => format!("--{}: {reason}", key.flag()),
        Origin::Environment(name) => format!("environment variable {name}: {reason}"),
        Origin::File(path) => format!("{}: {}: {reason}", path.display(), key.name),
        Origin::Default => format!("{}: {reason}", key.name),
    }
}

fn suggestion<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    closest(name, known).map_or_else(String::new, |meant| format!(": did you mean {meant}?"))
}

fn plain(value: toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(flag) => Some(flag.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(flags: &[(&'static str, &str)], environment: &[(&str, &str)], file: &str) -> Sources {
        Sources {
            flags: flags.iter().map(|(n, v)| (*n, (*v).to_owned())).collect(),
            environment: environment.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            file: Some(("weir.toml".into(), file.to_owned())),
        }
    }

    #[test]
    fn flag_beats_environment_beats_file_beats_default() {
        let flag: &[(&'static str, &str)] = &[("seal_age", "1s")];
        let variable: &[(&str, &str)] = &[("WEIR_SEAL_AGE", "2s")];
        let file = "seal_age = \"3s\"";
        for (flags, environment, file, expected, origin) in [
            (flag, variable, file, "1s", "flag"),
            (&[][..], variable, file, "2s", "environment WEIR_SEAL_AGE"),
            (&[][..], &[][..], file, "3s", "file weir.toml"),
            (&[][..], &[][..], "", "5m", "default"),
        ] {
            let merged = sources(flags, environment, file).merge().expect("valid");
            let key = Key::named("seal_age").expect("known");
            assert_eq!(key.show(&merged.settings), expected);
            assert_eq!(merged.origin(key).to_string(), origin);
        }
    }

    #[test]
    fn history_lies_in_the_data_directory_unless_named() {
        let history = |s: Sources| s.merge().expect("valid").settings.engine.batch.history;
        assert_eq!(history(sources(&[("data_dir", "/d")], &[], "")), "/d/history");
        assert_eq!(history(sources(&[("data_dir", "/d")], &[("WEIR_HISTORY", "s3://b")], "")), "s3://b");
    }

    #[test]
    fn the_short_name_of_the_log_level_counts() {
        let level = |environment: &[(&str, &str)]| {
            sources(&[], environment, "log_level = \"warn\"").merge().expect("valid").settings.log_level
        };
        assert_eq!(level(&[]), "warn");
        assert_eq!(level(&[("WEIR_LOG", "debug"), ("WEIR_URL", "http://x"), ("WEIR_LAW_SEED", "1")]), "debug");
        assert_eq!(level(&[("WEIR_LOG", "debug"), ("WEIR_LOG_LEVEL", "trace")]), "trace");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (flags, environment, file, needles) in [
            (
                &[][..],
                &[][..],
                "seal_agee = \"1s\"",
                ["weir.toml: unknown key \"seal_agee\"", "did you mean seal_age?"],
            ),
            (&[], &[("WEIR_SEAL_AG", "1s")], "", ["WEIR_SEAL_AG", "did you mean WEIR_SEAL_AGE?"]),
            (&[], &[("WEIR_SEAL_AGE", "soon")], "", ["environment variable WEIR_SEAL_AGE", "soon"]),
            (&[("seal_age", "soon")], &[], "", ["--seal-age", "soon"]),
            (&[], &[], "seal_age = 5", ["weir.toml: seal_age", "not a duration"]),
            (&[], &[], "seal_age = [1]", ["weir.toml: seal_age", "must be text"]),
            (&[], &[], "[speed]\nx = 1", ["weir.toml: unknown key \"speed\"", ""]),
            (&[], &[], "a = 1\nb =", ["weir.toml, line 2", ""]),
        ] {
            let error = sources(flags, environment, file).merge().expect_err(needles[0]).to_string();
            assert!(needles.iter().all(|needle| error.contains(needle)), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    /// `WEIR_TEXTS=n` makes up so many.
    #[test]
    fn no_text_made_up_at_random_is_more_than_refused() {
        const VALUES: &str = "1s|1ms|-1s|0|1|-1|18446744073709551616|1e308|NaN|inf|true|256MiB|9EiB|1:2:3|[|]|\"|'|\\|\n|=|#|é|\u{0}|\
            s3://a/b|/|interval:1s|99999999999999999999d";
        let values: Vec<&str> = VALUES.split('|').collect();
        let texts = std::env::var("WEIR_TEXTS").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000);
        let (mut random, mut taken) = (fastrand::Rng::with_seed(3), 0);
        for _ in 0..texts {
            let mut value =
                || (0..random.usize(1..3)).map(|_| values[random.usize(..values.len())]).collect::<String>();
            let (first, second, third) = (value(), value(), value());
            let key = |n: usize| &KEYS[n % KEYS.len()];
            let (file, flag, variable) =
                (key(random.usize(..)), key(random.usize(..)), key(random.usize(..)).variable());
            let quote = ["", "\"", "'"][random.usize(..3)];
            let file = format!("{} = {quote}{first}{quote}{}", file.name, if random.bool() { "\nx" } else { "" });
            let flags: &[_] = if random.bool() { &[(flag.name, second.as_str())] } else { &[] };
            let environment: &[_] = if random.bool() { &[(variable.as_str(), third.as_str())] } else { &[] };
            match sources(flags, environment, &file).merge() {
                Ok(merged) => {
                    taken += 1;
                    // What was taken can be shown, and is taken again.
                    for key in KEYS.iter().filter(|key| merged.origin(key) != Origin::Default) {
                        let shown = key.show(&merged.settings);
                        sources(&[(key.name, &shown)], &[], "").merge().unwrap_or_else(|e| panic!("{shown:?}: {e}"));
                    }
                }
                Err(error) => assert!(error.to_string().len() < 1_000, "{error}"),
            }
        }
        assert!(taken > texts / 100, "nothing that is written gets anywhere");
    }
}
