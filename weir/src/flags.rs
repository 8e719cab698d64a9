//! Flags that several subcommands share: settings, and where the data or the server is.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command};
use weir::Settings;
use weir::settings::{Error, KEYS, Key, Merged, Sources};

use crate::trust::Trust;

/// Every setting as a flag, and the file of settings.
#[derive(Debug, Clone, Default)]
pub(crate) struct SettingFlags {
    config: Option<PathBuf>,
    values: Vec<(&'static str, String)>,
}

impl SettingFlags {
    /// The settings, with those of the environment and the file. `level` is the global flag for logging.
    pub(crate) fn merge(&self, level: Option<&str>) -> Result<Merged, Error> {
        let mut flags = self.values.clone();
        flags.extend(level.map(|level| ("log_level", level.to_owned())));
        Sources::collect(flags, self.config.as_deref())?.merge()
    }

    /// Whether this setting was given.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.values.iter().any(|(given, _)| *given == name)
    }

    /// The flag for a setting, as if it had been given.
    pub(crate) fn with(mut self, name: &'static str, value: String) -> Self {
        self.values.push((name, value));
        self
    }
}

// Written by hand because the flags follow the list of settings.
impl clap::Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new("config").long("config").value_name("FILE").value_parser(clap::value_parser!(PathBuf));
        let command = command
            .arg(config.help("Settings, one `name = value` a line [env: WEIR_CONFIG] [default: weir.toml, if there]"));
        let defaults = Settings::default();
        let flags = KEYS.iter().filter(|key| key.name != "log_level");
        flags.fold(command, |command, key| command.arg(flag_of(key, &defaults)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.config = matches.get_one("config").cloned();
        let given = |key: &Key| matches.try_get_one::<String>(key.name).ok().flatten().cloned();
        self.values = KEYS.iter().filter(|k| k.name != "log_level").filter_map(|k| Some((k.name, given(k)?))).collect();
        Ok(())
    }
}

fn flag_of(key: &'static Key, defaults: &Settings) -> Arg {
    const USUAL: [&str; 4] = ["data_dir", "listen", "insecure", "history"];
    let usual = USUAL.contains(&key.name);
    let help = format!("{} [env: {}] [default: {}]", key.about, key.variable(), key.show(defaults));
    let flag = Arg::new(key.name).long(key.flag()).value_name(key.value).help(help).action(ArgAction::Set);
    let flag = if usual { flag } else { flag.help_heading("Settings").hide_short_help(true) };
    if key.value != "BOOL" {
        return flag;
    }
    flag.num_args(0..=1).require_equals(true).default_missing_value("true")
}

/// Where readings are: a server, or a data directory with or without one.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Place {
    /// Ask the server at this address instead of the one of the data directory
    #[arg(long, env = "WEIR_URL", value_name = "URL")]
    pub(crate) url: Option<url::Url>,
    #[command(flatten)]
    pub(crate) trust: Trust,
    /// The data directory; its server is asked if one runs [env: WEIR_DATA_DIR] [default: data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where its history lies, if not in it [env: WEIR_HISTORY]
    #[arg(long, value_name = "URL")]
    history: Option<String>,
    /// Settings, one `name = value` a line [env: WEIR_CONFIG] [default: weir.toml, if there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Place {
    /// The settings of the data directory.
    pub(crate) fn merge(&self, level: Option<&str>) -> Result<Merged, Error> {
        let data_dir = self.data_dir.as_ref().map(|dir| ("data_dir", dir.to_string_lossy().into_owned()));
        let history = self.history.clone().map(|url| ("history", url));
        let flags = SettingFlags { config: self.config.clone(), values: data_dir.into_iter().chain(history).collect() };
        flags.merge(level)
    }
}
